//! Which cgroup hierarchies there are, and where in each a new cgroup goes.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::mountinfo::Mount;

/// The v1 controllers that matter to the view or to a limit. Others (`devices`, `net_cls`, …) are
/// left alone: nothing is asked of them here.
const V1_CONTROLLERS: [&str; 8] =
    ["blkio", "cpu", "cpuacct", "cpuset", "freezer", "hugetlb", "memory", "pids"];

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) mount_point: PathBuf,
    /// Which of its cgroups is mounted there: `/`, or a container's own.
    pub(super) root: PathBuf,
    /// v1, with its controllers, or v2.
    pub(super) version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1 { controllers: Vec<String> },
    V2,
}

/// The hierarchies of a mount table, each once, preferring the mount that shows most of it.
pub(super) fn hierarchies(mounts: &[Mount]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for hierarchy in mounts.iter().filter_map(hierarchy) {
        match found.iter_mut().find(|known| known.version == hierarchy.version) {
            Some(known) if known.root != Path::new("/") => *known = hierarchy,
            Some(_) => {}
            None => found.push(hierarchy),
        }
    }
    found
}

fn hierarchy(mount: &Mount) -> Option<Hierarchy> {
    let version = match mount.fs_type.as_str() {
        "cgroup2" => Version::V2,
        "cgroup" => {
            let known = |option: &&String| V1_CONTROLLERS.contains(&option.as_str());
            let controllers: Vec<String> =
                mount.super_options.iter().filter(known).cloned().collect();
            if controllers.is_empty() {
                return None;
            }
            Version::V1 { controllers }
        }
        _ => return None,
    };
    Some(Hierarchy { mount_point: mount.mount_point.clone(), root: mount.root.clone(), version })
}

impl Hierarchy {
    /// Whether `controller` (by v1's name) lives in this v1 hierarchy.
    pub(super) fn has_v1(&self, controller: &str) -> bool {
        match &self.version {
            Version::V1 { controllers } => controllers.iter().any(|name| name == controller),
            Version::V2 => false,
        }
    }

    /// Where this process is in the hierarchy, as a directory; `None` if that is not to be seen
    /// from here.
    pub(super) fn own_directory(&self, own_cgroups: &[u8]) -> Option<PathBuf> {
        let membership =
            procfmt::pid_cgroup::memberships(own_cgroups).find(|one| match &self.version {
                Version::V2 => one.is_v2(),
                Version::V1 { controllers } => {
                    controllers.iter().any(|name| one.has_controller(name.as_bytes()))
                }
            })?;
        let path = Path::new(std::ffi::OsStr::from_bytes(membership.path));
        // A mount made in another cgroup namespace shows a root such as `/..`; nothing to relate.
        let below = path.strip_prefix(&self.root).ok()?;
        Some(self.mount_point.join(below))
    }
}

/// `/proc/self/cgroup`.
pub(super) fn own_cgroups() -> anyhow::Result<Vec<u8>> {
    std::fs::read("/proc/self/cgroup")
        .context("cannot read /proc/self/cgroup; this kernel may have been built without cgroups")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo::parse;

    const HYBRID: &[u8] = b"\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_has_v1_controllers_and_v2() {
        let found = hierarchies(&parse(HYBRID));
        assert_eq!(found.len(), 3);
        assert!(found[0].has_v1("cpu") && found[0].has_v1("cpuacct"));
        assert!(!found[0].has_v1("memory"));
        assert_eq!(found[2].version, Version::V2);
    }

    #[test]
    fn the_mount_of_the_whole_hierarchy_is_preferred() {
        let text = b"1 0 0:1 /docker/x /a rw - cgroup cgroup rw,memory\n\
                     2 0 0:1 / /b rw - cgroup cgroup rw,memory\n\
                     3 0 0:1 /docker/y /c rw - cgroup cgroup rw,memory\n";
        let found = hierarchies(&parse(text));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mount_point, Path::new("/b"));
    }

    #[test]
    fn our_own_cgroup_is_found_below_the_mount() {
        let own = b"4:memory:/docker/x/app\n3:cpu,cpuacct:/\n0::/a b\n";
        let text = b"1 0 0:1 /docker/x /m rw - cgroup cgroup rw,memory\n\
                     2 0 0:2 / /u rw - cgroup2 none rw\n\
                     3 0 0:3 /../.. /c rw - cgroup none rw,cpu,cpuacct\n";
        let found = hierarchies(&parse(text));
        assert_eq!(found[0].own_directory(own), Some("/m/app".into()));
        assert_eq!(found[1].own_directory(own), Some("/u/a b".into()));
        assert_eq!(found[2].own_directory(own), None);
    }
}
