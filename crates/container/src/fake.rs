//! A made-up procfs and cgroup tree, for what a real one does not show on demand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use cgroup::Layout;
use hostfs::HostFs;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::Identifier;

/// The host's pid namespace in made-up trees.
pub(crate) const HOST_PID: u64 = 4_026_531_836;

pub(crate) struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    /// A v2 machine with the cgroups that are given, and with nobody but the daemon.
    pub(crate) fn new(cgroups: &[&str]) -> Self {
        let fake = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(fake.path("cgroup")).unwrap();
        fs::write(fake.path("cgroup/cgroup.procs"), "").unwrap();
        fs::write(fake.path("cgroup/cgroup.controllers"), "cpu memory\n").unwrap();
        for cgroup in cgroups {
            fs::create_dir_all(fake.path(&format!("cgroup{cgroup}"))).unwrap();
        }
        fs::create_dir_all(fake.path("proc/self/ns")).unwrap();
        // The states of our own threads are those of the real ones.
        symlink("/proc/self/task", fake.path("proc/self/task")).unwrap();
        fake.namespaces("self", &[("pid", HOST_PID), ("mnt", 1), ("time", 2)]);
        fake
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Adds a process: its id, ids by pid namespace, its parent, its cgroup.
    pub(crate) fn process(&self, id: u32, ns_pids: &str, parent: u32, cgroup: &str) {
        fs::create_dir_all(self.path(&format!("proc/{id}/ns"))).unwrap();
        let status = format!("Tgid:\t{id}\nPPid:\t{parent}\nNSpid:\t{ns_pids}\n");
        self.file(id, "status", &status);
        self.file(id, "cgroup", &format!("0::{cgroup}\n"));
        self.file(id, "mountinfo", "");
        let stat =
            format!("{id} (a b) S {parent} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {} 0\n", id * 10);
        self.file(id, "stat", &stat);
    }

    pub(crate) fn file(&self, id: u32, name: &str, text: &str) {
        fs::write(self.path(&format!("proc/{id}/{name}")), text).unwrap();
    }

    pub(crate) fn namespaces(&self, process: impl std::fmt::Display, namespaces: &[(&str, u64)]) {
        for (kind, inode) in namespaces {
            let link = self.path(&format!("proc/{process}/ns/{kind}"));
            let _ = fs::remove_file(&link);
            symlink(format!("{kind}:[{inode}]"), link).unwrap();
        }
    }

    /// Has whoever opens the process's `stat` hang, until [`Fake::release`].
    pub(crate) fn hang(&self, id: u32) {
        let stat = self.path(&format!("proc/{id}/stat"));
        fs::rename(&stat, stat.with_extension("kept")).unwrap();
        mkfifoat(CWD, stat, Mode::RUSR | Mode::WUSR).unwrap();
    }

    /// What hung goes on, and nobody hangs any more.
    pub(crate) fn release(&self, id: u32) {
        let stat = self.path(&format!("proc/{id}/stat"));
        fs::rename(&stat, stat.with_extension("hung")).unwrap();
        fs::rename(stat.with_extension("kept"), &stat).unwrap();
        drop(fs::File::options().read(true).write(true).open(stat.with_extension("hung")).unwrap());
    }

    pub(crate) fn end(&self, id: u32) {
        fs::remove_dir_all(self.path(&format!("proc/{id}"))).unwrap();
    }

    pub(crate) fn cgroup_file(&self, cgroup: &str, name: &str, text: &str) {
        fs::write(self.path(&format!("cgroup{cgroup}/{name}")), text).unwrap();
    }

    pub(crate) fn cgroup_remove_file(&self, cgroup: &str, name: &str) {
        fs::remove_file(self.path(&format!("cgroup{cgroup}/{name}"))).unwrap();
    }

    pub(crate) fn remove_cgroup(&self, cgroup: &str) {
        fs::remove_dir(self.path(&format!("cgroup{cgroup}"))).unwrap();
    }

    /// Puts another cgroup at the path of one.
    pub(crate) fn replace_cgroup(&self, cgroup: &str) {
        // Made before the old one is removed, so that it cannot get the same inode.
        fs::create_dir(self.path("new")).unwrap();
        fs::rename(self.path("new"), self.path(&format!("cgroup{cgroup}"))).unwrap();
    }

    pub(crate) fn host(&self) -> HostFs {
        HostFs::at(self.path("proc"), self.path("")).unwrap()
    }

    /// Links of made-up namespaces lead nowhere, so the kernel cannot be asked about them.
    pub(crate) fn identifier(&self) -> Identifier {
        let host = Arc::new(self.host());
        let point = self.path("cgroup");
        let mounts = format!("3 1 0:3 / {} rw - cgroup2 cgroup2 rw\n", point.display());
        let layout = Layout::from_mountinfo(mounts.as_bytes(), &host.kept).unwrap();
        Identifier::new(host, Arc::new(layout)).unwrap().without_kernel_lookup()
    }
}
