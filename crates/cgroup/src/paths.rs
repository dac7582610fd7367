//! Where in each hierarchy a process or a container is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use procfmt::mountinfo::{Mount, mounts};
use procfmt::pid_cgroup::{Membership, memberships};

use crate::controller::Version;
use crate::layout::{Hierarchy, Layout};

/// A path for each hierarchy of the [`Layout`], from the hierarchy's root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupPaths {
    /// In the order of `Layout::hierarchies`; `/` where there is nothing to say.
    paths: Vec<PathBuf>,
}

impl CgroupPaths {
    /// The cgroups that a process is in itself, from its `/proc/PID/cgroup`.
    #[must_use]
    pub fn of_process(layout: &Layout, cgroup: &[u8]) -> Self {
        let own = |hierarchy| membership(hierarchy, cgroup).unwrap_or_default();
        Self { paths: layout.hierarchies().iter().map(|one| path(own(one)).to_owned()).collect() }
    }

    /// The cgroups of the container whose init, or only known process, has these `/proc/PID/cgroup`
    /// and `/proc/PID/mountinfo` texts.
    ///
    /// An init often moves itself to a leaf (`init.scope`, `payload`), and that must not hide what
    /// the rest of the container uses. Its own mount of the cgroup file system tells where its
    /// container begins: read from the host, the mount's root is the cgroup's path there. Without
    /// such a mount, systemd's `init.scope` is known by its name.
    #[must_use]
    pub fn of_container(layout: &Layout, cgroup: &[u8], mountinfo: &[u8]) -> Self {
        let container = |hierarchy: &Hierarchy| {
            let own = membership(hierarchy, cgroup).unwrap_or_default();
            match usual_mount_root(hierarchy, mountinfo) {
                Some(root) if root != Path::new("/") && path(own).starts_with(&root) => root,
                _ => without_init_scope(path(own)).to_owned(),
            }
        };
        Self { paths: layout.hierarchies().iter().map(container).collect() }
    }

    /// The paths that [`CgroupPaths::iter`] has given to another process. `None` if they cannot be
    /// those of this layout's hierarchies.
    #[must_use]
    pub fn of_parts(layout: &Layout, paths: &[PathBuf]) -> Option<Self> {
        let is_plain = |path: &PathBuf| {
            let mut parts = path.components();
            path.is_absolute()
                && parts.all(|one| matches!(one, Component::RootDir | Component::Normal(_)))
        };
        let fits = paths.len() == layout.hierarchies().len() && paths.iter().all(is_plain);
        fits.then(|| Self { paths: paths.to_vec() })
    }

    /// The cgroup `path` in each hierarchy that has it, and the root in the others. `None` if none
    /// has it, or if it is the root.
    #[must_use]
    pub fn at(layout: &Layout, path: &Path) -> Option<Self> {
        let is_plain = path.components().all(|one| one != Component::ParentDir);
        if !path.is_absolute() || is_root(path) || !is_plain {
            return None;
        }
        let own = |hierarchy: &Hierarchy| if hierarchy.has(path) { path } else { Path::new("/") };
        let paths = layout.hierarchies().iter().map(|one| own(one).to_owned()).collect();
        Some(Self { paths }).filter(|paths| !paths.is_root())
    }

    /// Whether it is the root in every hierarchy: no container, the host.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.paths.iter().all(|path| is_root(path))
    }

    /// Whether `other` is the same cgroup or below, in every hierarchy.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.paths.len() == other.paths.len()
            && self.paths.iter().zip(&other.paths).all(|(mine, theirs)| theirs.starts_with(mine))
    }

    /// The paths, in the order of [`Layout::hierarchies`].
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    /// The path in one hierarchy; `None` for its root.
    pub(crate) fn below_root(&self, index: usize) -> Option<&Path> {
        self.paths.get(index).map(PathBuf::as_path).filter(|path| !is_root(path))
    }
}

/// A process's path in one hierarchy, or `None` if the text has no line for it.
fn membership<'text>(hierarchy: &Hierarchy, text: &'text [u8]) -> Option<&'text [u8]> {
    let is_here = |line: &Membership<'_>| match hierarchy.version() {
        Version::V2 => line.is_v2(),
        // Co-mounted controllers share one line, so any one of them finds it.
        Version::V1 => hierarchy
            .controllers()
            .first()
            .is_some_and(|one| line.has_controller(one.v1_name().as_bytes())),
    };
    memberships(text).find(is_here).map(|line| line.path)
}

/// The root of the last mount of the hierarchy at its usual place. A container can make more
/// mounts, from deeper cgroup namespaces, elsewhere; they say nothing about where it begins.
fn usual_mount_root(hierarchy: &Hierarchy, mountinfo: &[u8]) -> Option<PathBuf> {
    let is_it = |mount: &Mount<'_>| match hierarchy.version() {
        Version::V2 => {
            mount.fs_type == b"cgroup2"
                && matches!(&*mount.mount_point, b"/sys/fs/cgroup" | b"/sys/fs/cgroup/unified")
        }
        Version::V1 => {
            mount.fs_type == b"cgroup"
                && path(&mount.mount_point).parent() == Some(Path::new("/sys/fs/cgroup"))
                && hierarchy
                    .controllers()
                    .first()
                    .is_some_and(|one| mount.has_super_option(one.v1_name().as_bytes()))
        }
    };
    mounts(mountinfo).filter(is_it).last().map(|mount| path(&mount.root).to_owned())
}

