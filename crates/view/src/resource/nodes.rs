//! Which NUMA nodes the container sees, and how its memory lies on them.

use std::collections::BTreeMap;

use procfmt::cpulist::CpuSet;
use procfmt::units::{Bytes, Kib, scale};

use crate::input::{MemoryStat, NodeInput, NumaInput};
use crate::{Cpus, Memory};

/// A node of the host: `/sys/devices/system/node/nodeN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNode {
    /// N.
    pub number: u32,
    /// `cpulist`.
    pub cpus: CpuSet,
    /// `MemTotal` of `meminfo`; 0 for a node without memory.
    pub total: Kib,
    /// `HugePages_Total` of `meminfo`, in pages of the default size.
    pub huge_pages: u64,
}

/// The container's NUMA nodes.
///
/// Sums over the nodes are those of `/proc/meminfo`: Σ total = `MemTotal`, Σ free = `MemFree`, and
/// free ≤ total on each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    host: CpuSet,
    mems: CpuSet,
    list: Vec<Node>,
}

/// A node that the container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its number, the kernel's.
    pub number: u32,
    /// Those of its CPUs that the container sees.
    pub cpus: CpuSet,
    /// `None`: no memory controller, so the host's.
    pub memory: Option<NodeMemory>,
}

/// The container's memory on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMemory {
    /// `MemTotal`; 0 where the container gets no memory from.
    pub total: Kib,
    /// `MemFree`.
    pub free: Kib,
    /// What the memory is used for.
    pub stat: MemoryStat,
    /// Events of `memory.numa_stat` by key.
    pub events: BTreeMap<Box<[u8]>, u64>,
    /// `HugePages_Total` and `HugePages_Free`, in pages; `None`: no hugetlb controller, so the
    /// host's shared pool.
    pub huge_pages: Option<(u64, u64)>,
}

impl Nodes {
    /// The nodes of `host` that the container may get memory from, and those of its CPUs. Without
    /// a cpuset controller, or where its set cannot be (no node of it is left), all of them.
    #[must_use]
    pub fn new(input: &NumaInput, host: &[HostNode], cpus: &Cpus, memory: Option<&Memory>) -> Self {
        let online: CpuSet = host.iter().map(|node| node.number).collect();
        let mems = input.mems.as_ref().map(|mems| mems.intersection(&online));
        let mems = mems.filter(|mems| !mems.is_empty());
        let everywhere = mems.is_none();
        let mems = mems.unwrap_or_else(|| online.clone());
        let seen = |node: &&HostNode| {
            everywhere
                || mems.contains(node.number)
                || !node.cpus.intersection(cpus.visible()).is_empty()
        };
        let host: Vec<_> = host.iter().filter(seen).collect();
        let split = memory.map(|memory| split(input, &host, &mems, memory));
        let mut split = split.unwrap_or_default().into_iter();
        let list = host.iter().map(|node| Node {
            number: node.number,
            cpus: node.cpus.intersection(cpus.visible()),
            memory: split.next(),
        });
        Self { list: list.collect(), host: online, mems }
    }

    /// Their numbers.
    #[must_use]
    pub fn numbers(&self) -> CpuSet {
        self.list.iter().map(|node| node.number).collect()
    }

    /// The nodes with CPUs that the container sees.
    #[must_use]
    pub fn with_cpus(&self) -> CpuSet {
        let with = self.list.iter().filter(|node| !node.cpus.is_empty());
        with.map(|node| node.number).collect()
    }

    /// The nodes from which the container may get memory.
    #[must_use]
    pub fn mems(&self) -> &CpuSet {
        &self.mems
    }

    /// The online nodes of the host: the columns of `distance`.
    #[must_use]
    pub fn host(&self) -> &CpuSet {
        &self.host
    }

    /// The node with this number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Node> {
        self.list.iter().find(|node| node.number == number)
    }
}

/// The container's memory on each node of `host`.
///
/// A limit holds for memory of all nodes together, so the total is split by the nodes' sizes. Free
/// is what is left of a node's total, brought to the sum that `/proc/meminfo` shows: that may be
/// less, because siblings use the room too or the host has none left, or more, where the container
/// has used more of one node than its part.
fn split(input: &NumaInput, host: &[&HostNode], mems: &CpuSet, memory: &Memory) -> Vec<NodeMemory> {
    let in_mems = |of: fn(&HostNode) -> u64| -> Vec<u64> {
        host.iter().map(|node| if mems.contains(node.number) { of(node) } else { 0 }).collect()
    };
    let sizes = shares(&in_mems(|node| node.total.0));
    let totals: Vec<_> = sizes.iter().map(|share| share.of(memory.total.0)).collect();
    let uses: Vec<NodeInput> = match &input.nodes {
        Some(nodes) => {
            host.iter().map(|node| nodes.get(&node.number).cloned().unwrap_or_default()).collect()
        }
        None => sizes.iter().map(|share| share.of_container(&memory.stat)).collect(),
    };
    let used: Vec<_> = uses.iter().map(|node| node.used.kib().0).collect();
    let free = free(&totals, &used, memory.free.0);
    let huge_pages = huge_pages(input, host, &in_mems(|node| node.huge_pages), memory);
    let parts = totals.into_iter().zip(free).zip(uses).zip(huge_pages);
    parts
        .map(|(((total, free), NodeInput { stat, events, .. }), huge_pages)| NodeMemory {
            total: Kib(total),
            free: Kib(free),
            stat,
            events,
            huge_pages,
        })
        .collect()
}

