//! One cgroup of one hierarchy.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use hostfs::{Dir, Kept, KeptDir};
use procfmt::limit_value::number;
use rustix::fs::OFlags;

use crate::error::Error;

/// One cgroup, with its files kept open.
#[derive(Debug)]
pub(crate) struct Level {
    dir: KeptDir,
    /// Relative to the hierarchy's top.
    path: PathBuf,
}

impl Level {
    /// Opens the cgroup at `path` below `top`.
    pub(crate) fn open(top: &Dir, path: &Path, kept: &Arc<Kept>) -> Result<Self, Error> {
        match KeptDir::open(top, path, kept) {
            Ok(dir) => Ok(Self { dir, path: path.to_owned() }),
            // The kernel named this cgroup, so if it is not there it was removed.
            Err(hostfs::Error::Absent { path }) => Err(Error::Gone { path }),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the cgroup is still there, and no other one has been made at its path.
    pub(crate) fn is_current(&self, top: &Dir) -> bool {
        top.stat(&self.path).is_ok_and(|stat| stat.stx_ino == self.dir.inode())
    }

    /// The cgroup's id.
    pub(crate) fn id(&self) -> u64 {
        self.dir.inode()
    }

    /// Reads a file that the kernel prints in one piece. False if there is none.
    pub(crate) fn read(&self, name: &str, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        present(self.dir.read_one(name, buffer))
    }

    /// Reads a list of tasks, which comes in many pieces. False if there is none.
    pub(crate) fn read_list(&self, name: &str, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        present(self.dir.read(name, buffer))
    }

    /// Reads and parses a file; `None` if there is none. `expected` says for a message what it
    /// should hold.
    pub(crate) fn parse<T>(
        &self,
        name: &str,
        expected: &'static str,
        buffer: &mut Vec<u8>,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        if !self.read(name, buffer)? {
            return Ok(None);
        }
        match parse(buffer) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::unexpected(self.dir.path_of(name), expected, buffer)),
        }
    }

    /// Reads a file with a single number; `None` if there is none.
    pub(crate) fn number(&self, name: &str, buffer: &mut Vec<u8>) -> Result<Option<u64>, Error> {
        self.parse(name, "a number", buffer, number)
    }

    /// A file's path, for messages and for people.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.path_of(name)
    }

    /// Opens a file for the caller to keep.
    pub(crate) fn open_with(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        Ok(self.dir.open_with(name, flags)?)
    }

    /// The cgroup's directory, for listing.
    pub(crate) fn dir(&self) -> Result<Dir, Error> {
        Ok(self.dir.dir()?)
    }
}

/// False for a file that is not there; everything else as it is.
pub(crate) fn present(read: Result<(), hostfs::Error>) -> Result<bool, Error> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The cgroups of a hierarchy that are in use, by their paths: so that containers below the same
/// ancestors share their descriptors.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    by_path: HashMap<PathBuf, Weak<Level>>,
    /// See [`Levels::insert`].
    next_sweep: usize,
}

/// So few may stay behind.
const FEW: usize = 64;

impl Levels {
    pub(crate) fn get(&self, path: &Path) -> Option<Arc<Level>> {
        self.by_path.get(path).and_then(Weak::upgrade)
    }

    /// Looks for those that nobody uses any more only when there are twice as many as the last time:
    /// else each new container would cost more, the more of them there are.
    pub(crate) fn insert(&mut self, path: &Path, level: &Arc<Level>) {
        if self.by_path.len() >= self.next_sweep.max(FEW) {
            self.by_path.retain(|_, level| level.strong_count() > 0);
            self.next_sweep = self.by_path.len() * 2;
        }
        self.by_path.insert(path.to_owned(), Arc::downgrade(level));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_that_are_gone_do_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        let (top, kept) = (Dir::open(dir.path()).unwrap(), Kept::new(10));
        let level = Arc::new(Level::open(&top, Path::new("."), &kept).unwrap());
        let mut levels = Levels::default();
        let path = |number: usize| PathBuf::from(number.to_string());
        let stays: Vec<_> = (0..100).map(path).collect();
        stays.iter().for_each(|path| levels.insert(path, &level));
        for number in 100..5000 {
            let gone = Arc::new(Level::open(&top, Path::new("."), &kept).unwrap());
            levels.insert(&path(number), &gone);
            assert!(levels.by_path.len() <= 2 * (stays.len() + FEW), "{}", levels.by_path.len());
        }
        assert!(stays.iter().all(|path| levels.get(path).is_some()));
        assert!(levels.get(&path(4999)).is_none());
    }
}
