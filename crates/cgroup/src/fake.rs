//! A made-up cgroup tree in a temporary directory, for the tests of this crate.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hostfs::Kept;

use crate::{CgroupPaths, Group, Layout};

/// One hierarchy: the name of its directory, and its controllers; none means v2.
type Mounted = (&'static str, &'static [&'static str]);

/// A pure v2 tree.
pub(crate) const V2: &[Mounted] = &[("unified", &[])];
/// A v1 tree with the usual co-mounts.
pub(crate) const V1: &[Mounted] = &[
    ("cpu,cpuacct", &["cpu", "cpuacct"]),
    ("cpuset", &["cpuset"]),
    ("memory", &["memory"]),
    ("blkio", &["blkio"]),
    ("pids", &["pids"]),
    ("hugetlb", &["hugetlb"]),
    ("freezer", &["freezer"]),
];

pub(crate) struct Fake {
    dir: tempfile::TempDir,
    pub(crate) kept: Arc<Kept>,
    mountinfo: String,
}

impl Fake {
    /// A tree with these hierarchies. v2 has all controllers but those that v1 has.
    pub(crate) fn new(mounted: &[Mounted]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fake = Self { dir, kept: Kept::new(500), mountinfo: String::new() };
        for (name, controllers) in mounted {
            fake.write(&format!("{name}/cgroup.procs"), "");
            let (kind, options) = if controllers.is_empty() {
                let all = "cpuset cpu io memory hugetlb pids\n";
                fake.write(&format!("{name}/cgroup.controllers"), all);
                ("cgroup2", "rw,nsdelegate".to_owned())
            } else {
                ("cgroup", format!("rw,{}", controllers.join(",")))
            };
            fake.mount(name, "/", kind, &options);
        }
        fake
    }

    /// Adds a line to the mounts.
    pub(crate) fn mount(&mut self, name: &str, root: &str, kind: &str, options: &str) {
        let point = self.dir.path().join(name);
        let line = format!("3 1 0:3 {root} {} rw - {kind} {kind} {options}\n", point.display());
        self.mountinfo.push_str(&line);
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes several files of one cgroup.
    pub(crate) fn files(&self, cgroup: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(self.dir.path().join(cgroup)).unwrap();
        for (file, text) in files {
            self.write(&format!("{cgroup}/{file}"), text);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::new(Layout::from_mountinfo(self.mountinfo.as_bytes(), &self.kept).unwrap())
    }

    /// The cgroup that has this path in every hierarchy.
    pub(crate) fn group(&self, path: &str) -> Group {
        let layout = self.layout();
        let lines = layout.hierarchies().iter().enumerate().map(|(index, hierarchy)| {
            let names: Vec<_> = hierarchy.controllers().iter().map(|one| one.v1_name()).collect();
            match hierarchy.version() {
                crate::Version::V1 => format!("{}:{}:{path}\n", index + 1, names.join(",")),
                crate::Version::V2 => format!("0::{path}\n"),
            }
        });
        let text: String = lines.collect();
        Group::new(&layout, CgroupPaths::of_process(&layout, text.as_bytes()))
    }
}
