//! What the readers hand to the view: one container's cgroup values in typed form, the same for
//! cgroup v1 and v2. The mapping from the kernel's files is the readers' affair (crate `cgroup`).

use std::collections::BTreeMap;

use procfmt::cpulist::CpuSet;
use procfmt::limit::Limit;
use procfmt::units::{Bytes, Usec};

/// The memory controller, from the container's cgroup up to (not including) the hierarchy's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryInput {
    /// One entry per cgroup, the container's own first.
    pub levels: Vec<MemoryLevel>,
    /// The container's own `memory.stat`.
    pub stat: MemoryStat,
    /// v1 `memory.swappiness` of the container; `None` on v2.
    pub swappiness: Option<u64>,
}

/// Limits and usage of one cgroup on the way to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLevel {
    /// v2 `memory.max`, v1 `memory.limit_in_bytes`.
    pub limit: Limit<Bytes>,
    /// v2 `memory.high`; v1 has none.
    pub high: Limit<Bytes>,
    /// v2 `memory.current`, v1 `memory.usage_in_bytes`. Zero where no limit is set at this level
    /// (it is not read then), and so are the next two.
    pub usage: Bytes,
    /// Page cache on the file LRU lists: `inactive_file + active_file`.
    pub file: Bytes,
    /// `slab_reclaimable`; v1 does not count it: zero.
    pub slab_reclaimable: Bytes,
    /// Swap limit and usage of this level.
    pub swap: SwapLevel,
}

/// How one cgroup limits and counts swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapLevel {
    /// The kernel does not account swap here (`swapaccount=0`, or the files are missing).
    Absent,
    /// v2: swap alone.
    Swap {
        /// `memory.swap.max`.
        max: Limit<Bytes>,
        /// `memory.swap.current`.
        current: Bytes,
    },
    /// v1: memory and swap together.
    MemoryPlusSwap {
        /// `memory.memsw.limit_in_bytes`.
        limit: Limit<Bytes>,
        /// `memory.memsw.usage_in_bytes`.
        usage: Bytes,
    },
}

/// `memory.stat`, named by cgroup v2's keys, in bytes. What a kernel does not count is zero.
///
/// v1's `total_*` keys are mapped so: rss → `anon`, cache → `file`, `mapped_file` → `file_mapped`,
/// dirty → `file_dirty`, writeback → `file_writeback`, `rss_huge` → `anon_thp`, swap → `swap`,
/// `memory.kmem.usage_in_bytes` → `slab` and `slab_unreclaimable`.
#[allow(missing_docs)] // each field is the key of that name in memory.stat, cgroup-v2.rst
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    pub anon: Bytes,
    pub file: Bytes,
    pub kernel_stack: Bytes,
    pub pagetables: Bytes,
    pub sec_pagetables: Bytes,
    pub percpu: Bytes,
    pub vmalloc: Bytes,
    pub shmem: Bytes,
    pub zswap: Bytes,
    pub zswapped: Bytes,
    pub file_mapped: Bytes,
    pub file_dirty: Bytes,
    pub file_writeback: Bytes,
    pub swapcached: Bytes,
    pub anon_thp: Bytes,
    pub file_thp: Bytes,
    pub shmem_thp: Bytes,
    pub inactive_anon: Bytes,
    pub active_anon: Bytes,
    pub inactive_file: Bytes,
    pub active_file: Bytes,
    pub unevictable: Bytes,
    pub slab_reclaimable: Bytes,
    pub slab_unreclaimable: Bytes,
    pub slab: Bytes,
    /// v1 `total_swap`: swap used by the container; `None` on v2 and where swap is not accounted.
    pub swap: Option<Bytes>,
}

/// What the memory controller counts in the terms of `/proc/vmstat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmInput {
    /// The container's own `memory.stat` by key: page faults, reclaim, and sizes too. On v1 the
    /// keys with the prefix `total_`, without it.
    pub counters: BTreeMap<Box<[u8]>, u64>,
    /// How many processes the OOM killer has killed: `oom_kill` of v2 `memory.events`, v1
    /// `memory.oom_control`.
    pub oom_kills: u64,
}

