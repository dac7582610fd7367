//! How much memory the container has, and what it uses it for.

use procfmt::limit::Limit;
use procfmt::meminfo::Totals;
use procfmt::units::{Bytes, Kib, scale};

use super::swap::Swap;
use crate::input::{HugetlbInput, MemoryInput, MemoryLevel, MemoryStat};
use crate::policy::Policy;

/// What of the host's memory bounds a container's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// From the host's `/proc/meminfo`.
    pub totals: Totals,
    /// `/proc/sys/vm/overcommit_ratio`, in percent.
    pub overcommit_ratio: u64,
    /// `/proc/sys/vm/overcommit_kbytes`; not zero: it replaces the ratio.
    pub overcommit: Kib,
    /// The host's huge pages of each size.
    pub huge_page_pools: Vec<HugePagePool>,
}

/// The host's huge pages of one size: `/sys/kernel/mm/hugepages/hugepages-<size>kB/nr_hugepages`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePagePool {
    /// The page size.
    pub size: Bytes,
    /// How many pages.
    pub pages: u64,
}

/// The container's memory in the units of `/proc/meminfo`.
///
/// free ≤ available ≤ total, and swap free ≤ swap total, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `MemTotal`.
    pub total: Kib,
    /// `MemFree`.
    pub free: Kib,
    /// `MemAvailable`.
    pub available: Kib,
    /// `SwapTotal`.
    pub swap_total: Kib,
    /// `SwapFree`.
    pub swap_free: Kib,
    /// What the memory is used for.
    pub stat: MemoryStat,
    /// `CommitLimit`.
    pub commit_limit: Kib,
    /// Huge pages of the default size; `None`: no hugetlb controller, so the host's shared pool.
    pub huge_pages: Option<HugePages>,
    /// `Hugetlb`: memory set aside for huge pages of all sizes, as far as the container may use
    /// it; `None` as above.
    pub hugetlb: Option<Kib>,
    /// Huge pages in use, of all sizes.
    pub hugetlb_used: Bytes,
    /// Whether `Zswap` and `Zswapped` are shown.
    pub zswap: bool,
}

/// Huge pages of the default size, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// The page size: `Hugepagesize`.
    pub size: Bytes,
    /// `HugePages_Total`: no more than the host has or the limit allows.
    pub total: u64,
    /// `HugePages_Free`.
    pub free: u64,
    /// `HugePages_Rsvd`: promised and not yet in use.
    pub reserved: u64,
}

impl Memory {
    /// Computes the view of `input`.
    #[must_use]
    pub fn new(
        input: &MemoryInput,
        hugetlb: Option<&[HugetlbInput]>,
        host: &HostMemory,
        policy: &Policy,
    ) -> Self {
        let Room { total, free, available } = Room::new(&input.levels, &host.totals);
        let swap = Swap::new(input, host.totals.swap_total, policy);
        let overcommit = match host.overcommit {
            Kib(0) => Kib(scale(total.0, host.overcommit_ratio, 100)),
            fixed => fixed.min(total),
        };
        Self {
            total,
            free,
            available,
            swap_total: swap.total,
            swap_free: swap.free,
            stat: input.stat.clone(),
            commit_limit: overcommit + swap.total,
            huge_pages: hugetlb.map(|sizes| HugePages::new(sizes, &host.totals)),
            hugetlb: hugetlb.map(|sizes| usable_pools(sizes, host)),
            hugetlb_used: hugetlb.unwrap_or_default().iter().map(|size| size.current).sum(),
            zswap: policy.zswap,
        }
    }

    /// `Committed_AS`: the kernel keeps no such count per cgroup; what has been touched is a lower
    /// bound of what has been promised.
    #[must_use]
    pub fn committed(&self) -> Kib {
        let touched = self.stat.anon + self.stat.shmem;
        touched.kib() + self.swap_total.saturating_sub(self.swap_free)
    }
}

/// How much may still be used, over the whole ancestry.
struct Room {
    total: Kib,
    free: Kib,
    available: Kib,
}

impl Room {
    /// total = min(host, every limit): what can never be exceeded.
    ///
    /// At each limited level, limit − usage may still be charged there by anyone below it: siblings
    /// share the level's limit, so its own usage counts, not the container's. Above `memory.high`
    /// every allocation is stalled, so room ends there though the total does not. Available adds
    /// what the kernel would reclaim at that level first: page cache on the LRU lists (which leaves
    /// out tmpfs and mlocked pages) and reclaimable slab.
    ///
    /// Whatever the limits promise, the host cannot give more than its own MemAvailable; with that
    /// bound on both, free ≤ available ≤ total holds. Without any limit only the host bounds the
    /// container, so its numbers are the container's.
    fn new(levels: &[MemoryLevel], host: &Totals) -> Self {
        let total = levels.iter().fold(Limit::Max, |limit, level| limit.min(level.limit));
        let total = total.map(Bytes::kib).cap(host.mem_total);
        let mut free = Limit::Max;
        let mut available = Limit::Max;
        for level in levels {
            let Limit::Value(limit) = level.limit.min(level.high) else { continue };
            let room = limit.saturating_sub(level.usage);
            let reclaimable = level.file + level.slab_reclaimable;
            free = free.min(Limit::Value(room));
            available = available.min(Limit::Value(room + reclaimable));
        }
        let bound = total.min(host.mem_available);
        let host_free = host.mem_free.min(bound);
        let free = free.map(Bytes::kib).value().map_or(host_free, |room| room.min(bound));
        let available = available.map(Bytes::kib).cap(bound).max(free);
        Self { total, free, available }
    }
}

/// Σ over the page sizes of min(the host's pool, the limit).
fn usable_pools(sizes: &[HugetlbInput], host: &HostMemory) -> Kib {
    let usable = |size: &HugetlbInput| {
        let pool = host.huge_page_pools.iter().find(|pool| pool.size == size.size);
        pool.map_or(Bytes::ZERO, |pool| size.max.cap(Bytes(pool.pages.saturating_mul(pool.size.0))))
    };
    sizes.iter().map(usable).sum::<Bytes>().kib()
}

impl HugePages {
    fn new(sizes: &[HugetlbInput], host: &Totals) -> Self {
        let default = sizes.iter().find(|size| size.size == host.huge_page_size.bytes());
        let Some(HugetlbInput { size, max, current, reserved }) = default.copied() else {
            return Self {
                size: host.huge_page_size.bytes(),
                total: host.huge_pages_total,
                free: host.huge_pages_free,
                reserved: 0,
            };
        };
        let pages = |bytes: Bytes| bytes.0.checked_div(size.0).unwrap_or(0);
        let room = max.map(|max| pages(max.saturating_sub(current)));
        let total = max.map(pages).cap(host.huge_pages_total);
        Self {
            size,
            total,
            free: room.cap(host.huge_pages_free).min(total),
            reserved: pages(reserved.saturating_sub(current)).min(total),
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