/// Huge pages of the default size, in total and free: split like memory.
fn huge_pages(
    input: &NumaInput,
    host: &[&HostNode],
    pools: &[u64],
    memory: &Memory,
) -> Vec<Option<(u64, u64)>> {
    let Some(pages) = memory.huge_pages else { return vec![None; host.len()] };
    let in_use = input.hugetlb.iter().find(|one| one.size == pages.size);
    let used = |node: &&HostNode| {
        let bytes = in_use.and_then(|one| one.nodes.get(&node.number)).copied();
        bytes.unwrap_or(Bytes::ZERO).0.checked_div(pages.size.0).unwrap_or(0)
    };
    let used: Vec<_> = host.iter().map(used).collect();
    let totals: Vec<_> = shares(pools).iter().map(|share| share.of(pages.total)).collect();
    let free = free(&totals, &used, pages.free);
    totals.into_iter().zip(free).map(Some).collect()
}

/// total − used on each node, brought to the sum `free`, which is no more than Σ total.
///
/// With R = Σ sat(total − used): if free ≤ R, each node keeps the fraction free / R of its room.
/// Else the rest, free − R ≤ Σ total − R, is spread over what is not room in the same way. Either
/// way a node's part is no more than what it is a part of (see [`Share`]), hence free ≤ total.
fn free(totals: &[u64], used: &[u64], free: u64) -> Vec<u64> {
    let room: Vec<_> =
        totals.iter().zip(used).map(|(total, used)| total.saturating_sub(*used)).collect();
    let sum = room.iter().fold(0u64, |sum, room| sum.saturating_add(*room));
    let Some(missing) = free.checked_sub(sum) else {
        return shares(&room).iter().map(|share| share.of(free)).collect();
    };
    let filled: Vec<_> = totals.iter().zip(&room).map(|(total, room)| total - room).collect();
    let rest = shares(&filled);
    room.iter().zip(rest).map(|(room, share)| room.saturating_add(share.of(missing))).collect()
}

/// One part of a whole that is split by weights.
///
/// With the weights' partial sums sᵢ and their sum S, part i of an amount is
/// ⌊amount·sᵢ/S⌋ − ⌊amount·sᵢ₋₁/S⌋: parts add up to the amount exactly, and of an amount ≤ S each
/// is no more than its weight, since amount·(sᵢ − sᵢ₋₁)/S ≤ wᵢ and wᵢ is whole.
#[derive(Clone, Copy, Debug)]
struct Share {
    before: u64,
    upto: u64,
    whole: u64,
}

/// The last one gets everything if nobody has any weight.
fn shares(weights: &[u64]) -> Vec<Share> {
    let mut upto = 0u64;
    let mut shares: Vec<_> = weights
        .iter()
        .map(|weight| {
            let before = upto;
            upto = upto.saturating_add(*weight);
            Share { before, upto, whole: 0 }
        })
        .collect();
    shares.iter_mut().for_each(|share| share.whole = upto.max(1));
    if let (Some(last), 0) = (shares.last_mut(), upto) {
        last.upto = 1;
    }
    shares
}

impl Share {
    fn of(self, amount: u64) -> u64 {
        scale(amount, self.upto, self.whole) - scale(amount, self.before, self.whole)
    }

    /// Where the kernel does not say what lies where, everything lies everywhere alike.
    fn of_container(self, stat: &MemoryStat) -> NodeInput {
        let part = |bytes: Bytes| Bytes(self.of(bytes.0));
        let used = stat.anon + stat.file + stat.kernel_stack + stat.pagetables + stat.slab;
        let stat = MemoryStat {
            anon: part(stat.anon),
            file: part(stat.file),
            kernel_stack: part(stat.kernel_stack),
            pagetables: part(stat.pagetables),
            sec_pagetables: part(stat.sec_pagetables),
            shmem: part(stat.shmem),
            file_mapped: part(stat.file_mapped),
            file_dirty: part(stat.file_dirty),
            file_writeback: part(stat.file_writeback),
            swapcached: part(stat.swapcached),
            anon_thp: part(stat.anon_thp),
            file_thp: part(stat.file_thp),
            shmem_thp: part(stat.shmem_thp),
            inactive_anon: part(stat.inactive_anon),
            active_anon: part(stat.active_anon),
            inactive_file: part(stat.inactive_file),
            active_file: part(stat.active_file),
            unevictable: part(stat.unevictable),
            slab_reclaimable: part(stat.slab_reclaimable),
            slab_unreclaimable: part(stat.slab_unreclaimable),
            slab: part(stat.slab),
            ..MemoryStat::default()
        };
        NodeInput { stat, used: part(used), events: BTreeMap::new() }
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
