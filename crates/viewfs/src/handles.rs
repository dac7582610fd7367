//! Open files: the snapshot behind each, swapped whole.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fuse::Fh;

/// Immutable file content.
pub(crate) type Content = Arc<Vec<u8>>;

/// The snapshot of one open file.
///
/// Programs such as top and vmstat keep a file open and seek to its beginning for every refresh, so
/// a read at offset 0 gets new content, but for the first, which gets what OPEN has built. Readers
/// share immutable snapshots: whoever is in the middle of one keeps it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    content: Content,
    /// Built by OPEN and read by nobody yet.
    fresh: bool,
}

impl Snapshot {
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self { state: Mutex::new(State { content: Arc::new(content), fresh: true }) }
    }

    /// A snapshot for a file whose opener may wait for an event before the first read, which shall
    /// then not get what was true at OPEN.
    pub(crate) fn outdated(content: Vec<u8>) -> Self {
        Self { state: Mutex::new(State { content: Arc::new(content), fresh: false }) }
    }

    /// The content for a read at `offset`. At 0, `build` is called for new content unless OPEN's
    /// has not been read yet; where it fails, readers keep what they had. No lock is held while
    /// content is built.
    pub(crate) fn at<E>(&self, offset: u64, build: impl FnOnce() -> Result<Vec<u8>, E>) -> Content {
        self.try_at(offset, build).unwrap_or_else(|_| Arc::clone(&self.lock().content))
    }

    /// As [`Snapshot::at`], but where `build` fails, so does the read.
    pub(crate) fn try_at<E>(
        &self,
        offset: u64,
        build: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Content, E> {
        let mut state = self.lock();
        let fresh = std::mem::take(&mut state.fresh);
        if fresh || offset > 0 {
            return Ok(Arc::clone(&state.content));
        }
        drop(state);
        let content = Arc::new(build()?);
        self.lock().content = Arc::clone(&content);
        Ok(content)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is open, by the number that the kernel sends back.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<T>>>,
}

impl<T> Handles<T> {
    pub(crate) fn new() -> Self {
        Self { next: AtomicU64::new(1), open: RwLock::default() }
    }

    pub(crate) fn insert(&self, value: T) -> Fh {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(&self.open).insert(number, Arc::new(value));
        Fh(number)
    }

    pub(crate) fn get(&self, fh: Fh) -> Option<Arc<T>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&fh.0).map(Arc::clone)
    }

    pub(crate) fn remove(&self, fh: Fh) {
        let removed = write(&self.open).remove(&fh.0);
        drop(removed);
    }
}

fn write<K: Hash + Eq, V>(
    map: &RwLock<HashMap<K, V>>,
) -> std::sync::RwLockWriteGuard<'_, HashMap<K, V>> {
    map.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(text: &str) -> impl FnOnce() -> Result<Vec<u8>, ()> {
        let text = text.as_bytes().to_vec();
        move || Ok(text)
    }

    #[test]
    fn seek_to_zero_refreshes() {
        let snapshot = Snapshot::new(b"open".to_vec());
        assert_eq!(*snapshot.at(0, built("unused")), b"open");
        assert_eq!(*snapshot.at(2, built("unused")), b"open");
        assert_eq!(*snapshot.at(0, built("second")), b"second");
        assert_eq!(*snapshot.at(3, built("unused")), b"second");
    }

    #[test]
    fn first_pread_at_offset() {
        let snapshot = Snapshot::new(b"open".to_vec());
        assert_eq!(*snapshot.at(2, built("unused")), b"open");
        assert_eq!(*snapshot.at(0, built("second")), b"second");
    }

    #[test]
    fn a_container_that_is_gone_keeps_its_last_content() {
        let snapshot = Snapshot::new(b"open".to_vec());
        snapshot.at(0, built("unused"));
        assert_eq!(*snapshot.at(0, || Err(())), b"open");
    }

    #[test]
    fn an_error_reaches_whoever_wants_it() {
        let snapshot = Snapshot::outdated(b"open".to_vec());
        assert_eq!(**snapshot.try_at(0, built("first")).unwrap(), *b"first");
        assert_eq!(snapshot.try_at(0, || Err(())), Err(()));
        assert_eq!(**snapshot.try_at(3, built("unused")).unwrap(), *b"first");
    }

    #[test]
    fn released_handles_are_gone() {
        let handles = Handles::new();
        let (first, second) = (handles.insert(1), handles.insert(2));
        handles.remove(first);
        assert!(handles.get(first).is_none());
        assert_eq!(handles.get(second).as_deref(), Some(&2));
    }
}
