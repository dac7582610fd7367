//! A container that may use some NUMA nodes only.

use procfmt::node_meminfo;
use procfmt::units::Kib;

use super::memory::HostMemory;

impl HostMemory {
    /// What the host has for a container whose memory comes from these nodes alone
    /// (`cpuset.mems`).
    ///
    /// The kernel takes pages for it from no other node, however much is free there, and kills
    /// when these are full. So they are the machine that bounds the container, with a limit and
    /// without one. No node tells what is available on it: free memory and what can be reclaimed,
    /// the same sum that a limit's room is made of, is the most that can be.
    #[must_use]
    pub fn confined_to(mut self, nodes: &[node_meminfo::Totals]) -> Self {
        type Node = node_meminfo::Totals;
        let kib = |of: fn(&Node) -> Kib| nodes.iter().map(of).sum::<Kib>();
        let pages = |of: fn(&Node) -> u64| {
            nodes.iter().map(of).fold(0, |sum: u64, pages| sum.saturating_add(pages))
        };
        let totals = &mut self.totals;
        totals.mem_total = totals.mem_total.min(kib(|node| node.mem_total));
        totals.mem_free = totals.mem_free.min(kib(|node| node.mem_free));
        let available = kib(|node| node.mem_free + node.reclaimable);
        totals.mem_available = totals.mem_available.min(available);
        totals.huge_pages_total = totals.huge_pages_total.min(pages(|node| node.huge_pages_total));
        totals.huge_pages_free = totals.huge_pages_free.min(pages(|node| node.huge_pages_free));
        // The pool of the default size is the same pages. How the others lie on the nodes is not
        // asked: a machine that has several sizes and containers without a limit of them is rare.
        let default = totals.huge_page_size.bytes();
        let most = totals.huge_pages_total;
        for pool in self.huge_page_pools.iter_mut().filter(|pool| pool.size == default) {
            pool.pages = pool.pages.min(most);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use procfmt::limit::Limit;
    use procfmt::meminfo::Totals;
    use procfmt::units::Bytes;

    use super::*;
    use crate::input::{MemoryInput, MemoryLevel, SwapLevel};
    use crate::policy::Policy;
    use crate::{HugePagePool, Memory};

    /// Two nodes of 4 and 6 GiB.
    const NODES: [node_meminfo::Totals; 2] = [node(4, 3, 0, 5), node(6, 1, 2, 7)];

    const fn node(total: u64, free: u64, reclaimable: u64, pages: u64) -> node_meminfo::Totals {
        node_meminfo::Totals {
            mem_total: Kib(total << 20),
            mem_free: Kib(free << 20),
            reclaimable: Kib(reclaimable << 20),
            huge_pages_total: pages,
            huge_pages_free: pages - 1,
        }
    }

    fn host() -> HostMemory {
        let totals = Totals {
            mem_total: Kib(10 << 20),
            mem_free: Kib(4 << 20),
            mem_available: Kib(5 << 20),
            huge_page_size: Kib(2048),
            huge_pages_total: 12,
            huge_pages_free: 10,
            ..Totals::default()
        };
        let pools = vec![HugePagePool { size: Bytes(2 << 20), pages: 12 }];
        HostMemory { totals, huge_page_pools: pools, ..Default::default() }
    }

    /// `MemTotal`, `MemFree` and `MemAvailable` in GiB.
    fn seen(host: &HostMemory, limit: Limit<Bytes>) -> (u64, u64, u64) {
        let level = MemoryLevel {
            limit,
            high: Limit::Max,
            usage: Bytes::ZERO,
            file: Bytes::ZERO,
            slab_reclaimable: Bytes::ZERO,
            swap: SwapLevel::Absent,
        };
        let input = MemoryInput { levels: vec![level], ..Default::default() };
        let memory = Memory::new(&input, None, host, &Policy::default());
        (memory.total.0 >> 20, memory.free.0 >> 20, memory.available.0 >> 20)
    }

    #[test]
    fn a_container_confined_to_a_node_has_no_more_than_the_node() {
        let [small, large] = NODES.map(|node| host().confined_to(&[node]));
        assert_eq!(seen(&small, Limit::Max), (4, 3, 3));
        assert_eq!(seen(&large, Limit::Max), (6, 1, 3));
        assert_eq!(seen(&host(), Limit::Max), (10, 4, 5));
    }

    #[test]
    fn a_limit_above_what_a_node_has_promises_nothing() {
        let node = host().confined_to(&NODES[..1]);
        assert_eq!(seen(&node, Limit::Value(Bytes(8 << 30))), (4, 3, 3));
        assert_eq!(seen(&node, Limit::Value(Bytes(2 << 30))), (2, 2, 2));
    }

    #[test]
    fn nodes_that_are_all_there_take_nothing_away() {
        assert_eq!(host().confined_to(&NODES), host());
    }

    #[test]
    fn huge_pages_are_those_of_the_nodes() {
        let host = host().confined_to(&NODES[1..]);
        let Totals { huge_pages_total, huge_pages_free, .. } = host.totals;
        assert_eq!((huge_pages_total, huge_pages_free), (7, 6));
        assert_eq!(host.huge_page_pools[0].pages, 7);
    }
}
