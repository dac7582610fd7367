//! Properties and regressions of the memory and swap formulas.

use proptest::prelude::*;

use super::*;
use crate::input::SwapLevel;

const MIB: u64 = 1 << 20;

fn host(total: u64, free: u64, available: u64, swap: u64) -> HostMemory {
    let kib = |mib: u64| Kib(mib * 1024);
    let totals = Totals {
        mem_total: kib(total),
        mem_free: kib(free),
        mem_available: kib(available),
        swap_total: kib(swap),
        swap_free: kib(swap),
        huge_page_size: Kib(2048),
        huge_pages_total: 10,
        huge_pages_free: 10,
    };
    let pool = HugePagePool { size: Bytes(2 * MIB), pages: 10 };
    HostMemory { totals, overcommit_ratio: 50, overcommit: Kib(0), huge_page_pools: vec![pool] }
}

fn level(limit: Option<u64>, usage: u64) -> MemoryLevel {
    MemoryLevel {
        limit: limit.map_or(Limit::Max, |mib| Limit::Value(Bytes(mib * MIB))),
        high: Limit::Max,
        usage: Bytes(usage * MIB),
        file: Bytes(0),
        slab_reclaimable: Bytes(0),
        swap: SwapLevel::Absent,
    }
}

fn memory(levels: Vec<MemoryLevel>, host: &HostMemory) -> Memory {
    let input = MemoryInput { levels, ..Default::default() };
    Memory::new(&input, None, host, &Policy::default())
}

fn mib(kib: Kib) -> u64 {
    kib.0 / 1024
}

#[test]
fn memfree_counts_siblings_of_limited_parent() {
    // The container uses 10 MiB of its own 900; the pod around it 700 of 1000.
    let seen =
        memory(vec![level(Some(900), 10), level(Some(1000), 700)], &host(8000, 6000, 7000, 0));
    assert_eq!((mib(seen.total), mib(seen.free)), (900, 300));
}

#[test]
fn memfree_never_wraps() {
    let seen = memory(vec![level(Some(50), 60)], &host(8000, 6000, 7000, 0));
    assert_eq!((mib(seen.total), mib(seen.free), mib(seen.available)), (50, 0, 0));
}

#[test]
fn available_not_above_host() {
    let seen = memory(vec![level(Some(5000), 0)], &host(8000, 10, 200, 0));
    assert_eq!((mib(seen.free), mib(seen.available)), (200, 200));
}

#[test]
fn room_ends_at_memory_high() {
    let mut high = level(Some(100), 30);
    high.high = Limit::Value(Bytes(40 * MIB));
    high.file = Bytes(20 * MIB);
    let seen = memory(vec![high], &host(8000, 6000, 7000, 0));
    assert_eq!((mib(seen.total), mib(seen.free), mib(seen.available)), (100, 10, 30));
}

#[test]
fn without_a_limit_the_host_bounds() {
    let seen = memory(vec![level(None, 0)], &host(8000, 6000, 7000, 0));
    assert_eq!((mib(seen.total), mib(seen.free), mib(seen.available)), (8000, 6000, 7000));
}

#[test]
fn limit_above_the_host_is_the_host() {
    let seen = memory(vec![level(Some(99_999), 1)], &host(8000, 6000, 7000, 0));
    assert_eq!(mib(seen.total), 8000);
}

fn swap(levels: &[(Option<u64>, SwapLevel)], host_swap: u64, stat: Option<u64>) -> (u64, u64) {
    let levels = levels.iter().map(|&(limit, swap)| MemoryLevel { swap, ..level(limit, 0) });
    let stat = MemoryStat { swap: stat.map(|mib| Bytes(mib * MIB)), ..Default::default() };
    let input = MemoryInput { levels: levels.collect(), stat, swappiness: None };
    let seen = Memory::new(&input, None, &host(8000, 6000, 7000, host_swap), &Policy::default());
    (mib(seen.swap_total), mib(seen.swap_free))
}

fn v2(max: Option<u64>, current: u64) -> SwapLevel {
    let max = max.map_or(Limit::Max, |mib| Limit::Value(Bytes(mib * MIB)));
    SwapLevel::Swap { max, current: Bytes(current * MIB) }
}

fn v1(limit: Option<u64>, usage: u64) -> SwapLevel {
    let limit = limit.map_or(Limit::Max, |mib| Limit::Value(Bytes(mib * MIB)));
    SwapLevel::MemoryPlusSwap { limit, usage: Bytes(usage * MIB) }
}

#[test]
fn v2_swap_is_its_own_limit() {
    assert_eq!(swap(&[(None, v2(Some(100), 30))], 1000, None), (100, 70));
    assert_eq!(swap(&[(None, v2(None, 30))], 1000, None), (1000, 970));
    assert_eq!(swap(&[(None, v2(Some(5000), 0))], 1000, None), (1000, 1000));
    // Siblings under a shared limit leave 10.
    assert_eq!(swap(&[(None, v2(None, 0)), (None, v2(Some(50), 40))], 1000, None), (50, 10));
}

