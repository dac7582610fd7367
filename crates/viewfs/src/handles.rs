//! Open files: the snapshot behind each, swapped whole and written down for the next worker.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fuse::{Fh, OpenFlags, OpenReply};
use procfmt::units::Usec;

use crate::clocks::monotonic;
use crate::keep::{Adopted, Keep, Meta};

/// Immutable file content.
pub(crate) type Content = Arc<Vec<u8>>;

/// After a restart, content that was built by OPEN less than this long ago goes to the first read
/// at offset 0: that may be one that the last worker had answered already, and its reader is in the
/// middle of it. It takes in a worker that had to be found stuck, and the start of the next.
const YOUNG: Usec = Usec(10_000_000);

/// How all files are opened: their content differs from caller to caller, so that none of it may be
/// in the page cache, and nothing is done at close.
pub(crate) fn built_at_open(fh: Fh) -> OpenReply {
    OpenReply { fh, flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH }
}

/// Content just made.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) content: Content,
    /// Whether it may serve as the last good content of its container and file.
    pub(crate) is_good: bool,
}

/// The snapshot of one open file.
///
/// Programs such as top and vmstat keep a file open and seek to its beginning for every refresh, so
/// a read at offset 0 gets new content, but for the first, which gets what OPEN has built. Readers
/// share immutable snapshots: whoever is in the middle of one keeps it. The next worker finds it in
/// the [`Keep`].
#[derive(Debug)]
pub(crate) struct Snapshot {
    state: Mutex<State>,
    /// What is written down beside the content. Locked from writing it down until readers may see
    /// the content, so that they see what was written down last. Readers do not wait for it.
    meta: Mutex<Meta>,
}

#[derive(Debug)]
struct State {
    content: Content,
    /// Built by OPEN and read by nobody yet.
    fresh: bool,
    /// The number of the read that the content was made for; 0: it is OPEN's.
    refreshed_by: u64,
}

impl Snapshot {
    /// Writes down a file that is about to be open.
    pub(crate) fn new(keep: &Keep, meta: Meta, content: Content) -> Self {
        keep.open(&meta, &content);
        let state = State { content, fresh: true, refreshed_by: 0 };
        Self { state: Mutex::new(state), meta: Mutex::new(meta) }
    }

    /// A snapshot for a file whose opener may wait for an event before the first read, which shall
    /// then not get what was true at OPEN.
    pub(crate) fn outdated(keep: &Keep, meta: Meta, content: Content) -> Self {
        let snapshot = Self::new(keep, meta, content);
        snapshot.lock().fresh = false;
        snapshot
    }

    /// The snapshot that the last worker has left.
    pub(crate) fn adopted(adopted: Adopted) -> Self {
        Self::adopted_at(adopted, monotonic())
    }

    fn adopted_at(Adopted { meta, content }: Adopted, now: Usec) -> Self {
        let refreshed_by = meta.refreshed_by;
        let is_young = now < Usec(meta.opened_at) + YOUNG;
        let fresh = refreshed_by == 0 && is_young;
        let state = State { content: Arc::new(content), fresh, refreshed_by };
        Self { state: Mutex::new(state), meta: Mutex::new(meta) }
    }

    /// As [`Snapshot::adopted`], where it would be with [`Snapshot::outdated`].
    pub(crate) fn adopted_outdated(adopted: Adopted) -> Self {
        let snapshot = Self::adopted(adopted);
        snapshot.lock().fresh = false;
        snapshot
    }

    /// The content for a read at `offset`, the request number `unique`. At 0, `build` is called for
    /// new content unless OPEN's has not been read yet; where it fails, readers keep what they had.
    /// No lock is held while content is built.
    pub(crate) fn at<E>(
        &self,
        offset: u64,
        unique: u64,
        keep: &Keep,
        build: impl FnOnce() -> Result<Built, E>,
    ) -> Content {
        self.try_at(offset, unique, keep, build).unwrap_or_else(|_| self.content())
    }

    /// As [`Snapshot::at`], but where `build` fails, so does the read.
    pub(crate) fn try_at<E>(
        &self,
        offset: u64,
        unique: u64,
        keep: &Keep,
        build: impl FnOnce() -> Result<Built, E>,
    ) -> Result<Content, E> {
        let mut state = self.lock();
        let fresh = std::mem::take(&mut state.fresh);
        // A read that is sent again may have been answered before; its reader goes on from there.
        let is_again = unique != 0 && state.refreshed_by == unique;
        if fresh || offset > 0 || is_again {
            return Ok(Arc::clone(&state.content));
        }
        drop(state);
        let Built { content, is_good } = build()?;
        let mut meta = self.meta();
        (meta.refreshed_by, meta.is_good) = (unique, is_good);
        keep.refresh(&meta, &content);
        *self.lock() = State { content: Arc::clone(&content), fresh: false, refreshed_by: unique };
        Ok(content)
    }

    /// Changes what is written down beside the content, if `change` says that it has.
    pub(crate) fn note(&self, keep: &Keep, change: impl FnOnce(&mut Meta) -> bool) {
        let mut meta = self.meta();
        if change(&mut meta) {
            keep.refresh(&meta, &self.content());
        }
    }

    /// The content as it is.
    pub(crate) fn content(&self) -> Content {
        Arc::clone(&self.lock().content)
    }