/// One huge page size of the hugetlb controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugetlbInput {
    /// The page size.
    pub size: Bytes,
    /// Minimum over the ancestry of v2 `hugetlb.<size>.max`, v1 `hugetlb.<size>.limit_in_bytes`.
    pub max: Limit<Bytes>,
    /// v2 `hugetlb.<size>.current`, v1 `hugetlb.<size>.usage_in_bytes`.
    pub current: Bytes,
    /// v2 `hugetlb.<size>.rsvd.current`; v1: zero.
    pub reserved: Bytes,
}

/// How the container's memory lies on the NUMA nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaInput {
    /// `cpuset.mems.effective` (v2), `cpuset.effective_mems` (v1): the nodes from which the
    /// container may get memory; `None` without a cpuset controller.
    pub mems: Option<CpuSet>,
    /// `memory.numa_stat` by node; `None` where the kernel does not say.
    pub nodes: Option<BTreeMap<u32, NodeInput>>,
    /// `hugetlb.<size>.numa_stat` by page size; sizes of which the kernel does not say it are left
    /// out.
    pub hugetlb: Vec<NodeHugetlb>,
}

/// What the container has on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInput {
    /// The keys that `memory.numa_stat` has. v1 has three: the anon LRU lists → `anon`, the file
    /// LRU lists → `file`, the unevictable one → `unevictable`.
    pub stat: MemoryStat,
    /// All of it: v2 anon + file + kernel stacks + page tables + slabs, v1 `hierarchical_total`.
    pub used: Bytes,
    /// v2's keys that count events (`workingset_*`, `pgdemote_*`, `pgpromote_*`).
    pub events: BTreeMap<Box<[u8]>, u64>,
}

/// Huge pages of one size in use on each node, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeHugetlb {
    /// The page size.
    pub size: Bytes,
    /// In use, by node.
    pub nodes: BTreeMap<u32, Bytes>,
}

/// What bounds the container's CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuInput {
    /// `cpuset.cpus.effective` (v2), `cpuset.effective_cpus` (v1); `None` without a cpuset
    /// controller.
    pub cpuset: Option<CpuSet>,
    /// The tightest quota of the ancestry.
    pub quota: Option<Quota>,
    /// The container's own weight.
    pub weight: Option<Weight>,
}

/// CPU time per period, both in microseconds: v2 `cpu.max`, v1 `cpu.cfs_quota_us` and
/// `cpu.cfs_period_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How much CPU time may be used in a period.
    pub quota: Usec,
    /// The period's length; never zero.
    pub period: Usec,
}

impl Quota {
    /// Whether this quota allows fewer CPUs than `other`: compared by cross-multiplication, so
    /// that no precision is lost.
    #[must_use]
    pub fn tighter_than(&self, other: &Self) -> bool {
        let mine = u128::from(self.quota.0) * u128::from(other.period.0);
        let theirs = u128::from(other.quota.0) * u128::from(self.period.0);
        mine < theirs
    }
}

/// The container's share under contention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// v1 `cpu.shares`, 2 to 262144, default 1024.
    Shares(u64),
    /// v2 `cpu.weight`, 1 to 10000, default 100.
    Weight(u64),
}

/// CPU time that the container has used since its cgroup was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTimeInput {
    /// User time, nice time included (as v2's `user_usec` does).
    pub user: Usec,
    /// The part of `user` used by niced tasks: v2 `nice_usec` (6.12+), else zero.
    pub nice: Usec,
    /// System time.
    pub system: Usec,
    /// Time in which the container wanted to run and was not allowed to: `throttled_usec` of
    /// `cpu.stat.local` (6.6+), else of `cpu.stat`; v1 `throttled_time`.
    pub throttled: Usec,
    /// v1 `cpuacct.usage_percpu`: exact time by kernel CPU number; `None` on v2.
    pub per_cpu: Option<Vec<Usec>>,
}

/// I/O of the container on one block device: v2 `io.stat`, v1 `blkio.*_recursive`.
#[allow(missing_docs)] // named after io.stat's keys
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    pub major: u32,
    pub minor: u32,
    pub rbytes: Bytes,
    pub wbytes: Bytes,
    pub dbytes: Bytes,
    pub rios: u64,
    pub wios: u64,
    pub dios: u64,
}
