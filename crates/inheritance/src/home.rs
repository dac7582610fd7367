//! The runtime directory: one daemon at a time, its control socket, and who serves.

use std::fs;
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use control::socket_path;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::Error;
use crate::predecessor::Pids;

/// A runtime directory that nobody else starts in. One that was made for a start that has failed is
/// removed again, if it is [dropped](Drop) before it is [settled](Self::settle).
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    lock: Option<OwnedFd>,
    /// Directories that were not there before, the innermost first.
    made: Vec<PathBuf>,
}

impl Home {
    pub(crate) fn enter(path: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::RuntimeDir { path: path.to_owned(), source };
        let made = path.ancestors().take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut home = Self { path: path.to_owned(), lock: None, made };
        match home.try_lock() {
            Ok(Some(lock)) => home.lock = Some(lock),
            Ok(None) => {
                home.made.clear(); // by now it is the other's
                return Err(Error::Busy(path.to_owned()));
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        Ok(home)
    }

    /// `None` if somebody else has it.
    fn try_lock(&self) -> rustix::io::Result<Option<OwnedFd>> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(self.lock_path(), flags, Mode::RUSR | Mode::WUSR)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // One whose start has failed may have removed it meanwhile.
        let (ours, there) = (rustix::fs::fstat(&lock)?, rustix::fs::stat(self.lock_path())?);
        Ok((ours.st_ino == there.st_ino).then_some(lock))
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join("control.lock")
    }

    /// Readers are served: from now on another start takes over from this one.
    pub fn settle(&mut self) {
        self.lock = None;
        self.made.clear();
    }

    /// Writes down who serves: this process, and that worker.
    pub fn note(&self, worker: u32) {
        Pids::write(&self.path, worker);
    }

    /// Everything is unmounted, and nobody answers any more.
    pub fn clear(&self) {
        let _ = fs::remove_file(socket_path(&self.path));
        Pids::remove(&self.path);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        self.clear();
        let _ = fs::remove_file(self.lock_path());
        // Not what somebody else has put something into.
        let _ = self.made.iter().try_for_each(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_start_leaves_no_runtime_directory_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/view");
        let home = Home::enter(&path).unwrap();
        assert!(matches!(Home::enter(&path), Err(Error::Busy(_))));
        assert!(path.exists(), "the second has not made it");
        home.note(1);
        drop(home);
        assert!(!dir.path().join("run").exists());
    }

    #[test]
    fn runtime_directory_that_was_there_or_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        drop(Home::enter(dir.path()).unwrap());
        assert!(dir.path().join("control.lock").exists());
        let path = dir.path().join("view");
        let mut home = Home::enter(&path).unwrap();
        home.settle();
        drop(home);
        drop(Home::enter(&path).unwrap());
        let other = dir.path().join("other");
        let home = Home::enter(&other).unwrap();
        fs::write(other.join("histories"), "").unwrap();
        drop(home);
        assert!(path.exists() && other.join("histories").exists());
    }
}
