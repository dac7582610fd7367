//! An arbitrary container, made the way in which the readers make one: from cgroup values.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use procfmt::cpulist::CpuSet;
use procfmt::limit::Limit;
use procfmt::meminfo::Totals;
use procfmt::stat::CpuTicks;
use procfmt::units::{Bytes, Kib, Ticks, Usec};
use view::input::{
    CpuInput, DeviceIo, HugetlbInput, MemoryInput, MemoryLevel, MemoryStat, NumaInput, Quota,
    SwapLevel, VmInput, Weight,
};
use view::policy::{CpuCount, CpuNumbers, CpuPossible, Policy};
use view::{
    Clock, CpuTimes, Cpus, Disks, HostMemory, HostNode, HostVm, HugePagePool, Memory, Nodes,
    ResourceView, Sample, Tasks, Vm,
};

/// The highest CPU: enough for two words of a mask.
const HIGHEST_CPU: u32 = 70;

type Bits<'a, 'b> = &'a mut Unstructured<'b>;

pub(crate) fn arbitrary(bits: Bits<'_, '_>) -> Result<ResourceView> {
    let policy = policy(bits)?;
    let memory = Memory::new(&memory(bits)?, Some(&hugetlb(bits)?), &host_memory(bits)?, &policy);
    let online = cpu_set(bits)?;
    let cpus = Cpus::by_policy(&cpu_input(bits)?, &online, &policy);
    let times = cpu_times(bits, &cpus)?;
    let io: Vec<_> = (0..bits.int_in_range(0..=3)?).map(|_| device(bits)).collect::<Result<_>>()?;
    let nodes = Nodes::new(&NumaInput::default(), &nodes(bits)?, &cpus, Some(&memory));
    let vm =
        Vm::new(VmInput::default(), &io, HostVm { page_size: bytes(bits)?, ..Default::default() });
    let sample = Sample {
        running: bits.arbitrary()?,
        blocked: bits.arbitrary()?,
        total: bits.arbitrary()?,
        last_pid: bits.arbitrary()?,
    };
    let siblings = cpus.visible().iter().map(|_| online.clone()).collect();
    let tasks = Tasks { averages: bits.arbitrary()?, sample };
    let clock = Clock { uptime: usec(bits)?, btime: bits.arbitrary()? };
    Ok(ResourceView {
        memory: maybe(bits, memory)?,
        cpu_times: maybe(bits, times)?,
        clock: maybe(bits, clock)?,
        tasks: maybe(bits, tasks)?,
        disks: maybe(bits, Disks::new(io, vec![(8, 0)]))?,
        vm: maybe(bits, vm)?,
        nodes: maybe(bits, nodes)?,
        thread_siblings: maybe(bits, siblings)?,
        cpus: maybe(bits, cpus)?,
        slabs: maybe(bits, b"slabinfo - version: 2.1\n".to_vec())?,
        user_hz: *bits.choose(&[0, 1, 100, 1000, u64::MAX])?,
    })
}

/// Any part may be the host's.
fn maybe<T>(bits: Bits<'_, '_>, part: T) -> Result<Option<T>> {
    Ok(bits.ratio(7, 8)?.then_some(part))
}

fn bytes(bits: Bits<'_, '_>) -> Result<Bytes> {
    Ok(Bytes(number(bits)?))
}

fn usec(bits: Bits<'_, '_>) -> Result<Usec> {
    Ok(Usec(number(bits)?))
}

/// Numbers at the ends of the range, and such as machines have.
fn number(bits: Bits<'_, '_>) -> Result<u64> {
    Ok(match bits.int_in_range(0..=4)? {
        0 => 0,
        1 => u64::MAX,
        2 => bits.arbitrary()?,
        _ => u64::from(bits.arbitrary::<u32>()?) << 10,
    })
}

fn limit(bits: Bits<'_, '_>) -> Result<Limit<Bytes>> {
    Ok(if bits.arbitrary()? { Limit::Max } else { Limit::Value(bytes(bits)?) })
}

fn cpu_set(bits: Bits<'_, '_>) -> Result<CpuSet> {
    let mut set = CpuSet::default();
    for _ in 0..bits.int_in_range(0..=6)? {
        set.insert(bits.int_in_range(0..=HIGHEST_CPU)?);
    }
    Ok(set)
}

