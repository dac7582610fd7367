//! What is at a target, and so what to do there.

use std::path::Path;

use crate::clone::Identity;
use crate::request::{Kind, Ours};
use crate::table::{Mount, Table};

/// What an open descriptor of the target says, and no file server was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// The mount that it lies in.
    pub(crate) mount: u64,
    /// Whether it is the root of that mount: something is mounted at the target.
    pub(crate) is_mounted: bool,
    pub(crate) identity: Identity,
    pub(crate) kind: Kind,
    /// Whether it is `/dev/null`, as engines mask files.
    pub(crate) is_null: bool,
}

/// What to do about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel's own file is to be seen: mount on it.
    Free,
    /// The binding's source is there.
    Already,
    /// A mount of ours, dead or of another source, is on top.
    Replace,
    /// The engine hides what is here.
    Masked,
    /// Something of the user's, which this says.
    Refuse(String),
    /// The table is older than the sight.
    Unsettled,
}

/// A place in the container, and how it was reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'path> {
    /// As mountinfo shows it: with the path of the root directory before pivot_root.
    pub(crate) shown: &'path Path,
    /// From the container's root, without the leading slash.
    pub(crate) below_root: &'path Path,
}

/// Decides; everything from one reading of the mount table and one sight of the target.
pub(crate) fn verdict(
    table: &Table,
    sight: &Sight,
    place: Place<'_>,
    source: (Identity, Kind),
    ours: &Ours,
) -> Verdict {
    let Some(mount) = table.get(sight.mount) else { return Verdict::Unsettled };
    if !sight.is_mounted {
        return match mount.why_not_kernels(place) {
            None if sight.kind != source.1 => wrong_kind(source.1),
            None => Verdict::Free,
            Some(found) => Verdict::Refuse(found),
        };
    }
    if mount.mount_point != place.shown {
        return Verdict::Unsettled;
    }
    let Some((stack, base)) = table.stack(mount.id) else { return Verdict::Unsettled };
    let below = stack.get(1).copied();
    if is_ours_in_stack(mount, below, ours) {
        let same = sight.identity == source.0;
        return if same { Verdict::Already } else { Verdict::Replace };
    }
    let empty_dir = mount.fs_type == "tmpfs" && mount.read_only && sight.kind == Kind::Directory;
    if sight.is_null || empty_dir {
        return Verdict::Masked;
    }
    // A read-only bind of the kernel's own file on itself, as engines make them.
    let itself = mount.device == base.device && mount.why_not_kernels(place).is_none();
    if !itself {
        return Verdict::Refuse(format!(
            "{} is mounted there; unmount it, or leave this file out",
            mount.describe()
        ));
    }
    if sight.kind == source.1 { Verdict::Free } else { wrong_kind(source.1) }
}

fn wrong_kind(wanted: Kind) -> Verdict {
    Verdict::Refuse(format!("it is not a {}", wanted.name()))
}

/// Whether a mount at a target is ours, or the host's file that covers a dead one of ours for as
/// long as nobody serves it: that was mounted on the source, and came from there.
pub(crate) fn is_ours_in_stack(mount: &Mount, below: Option<&Mount>, ours: &Ours) -> bool {
    let covers_ours =
        || mount.is_kernels_own() && mount.master.is_some() && below.is_some_and(|it| ours.has(it));
    ours.has(mount) || covers_ours()
}

impl Mount {
    /// `None` if `place` in this mount is the file of procfs or sysfs that belongs there; else
    /// what it is instead.
    fn why_not_kernels(&self, place: Place<'_>) -> Option<String> {
        let mut parts = place.below_root.components();
        let expected = match parts.next().map(|top| top.as_os_str().to_owned()) {
            Some(top) if top == "proc" => "proc",
            _ => "sysfs",
        };
        let inside = place.shown.strip_prefix(&self.mount_point).ok();
        let leads = inside.map(|inside| join(&self.root, inside));
        if self.fs_type == expected && leads.as_deref() == Some(&join("/", parts.as_path())) {
            return None;
        }
        Some(format!(
            "it is not the kernel's own file: {} is mounted on {}",
            self.describe(),
            self.mount_point.display()
        ))
    }
}

