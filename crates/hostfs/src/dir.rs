//! A directory descriptor, and reads below it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::read::{Until, whole};

/// A directory, held open. Clones share the descriptor.
///
/// Paths are relative to it; a slash at their beginning is ignored, so that a cgroup's path can be
/// used as it stands. They are not confined to the directory: `..` and symbolic links are followed.
#[derive(Clone, Debug)]
pub struct Dir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it is, without following symbolic links.
    pub kind: FileType,
}

impl Dir {
    /// Opens the directory at a plain path.
    ///
    /// # Errors
    /// What open(2) says, with the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let fd = rustix::fs::openat(CWD, path, OPEN_DIR, Mode::empty())
            .map_err(|error| Error::new("open", path.to_owned(), error))?;
        Ok(Self::from_fd(fd, path))
    }

    /// Takes over an open directory; `path` is what messages call it.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, path: impl Into<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { fd, path: path.into() }) }
    }

    /// What messages call the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What messages call `path` below the directory.
    #[must_use]
    pub fn path_of(&self, path: impl AsRef<Path>) -> PathBuf {
        let relative = relative(path.as_ref());
        if relative == Path::new(".") { self.path().to_owned() } else { self.path().join(relative) }
    }

    /// Opens a directory below.
    ///
    /// # Errors
    /// What openat(2) says, with the path.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let fd = self.open_with(path.as_ref(), OPEN_DIR)?;
        Ok(Self::from_fd(fd, self.path_of(path)))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What openat(2) says, with the path.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Error> {
        self.open_with(path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC)
    }

    /// Opens a file with `flags`.
    ///
    /// # Errors
    /// What openat(2) says, with the path.
    pub fn open_with(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        rustix::fs::openat(self, relative(path), flags, Mode::empty())
            .map_err(|error| self.error("open", path, error))
    }

    /// Reads a whole file into `buffer`, which grows as needed; what was in it is replaced.
    ///
    /// # Errors
    /// What openat(2) or pread(2) says, with the path.
    pub fn read(&self, path: impl AsRef<Path>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.read_until(path.as_ref(), Until::End, buffer)
    }

    /// As [`Dir::read`], with a system call less, for a file that the kernel prints in one piece:
    /// those of a single process (`stat`, `status`, `cgroup`), not lists (`mountinfo`). A list
    /// would be cut short.
    ///
    /// # Errors
    /// What openat(2) or pread(2) says, with the path.
    pub fn read_one(&self, path: impl AsRef<Path>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.read_until(path.as_ref(), Until::ShortRead, buffer)
    }

    fn read_until(&self, path: &Path, until: Until, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let fd = self.open_file(path)?;
        whole(fd.as_fd(), until, buffer).map_err(|error| self.error("read", path, error))?;
        Ok(())
    }

    /// What a symbolic link says.
    ///
    /// # Errors
    /// What readlinkat(2) says, with the path.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let path = path.as_ref();
        let target = rustix::fs::readlinkat(self, relative(path), Vec::with_capacity(64))
            .map_err(|error| self.error("read link", path, error))?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// The names in a directory below, `.` and `..` left out, in the kernel's order.
    ///
    /// # Errors
    /// What openat(2) or getdents64(2) says, with the path.
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Vec<Entry>, Error> {
        let path = path.as_ref();
        let fd = self.open_with(path, OPEN_DIR)?;
        let entries = rustix::fs::Dir::new(fd).map_err(|error| self.error("list", path, error))?;
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.error("list", path, error))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                list.push(Entry { name: name.to_owned(), kind: entry.file_type() });
            }
        }
        Ok(list)
    }

    /// Type, mode, size, inode number and times of a file, without following a symbolic link.
    ///
    /// # Errors
    /// What statx(2) says, with the path.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Statx, Error> {
        self.statx(path.as_ref(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// As [`Dir::stat`], of what a symbolic link leads to. A link of `/proc/PID/ns` leads to the
    /// namespace, whose inode number identifies it.
    ///
    /// # Errors
    /// What statx(2) says, with the path.
    pub fn stat_target(&self, path: impl AsRef<Path>) -> Result<Statx, Error> {
        self.statx(path.as_ref(), AtFlags::empty())
    }

    fn statx(&self, path: &Path, flags: AtFlags) -> Result<Statx, Error> {
        rustix::fs::statx(self, relative(path), flags, StatxFlags::BASIC_STATS)
            .map_err(|error| self.error("stat", path, error))
    }

    fn error(&self, action: &'static str, path: &Path, error: Errno) -> Error {
        Error::new(action, self.path_of(path), error)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

pub(crate) const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// `path` without slashes at its beginning, which would lead out of the directory; `.` if nothing
/// is left.
fn relative(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|&byte| byte != b'/').unwrap_or(bytes.len());
    match bytes.get(start..) {
        None | Some([]) => Path::new("."),
        Some(rest) => Path::new(OsStr::from_bytes(rest)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn long_files_are_not_truncated() {
        let tree = tempfile::tempdir().unwrap();
        let long = b"0123456789abcdef".repeat(20_000);
        fs::write(tree.path().join("long"), &long).unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        let mut text = b"what was there before".to_vec();
        dir.read("long", &mut text).unwrap();
        assert!(text == long);
        dir.read_one("/long", &mut text).unwrap();
        assert!(text == long, "a slash at the beginning is ignored");
    }

    #[test]
    fn absent_is_not_failed_and_names_the_path() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("dir")).unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        let absent = dir.read("memory.max", &mut Vec::new()).unwrap_err();
        assert!(absent.is_absent() && absent.errno() == Errno::NOENT);
        assert_eq!(absent.path(), Some(&*tree.path().join("memory.max")));
        let failed = dir.read("dir", &mut Vec::new()).unwrap_err();
        assert!(matches!(&failed, Error::Failed { action: "read", source: Errno::ISDIR, .. }));
        assert!(failed.to_string().contains("/dir: "), "{failed}");
    }

    #[test]
    fn lists_have_types_and_links_are_read() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("cpu0")).unwrap();
        fs::write(tree.path().join("online"), "0\n").unwrap();
        std::os::unix::fs::symlink("pid:[4026531836]", tree.path().join("pid")).unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        let mut list = dir.list(".").unwrap();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        let kinds: Vec<_> =
            list.iter().map(|entry| (entry.name.to_str().unwrap(), entry.kind)).collect();
        let expected = [
            ("cpu0", FileType::Directory),
            ("online", FileType::RegularFile),
            ("pid", FileType::Symlink),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(dir.read_link("pid").unwrap(), Path::new("pid:[4026531836]"));
        assert_eq!(dir.stat("online").unwrap().stx_size, 2);
        assert!(dir.open_dir("cpu0").unwrap().list("/").unwrap().is_empty());
    }
}