fn without_init_scope(path: &Path) -> &Path {
    match (path.file_name(), path.parent()) {
        (Some(name), Some(parent)) if name == "init.scope" => parent,
        _ => path,
    }
}

fn is_root(path: &Path) -> bool {
    path.components().all(|one| one == Component::RootDir)
}

fn path(bytes: &[u8]) -> &Path {
    if bytes.is_empty() { Path::new("/") } else { Path::new(OsStr::from_bytes(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    /// The path that a v2 container gets from its init's path and mounts.
    fn v2(own: &str, mounts: &str) -> String {
        let layout = Fake::new(V2).layout();
        let cgroup = format!("9:name=systemd:/x\n0::{own}\n");
        let paths = CgroupPaths::of_container(&layout, cgroup.as_bytes(), mounts.as_bytes());
        paths.iter().next().unwrap().to_str().unwrap().to_owned()
    }

    fn mount(root: &str, point: &str) -> String {
        format!("3 1 0:3 {root} {point} rw - cgroup2 cgroup2 rw\n")
    }

    #[test]
    fn init_leaf_does_not_hide_usage() {
        let own = mount("/dk", "/sys/fs/cgroup");
        let whole = mount("/", "/sys/fs/cgroup");
        let cases = [
            ("/dk", own.clone(), "/dk"),
            ("/dk/payload", own.clone(), "/dk"),
            ("/dk/a/b", own.clone(), "/dk"),
            // A host mount bound into the container says nothing.
            ("/dk/init.scope", whole.clone(), "/dk"),
            ("/dk/leaf", whole, "/dk/leaf"),
            ("/dk/init.scope", String::new(), "/dk"),
            ("/init.scope", String::new(), "/"),
            // Not the init's own part of the tree: of a sibling whose name begins alike.
            ("/dkx", own.clone(), "/dkx"),
            // The last line of the usual place counts; mounts elsewhere do not.
            ("/dk/a/b", own.clone() + &mount("/dk/a", "/sys/fs/cgroup"), "/dk/a"),
            ("/dk/a/b", own + &mount("/dk/a", "/mnt"), "/dk"),
            ("/dk/a/b", mount("/dk", "/sys/fs/cgroup/unified"), "/dk"),
            ("/d k/a", mount("/d\\040k", "/sys/fs/cgroup"), "/d k"),
        ];
        for (cgroup, mounts, expected) in cases {
            assert_eq!(v2(cgroup, &mounts), expected, "{cgroup} with {mounts}");
        }
    }

    #[test]
    fn each_hierarchy_has_its_own_path() {
        let layout = Fake::new(V1).layout();
        let cgroup = b"5:memory:/a/leaf\n4:cpu,cpuacct:/b/init.scope\n3:name=memory:/wrong\n";
        let mounts = b"3 1 0:3 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let paths = CgroupPaths::of_container(&layout, cgroup, mounts);
        let all: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let index = |name| {
            let has = |one: &Hierarchy| one.mount_point().ends_with(name);
            layout.hierarchies().iter().position(has).unwrap()
        };
        assert_eq!(all[index("memory")], "/a");
        assert_eq!(all[index("cpu,cpuacct")], "/b");
        assert_eq!(all[index("pids")], "/");
    }

    #[test]
    fn path_with_colon_and_deleted() {
        let fake = Fake::new(V2);
        for name in ["a:b", "x (deleted)", "b c"] {
            fake.files(&format!("unified/{name}"), &[("memory.max", "4096\n")]);
            assert_eq!(fake.group(&format!("/{name}")).memory().unwrap().unwrap().levels.len(), 1);
        }
        assert!(fake.group("/dead (deleted)").memory().unwrap_err().is_gone());
        assert!(fake.group("/../b").memory().unwrap_err().is_gone());
    }

    #[test]
    fn a_path_is_looked_for_in_every_hierarchy() {
        let fake = Fake::new(V1);
        fake.files("memory/a/b", &[("cgroup.procs", "")]);
        let layout = fake.layout();
        let paths = CgroupPaths::at(&layout, Path::new("/a/b")).unwrap();
        let all: Vec<_> = layout.hierarchies().iter().zip(paths.iter()).collect();
        for (hierarchy, path) in all {
            let has = hierarchy.mount_point().ends_with("memory");
            assert_eq!(path, Path::new(if has { "/a/b" } else { "/" }));
        }
        for other in ["/", "a/b", "/a/c", "/a/../a/b", ""] {
            assert_eq!(CgroupPaths::at(&layout, Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn inside_is_by_whole_names_and_in_every_hierarchy() {
        let layout = Fake::new(V1).layout();
        let paths = |text: &str| CgroupPaths::of_process(&layout, text.as_bytes());
        let container = paths("5:memory:/a\n4:cpu,cpuacct:/a\n");
        assert!(container.contains(&container) && !container.is_root());
        assert!(container.contains(&paths("5:memory:/a/b\n4:cpu,cpuacct:/a\n3:pids:/z\n")));
        assert!(!container.contains(&paths("5:memory:/ab\n4:cpu,cpuacct:/a\n")));
        assert!(!container.contains(&paths("5:memory:/a\n")));
        assert!(paths("").is_root() && paths("5:memory:/\n").contains(&container));
    }
}
