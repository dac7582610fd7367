//! How much a container may have of what it makes us hold: open files, triggers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many for each owner, counted.
#[derive(Debug)]
pub(crate) struct Places<K> {
    each: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One owner's place, or several, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Hash + Eq> {
    owner: K,
    count: usize,
    places: Arc<Places<K>>,
}

impl<K: Hash + Eq + Copy> Places<K> {
    pub(crate) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// A place for `owner`; `None` where it has all of its own.
    pub(crate) fn take(self: &Arc<Self>, owner: K) -> Option<Place<K>> {
        self.take_some(owner, 1)
    }

    /// So many places for `owner`, all or none.
    pub(crate) fn take_some(self: &Arc<Self>, owner: K, count: usize) -> Option<Place<K>> {
        let mut taken = self.lock();
        let before = taken.get(&owner).copied().unwrap_or(0);
        let after = before.checked_add(count).filter(|&after| after <= self.each)?;
        taken.insert(owner, after);
        Some(Place { owner, count, places: Arc::clone(self) })
    }
}

impl<K> Places<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // Nothing that can panic runs under the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.owner) {
            *count = count.saturating_sub(self.count);
            if *count == 0 {
                taken.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_and_given_back() {
        let places = Places::new(2);
        let first = places.take("a").unwrap();
        let _second = places.take("a").unwrap();
        assert!(places.take("a").is_none());
        let other = places.take("b");
        assert!(other.is_some(), "another owner has places of its own");
        drop(first);
        assert!(places.take("a").is_some());
        drop(other);
        assert_eq!(places.lock().len(), 1, "an owner without triggers takes no memory");
    }

    #[test]
    fn large_things_take_several_places() {
        let places = Places::new(4);
        let large = places.take_some("a", 3);
        assert!(large.is_some() && places.take_some("a", 2).is_none());
        assert!(places.take_some("a", 5).is_none() && places.take_some("b", 4).is_some());
        drop(large);
        assert!(places.take_some("a", 4).is_some());
    }
}
