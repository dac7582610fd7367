//! How many triggers a container may have: each holds a descriptor of ours, and work or a thread
//! of the kernel's.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many for each owner, counted.
#[derive(Debug)]
pub(crate) struct Places<K> {
    each: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One owner's place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Hash + Eq> {
    owner: K,
    places: Arc<Places<K>>,
}

impl<K: Hash + Eq + Copy> Places<K> {
    pub(crate) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// A place for `owner`; `None` where it has all of its own.
    pub(crate) fn take(self: &Arc<Self>, owner: K) -> Option<Place<K>> {
        let mut taken = self.lock();
        let count = taken.get(&owner).copied().unwrap_or(0);
        if count >= self.each {
            return None;
        }
        taken.insert(owner, count.saturating_add(1));
        Some(Place { owner, places: Arc::clone(self) })
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
            *count = count.saturating_sub(1);
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
}