#[test]
fn swap_limit_zero() {
    assert_eq!(swap(&[(None, v2(Some(0), 0))], 1000, None), (0, 0));
}

#[test]
fn swapfree_never_wraps() {
    assert_eq!(swap(&[(None, v2(Some(10), 30))], 1000, None), (10, 0));
    assert_eq!(swap(&[(Some(100), v1(Some(110), 0))], 1000, Some(500)), (10, 0));
}

#[test]
fn v1_swap_is_what_memsw_leaves_beyond_memory() {
    assert_eq!(swap(&[(Some(256), v1(Some(512), 0))], 1000, Some(6)), (256, 250));
    assert_eq!(swap(&[(Some(256), v1(None, 0))], 1000, None), (1000, 1000));
}

#[test]
fn memsw_equal_limit_is_no_swap() {
    assert_eq!(swap(&[(Some(256), v1(Some(256), 0))], 1000, None), (0, 0));
}

#[test]
fn swapoff_at_run_time() {
    assert_eq!(swap(&[(None, v2(Some(100), 0))], 0, None), (0, 0));
    assert_eq!(swap(&[(None, SwapLevel::Absent)], 1000, None), (0, 0));
}

#[test]
fn lxcfs_counts_memory_into_v1_swap() {
    let levels = vec![MemoryLevel { swap: v1(Some(512), 0), ..level(Some(256), 0) }];
    let input = MemoryInput { levels, ..Default::default() };
    let policy = Policy { v1_swap_includes_memory: true, ..Policy::default() };
    let seen = Memory::new(&input, None, &host(8000, 6000, 7000, 1000), &policy);
    assert_eq!(mib(seen.swap_total), 512);
}

#[test]
fn huge_pages_follow_the_limit() {
    let two = |max, current: u64| HugetlbInput {
        size: Bytes(2 * MIB),
        max,
        current: Bytes(current * 2 * MIB),
        reserved: Bytes(0),
    };
    let host = host(8000, 6000, 7000, 0);
    let seen = |sizes: &[HugetlbInput]| HugePages::new(sizes, &host.totals);
    let limited = seen(&[two(Limit::Value(Bytes(8 * MIB)), 1)]);
    assert_eq!((limited.total, limited.free), (4, 3));
    let unlimited = seen(&[two(Limit::Max, 3)]);
    assert_eq!((unlimited.total, unlimited.free), (10, 10));
    assert_eq!(usable_pools(&[two(Limit::Value(Bytes(8 * MIB)), 1)], &host), Kib(8192));
    assert_eq!(usable_pools(&[two(Limit::Max, 1)], &host), Kib(20_480));
}

fn any_limit() -> impl Strategy<Value = Limit<Bytes>> {
    prop_oneof![Just(Limit::Max), any::<u64>().prop_map(|bytes| Limit::Value(Bytes(bytes)))]
}

fn any_level() -> impl Strategy<Value = MemoryLevel> {
    let swap = prop_oneof![
        Just(SwapLevel::Absent),
        (any_limit(), any::<u64>())
            .prop_map(|(max, used)| SwapLevel::Swap { max, current: Bytes(used) }),
        (any_limit(), any::<u64>())
            .prop_map(|(limit, used)| SwapLevel::MemoryPlusSwap { limit, usage: Bytes(used) }),
    ];
    (any_limit(), any_limit(), any::<u64>(), any::<u64>(), any::<u64>(), swap).prop_map(
        |(limit, high, usage, file, slab, swap)| MemoryLevel {
            limit,
            high,
            usage: Bytes(usage),
            file: Bytes(file),
            slab_reclaimable: Bytes(slab),
            swap,
        },
    )
}

proptest! {
    #[test]
    fn free_le_available_le_total(
        levels in proptest::collection::vec(any_level(), 0..5),
        total: u32, free: u32, available: u32, swap: u32, includes: bool,
    ) {
        let host = host(u64::from(total), u64::from(free.min(total)),
                        u64::from(available.min(total)), u64::from(swap));
        let input = MemoryInput { levels, ..Default::default() };
        let policy = Policy { v1_swap_includes_memory: includes, ..Policy::default() };
        let seen = Memory::new(&input, None, &host, &policy);
        prop_assert!(seen.free <= seen.available);
        prop_assert!(seen.available <= seen.total);
        prop_assert!(seen.available <= host.totals.mem_available);
        prop_assert!(seen.total <= host.totals.mem_total);
        prop_assert!(seen.swap_free <= seen.swap_total);
        prop_assert!(seen.swap_total <= host.totals.swap_total);
    }
}
