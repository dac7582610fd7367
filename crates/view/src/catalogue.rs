//! The catalogue: every virtual file, what it needs, and how it is rendered.
//!
//! It is the one list of files: the trees, the documents and the tests are made from it.

mod listing;
mod sys;
mod sys_block;
mod sys_cpu;
mod sys_node;

pub use listing::{Listed, PRESSURE, UnknownPolicy, default_policy, listing, names};
pub use sys::{SYS_DIRECTORIES, Sys, SysDirectory, SysFile, sys, sys_directory};

use crate::render::{
    Renderer, cpuinfo, diskstats, interrupts, loadavg, meminfo, partitions, schedstat, slabinfo,
    stat, swaps, uptime, vmstat, zoneinfo,
};

/// Which parts of a [`ResourceView`](crate::ResourceView) a file is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// [`cpus`](crate::ResourceView::cpus).
    pub cpus: bool,
    /// [`memory`](crate::ResourceView::memory).
    pub memory: bool,
    /// [`cpu_times`](crate::ResourceView::cpu_times), which include the CPUs and the clock.
    pub cpu_times: bool,
    /// [`tasks`](crate::ResourceView::tasks).
    pub tasks: bool,
    /// [`disks`](crate::ResourceView::disks).
    pub disks: bool,
    /// [`vm`](crate::ResourceView::vm).
    pub vm: bool,
    /// [`slabs`](crate::ResourceView::slabs).
    pub slabs: bool,
    /// [`nodes`](crate::ResourceView::nodes), which include the CPUs, and the memory if that is
    /// named too.
    pub nodes: bool,
    /// [`thread_siblings`](crate::ResourceView::thread_siblings), which include the CPUs.
    pub thread_siblings: bool,
}

const NOTHING: Needs = Needs {
    cpus: false,
    memory: false,
    cpu_times: false,
    tasks: false,
    disks: false,
    vm: false,
    slabs: false,
    nodes: false,
    thread_siblings: false,
};
const CPUS: Needs = Needs { cpus: true, ..NOTHING };
const MEMORY: Needs = Needs { memory: true, ..NOTHING };
const CPU_TIMES: Needs = Needs { cpu_times: true, ..NOTHING };
const TASKS: Needs = Needs { tasks: true, ..NOTHING };
const DISKS: Needs = Needs { disks: true, ..NOTHING };
const VM: Needs = Needs { vm: true, ..MEMORY };
const SLABS: Needs = Needs { slabs: true, ..NOTHING };

/// What becomes of a file, or of a line of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePolicy {
    /// The container's own, computed.
    Virtual,
    /// The host's, because it is true for the container too, or because the operator chose so.
    Host,
    /// Not there, as on a kernel without the feature; a table keeps its header and has no rows.
    Absent,
}

/// A file of `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct ProcFile {
    /// Its name below `/proc`.
    pub name: &'static str,
    /// What becomes of it unless the operator chooses otherwise.
    pub policy: FilePolicy,
    /// Permission bits, those of the kernel's own file.
    pub mode: u32,
    /// Whether LXCFS 7 has the file too; under that name, the others are not listed.
    pub in_lxcfs: bool,
    /// What it is made from.
    pub needs: Needs,
    /// How it is made.
    pub render: Renderer,
}

/// A file that LXCFS has as well and that everybody may read.
const fn classic(name: &'static str, needs: Needs, render: Renderer) -> ProcFile {
    ProcFile { name, policy: FilePolicy::Virtual, mode: 0o444, in_lxcfs: true, needs, render }
}

/// A file that LXCFS does not have and that everybody may read.
const fn new(name: &'static str, needs: Needs, render: Renderer) -> ProcFile {
    ProcFile { in_lxcfs: false, ..classic(name, needs, render) }
}

/// The files of `/proc`, in the order in which the tree lists them.
pub static PROC_FILES: [ProcFile; 14] = [
    classic("cpuinfo", CPUS, cpuinfo::render),
    classic("meminfo", MEMORY, meminfo::render),
    classic("stat", Needs { tasks: true, ..CPU_TIMES }, stat::render),
    classic("uptime", CPU_TIMES, uptime::render),
    classic("swaps", MEMORY, swaps::render),
    classic("diskstats", DISKS, diskstats::render),
    classic("loadavg", TASKS, loadavg::render),
    ProcFile { mode: 0o400, ..classic("slabinfo", SLABS, slabinfo::render) },
    new("vmstat", VM, vmstat::render),
    new("zoneinfo", Needs { nodes: true, ..VM }, zoneinfo::render),
    new("partitions", DISKS, partitions::render),
    new("interrupts", CPUS, interrupts::render),
    new("softirqs", CPUS, interrupts::render_softirqs),
    new("schedstat", CPU_TIMES, schedstat::render),
];

/// The file of `/proc` with this name.
#[must_use]
pub fn proc_file(name: &str) -> Option<&'static ProcFile> {
    PROC_FILES.iter().find(|file| file.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = PROC_FILES.iter().map(|file| file.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROC_FILES.len());
        assert!(proc_file("meminfo").is_some() && proc_file("kcore").is_none());
    }
}