fn policy(bits: Bits<'_, '_>) -> Result<Policy> {
    use CpuCount::{Cpuset, Quota, QuotaFloor, Shares};
    Ok(Policy {
        cpu_count: *bits.choose(&[Cpuset, Quota, QuotaFloor, Shares])?,
        cpu_numbers: *bits.choose(&[CpuNumbers::Kernel, CpuNumbers::Packed])?,
        cpu_possible: *bits.choose(&[CpuPossible::Safe, CpuPossible::Visible])?,
        cpu_weight_base: bits.arbitrary()?,
        swap: bits.arbitrary()?,
        zswap: bits.arbitrary()?,
        v1_swap_includes_memory: bits.arbitrary()?,
        ..Policy::default()
    })
}

fn memory(bits: Bits<'_, '_>) -> Result<MemoryInput> {
    let levels = (0..bits.int_in_range(0..=4)?).map(|_| level(bits)).collect::<Result<_>>()?;
    let stat = MemoryStat {
        anon: bytes(bits)?,
        file: bytes(bits)?,
        shmem: bytes(bits)?,
        swapcached: bytes(bits)?,
        active_anon: bytes(bits)?,
        inactive_file: bytes(bits)?,
        slab: bytes(bits)?,
        ..Default::default()
    };
    Ok(MemoryInput { levels, stat, swappiness: bits.arbitrary()? })
}

fn level(bits: Bits<'_, '_>) -> Result<MemoryLevel> {
    let swap = match bits.int_in_range(0..=2)? {
        0 => SwapLevel::Absent,
        1 => SwapLevel::Swap { max: limit(bits)?, current: bytes(bits)? },
        _ => SwapLevel::MemoryPlusSwap { limit: limit(bits)?, usage: bytes(bits)? },
    };
    Ok(MemoryLevel {
        limit: limit(bits)?,
        high: limit(bits)?,
        usage: bytes(bits)?,
        file: bytes(bits)?,
        slab_reclaimable: bytes(bits)?,
        swap,
    })
}

fn hugetlb(bits: Bits<'_, '_>) -> Result<Vec<HugetlbInput>> {
    (0..bits.int_in_range(0..=2)?)
        .map(|_| {
            Ok(HugetlbInput {
                size: bytes(bits)?,
                max: limit(bits)?,
                current: bytes(bits)?,
                reserved: bytes(bits)?,
            })
        })
        .collect()
}

fn host_memory(bits: Bits<'_, '_>) -> Result<HostMemory> {
    let text = format!(
        "MemTotal: {} kB\nMemFree: {} kB\nMemAvailable: {} kB\nSwapTotal: {} kB\nHugepagesize: {} kB\n",
        number(bits)?,
        number(bits)?,
        number(bits)?,
        number(bits)?,
        number(bits)?
    );
    Ok(HostMemory {
        totals: Totals::parse(text.as_bytes()),
        overcommit_ratio: number(bits)?,
        overcommit: Kib(number(bits)?),
        huge_page_pools: vec![HugePagePool { size: bytes(bits)?, pages: number(bits)? }],
    })
}

fn cpu_input(bits: Bits<'_, '_>) -> Result<CpuInput> {
    let quota = Quota { quota: usec(bits)?, period: Usec(number(bits)?.max(1)) };
    let weight = if bits.arbitrary()? {
        Weight::Shares(number(bits)?)
    } else {
        Weight::Weight(number(bits)?)
    };
    let cpuset = cpu_set(bits)?;
    Ok(CpuInput {
        cpuset: maybe(bits, cpuset)?,
        quota: maybe(bits, quota)?,
        weight: maybe(bits, weight)?,
    })
}

fn cpu_times(bits: Bits<'_, '_>, cpus: &Cpus) -> Result<CpuTimes> {
    let mut times = CpuTimes::default();
    for cpu in cpus.visible().iter() {
        let row = CpuTicks {
            user: Ticks(number(bits)?),
            system: Ticks(number(bits)?),
            idle: Ticks(number(bits)?),
            steal: Ticks(number(bits)?),
            ..Default::default()
        };
        times.total.add(&row);
        times.rows.push((cpu, row));
    }
    Ok(times.as_shown(cpus))
}

fn device(bits: Bits<'_, '_>) -> Result<DeviceIo> {
    Ok(DeviceIo {
        major: bits.int_in_range(7..=9)?,
        minor: bits.int_in_range(0..=2)?,
        rbytes: bytes(bits)?,
        wbytes: bytes(bits)?,
        dbytes: bytes(bits)?,
        rios: number(bits)?,
        wios: number(bits)?,
        dios: number(bits)?,
    })
}

fn nodes(bits: Bits<'_, '_>) -> Result<Vec<HostNode>> {
    (0..bits.int_in_range(0..=3)?)
        .map(|number| {
            Ok(HostNode {
                number,
                cpus: cpu_set(bits)?,
                total: Kib(self::number(bits)?),
                huge_pages: self::number(bits)?,
            })
        })
        .collect()
}
