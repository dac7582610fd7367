//! The mount table of a namespace, as one reading of mountinfo shows it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of `/proc/PID/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, and that of the mount on which it lies.
    pub id: u64,
    /// See `id`.
    pub parent: u64,
    /// Major and minor number of the file system, by which all its mounts are known.
    pub device: (u32, u32),
    /// What of the file system is mounted; `/` is all of it.
    pub root: PathBuf,
    /// Where, from the reader's root.
    pub mount_point: PathBuf,
    /// Whether nothing can be written through it.
    pub read_only: bool,
    /// `shared:N`: the peer group with which it exchanges mounts.
    pub peer_group: Option<u64>,
    /// `master:N`: the peer group from which it receives mounts.
    pub master: Option<u64>,
    /// `proc`, `fuse.lxcfs`, …
    pub fs_type: String,
    /// The device or whatever stands for it.
    pub source: String,
}

impl Mount {
    fn new(mount: &procfmt::mountinfo::Mount<'_>) -> Self {
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let has = |options: &[u8]| options.split(|&byte| byte == b',').any(|one| one == b"ro");
        Self {
            id: mount.id,
            parent: mount.parent,
            device: (mount.major, mount.minor),
            root: path(&mount.root),
            mount_point: path(&mount.mount_point),
            read_only: has(mount.options) || has(mount.super_options),
            peer_group: mount.peer_group,
            master: mount.master,
            fs_type: text(mount.fs_type),
            source: text(&mount.source),
        }
    }

    /// Whether it is a procfs or a sysfs.
    pub(crate) fn is_kernels_own(&self) -> bool {
        matches!(self.fs_type.as_str(), "proc" | "sysfs")
    }

    /// Whether it is mounted where attachments are.
    pub(crate) fn is_below_kernels(&self) -> bool {
        ["/proc", "/sys"].iter().any(|top| self.mount_point.starts_with(top))
    }

    /// For messages: what is mounted, and of which type.
    pub(crate) fn describe(&self) -> String {
        format!("{} of {} ({})", self.root.display(), self.source, self.fs_type)
    }
}

/// All mounts of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Table {
    mounts: Vec<Mount>,
    by_id: HashMap<u64, usize>,
    children: HashMap<u64, Vec<usize>>,
}

impl Table {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mounts: Vec<Mount> =
            procfmt::mountinfo::mounts(text).map(|mount| Mount::new(&mount)).collect();
        let mut table = Self { mounts, ..Self::default() };
        for (index, mount) in table.mounts.iter().enumerate() {
            table.by_id.insert(mount.id, index);
            table.children.entry(mount.parent).or_default().push(index);
        }
        table
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Mount> {
        self.mounts.get(*self.by_id.get(&id)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter()
    }

    /// The mounts that lie directly on mount `id`.
    pub(crate) fn children(&self, id: u64) -> impl Iterator<Item = &Mount> {
        let indices = self.children.get(&id).map(Vec::as_slice).unwrap_or_default();
        indices.iter().filter_map(|&index| self.mounts.get(index))
    }

    /// The mounts at the same place as mount `top`, from it down, and the one on which the
    /// lowest of them lies.
    pub(crate) fn stack(&self, top: u64) -> Option<(Vec<&Mount>, &Mount)> {
        let mut mount = self.get(top)?;
        let place = &mount.mount_point;
        let mut stack = Vec::new();
        // A table read while mounts moved could hold a circle.
        while mount.mount_point == *place && stack.len() <= self.mounts.len() {
            stack.push(mount);
            mount = self.get(mount.parent)?;
        }
        Some((stack, mount))
    }

    /// A mount inside mount `id`, not one that covers it as a whole.
    pub(crate) fn inside(&self, id: u64) -> Option<&Mount> {
        let mount = self.get(id)?;
        self.children(id).find(|child| child.mount_point != mount.mount_point)
    }

    /// A FUSE file system on the way to `place`, the root apart: walking there would ask it.
    pub(crate) fn asks_on_the_way(&self, top: &Path, place: &Path) -> Option<&Mount> {
        let between = |mount: &&Mount| {
            let at = &mount.mount_point;
            place.starts_with(at) && at != place && at.starts_with(top) && at != top
        };
        self.mounts.iter().filter(between).find(|mount| mount.fs_type.starts_with("fuse"))
    }

    /// Whether a mount on `/` is in both tables. Numbers of mounts are given anew, but not those of
    /// roots that are still there.
    pub(crate) fn has_root_of(&self, other: &Self) -> bool {
        let roots = self.mounts.iter().filter(|mount| mount.mount_point == Path::new("/"));
        roots
            .map(|mount| mount.id)
            .any(|id| other.get(id).is_some_and(|mount| mount.mount_point == Path::new("/")))
    }

    /// Whether what is mounted in peer group `group` appears in this namespace too.
    pub(crate) fn receives(&self, group: u64) -> bool {
        let group = Some(group);
        self.mounts.iter().any(|mount| mount.peer_group == group || mount.master == group)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mounts_at_one_place_are_a_stack() {
        let table = Table::parse(
            b"1 0 0:1 / / rw - overlay o rw\n\
              2 1 0:2 / /proc rw shared:7 - proc proc rw\n\
              4 3 0:9 /b /proc/stat rw - fuse.b b rw\n\
              3 2 0:8 /a /proc/stat rw master:9 - fuse.a a rw\n\
              5 2 0:8 /x /proc/x rw - tmpfs t ro\n\
              6 5 0:8 /y /proc/x/y rw - tmpfs t rw\n",
        );
        let (stack, base) = table.stack(4).unwrap();
        assert_eq!(stack.iter().map(|mount| mount.id).collect::<Vec<_>>(), [4, 3]);
        assert_eq!(base.id, 2);
        assert!(table.inside(3).is_none(), "that covers it");
        assert_eq!(table.inside(5).unwrap().id, 6);
        assert!(table.get(5).unwrap().read_only && !table.get(6).unwrap().read_only);
        assert!(table.receives(7) && table.receives(9) && !table.receives(8));
        assert!(table.stack(77).is_none());
        assert!(table.has_root_of(&Table::parse(b"1 9 0:1 / / rw - overlay o rw\n")));
        assert!(!table.has_root_of(&Table::parse(b"7 9 0:1 / / rw - overlay o rw\n")));
    }

    #[test]
    fn a_fuse_file_system_on_the_way_is_seen_one_at_the_end_or_the_root_is_not() {
        let table = Table::parse(
            b"1 0 0:1 / / rw - fuse.fuse-overlayfs o rw\n\
              2 1 0:2 / /proc rw - fuse.evil e rw\n\
              3 1 0:2 / /sys/x rw - fuse.resview e rw\n",
        );
        let on_the_way = |place: &str| table.asks_on_the_way(Path::new("/"), Path::new(place));
        assert_eq!(on_the_way("/proc/stat").unwrap().id, 2);
        assert!(on_the_way("/sys/x").is_none());
    }

    proptest! {
        #[test]
        fn circles_and_nonsense_end(lines in proptest::collection::vec((0..6_u64, 0..6_u64), 0..9)) {
            let text: String =
                lines.iter().map(|(id, on)| format!("{id} {on} 0:1 / /p rw - t s rw\n")).collect();
            let table = Table::parse(text.as_bytes());
            for id in 0..6 {
                let _ = table.stack(id);
                let _ = table.inside(id);
            }
        }
    }
}
