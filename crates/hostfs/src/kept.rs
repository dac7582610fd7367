//! Descriptors kept open between reads, and the bound on how many.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The share of RLIMIT_NOFILE that kept descriptors may take, in percent: the rest is for
/// connections, container registrations and files opened for a moment.
const SHARE: u64 = 60;

/// A bounded store of open files, the least recently read ones closed first. Shared by all
/// [`KeptDir`](crate::KeptDir)s of a process.
///
/// A file is *taken out* for the time of a read, so that no lock is held meanwhile and no two
/// readers share one open file; a second reader opens the file for itself.
#[derive(Debug)]
pub struct Kept {
    limit: usize,
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
    /// Which directory has the file that was put back at a given time.
    by_age: BTreeMap<u64, u64>,
}

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: Box<str>,
    pub(crate) fd: OwnedFd,
    /// When it was put back.
    used: u64,
}

impl File {
    pub(crate) fn new(name: &str, fd: OwnedFd) -> Self {
        Self { name: name.into(), fd, used: 0 }
    }
}

impl Kept {
    /// Keeps at most `limit` descriptors.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            next_dir: AtomicU64::new(0),
            opens: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            store: Mutex::default(),
        })
    }

    /// Raises the soft limit on open files to the hard one where that is allowed, and keeps at most
    /// a good half of it.
    #[must_use]
    pub fn under_rlimit() -> Arc<Self> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Refused only by a security module, and then the soft limit holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        let allowed = getrlimit(Resource::Nofile).current.or(current).unwrap_or(1 << 20);
        Self::new(usize::try_from(allowed.min(1 << 20) * SHARE / 100).unwrap_or(usize::MAX))
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            opens: self.opens.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            open_now: self.lock().by_age.len(),
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
        store.by_age.remove(&file.used);
        Some(file)
    }

    /// Puts a file back, or in for the first time. The files closed for it are closed after the
    /// lock has been released.
    pub(crate) fn put(&self, dir: u64, mut file: File) {
        let mut closed = Vec::new();
        let mut store = self.lock();
        store.clock += 1;
        file.used = store.clock;
        let files = store.dirs.entry(dir).or_default();
        if files.iter().any(|other| other.name == file.name) {
            // Another reader opened it as well and was faster; one is enough.
            closed.push(file);
        } else {
            let used = file.used;
            files.push(file);
            store.by_age.insert(used, dir);
        }
        while store.by_age.len() > self.limit {
            closed.extend(store.remove_oldest());
        }
        drop(store);
        drop(closed);
    }

    /// Closes half of the files, the longest unused ones: the process has no descriptor left.
    pub(crate) fn make_room(&self) {
        let mut closed = Vec::new();
        let mut store = self.lock();
        for _ in 0..store.by_age.len().div_ceil(2) {
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
            store.by_age.remove(&file.used);
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
    fn remove_oldest(&mut self) -> Option<File> {
        let (used, dir) = self.by_age.pop_first()?;
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
