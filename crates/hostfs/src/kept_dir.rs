//! A directory whose files stay open between reads.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::dir::{Dir, OPEN_DIR};
use crate::error::Error;
use crate::kept::{File, Kept, SELF};
use crate::read::{Until, whole};

/// A directory whose files stay open between reads, as long as [`Kept`] has room.
///
/// It stands for the directory that was there when it was opened: should that be removed, reads
/// say [`Error::Gone`], even when another one has been made at the same path.
#[derive(Debug)]
pub struct KeptDir {
    root: Dir,
    path: PathBuf,
    /// Tells the directory from a later one at its path.
    inode: u64,
    id: u64,
    kept: Arc<Kept>,
}

impl KeptDir {
    /// Opens the directory `path` below `root`. Its descriptor is one of the kept ones.
    ///
    /// # Errors
    /// What openat(2) says, with the path.
    pub fn open(root: &Dir, path: impl Into<PathBuf>, kept: &Arc<Kept>) -> Result<Self, Error> {
        let mut dir = Self {
            root: root.clone(),
            path: path.into(),
            inode: 0,
            id: kept.new_dir(),
            kept: Arc::clone(kept),
        };
        let fd = dir.open_path()?;
        dir.inode = dir.inode_of(&fd)?;
        kept.put(dir.id, File::new(SELF, fd));
        Ok(dir)
    }

    /// What messages call the directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.path_of(&self.path)
    }

    /// What messages call a file of the directory.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The directory's inode number. Of a cgroup it is the cgroup's id, which no later cgroup gets.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Reads a whole file into `buffer`, which grows as needed; what was in it is replaced.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such file, [`Error::Gone`] if the directory was removed.
    pub fn read(&self, name: &str, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.read_until(name, Until::End, buffer)
    }

    /// As [`KeptDir::read`], with a system call less, for a file that the kernel prints in one
    /// piece: all those of a cgroup but its lists of tasks, those of sysfs and of `/proc/sys`, and of
    /// `/proc` `meminfo` and `stat`. A list of records would be cut short.
    ///
    /// # Errors
    /// As [`KeptDir::read`].
    pub fn read_one(&self, name: &str, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.read_until(name, Until::ShortRead, buffer)
    }

    /// Opens a file of the directory with `flags`, for the caller to keep.
    ///
    /// # Errors
    /// As [`KeptDir::read`].
    pub fn open_with(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        let dir = match self.kept.take(self.id, SELF) {
            Some(dir) => dir,
            None => File::new(SELF, self.reopen()?),
        };
        let opened = self
            .retrying(|| rustix::fs::openat(&dir.fd, name, flags | OFlags::CLOEXEC, Mode::empty()));
        self.kept.put(self.id, dir);
        opened.map_err(|error| match error {
            // A removed directory knows no names either.
            Errno::NOENT if !self.is_alive() => self.gone(),
            error => Error::new("open", self.path_of(name), error),
        })
    }

    /// The directory as a [`Dir`] with a descriptor of its own, for listing.
    ///
    /// # Errors
    /// [`Error::Gone`] if the directory was removed.
    pub fn dir(&self) -> Result<Dir, Error> {
        Ok(Dir::from_fd(self.reopen()?, self.path()))
    }

    fn read_until(&self, name: &str, until: Until, buffer: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(file) = self.kept.take(self.id, name)
            && self.read_file(file, until, buffer)?
        {
            return Ok(());
        }
        // Not open, or stale: on cgroup v2 a file also goes when its controller is switched off,
        // and one of the same name comes when it is switched on again.
        let fd = self.open_with(name, OFlags::RDONLY)?;
        if self.read_file(File::new(name, fd), until, buffer)? { Ok(()) } else { Err(self.gone()) }
    }

    /// Reads an open file and keeps it; false if what it belongs to was removed.
    fn read_file(&self, file: File, until: Until, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        match whole(file.fd.as_fd(), until, buffer) {
            Ok(calls) => {
                self.kept.count_reads(calls);
                self.kept.put(self.id, file);
                Ok(true)
            }
            Err(Errno::NODEV | Errno::SRCH) => Ok(false),
            Err(error) => Err(Error::new("read", self.path_of(&file.name), error)),
        }
    }

    /// Opens the directory again by its path, and makes sure that it is the same one.
    fn reopen(&self) -> Result<OwnedFd, Error> {
        let fd = match self.open_path() {
            Err(Error::Absent { .. }) => return Err(self.gone()),
            opened => opened?,
        };
        if self.inode_of(&fd)? == self.inode { Ok(fd) } else { Err(self.gone()) }
    }

    fn open_path(&self) -> Result<OwnedFd, Error> {
        self.retrying(|| match self.root.open_with(&self.path, OPEN_DIR) {
            Err(Error::Failed { source, .. }) if is_exhausted(source) => Err(source),
            opened => Ok(opened),
        })
        .unwrap_or_else(|source| Err(Error::new("open", self.path(), source)))
    }

    /// Opens something; when the process has no descriptor left, closes kept ones and tries again.
    fn retrying<T>(&self, open: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        self.kept.count_open();
        match open() {
            Err(error) if is_exhausted(error) => {
                self.kept.make_room();
                open()
            }
            opened => opened,
        }
    }

    fn is_alive(&self) -> bool {
        self.root.stat(&self.path).is_ok_and(|stat| stat.stx_ino == self.inode)
    }

    fn inode_of(&self, fd: &OwnedFd) -> Result<u64, Error> {
        rustix::fs::statx(fd, Path::new(""), AtFlags::EMPTY_PATH, StatxFlags::INO)
            .map(|stat| stat.stx_ino)
            .map_err(|error| Error::new("stat", self.path(), error))
    }

    fn gone(&self) -> Error {
        Error::Gone { path: self.path() }
    }
}

