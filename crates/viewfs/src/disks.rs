//! Which disks lie under a container's mounts, and having v1 count the I/O on them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cgroup::{Controller, Layout, Version};
use container::Container;
use hostfs::HostFs;
use procfmt::diskstats::parse;
use procfmt::mountinfo::mounts;
use procfmt::num::parse_u64;

/// The devices (major, minor) under the mounts that the container's first process sees. A partition
/// stands for its disk, as the kernel charges I/O to disks; file systems without a device (major 0)
/// have none. Empty if the process has ended.
pub(crate) fn mounted_disks(host: &HostFs, container: &Container) -> Vec<(u32, u32)> {
    let mut text = Vec::new();
    if host.proc.read(format!("{}/mountinfo", container.anchor().pid), &mut text).is_err() {
        return Vec::new();
    }
    let mut devices: Vec<_> = mounts(&text)
        .map(|mount| (mount.major, mount.minor))
        .filter(|&(major, _)| major != 0)
        .collect();
    devices.sort_unstable();
    devices.dedup();
    let mut disks: Vec<_> = devices.into_iter().map(|device| disk_of(host, device)).collect();
    disks.sort_unstable();
    disks.dedup();
    disks
}

/// A partition's disk is the directory above it in sysfs; anything else is its own disk.
fn disk_of(host: &HostFs, (major, minor): (u32, u32)) -> (u32, u32) {
    let device = format!("dev/block/{major}:{minor}");
    if host.sys.stat(format!("{device}/partition")).is_err() {
        return (major, minor);
    }
    let mut text = Vec::new();
    let read = host.sys.read(format!("{device}/../dev"), &mut text);
    read.ok().and_then(|()| device_number(&text)).unwrap_or((major, minor))
}

/// `major:minor`.
pub(crate) fn device_number(text: &[u8]) -> Option<(u32, u32)> {
    let mut parts = text.trim_ascii().split(|&byte| byte == b':');
    let mut part = || u32::try_from(parse_u64(parts.next()?)?).ok();
    Some((part()?, part()?))
}

/// Has v1's blkio controller count each cgroup's I/O.
///
/// The throttling layer does the counting, and the kernel does not attach it to a disk before the
/// first rule is written there, in whichever cgroup. A rule of 0 means "unlimited" and is dropped
/// at once; the layer stays until the disk goes.
#[derive(Debug)]
pub(crate) struct BlkioAccounting {
    /// Where the hierarchy is mounted.
    hierarchy: PathBuf,
    switched_on: Mutex<HashSet<(u32, u32)>>,
}

impl BlkioAccounting {
    /// `None` on v2, which always counts, and where there is no such controller.
    pub(crate) fn new(layout: &Layout) -> Option<Self> {
        let hierarchy = layout.hierarchy_of(Controller::Io)?;
        let hierarchy = (hierarchy.version() == Version::V1).then(|| hierarchy.mount_point())?;
        Some(Self { hierarchy: hierarchy.to_owned(), switched_on: Mutex::default() })
    }

    /// Switches it on for all disks of the machine that are there now.
    pub(crate) fn switch_on_all(&self, host: &HostFs) -> Result<(), hostfs::Error> {
        let mut text = Vec::new();
        host.kept_proc.read("diskstats", &mut text)?;
        let devices = parse(&text).map(|row| (row.major, row.minor));
        let disks: Vec<_> = devices.filter(|&device| disk_of(host, device) == device).collect();
        self.switch_on(&disks);
        Ok(())
    }

    /// Switches it on for those of the disks where that has not been tried yet.
    pub(crate) fn switch_on(&self, disks: &[(u32, u32)]) {
        let new: Vec<_> = {
            let mut known = self.switched_on.lock().unwrap_or_else(PoisonError::into_inner);
            disks.iter().copied().filter(|&disk| known.insert(disk)).collect()
        };
        if new.is_empty() {
            return;
        }
        // The root has no rules. A cgroup of our own, so that a rule which somebody set stays.
        let cgroup = self.hierarchy.join(format!("resview-blkio-{}", std::process::id()));
        if let Err(error) = std::fs::create_dir(&cgroup) {
            tracing::warn!(cgroup = %cgroup.display(), %error, "cannot switch on I/O accounting");
            return;
        }
        for disk in new {
            write_rule(&cgroup, disk);
        }
        if let Err(error) = std::fs::remove_dir(&cgroup) {
            tracing::warn!(cgroup = %cgroup.display(), %error, "an empty cgroup stays behind");
        }
    }
}

/// A disk without a medium refuses the rule, and has no I/O to count.
fn write_rule(cgroup: &Path, (major, minor): (u32, u32)) {
    let file = cgroup.join("blkio.throttle.read_bps_device");
    match std::fs::write(&file, format!("{major}:{minor} 0")) {
        Ok(()) => tracing::debug!(major, minor, "I/O accounting is on"),
        Err(error) => tracing::info!(major, minor, %error, "this disk takes no I/O accounting"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_gets_one_rule() {
        let tree = tempfile::tempdir().unwrap();
        let accounting = BlkioAccounting {
            hierarchy: tree.path().join("missing"),
            switched_on: Mutex::default(),
        };
        // Nothing can be written here; what has been tried is not tried with every read.
        accounting.switch_on(&[(8, 0), (8, 16)]);
        accounting.switch_on(&[(8, 0), (254, 0)]);
        let known = accounting.switched_on.lock().unwrap();
        assert_eq!(known.len(), 3);
    }

    #[test]
    fn device_numbers() {
        assert_eq!(device_number(b"259:1\n"), Some((259, 1)));
        for bad in [&b""[..], b"8", b"8:", b"a:b", b"8:4294967296"] {
            assert_eq!(device_number(bad), None);
        }
    }

    #[test]
    fn partition_stands_for_its_disk() {
        let tree = tempfile::tempdir().unwrap();
        let disk = tree.path().join("devices/sda");
        std::fs::create_dir_all(disk.join("sda1")).unwrap();
        std::fs::create_dir_all(tree.path().join("dev/block")).unwrap();
        std::fs::write(disk.join("dev"), "8:0\n").unwrap();
        std::fs::write(disk.join("sda1/partition"), "1\n").unwrap();
        for (device, target) in [("8:0", "sda"), ("8:1", "sda/sda1")] {
            let link = tree.path().join("dev/block").join(device);
            std::os::unix::fs::symlink(format!("../../devices/{target}"), link).unwrap();
        }
        let host = HostFs::at(tree.path(), tree.path()).unwrap();
        assert_eq!(disk_of(&host, (8, 1)), (8, 0));
        assert_eq!(disk_of(&host, (8, 0)), (8, 0));
        assert_eq!(disk_of(&host, (9, 9)), (9, 9));
    }
}