/// Joins, without a trailing slash for an empty second part.
fn join(first: impl AsRef<Path>, second: &Path) -> std::path::PathBuf {
    first.as_ref().components().chain(second.components()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"1 0 0:1 / / rw - overlay o rw\n\
        2 1 0:20 / /proc rw - proc proc rw\n\
        3 1 0:21 / /sys ro - sysfs sysfs rw\n\
        10 2 0:40 /proc/stat /proc/stat ro master:5 - fuse.lxcfs lxcfs rw\n\
        11 10 0:20 /stat /proc/stat ro master:5 - proc proc rw\n\
        12 2 0:6 /null /proc/keys rw - devtmpfs udev rw\n\
        13 2 0:50 / /proc/acpi ro - tmpfs tmpfs ro\n\
        14 2 0:51 / /proc/pressure rw - tmpfs tmpfs rw\n\
        15 2 8:1 /etc/x /proc/meminfo rw - ext4 /dev/sda rw\n\
        16 2 0:20 /sys /proc/sys ro - proc proc rw\n\
        17 2 0:20 /7/maps /proc/uptime ro - proc proc rw\n\
        18 2 0:99 /loadavg /proc/loadavg ro - proc proc rw\n\
        19 2 0:40 /proc/swaps /proc/swaps ro - fuse.lxcfs lxcfs rw\n";

    fn of(target: &str, mount: u64, is_mounted: bool, kind: Kind, inode: u64) -> Verdict {
        let table = Table::parse(TABLE);
        let device = table.get(mount).map_or((0, 0), |mount| mount.device);
        let identity = Identity { device, inode };
        let is_null = target == "/proc/keys";
        let sight = Sight { mount, is_mounted, identity, kind, is_null };
        let below_root = Path::new(target).strip_prefix("/").unwrap();
        let place = Place { shown: Path::new(target), below_root };
        let source = (Identity { device: (0, 40), inode: 7 }, kind);
        verdict(&table, &sight, place, source, &Ours::types(&["fuse.lxcfs"]))
    }

    #[test]
    fn the_kernels_own_files_are_free() {
        assert_eq!(of("/proc/vmstat", 2, false, Kind::File, 1), Verdict::Free);
        assert_eq!(of("/proc/sys/kernel/x", 16, false, Kind::File, 1), Verdict::Free);
        assert_eq!(of("/proc/sys", 16, true, Kind::Directory, 1), Verdict::Free);
        assert_eq!(of("/sys/devices/system/cpu", 3, false, Kind::Directory, 1), Verdict::Free);
    }

    #[test]
    fn ours_is_told_by_its_file_and_a_cover_of_it_is_replaced() {
        assert_eq!(of("/proc/swaps", 19, true, Kind::File, 7), Verdict::Already);
        assert_eq!(of("/proc/swaps", 19, true, Kind::File, 8), Verdict::Replace);
        assert_eq!(of("/proc/stat", 11, true, Kind::File, 7), Verdict::Replace);
    }

    #[test]
    fn masks_are_left_alone() {
        assert_eq!(of("/proc/keys", 12, true, Kind::File, 1), Verdict::Masked);
        assert_eq!(of("/proc/acpi", 13, true, Kind::Directory, 1), Verdict::Masked);
    }

    #[test]
    fn what_the_user_mounted_is_refused_by_name() {
        for (target, mount, is_mounted, kind, says) in [
            ("/proc/pressure", 14, true, Kind::Directory, "/ of tmpfs (tmpfs)"),
            ("/proc/meminfo", 15, true, Kind::File, "/etc/x of /dev/sda (ext4)"),
            ("/proc/uptime", 17, true, Kind::File, "/7/maps of proc (proc)"),
            ("/proc/loadavg", 18, true, Kind::File, "/loadavg of proc (proc)"),
            ("/proc/version", 1, false, Kind::File, "/ of o (overlay) is mounted on /"),
            ("/proc/version", 3, false, Kind::File, "not the kernel's own"),
        ] {
            let found = of(target, mount, is_mounted, kind, 1);
            assert!(matches!(&found, Verdict::Refuse(text) if text.contains(says)), "{found:?}");
        }
    }

    #[test]
    fn a_mount_that_the_table_does_not_have_is_looked_at_again() {
        assert_eq!(of("/proc/version", 77, false, Kind::File, 1), Verdict::Unsettled);
        assert_eq!(of("/proc/version", 19, true, Kind::File, 1), Verdict::Unsettled);
    }
}
