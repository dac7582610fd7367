//! Mounting, the INIT exchange, unmounting.

use std::ffi::{CStr, CString, NulError};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::path::DecInt;

use crate::abi::{self, opcode};
use crate::device::{self, Device, Incoming};
use crate::init::{Features, Negotiated, Verdict, negotiate};
use crate::reply::Reply;
use crate::request;
use crate::session::Session;

/// How to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// An existing directory. A detached mount has it for its errors only.
    pub mountpoint: PathBuf,
    /// Makes the file system type `fuse.<subtype>`, as /proc/mounts shows it.
    pub subtype: String,
    /// The mount's source, shown as device in /proc/mounts.
    pub source: String,
    /// Lets other users and other user namespaces in. Without it, containers get EACCES.
    pub allow_other: bool,
    /// The kernel checks permission bits itself, and ACCESS is not asked.
    pub default_permissions: bool,
    /// Nothing can be opened for writing (EROFS).
    pub read_only: bool,
}

/// Why nothing was mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The device cannot be opened.
    #[error(
        "cannot open {}: {errno}; is the fuse module loaded, and is this root of the host?",
        device::PATH
    )]
    Device {
        /// What open(2) said.
        errno: Errno,
    },
    /// A name cannot be handed to mount(2).
    #[error("cannot mount on {}: subtype or source contains a NUL byte", .mountpoint.display())]
    Name {
        /// Where.
        mountpoint: PathBuf,
        /// The culprit.
        #[source]
        source: NulError,
    },
    /// The file system cannot be made.
    #[error(
        "cannot make a {kind} file system for {}: {errno}; it needs CAP_SYS_ADMIN and Linux 5.2",
        .mountpoint.display()
    )]
    Mount {
        /// Where it was to be.
        mountpoint: PathBuf,
        /// The file system type.
        kind: String,
        /// What fsopen(2), fsconfig(2) or fsmount(2) said.
        errno: Errno,
    },
    /// The file system cannot be put where it is to be.
    #[error(
        "cannot mount on {}: {errno}; it must be an existing directory", .mountpoint.display()
    )]
    Attach {
        /// Where.
        mountpoint: PathBuf,
        /// What move_mount(2) said.
        errno: Errno,
    },
}

/// Why the connection did not come up. The mount is there all the same: [`unmount`] it.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The kernel speaks too old a protocol.
    #[error(
        "the kernel speaks FUSE {major}.{minor}, and {}.{} is the oldest supported; \
         a newer kernel is needed",
        abi::MAJOR,
        abi::OLDEST_MINOR
    )]
    TooOld {
        /// The kernel's major version.
        major: u32,
        /// The kernel's minor version.
        minor: u32,
    },
    /// The first request was none, or not INIT.
    #[error("the first FUSE request is not a proper INIT; was the connection initialised before?")]
    NotInit,
    /// Unmounted or aborted meanwhile.
    #[error("the FUSE connection was unmounted or aborted before its INIT")]
    Gone,
    /// The device does not work.
    #[error("cannot exchange INIT over {}: {errno}", device::PATH)]
    Device {
        /// What read(2), write(2) or poll(2) said.
        errno: Errno,
    },
}

/// Why a mount is still there.
#[derive(Debug, thiserror::Error)]
#[error("cannot unmount {}: {errno}", .mountpoint.display())]
pub struct UnmountError {
    /// Where.
    pub mountpoint: PathBuf,
    /// What umount2(2) said; `EINVAL`: not a mount point.
    pub errno: Errno,
}

/// A connection that is mounted and waits for its INIT exchange.
///
/// Dropping it does not unmount; a mount whose last descriptor is closed answers ENOTCONN.
#[derive(Debug)]
pub struct Connection {
    device: Device,
    /// Whether the kernel checks permissions, as the mount's option says.
    is_checked: bool,
}

impl Connection {
    /// Opens `/dev/fuse` and mounts it. The mount always has `nosuid` and `nodev`.
    ///
    /// # Errors
    /// Where the device, a name or the mount fails; nothing is mounted then.
    pub fn mount(options: &MountOptions) -> Result<Self, MountError> {
        let (connection, mount) = Self::detached(options)?;
        attach(mount.as_fd(), &options.mountpoint)?;
        Ok(connection)
    }

    /// Opens `/dev/fuse` and makes a mount of it that is nowhere yet: [`attach`] puts it in its
    /// place, before or after [`init`](Self::init), also from another process. Closing the mount's
    /// descriptor before that unmounts it. The mount always has `nosuid` and `nodev`.
    ///
    /// # Errors
    /// Where the device, a name or the mount fails.
    pub fn detached(options: &MountOptions) -> Result<(Self, OwnedFd), MountError> {
        let device = Device::open().map_err(|errno| MountError::Device { errno })?;
        let mountpoint = || options.mountpoint.clone();
        let name = |name: &str| {
            let nul = |source| MountError::Name { mountpoint: mountpoint(), source };
            CString::new(name).map_err(nul)
        };
        let (source, subtype) = (name(&options.source)?, name(&options.subtype)?);
        let mount = make(&device, &source, &subtype, options).map_err(|errno| {
            let kind = format!("fuse.{}", options.subtype);
            MountError::Mount { mountpoint: mountpoint(), kind, errno }
        })?;
        let is_checked = options.default_permissions;
        Ok((Self { device, is_checked }, mount))
    }

