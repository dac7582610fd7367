//! The host's `/proc` and `/sys`.

use std::path::Path;
use std::sync::Arc;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::dir::Dir;
use crate::error::Error;
use crate::kept::Kept;
use crate::kept_dir::KeptDir;

/// The host's own `/proc` and `/sys`, and the descriptors that the process keeps.
#[derive(Debug)]
pub struct HostFs {
    /// The top of procfs, for files of processes.
    pub proc: Dir,
    /// The top of sysfs.
    pub sys: Dir,
    /// The top of procfs again, for the machine's files, which are read over and over: `meminfo`,
    /// `stat`, `cpuinfo`.
    pub kept_proc: KeptDir,
    /// The store of kept descriptors; cgroup directories share it.
    pub kept: Arc<Kept>,
}

impl HostFs {
    /// Mounts procfs and sysfs for this process alone, attached nowhere.
    ///
    /// They show the pid namespace and the network namespace of the calling process. Nothing that
    /// is mounted on the host's `/proc` or `/sys` can be seen in them.
    ///
    /// # Errors
    /// [`Error::Mount`] without CAP_SYS_ADMIN or before Linux 5.2.
    pub fn mount() -> Result<Self, Error> {
        Self::new(private("proc", "/proc")?, private("sysfs", "/sys")?, Kept::under_rlimit())
    }

    /// Takes two directories for procfs and sysfs: a made-up tree or a captured one.
    ///
    /// # Errors
    /// What open(2) says, with the path.
    pub fn at(proc: impl AsRef<Path>, sys: impl AsRef<Path>) -> Result<Self, Error> {
        Self::new(Dir::open(proc)?, Dir::open(sys)?, Kept::new(1000))
    }

    fn new(proc: Dir, sys: Dir, kept: Arc<Kept>) -> Result<Self, Error> {
        let kept_proc = KeptDir::open(&proc, ".", &kept)?;
        Ok(Self { proc, sys, kept_proc, kept })
    }
}

/// A mount of `fs_type` that lies nowhere. Messages call it `path`, where people know it from.
fn private(fs_type: &'static str, path: &str) -> Result<Dir, Error> {
    let mount = || {
        let context = fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    let top = mount().map_err(|source| Error::Mount { fs_type, source })?;
    Ok(Dir::from_fd(top, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_mounts_show_this_process_and_the_machine() {
        if !testkit::need_root("private_mounts_show_this_process_and_the_machine") {
            return;
        }
        let host = HostFs::mount().unwrap();
        let mut text = Vec::new();
        host.proc.read("self/stat", &mut text).unwrap();
        let pid = std::process::id().to_string();
        assert!(text.starts_with(pid.as_bytes()));
        host.sys.read("devices/system/cpu/online", &mut text).unwrap();
        assert!(text.starts_with(b"0"));
        host.kept_proc.read("meminfo", &mut text).unwrap();
        assert!(text.starts_with(b"MemTotal:"));
        assert!(host.proc.read("meminfo_", &mut text).unwrap_err().is_absent());
    }

    #[test]
    fn a_process_that_has_ended_is_gone() {
        if !testkit::need_root("a_process_that_has_ended_is_gone") {
            return;
        }
        let host = HostFs::mount().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dir = KeptDir::open(&host.proc, child.id().to_string(), &host.kept).unwrap();
        dir.read_one("stat", &mut Vec::new()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(dir.read_one("stat", &mut Vec::new()).unwrap_err().is_gone());
        assert!(dir.read_one("cgroup", &mut Vec::new()).unwrap_err().is_gone());
    }
}
