//! Which disks lie under a container's mounts.

use container::Container;
use hostfs::HostFs;
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
fn device_number(text: &[u8]) -> Option<(u32, u32)> {
    let mut parts = text.trim_ascii().split(|&byte| byte == b':');
    let mut part = || u32::try_from(parse_u64(parts.next()?)?).ok();
    Some((part()?, part()?))
}

#[cfg(test)]
mod tests {
    use super::*;

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