impl Drop for KeptDir {
    fn drop(&mut self) {
        self.kept.forget(self.id);
    }
}

fn is_exhausted(error: Errno) -> bool {
    error == Errno::MFILE || error == Errno::NFILE
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Tree {
        dir: tempfile::TempDir,
        kept: Arc<Kept>,
    }

    impl Tree {
        fn new(limit: usize) -> Self {
            Self { dir: tempfile::tempdir().unwrap(), kept: Kept::new(limit) }
        }

        fn open(&self, path: &str) -> KeptDir {
            fs::create_dir_all(self.dir.path().join(path)).unwrap();
            KeptDir::open(&Dir::open(self.dir.path()).unwrap(), path, &self.kept).unwrap()
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.dir.path().join(path), text).unwrap();
        }
    }

    fn read(dir: &KeptDir, name: &str) -> Result<String, Error> {
        let mut text = Vec::new();
        dir.read(name, &mut text)?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_file_is_opened_once_and_read_anew_each_time() {
        let tree = Tree::new(10);
        let dir = tree.open("a");
        tree.write("a/x", "1");
        assert_eq!(read(&dir, "x").unwrap(), "1");
        let opens = tree.kept.counters().opens;
        tree.write("a/x", "22");
        assert_eq!(read(&dir, "x").unwrap(), "22");
        assert_eq!(tree.kept.counters().opens, opens);
    }

    #[test]
    fn the_number_of_kept_descriptors_is_bounded() {
        let tree = Tree::new(3);
        let dir = tree.open("a");
        for name in 0..10 {
            tree.write(&format!("a/{name}"), "1");
            assert_eq!(read(&dir, &name.to_string()).unwrap(), "1");
        }
        assert_eq!(tree.kept.counters().open_now, 3);
        let opens = tree.kept.counters().opens;
        read(&dir, "2").unwrap();
        assert_eq!(tree.kept.counters().opens, opens, "those that are read stay");
        drop(dir);
        assert_eq!(tree.kept.counters().open_now, 0);
    }

    #[test]
    fn without_room_for_any_descriptor_reads_still_work() {
        let tree = Tree::new(0);
        let dir = tree.open("a");
        tree.write("a/x", "1");
        assert_eq!(read(&dir, "x").unwrap(), "1");
        assert_eq!(tree.kept.counters().open_now, 0);
    }

    #[test]
    fn a_directory_made_anew_at_the_same_path_is_another_one() {
        for limit in [10, 0] {
            let tree = Tree::new(limit);
            let dir = tree.open("a");
            tree.write("a/x", "1");
            // Made beforehand, so that it cannot get the old one's inode number.
            fs::create_dir(tree.dir.path().join("new")).unwrap();
            tree.write("new/x", "2");
            fs::remove_dir_all(tree.dir.path().join("a")).unwrap();
            fs::rename(tree.dir.path().join("new"), tree.dir.path().join("a")).unwrap();
            assert!(read(&dir, "x").unwrap_err().is_gone(), "limit {limit}");
        }
    }

    #[test]
    fn absent_file_in_a_living_directory() {
        let tree = Tree::new(10);
        let dir = tree.open("a");
        assert!(read(&dir, "memory.max").unwrap_err().is_absent());
    }

    #[test]
    fn threads_on_one_file_read_whole_content() {
        let tree = Tree::new(10);
        let dir = tree.open("a");
        let long = "0123456789".repeat(2_000);
        tree.write("a/x", &long);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| assert!(read(&dir, "x").unwrap() == long)));
            }
        });
        assert_eq!(tree.kept.counters().open_now, 2);
    }
}
