//! Mounts that lie nowhere yet.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::Error;
use crate::request::{Binding, Kind, Propagation, Source};
use crate::syscalls::{Attributes, restrict};

/// A file, known without a question to whoever serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

/// A mount to be put into a container.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) mount: OwnedFd,
    pub(crate) identity: Identity,
    pub(crate) target: PathBuf,
    pub(crate) kind: Kind,
}

impl Prepared {
    /// Clones the binding's source: read-only, without setuid, devices and execution, and in no
    /// peer group. Left in the source's, it would carry the container's mounts to the host.
    pub(crate) fn new(binding: Binding, propagation: Propagation) -> Result<Self, Error> {
        let path = match &binding.source {
            Source::Path(path) => path.clone(),
            Source::Fd(_) => "the given descriptor".into(),
        };
        let failed = |what| {
            let path = path.clone();
            move |errno| Error::Source { path, what, errno }
        };
        let source = match &binding.source {
            Source::Path(path) => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                openat(CWD, path, flags, Mode::empty()).map_err(failed("open"))?
            }
            Source::Fd(fd) => fd.try_clone().map_err(|_| failed("dup")(Errno::MFILE))?,
        };
        let (identity, kind) = identify(source.as_fd()).map_err(failed("statx"))?;
        if kind != binding.kind {
            return Err(Error::SourceKind { path, expected: binding.kind.name() });
        }
        let mount = clone(source.as_fd(), false).map_err(failed("open_tree"))?;
        let attributes = Attributes { read_only: true, slave: propagation == Propagation::Slave };
        restrict(&mount, attributes).map_err(failed("mount_setattr"))?;
        Ok(Self { mount, identity, target: binding.target, kind })
    }
}

/// A mount of what `fd` refers to, with all that is mounted on it if `recursive`.
pub(crate) fn clone(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(fd, c"", flags)
}

/// Which file it is. No file server is asked: the kernel knows that much of whatever is open.
fn identify(fd: BorrowedFd<'_>) -> Result<(Identity, Kind), Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(fd, c"", flags, StatxFlags::TYPE | StatxFlags::INO)?;
    let device = (stat.stx_dev_major, stat.stx_dev_minor);
    let is_dir = rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()).is_dir();
    let kind = if is_dir { Kind::Directory } else { Kind::File };
    Ok((Identity { device, inode: stat.stx_ino }, kind))
}

/// The device number of the file system at `path`: major and minor, as in mountinfo. For
/// [`Inspect::current`](crate::Inspect::current).
///
/// # Errors
/// [`Error::Source`] if the path cannot be opened.
pub fn device_of(path: &Path) -> Result<(u32, u32), Error> {
    let failed = |errno| Error::Source { path: path.to_owned(), what: "open", errno };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty()).map_err(failed)?);
    let (identity, _) = identify(file.as_fd()).map_err(failed)?;
    Ok(identity.device)
}
