//! Where a pressure file comes from: the container's cgroup, or the host.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use cgroup::Pressure;
use container::Container;
use fuse::Errno;
use hostfs::{Dir, HostFs};
use rustix::fs::OFlags;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// All that the kernel can have, in the order in which they are listed.
pub(crate) const ALL: [Pressure; 4] =
    [Pressure::Cpu, Pressure::Memory, Pressure::Io, Pressure::Irq];

/// The name below `/proc/pressure`.
pub(crate) const fn name(what: Pressure) -> &'static str {
    match what {
        Pressure::Cpu => "cpu",
        Pressure::Memory => "memory",
        Pressure::Io => "io",
        Pressure::Irq => "irq",
    }
}

/// The host's own files.
#[derive(Debug)]
pub(crate) struct HostPressure {
    /// A private procfs that, unlike the one for reading, can be written to.
    proc: Dir,
}

impl HostPressure {
    pub(crate) fn mount() -> Result<Self, hostfs::Error> {
        let mount = || {
            let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&context)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        let top = mount().map_err(|source| hostfs::Error::Mount { fs_type: "proc", source })?;
        Ok(Self { proc: Dir::from_fd(top, "/proc") })
    }

    fn open(&self, what: Pressure) -> fuse::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self.proc.open_with(Path::new(&host_path(what)), flags);
        opened.map_err(|error| error.errno())
    }
}

/// Which of the files the host has.
pub(crate) fn on_host(host: &HostFs) -> Vec<Pressure> {
    ALL.into_iter().filter(|&what| host.proc.stat(host_path(what)).is_ok()).collect()
}

fn host_path(what: Pressure) -> String {
    format!("pressure/{}", name(what))
}

/// Whose pressure an open file shows.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) what: Pressure,
    /// `None`: the host's.
    pub(crate) container: Option<Arc<Container>>,
}

impl Source {
    /// The file, verbatim; `None` where the kernel keeps none for this cgroup: v1 only, or pressure
    /// is switched off.
    pub(crate) fn read(&self, host: &HostFs) -> fuse::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let found = match &self.container {
            Some(container) => container.group().pressure(self.what, &mut text).map_err(errno)?,
            None => {
                let read = host.kept_proc.read(&host_path(self.what), &mut text);
                read.map(|()| true).map_err(|error| error.errno())?
            }
        };
        Ok(found.then_some(text))
    }

    /// The file for a trigger, which lives as long as the descriptor.
    pub(crate) fn open(&self, host: &HostPressure) -> fuse::Result<OwnedFd> {
        match &self.container {
            Some(container) => {
                let opened = container.group().open_pressure(self.what).map_err(errno)?;
                opened.ok_or(Errno::NODEV)
            }
            None => host.open(self.what),
        }
    }
}

fn errno(error: cgroup::Error) -> Errno {
    if !error.is_gone() {
        tracing::warn!(%error, "cannot read a container's pressure");
    }
    error.errno()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_that_the_host_has() {
        let tree = tempfile::tempdir().unwrap();
        let pressure = tree.path().join("proc/pressure");
        std::fs::create_dir_all(&pressure).unwrap();
        std::fs::create_dir(tree.path().join("sys")).unwrap();
        let host = HostFs::at(tree.path().join("proc"), tree.path().join("sys")).unwrap();
        assert_eq!(on_host(&host), []);
        for name in ["cpu", "irq"] {
            std::fs::write(pressure.join(name), format!("{name} of the host\n")).unwrap();
        }
        assert_eq!(on_host(&host), [Pressure::Cpu, Pressure::Irq]);
        let source = Source { what: Pressure::Irq, container: None };
        assert_eq!(source.read(&host).unwrap().unwrap(), b"irq of the host\n");
    }
}