    /// What is written down beside the content.
    pub(crate) fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is open, by the number that the kernel sends back.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    open: RwLock<HashMap<u64, Arc<T>>>,
}

impl<T> Handles<T> {
    pub(crate) fn new() -> Self {
        Self { open: RwLock::default() }
    }

    pub(crate) fn insert(&self, fh: Fh, value: T) {
        let before = write(&self.open).insert(fh.0, Arc::new(value));
        drop(before);
    }

    /// What is open under the number already, else `value`.
    pub(crate) fn get_or_insert(&self, fh: Fh, value: T) -> Arc<T> {
        let value = Arc::new(value);
        Arc::clone(write(&self.open).entry(fh.0).or_insert(value))
    }

    pub(crate) fn get(&self, fh: Fh) -> Option<Arc<T>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&fh.0).map(Arc::clone)
    }

    /// It is closed: nothing is kept of it, here and for the next worker.
    pub(crate) fn release(&self, fh: Fh, keep: &Keep) {
        let removed = write(&self.open).remove(&fh.0);
        drop(removed);
        keep.close(fh);
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
    use crate::keep::What;

    fn meta(refreshed_by: u64, opened_at: Usec) -> Meta {
        Meta {
            fh: 7,
            node: 9,
            owner: None,
            opened_by: 2,
            opened_at: opened_at.0,
            refreshed_by,
            is_good: true,
            what: What::File { is_linux32: false },
        }
    }

    fn keep() -> Keep {
        Keep::create().unwrap()
    }

    fn content(text: &str) -> Content {
        Arc::new(text.as_bytes().to_vec())
    }

    fn built(text: &str) -> impl FnOnce() -> Result<Built, ()> {
        let content = content(text);
        move || Ok(Built { content, is_good: true })
    }

    #[test]
    fn seek_to_zero_refreshes() {
        let keep = keep();
        let snapshot = Snapshot::new(&keep, meta(0, Usec(0)), content("open"));
        assert_eq!(*snapshot.at(0, 4, &keep, built("unused")), b"open");
        assert_eq!(*snapshot.at(2, 6, &keep, built("unused")), b"open");
        assert_eq!(*snapshot.at(0, 8, &keep, built("second")), b"second");
        assert_eq!(*snapshot.at(3, 10, &keep, built("unused")), b"second");
    }

    #[test]
    fn first_pread_at_offset() {
        let keep = keep();
        let snapshot = Snapshot::new(&keep, meta(0, Usec(0)), content("open"));
        assert_eq!(*snapshot.at(2, 4, &keep, built("unused")), b"open");
        assert_eq!(*snapshot.at(0, 6, &keep, built("second")), b"second");
    }

    #[test]
    fn a_container_that_is_gone_keeps_its_last_content() {
        let keep = keep();
        let snapshot = Snapshot::new(&keep, meta(0, Usec(0)), content("open"));
        snapshot.at(0, 4, &keep, built("unused"));
        assert_eq!(*snapshot.at(0, 6, &keep, || Err(())), b"open");
    }

    #[test]
    fn an_error_reaches_whoever_wants_it() {
        let keep = keep();
        let snapshot = Snapshot::outdated(&keep, meta(0, Usec(0)), content("open"));
        assert_eq!(**snapshot.try_at(0, 4, &keep, built("first")).unwrap(), *b"first");
        assert_eq!(snapshot.try_at(0, 6, &keep, || Err(())), Err(()));
        assert_eq!(**snapshot.try_at(3, 8, &keep, built("unused")).unwrap(), *b"first");
    }

    fn adopted(refreshed_by: u64, age: Usec) -> Snapshot {
        let opened_at = Usec(500);
        let content = b"kept".to_vec();
        let adopted = Adopted { meta: meta(refreshed_by, opened_at), content };
        Snapshot::adopted_at(adopted, opened_at + age)
    }

    #[test]
    fn a_read_that_is_sent_again_does_not_tear_its_reader() {
        let keep = keep();
        let refreshed = adopted(8, YOUNG);
        assert_eq!(*refreshed.at(0, 8, &keep, built("torn")), b"kept");
        assert_eq!(*refreshed.at(4, 10, &keep, built("torn")), b"kept");
        assert_eq!(*refreshed.at(0, 12, &keep, built("new")), b"new");
        let just_opened = adopted(0, Usec(9_000_000));
        assert_eq!(*just_opened.at(0, 4, &keep, built("torn")), b"kept");
        assert_eq!(*just_opened.at(0, 6, &keep, built("new")), b"new");
    }

    #[test]
    fn old_content_is_not_shown_again_after_a_restart() {
        let opened_long_ago = adopted(0, YOUNG);
        assert_eq!(*opened_long_ago.at(0, 0, &keep(), built("new")), b"new");
    }

    #[test]
    fn released_handles_are_gone() {
        let handles = Handles::new();
        handles.insert(Fh(1), 1);
        handles.insert(Fh(2), 2);
        handles.release(Fh(1), &keep());
        assert!(handles.get(Fh(1)).is_none());
        assert_eq!(handles.get(Fh(2)).as_deref(), Some(&2));
        assert_eq!(*handles.get_or_insert(Fh(2), 3), 2);
        assert_eq!(*handles.get_or_insert(Fh(1), 3), 3);
    }
}
