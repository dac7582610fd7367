//! The resource view and its parts, one module each, with the formulas and their derivations.

mod apportion;
pub(crate) mod clock;
mod confined;
pub(crate) mod cpu_time;
pub(crate) mod cpus;
pub(crate) mod disks;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod nodes;
mod saved;
mod swap;
pub(crate) mod vm;

use procfmt::cpulist::CpuSet;

use crate::{Clock, CpuTimes, Cpus, Disks, Memory, Nodes, Tasks, Vm};

/// What one container sees at one moment.
///
/// A part that is `None` is the host's own: the caller is no container, the controller behind the
/// part does not exist on this machine, or the operator chose so. Which parts a file needs stands
/// in the [catalogue](crate::catalogue).
#[derive(Clone, Debug, Default)]
pub struct ResourceView {
    /// Which CPUs there are.
    pub cpus: Option<Cpus>,
    /// Memory, swap and huge pages.
    pub memory: Option<Memory>,
    /// CPU time per CPU.
    pub cpu_times: Option<CpuTimes>,
    /// Time since the container's start.
    pub clock: Option<Clock>,
    /// Tasks and load averages.
    pub tasks: Option<Tasks>,
    /// I/O per block device.
    pub disks: Option<Disks>,
    /// Page faults, reclaim, paging and swapping.
    pub vm: Option<Vm>,
    /// The container's own slabs in the form of `/proc/slabinfo`; empty where the kernel does not
    /// tell them.
    pub slabs: Option<Vec<u8>>,
    /// NUMA nodes.
    pub nodes: Option<Nodes>,
    /// For each visible CPU, the host's CPUs on its core, itself included
    /// (`topology/thread_siblings_list`).
    pub thread_siblings: Option<Vec<CpuSet>>,
    /// `USER_HZ`: clock ticks per second, 100 on every current kernel (`sysconf(_SC_CLK_TCK)`).
    pub user_hz: u64,
}
