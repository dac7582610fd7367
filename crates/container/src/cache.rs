//! A bounded cache, the least recently used entries evicted first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bounded map. No lock is held outside of its methods, and none of them does any I/O.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    limit: usize,
    entries: Mutex<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V> {
    clock: u64,
    map: HashMap<K, (u64, V)>,
}

/// To find the oldest entries, all are looked at: so one in so many goes at once, and the next search
/// is far away.
const AT_ONCE: usize = 8;

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::new(Entries { clock: 0, map: HashMap::new() }) }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut entries = self.lock();
        entries.clock += 1;
        let now = entries.clock;
        let (used, value) = entries.map.get_mut(key)?;
        *used = now;
        Some(value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut entries = self.lock();
        entries.clock += 1;
        let now = entries.clock;
        let is_full = entries.map.len() >= self.limit && !entries.map.contains_key(&key);
        let oldest =
            if is_full { entries.take_oldest(self.limit.div_ceil(AT_ONCE)) } else { vec![] };
        let before = entries.map.insert(key, (now, value));
        drop(entries);
        drop((oldest, before)); // they may have descriptors to close
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let entry = self.lock().map.remove(key);
        drop(entry);
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        // An entry is whole whenever the lock is free, even after a panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Entries<K, V> {
    fn take_oldest(&mut self, count: usize) -> Vec<(K, (u64, V))> {
        let mut uses: Vec<u64> = self.map.values().map(|(used, _)| *used).collect();
        let Some(index) = uses.len().min(count).checked_sub(1) else { return Vec::new() };
        let (_, &mut newest, _) = uses.select_nth_unstable(index);
        self.map.extract_if(|_, (used, _)| *used <= newest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_is_not_searched_for_each_new_entry() {
        let cache = Cache::new(80);
        (0..80).for_each(|number| cache.insert(number, number));
        assert_eq!(cache.get(&0), Some(0));
        cache.insert(80, 80);
        assert_eq!(cache.lock().map.len(), 71, "ten have made room for one, and for nine more");
        assert!((1..=10).all(|number| cache.get(&number).is_none()));
        assert!((11..=80).all(|number| cache.get(&number).is_some()) && cache.get(&0).is_some());
    }

    #[test]
    fn the_least_recently_used_entry_goes() {
        let cache = Cache::new(2);
        cache.insert("a".to_owned(), 1);
        cache.insert("b".to_owned(), 2);
        assert_eq!(cache.get("a"), Some(1));
        cache.insert("a".to_owned(), 10);
        cache.insert("c".to_owned(), 3);
        assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (Some(10), None, Some(3)));
        cache.remove("a");
        assert_eq!(cache.get("a"), None);
    }

    /// `cargo test --release -p container --lib -- --ignored --nocapture`
    #[test]
    #[ignore = "prints what many containers cost"]
    fn many_entries() {
        for count in [10_u64, 1000, 10_000, 20_000] {
            let cache = Cache::new(16_384);
            let begin = std::time::Instant::now();
            let rounds = 200_000 / count;
            for number in (0..rounds).flat_map(|_| 0..count) {
                if cache.get(&number).is_none() {
                    cache.insert(number, std::sync::Arc::new(number));
                }
            }
            let each = begin.elapsed() / u32::try_from(rounds * count).unwrap();
            println!("{count} in turn, room for 16384: {each:?} each");
        }
    }
}
