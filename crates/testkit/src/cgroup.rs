//! A cgroup of a test's own, in every hierarchy of this machine, gone when the test ends.
//!
//! Files: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst in the kernel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::layout::{Hierarchy, Layout, hierarchies, layout};

/// The controllers of v2 that tests use, switched on in the cgroups above a test's own.
const V2_CONTROLLERS: &[&str] = &["cpu", "cpuset", "io", "memory", "pids"];

/// A cgroup of a test's own, called `/resview-test-<pid>-<name>` in every hierarchy.
///
/// Dropping it kills the processes that are still in it, and removes it with all below it.
#[derive(Debug)]
pub struct TestCgroup {
    name: String,
    dirs: Vec<(Hierarchy, PathBuf)>,
}

impl TestCgroup {
    /// Makes the cgroup. A `name` such as `pod/app` makes one below another.
    ///
    /// # Panics
    /// Without root, or where the kernel refuses.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::at(&format!("resview-test-{}-{name}", std::process::id()))
    }

    /// Makes a cgroup below this one, with controllers. On v2, none may be switched on as long as
    /// there are processes in this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self::at(&format!("{}/{name}", self.name))
    }

    /// Makes a cgroup below this one, on v2 without controllers: there may be processes in both.
    #[must_use]
    pub fn bare_child(&self, name: &str) -> Self {
        let name = format!("{}/{name}", self.name);
        let dirs = self.dirs.iter().map(|(hierarchy, _)| {
            let dir = hierarchy.mount.join(&name);
            (hierarchy.clone(), dir)
        });
        let cgroup = Self { name: name.clone(), dirs: dirs.collect() };
        cgroup.dirs.iter().for_each(|(_, dir)| make(dir));
        cgroup
    }

    fn at(name: &str) -> Self {
        let hierarchies = hierarchies();
        let dirs = hierarchies.into_iter().map(|hierarchy| {
            let dir = hierarchy.mount.join(name);
            (hierarchy, dir)
        });
        // The drop guard exists before the first folder, so that a panic here leaves nothing.
        let cgroup = Self { name: name.to_owned(), dirs: dirs.collect() };
        for (hierarchy, dir) in &cgroup.dirs {
            let below = Path::new(name).components();
            let mut at = hierarchy.mount.clone();
            for component in below {
                if hierarchy.v2 {
                    enable_controllers(&at);
                }
                at.push(component);
                make(&at);
            }
            assert_eq!(&at, dir);
        }
        cgroup
    }

    /// The cgroup as `/proc/<pid>/cgroup` and `cgroupsPath` of a container name it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("/{}", self.name)
    }

    /// Its folder in the hierarchy of a controller, such as `memory`; on v2 there is one for all.
    /// `unified` is the folder in the cgroup2 mount.
    ///
    /// # Panics
    /// Where that controller has no hierarchy.
    #[must_use]
    pub fn path(&self, controller: &str) -> &Path {
        let v2 = controller == "unified" || layout() == Layout::V2;
        let found = self.dirs.iter().find(|(hierarchy, _)| {
            if v2 { hierarchy.v2 } else { hierarchy.controllers.iter().any(|c| c == controller) }
        });
        let (_, dir) = found.unwrap_or_else(|| panic!("no cgroup hierarchy has {controller}"));
        dir
    }

    /// Limits memory.
    pub fn set_memory(&self, bytes: u64) {
        let file = if v2() { "memory.max" } else { "memory.limit_in_bytes" };
        self.write("memory", file, &bytes.to_string());
    }

    /// Limits swap. On v1 the limit is for memory and swap together, so set memory first.
    pub fn set_swap(&self, bytes: u64) {
        if v2() {
            self.write("memory", "memory.swap.max", &bytes.to_string());
        } else {
            let memory = self.read("memory", "memory.limit_in_bytes");
            let memory: u64 = memory.trim().parse().expect("a memory limit in bytes");
            let both = memory.saturating_add(bytes).to_string();
            self.write("memory", "memory.memsw.limit_in_bytes", &both);
        }
    }

    /// Limits CPU time to `quota` microseconds in each `period` microseconds.
    pub fn set_quota(&self, quota: u64, period: u64) {
        if v2() {
            self.write("cpu", "cpu.max", &format!("{quota} {period}"));
        } else {
            self.write("cpu", "cpu.cfs_period_us", &period.to_string());
            self.write("cpu", "cpu.cfs_quota_us", &quota.to_string());
        }
    }

    /// Confines to the CPUs of a list such as `0-1`.
    pub fn set_cpuset(&self, cpus: &str) {
        self.write("cpuset", "cpuset.cpus", cpus);
    }

    /// Moves a process into the cgroup, in every hierarchy.
    ///
    /// # Panics
    /// When the process is gone, or the kernel refuses.
    pub fn add_pid(&self, pid: u32) {
        for (_, dir) in &self.dirs {
            write(&dir.join("cgroup.procs"), &pid.to_string());
        }
    }

    /// Writes one of the cgroup's files.
    ///
    /// # Panics
    /// Where there is no such file, or the kernel refuses.
    pub fn write(&self, controller: &str, file: &str, value: &str) {
        write(&self.path(controller).join(file), value);
    }

    /// Reads one of the cgroup's files.
    ///
    /// # Panics
    /// Where there is no such file.
    #[must_use]
    pub fn read(&self, controller: &str, file: &str) -> String {
        read(&self.path(controller).join(file))
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        for (_, dir) in &self.dirs {
            empty(dir);
        }
        for (_, dir) in &self.dirs {
            remove(dir);
        }
        // The one above, made on the way to `pod/app`, goes with the last one below it.
        if let Some((parent, _)) = self.name.rsplit_once('/') {
            for (hierarchy, _) in &self.dirs {
                let _ = std::fs::remove_dir(hierarchy.mount.join(parent));
            }
        }
    }
}