    /// Waits for the kernel's INIT and answers it. What `features` wants and this mount cannot have
    /// is left out.
    ///
    /// # Errors
    /// Where the kernel is too old, or the connection is gone or was initialised before.
    pub fn init(self, features: &Features) -> Result<Session, InitError> {
        let mut buffer = vec![0; abi::MIN_READ_BUFFER];
        let features = if self.is_checked { *features } else { features.without_permissions() };
        loop {
            let request = read_blocking(&self.device, &mut buffer)?;
            if let Some(negotiated) = self.answer_init(request, &features)? {
                return Ok(Session::new(self.device, negotiated));
            }
        }
    }

    /// Answers the first request; `None` where another INIT will follow.
    fn answer_init(
        &self,
        request: &[u8],
        features: &Features,
    ) -> Result<Option<Negotiated>, InitError> {
        let (header, body) = request::split(request).map_err(|_| InitError::NotInit)?;
        let verdict = match header.opcode {
            opcode::INIT => negotiate(body, features),
            _ => Verdict::Malformed,
        };
        let mut reply = Reply::new();
        reply.start();
        let (outcome, result) = match verdict {
            Verdict::Agreed(out, negotiated) => {
                reply.push(&out);
                (Ok(()), Ok(Some(negotiated)))
            }
            Verdict::AskAgain(out) => {
                reply.push(&out);
                (Ok(()), Ok(None))
            }
            Verdict::TooOld { major, minor } => {
                (Err(Errno::PROTO), Err(InitError::TooOld { major, minor }))
            }
            Verdict::Malformed => (Err(Errno::INVAL), Err(InitError::NotInit)),
        };
        let sent = self.device.write(reply.finish(header.unique, outcome));
        sent.map_err(|errno| InitError::Device { errno })?;
        result
    }
}

/// The next request, at the head of `buffer`.
fn read_blocking<'b>(device: &Device, buffer: &'b mut [u8]) -> Result<&'b [u8], InitError> {
    loop {
        match device.read(buffer) {
            Incoming::Request(len) => return buffer.get(..len).ok_or(InitError::NotInit),
            Incoming::Nothing => device.wait().map_err(|errno| InitError::Device { errno })?,
            Incoming::Again => {}
            Incoming::Gone => return Err(InitError::Gone),
            Incoming::Failed(errno) => return Err(InitError::Device { errno }),
        }
    }
}

/// The mount of `device`; for the options see fs/fuse/inode.c, `fuse_fs_parameters`.
fn make(
    device: &Device,
    source: &CStr,
    subtype: &CStr,
    options: &MountOptions,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", source)?;
    fsconfig_set_string(&fs, "subtype", subtype)?;
    let number = |key, value| fsconfig_set_string(&fs, key, DecInt::new(value).as_c_str());
    number("fd", device.as_fd().as_raw_fd().unsigned_abs())?;
    number("rootmode", 40_000)?; // a directory, in octal
    number("user_id", rustix::process::geteuid().as_raw())?;
    number("group_id", rustix::process::getegid().as_raw())?;
    for (wanted, option) in [
        (options.allow_other, "allow_other"),
        (options.default_permissions, "default_permissions"),
        (options.read_only, "ro"),
    ] {
        if wanted {
            fsconfig_set_flag(&fs, option)?;
        }
    }
    fsconfig_create(&fs)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, options.read_only);
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Puts a mount that [`Connection::detached`] has made on the directory `at`. Nothing of the mount
/// itself is looked at, so it need not be served; what leads to `at` must be.
///
/// # Errors
/// Where move_mount(2) fails, as when `at` is no directory.
pub fn attach(mount: BorrowedFd<'_>, at: &Path) -> Result<(), MountError> {
    // As mount(2) does, follows `at` if it is a symbolic link.
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(mount, c"", CWD, at, flags)
        .map_err(|errno| MountError::Attach { mountpoint: at.to_owned(), errno })
}

/// As [`unmount`], and aborts the connection: every request that waits fails with ECONNABORTED, in
/// whosever hands it is, and every later one with ENOTCONN.
///
/// # Errors
/// As for `unmount`.
pub fn abort(mountpoint: &Path) -> Result<(), UnmountError> {
    let flags = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    rustix::mount::unmount(mountpoint, flags)
        .map_err(|errno| UnmountError { mountpoint: mountpoint.to_owned(), errno })
}

/// Detaches the mount: it disappears at once, and its connection ends when the last user of it is
/// gone. Sessions on it end then as [`Ended::Unmounted`](crate::Ended::Unmounted).
///
/// # Errors
/// Where umount2(2) fails.
pub fn unmount(mountpoint: &Path) -> Result<(), UnmountError> {
    // Without NOFOLLOW, a symbolic link put in the mountpoint's place would be followed.
    rustix::mount::unmount(mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|errno| UnmountError { mountpoint: mountpoint.to_owned(), errno })
}
