//! The one system call that has no safe wrapper, and with it all unsafe code of this crate.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

/// What a mount becomes besides nosuid, nodev and noexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Nothing can be written through it. `false` leaves that as it is.
    pub(crate) read_only: bool,
    /// It gets what is mounted in the peer group that it was in. `false`: it is private.
    pub(crate) slave: bool,
}

/// Restricts the mount whose root `mount` refers to: mount_setattr(2), since Linux 5.12.
///
/// # Errors
/// ENOSYS before Linux 5.12; EINVAL if `mount` is no root of a mount of this namespace or detached.
pub(crate) fn restrict(mount: impl AsFd, attributes: Attributes) -> Result<()> {
    let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    if attributes.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    let propagation = if attributes.slave { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation, userns_fd: 0 };
    // SAFETY: the call reads the path, which is an empty string with its NUL, and as many bytes of
    // `attr` as its last argument says, and writes no memory of ours. Both live until it returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, StatVfsMountFlags, fstatvfs};
    use rustix::mount::{OpenTreeFlags, open_tree};

    use super::*;

    #[test]
    fn a_clone_is_restricted_and_its_source_is_not() {
        if !testkit::need_root("a_clone_is_restricted_and_its_source_is_not") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let clone = open_tree(CWD, dir.path(), flags).unwrap();
        let before = rustix::fs::statvfs(dir.path()).unwrap().f_flag;
        restrict(&clone, Attributes { read_only: true, slave: false }).unwrap();
        let wanted =
            StatVfsMountFlags::RDONLY | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV;
        assert!(fstatvfs(&clone).unwrap().f_flag.contains(wanted));
        assert_eq!(rustix::fs::statvfs(dir.path()).unwrap().f_flag, before);
    }

    #[test]
    fn what_is_no_mount_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(restrict(&file, Attributes { read_only: true, slave: false }).is_err());
    }
}