/// Removes what a container runtime left of the cgroup `name` (without the leading slash).
pub(crate) fn clean_up(name: &str) {
    for hierarchy in hierarchies() {
        let dir = hierarchy.mount.join(name);
        empty(&dir);
        remove(&dir);
    }
}

fn v2() -> bool {
    layout() == Layout::V2
}

fn make(dir: &Path) {
    if !dir.exists() {
        std::fs::create_dir(dir)
            .unwrap_or_else(|error| panic!("cannot make the cgroup {}: {error}", dir.display()));
        initialise_cpuset(dir);
    }
}

/// A new cpuset of v1 has no CPUs and no memory nodes, and takes no process before it has.
fn initialise_cpuset(dir: &Path) {
    if !dir.join("cpuset.sched_load_balance").exists() {
        return;
    }
    let parent = dir.parent().expect("a cgroup below a mount point");
    for file in ["cpuset.cpus", "cpuset.mems"] {
        write(&dir.join(file), read(&parent.join(file)).trim());
    }
}

fn enable_controllers(dir: &Path) {
    let there = read(&dir.join("cgroup.controllers"));
    for controller in there.split_whitespace().filter(|name| V2_CONTROLLERS.contains(name)) {
        write(&dir.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// Kills what is in the cgroup or below it, and waits until it is gone.
fn empty(dir: &Path) {
    let folders = below(dir);
    for folder in &folders {
        // A frozen process of v1 does not die.
        let _ = std::fs::write(folder.join("freezer.state"), "THAWED");
    }
    for _ in 0..250 {
        let lists =
            folders.iter().filter_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok());
        let pids: Vec<i32> = lists
            .flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes the cgroup and all below it. A process that was killed a moment ago may still hold it.
fn remove(dir: &Path) {
    for folder in below(dir).iter().rev() {
        for _ in 0..50 {
            match std::fs::remove_dir(folder) {
                Err(error) if error.raw_os_error() == Some(BUSY) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => break,
            }
        }
    }
}

const BUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

/// The folder and all below it, each before what is in it.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = all.get(next) {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let folders: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        all.extend(folders);
        next += 1;
    }
    all
}

fn write(file: &Path, value: &str) {
    std::fs::write(file, value)
        .unwrap_or_else(|error| panic!("cannot write {value:?} to {}: {error}", file.display()));
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}
