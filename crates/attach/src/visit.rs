//! A thread in the container's mount namespace.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, openat2,
    readlinkat, statx,
};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::fchdir;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::clone::Identity;
use crate::error::Error;
use crate::process::{Held, Procfs, mount_table};
use crate::request::{Kind, Root, below_root};
use crate::table::Table;
use crate::target::Sight;

/// Where to put a mount, at a place where others lie already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Over all of them.
    Top,
    /// Under the uppermost. Since Linux 6.5.
    Beneath,
}

/// The calling thread, once it is in the container's mount namespace. It never leaves it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) held: Held,
    /// The thread's own directory in the host's procfs: its `mountinfo` is the container's now.
    own: OwnedFd,
    root: OwnedFd,
    /// The path of `root` in the namespace.
    top: PathBuf,
    /// The mounts of the host.
    outside: [Table; 2],
}

/// A target that is held open.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) fd: OwnedFd,
    pub(crate) sight: Sight,
}

impl Visit {
    /// Takes the calling thread into the mount namespace of the process. Its user namespace is not
    /// entered, and nothing is executed.
    pub(crate) fn enter(procfs: &Procfs, held: Held, root: &Root) -> Result<Self, Error> {
        let pid = held.process.pid;
        let failed = |errno| Error::Enter { pid, errno };
        let namespace = held.namespace(procfs)?;
        let outside = procfs.host_tables()?;
        let own = procfs.own_thread()?;
        // As long as threads share their root and working directories, none may leave.
        unshare(CloneFlags::CLONE_FS)
            .map_err(|errno| failed(Errno::from_raw_os_error(errno as i32)))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(failed)?;
        let (path, resolve) = match root {
            Root::Namespace => (Path::new("/"), ResolveFlags::empty()),
            // Links above it are the host administrator's.
            Root::BeforePivot(path) => (path.as_path(), ResolveFlags::NO_MAGICLINKS),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat2(CWD, path, flags, Mode::empty(), resolve)
            .map_err(|errno| Error::NoRoot { pid, root: path.to_owned(), errno })?;
        let link = readlinkat(&own, fd_name(root.as_fd()), Vec::new());
        let top = link.map_err(|errno| Error::NoRoot { pid, root: path.to_owned(), errno })?;
        let top = PathBuf::from(std::ffi::OsString::from_vec(top.into_bytes()));
        Ok(Self { held, own, root, top, outside })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.held.process.pid
    }

    /// The mounts of the container as of now.
    pub(crate) fn table(&self) -> Result<Table, Error> {
        mount_table(self.own.as_fd(), self.pid())
    }

    /// Where mountinfo shows a target.
    pub(crate) fn shown(&self, target: &Path) -> Result<PathBuf, Error> {
        Ok(self.top.join(below_root(target)?))
    }

    /// Opens what is seen at `target`, `None` if there is nothing. A symbolic link is refused
    /// wherever on the way it is, and so is a FUSE file system that would be asked.
    pub(crate) fn open(&self, target: &Path, table: &Table) -> Result<Option<Target>, Error> {
        if let Some(mount) = table.asks_on_the_way(&self.top, &self.shown(target)?) {
            let found = format!("{} is mounted on the way there", mount.describe());
            return Err(self.refused(target, found));
        }
        match self.walk(below_root(target)?) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(self.refused(target, "a symbolic link leads there".into())),
            Err(Errno::NOTDIR) => Err(self.refused(target, "a file is in the way there".into())),
            Err(errno) => Err(self.step("open", target, errno)),
        }
    }

    /// Opens a path below the container's root, through no symbolic link.
    pub(crate) fn walk(&self, below_root: &Path) -> Result<Target, Errno> {
        let resolve =
            ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = openat2(&self.root, below_root, flags, Mode::empty(), resolve)?;
        Ok(Target { sight: sight(fd.as_fd())?, fd })
    }

    /// As [`open`](Self::open), for something where mount `id` has to be seen.
    pub(crate) fn expect(&self, target: &Path, table: &Table, id: u64) -> Result<Target, Error> {
        let found = self.open(target, table)?.filter(|found| found.sight.mount == id);
        found.ok_or_else(|| self.restless(target))
    }

    /// Puts a mount that lies nowhere at a target, whatever its file systems may answer.
    pub(crate) fn put(
        &self,
        mount: BorrowedFd<'_>,
        at: &Target,
        position: Position,
    ) -> Result<(), Errno> {
        let mut flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        flags.set(MoveMountFlags::MOVE_MOUNT_BENEATH, position == Position::Beneath);
        move_mount(mount, c"", &at.fd, c"", flags)
    }

    /// Unmounts the uppermost mount at a target that was just seen to be the one meant.
    ///
    /// By the descriptor and through the host's procfs, so that no path of the container is walked.
    pub(crate) fn unmount(&self, at: &Target) -> Result<(), Errno> {
        // This thread's working directory is its own since `enter`.
        fchdir(&self.own)?;
        unmount(fd_name(at.fd.as_fd()), UnmountFlags::DETACH)
    }

    /// An error if mounts made at the target would be made on the host too.
    pub(crate) fn check_private(
        &self,
        target: &Path,
        sight: &Sight,
        table: &Table,
    ) -> Result<(), Error> {
        let mount = table.get(sight.mount);
        let below = mount.filter(|_| sight.is_mounted).and_then(|mount| table.get(mount.parent));
        for group in [mount, below].into_iter().flatten().filter_map(|mount| mount.peer_group) {
            if self.outside.iter().any(|host| host.receives(group)) {
                return Err(Error::Shared { pid: self.pid(), target: target.to_owned(), group });
            }
        }
        Ok(())
    }

    pub(crate) fn refused(&self, target: &Path, found: String) -> Error {
        Error::Refused { pid: self.pid(), target: target.to_owned(), found }
    }

    pub(crate) fn restless(&self, target: &Path) -> Error {
        Error::Restless { pid: self.pid(), target: target.to_owned() }
    }

    pub(crate) fn step(&self, what: &'static str, target: &Path, errno: Errno) -> Error {
        Error::Step { pid: self.pid(), target: target.to_owned(), what, errno }
    }
}

/// The number of the mount in which `fd` lies, or whose root it is.
pub(crate) fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(sight(fd)?.mount)
}

fn sight(fd: BorrowedFd<'_>) -> Result<Sight, Errno> {
    // DONT_SYNC: what the kernel knows; no file server is asked, dead or alive.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = statx(fd, c"", flags, wanted)?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let null = (stat.stx_rdev_major, stat.stx_rdev_minor) == (1, 3);
    Ok(Sight {
        mount: stat.stx_mnt_id,
        is_mounted: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        identity: Identity {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
        },
        kind: if kind.is_dir() { Kind::Directory } else { Kind::File },
        is_null: kind == FileType::CharacterDevice && null,
    })
}

/// A descriptor's name in its thread's directory in procfs.
fn fd_name(fd: BorrowedFd<'_>) -> String {
    format!("fd/{}", fd.as_raw_fd())
}
