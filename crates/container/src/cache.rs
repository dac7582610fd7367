//! A small bounded cache, the least recently used entry evicted first.

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

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
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
        if entries.map.len() >= self.limit && !entries.map.contains_key(&key) {
            let oldest = entries.map.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                entries.map.remove(&oldest);
            }
        }
        entries.map.insert(key, (now, value));
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.lock().map.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        // An entry is whole whenever the lock is free, even after a panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
