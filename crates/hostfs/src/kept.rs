//! Descriptors kept open between reads, and the bound on how many.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The share of RLIMIT_NOFILE that kept descriptors may take, in percent: the rest is for triggers and
/// container registrations.
const SHARE: u64 = 75;
/// So many fewer, for what every process has open and opens for a moment.
const OTHERS: u64 = 64;
/// For how many seconds a file must not have been read to be closed for another one.
const REST: u64 = 60;

/// The directory itself, among its files.
pub(crate) const SELF: &str = ".";

/// A bounded store of open files. Shared by all [`KeptDir`](crate::KeptDir)s of a process.
///
/// When it is full, directories are closed first, which are asked for nothing once their files are
/// open, and then the file that was not read for longest. But not for a newcomer if that one was read
/// within the last minute: of more files than there is room for, read in turn, each would be
/// closed just before it is read again. So as many as there is room for stay.
///
/// A file is *taken out* for the time of a read, so that no lock is held meanwhile and no two
/// readers share one open file; a second reader opens the file for itself.
#[derive(Debug)]
pub struct Kept {
    limit: usize,
    made: Instant,
    next_dir: AtomicU64,
    opens: AtomicU64,
    reads: AtomicU64,
    store: Mutex<Store>,
}

/// What a [`Kept`] has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Files and directories opened.
    pub opens: u64,
    /// Read system calls made.
    pub reads: u64,
    /// Files and directories open now, between reads.
    pub open_now: usize,
}

#[derive(Debug, Default)]
struct Store {
    /// Rises with each file put back, so that it orders them by use.
    clock: u64,
    dirs: HashMap<u64, Vec<File>>,
    /// The directories that are open, by when they were put back.
    selves: BTreeMap<u64, Place>,
    /// The files that are open, by when they were put back.
    files: BTreeMap<u64, Place>,
}

/// Where an open file is.
#[derive(Clone, Copy, Debug)]
struct Place {
    dir: u64,
    /// When it was put back, in seconds since the store was made.
    at: u64,
}

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: Box<str>,
    pub(crate) fd: OwnedFd,
    /// The store's clock when it was put back; 0 if it was never in it.
    used: u64,
}

impl File {
    pub(crate) fn new(name: &str, fd: OwnedFd) -> Self {
        Self { name: name.into(), fd, used: 0 }
    }

    fn is_directory(&self) -> bool {
        *self.name == *SELF
    }
}

