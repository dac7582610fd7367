//! Which cgroup hierarchies are mounted here, and where. Source: proc_pid_mountinfo(5).

use std::path::PathBuf;

/// How cgroups are laid out on this machine, as this process's mount namespace shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies, and a cgroup2 mount beside them.
    Hybrid,
    /// Only cgroup2.
    V2,
}

/// A mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its mount point.
    pub mount: PathBuf,
    /// v1: the controllers of this mount (`cpu` and `cpuacct` may share one); v2: empty.
    pub controllers: Vec<String>,
    /// Whether it is cgroup2.
    pub v2: bool,
}

/// The layout of this machine.
///
/// # Panics
/// Where no cgroup hierarchy is mounted.
#[must_use]
pub fn layout() -> Layout {
    layout_of(&hierarchies())
}

/// The mounted hierarchies, those without a controller (`name=systemd`) left out. A hierarchy
/// mounted twice appears once.
///
/// # Panics
/// Where `/proc` is not mounted.
#[must_use]
pub fn hierarchies() -> Vec<Hierarchy> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("reading mountinfo");
    parse(&mountinfo)
}

fn layout_of(hierarchies: &[Hierarchy]) -> Layout {
    let v1 = hierarchies.iter().any(|hierarchy| !hierarchy.v2);
    let v2 = hierarchies.iter().any(|hierarchy| hierarchy.v2);
    match (v1, v2) {
        (true, true) => Layout::Hybrid,
        (true, false) => Layout::V1,
        (false, true) => Layout::V2,
        (false, false) => panic!("no cgroup hierarchy is mounted here"),
    }
}

const V1_CONTROLLERS: &[&str] =
    &["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids"];

/// Where hierarchies are mounted, those without a controller (`name=systemd`) included: processes
/// are moved there too.
///
/// # Panics
/// Where `/proc` is not mounted.
#[must_use]
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("reading mountinfo");
    mounts(&mountinfo).map(|(path, ..)| path.into()).collect()
}

/// Mount point, type and options of each hierarchy.
fn mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        // A bind of a sub-tree is not the hierarchy.
        match (&mount[..], &filesystem[..]) {
            (&[_, _, _, "/", path, ..], &[kind @ ("cgroup" | "cgroup2"), _, options]) => {
                Some((path, kind, options))
            }
            _ => None,
        }
    })
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for (path, kind, options) in mounts(mountinfo) {
        let v2 = kind == "cgroup2";
        let names = options.split(',').filter(|name| !v2 && V1_CONTROLLERS.contains(name));
        let controllers: Vec<String> = names.map(str::to_owned).collect();
        let known = |other: &Hierarchy| other.v2 == v2 && other.controllers == controllers;
        if (v2 || !controllers.is_empty()) && !hierarchies.iter().any(known) {
            hierarchies.push(Hierarchy { mount: path.into(), controllers, v2 });
        }
    }
    hierarchies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_layouts() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            32 25 0:26 /a /mnt rw - cgroup cgroup rw,cpu,cpuacct\n";
        let v2 = "33 25 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
            34 25 0:28 / /mnt rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(layout_of(&parse(v1)), Layout::V1);
        assert_eq!(layout_of(&parse(v2)), Layout::V2);
        assert_eq!(layout_of(&parse(&format!("{v1}{v2}"))), Layout::Hybrid);
        assert_eq!(parse(v1)[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!((parse(v1).len(), parse(v2).len()), (1, 1));
        assert_eq!(mounts(v1).count(), 2);
    }
}
