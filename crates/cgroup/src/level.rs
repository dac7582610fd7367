//! One cgroup of one hierarchy.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