impl Kept {
    /// Keeps at most `limit` descriptors.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            made: Instant::now(),
            next_dir: AtomicU64::new(0),
            opens: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            store: Mutex::default(),
        })
    }

    /// Raises the soft limit on open files to the hard one where that is allowed, and keeps at most
    /// three quarters of that.
    #[must_use]
    pub fn under_rlimit() -> Arc<Self> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Refused only by a security module, and then the soft limit holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let allowed = getrlimit(Resource::Nofile).current.or(current).unwrap_or(1 << 20);
        let limit = (allowed.min(1 << 20) * SHARE / 100).saturating_sub(OTHERS);
        Self::new(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            opens: self.opens.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            open_now: self.lock().len(),
        }
    }

    pub(crate) fn new_dir(&self) -> u64 {
        self.next_dir.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_open(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_reads(&self, calls: u64) {
        self.reads.fetch_add(calls, Ordering::Relaxed);
    }

    /// Takes out a file of a directory, if it is open and not being read.
    pub(crate) fn take(&self, dir: u64, name: &str) -> Option<File> {
        let mut store = self.lock();
        let files = store.dirs.get_mut(&dir)?;
        let index = files.iter().position(|file| *file.name == *name)?;
        let file = files.swap_remove(index);
        store.by_age(&file).remove(&file.used);
        Some(file)
    }

    /// Puts a file back, or in for the first time if there is room for it. The files closed for it
    /// are closed after the lock has been released.
    pub(crate) fn put(&self, dir: u64, file: File) {
        self.put_at(|| self.made.elapsed().as_secs(), dir, file);
    }

    fn put_at(&self, now: impl FnOnce() -> u64, dir: u64, file: File) {
        let mut closed = Vec::new();
        let mut store = self.lock();
        // Nobody asks how old a file is as long as there is room; the first ones count as old.
        let at = if store.len() < self.limit / 2 { 0 } else { now() };
        if store.takes(&file, self.limit, at) {
            closed.extend(store.insert(file, Place { dir, at }));
        } else {
            closed.push(file);
        }
        while store.len() > self.limit {
            closed.extend(store.remove_oldest());
        }
        drop(store);
        drop(closed);
    }

    /// Closes half of the files, the longest unused ones: the process has no descriptor left.
    pub(crate) fn make_room(&self) {
        let mut closed = Vec::new();
        let mut store = self.lock();
        for _ in 0..store.len().div_ceil(2) {
            closed.extend(store.remove_oldest());
        }
        drop(store);
        drop(closed);
    }

    /// Closes a directory's files, which is not coming back.
    pub(crate) fn forget(&self, dir: u64) {
        let mut store = self.lock();
        let closed = store.dirs.remove(&dir);
        for file in closed.iter().flatten() {
            store.by_age(file).remove(&file.used);
        }
        drop(store);
        drop(closed);
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // No code that holds the lock can leave the store half changed.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn len(&self) -> usize {
        self.selves.len() + self.files.len()
    }

    fn by_age(&mut self, file: &File) -> &mut BTreeMap<u64, Place> {
        if file.is_directory() { &mut self.selves } else { &mut self.files }
    }

    /// Whether to keep a file at the time `at`, though there may be no room.
    fn takes(&self, file: &File, limit: usize, at: u64) -> bool {
        let was_here = file.used != 0;
        if was_here || self.len() < limit {
            return true;
        }
        let rests = |place: &Place| at.saturating_sub(place.at) >= REST;
        !file.is_directory()
            && (!self.selves.is_empty() || self.files.values().next().is_some_and(rests))
    }

    /// Returns the file if another reader opened it as well and was faster; one is enough.
    fn insert(&mut self, mut file: File, place: Place) -> Option<File> {
        let Self { clock, dirs, selves, files } = self;
        let of_dir = dirs.entry(place.dir).or_default();
        if of_dir.iter().any(|other| other.name == file.name) {
            return Some(file);
        }
        *clock += 1;
        file.used = *clock;
        if file.is_directory() { selves } else { files }.insert(*clock, place);
        of_dir.push(file);
        None
    }

    fn remove_oldest(&mut self) -> Option<File> {
        let (used, Place { dir, .. }) =
            self.selves.pop_first().or_else(|| self.files.pop_first())?;
        let files = self.dirs.get_mut(&dir)?;
        let index = files.iter().position(|file| file.used == used)?;
        let file = files.swap_remove(index);
        if files.is_empty() {
            self.dirs.remove(&dir);
        }
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File::new(name, std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn what_is_read_in_turn_stays_as_far_as_there_is_room() {
        let kept = Kept::new(10);
        let mut opened = 0;
        for (at, dir) in (0..10).flat_map(|at| (0..20).map(move |dir| (at, dir))) {
            let file = kept.take(dir, "memory.stat").unwrap_or_else(|| {
                opened += 1;
                file("memory.stat")
            });
            kept.put_at(|| at, dir, file);
        }
        // Closed in the order of their use, all 200 would have been opened.
        assert_eq!((opened, kept.counters().open_now), (20 + 9 * 10, 10));
    }

    #[test]
    fn what_rests_makes_room() {
        let kept = Kept::new(2);
        for dir in [1, 2] {
            kept.put_at(|| 0, dir, file("cpu.max"));
        }
        let second = kept.take(2, "cpu.max").unwrap();
        kept.put_at(|| REST - 1, 2, second);
        for (at, dir) in [(REST - 1, 3), (REST, 4), (REST, 5)] {
            kept.put_at(|| at, dir, file("cpu.max"));
        }
        let is_kept = |dir| kept.take(dir, "cpu.max").is_some();
        assert_eq!([1, 2, 3, 4, 5].map(is_kept), [false, true, false, true, false]);
    }

    #[test]
    fn directories_go_first() {
        let kept = Kept::new(2);
        for (dir, name) in [(1, "cpu.max"), (1, SELF), (2, "cpu.max"), (2, SELF), (3, SELF)] {
            kept.put_at(|| 0, dir, file(name));
        }
        let is_kept = |(dir, name)| kept.take(dir, name).is_some();
        let found = [(1, "cpu.max"), (1, SELF), (2, "cpu.max"), (2, SELF)].map(is_kept);
        assert_eq!(found, [true, false, true, false]);
    }

    /// `cargo test --release -p hostfs --lib -- --ignored --nocapture many`
    #[test]
    #[ignore = "prints what many containers cost"]
    fn many_files() {
        const FILES: [&str; 4] = ["memory.stat", "memory.limit_in_bytes", "cpu.stat", "tasks"];
        let null = std::fs::File::open("/dev/null").unwrap();
        for dirs in [10, 1000, 4000] {
            let kept = Kept::new(usize::MAX);
            for (dir, name) in (0..dirs).flat_map(|dir| FILES.map(|name| (dir, name))) {
                kept.put(dir, File::new(name, null.try_clone().unwrap().into()));
            }
            let (begin, rounds) = (std::time::Instant::now(), 400_000 / dirs);
            for (dir, name) in
                (0..rounds).flat_map(|_| 0..dirs).flat_map(|dir| FILES.map(|name| (dir, name)))
            {
                let file = kept.take(dir, name).unwrap();
                kept.put(dir, file);
            }
            let reads = rounds * dirs * FILES.len() as u64;
            let each = begin.elapsed() / u32::try_from(reads).unwrap();
            println!("{dirs} directories of {} files: {each:?} for each read", FILES.len());
        }
    }
}
