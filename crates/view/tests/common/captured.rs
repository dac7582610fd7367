//! A container on a captured host, for whoever renders files for it.

use procfmt::cpulist::CpuSet;
use procfmt::limit::Limit;
use procfmt::meminfo::Totals;
use procfmt::units::{Bytes, Kib, Usec};
use procfmt::{stat, zoneinfo};
use testkit::{fixture, fixtures_dir};
use view::catalogue::{PROC_FILES, ProcFile};
use view::input::{
    CpuInput, DeviceIo, MemoryInput, MemoryLevel, MemoryStat, NumaInput, Quota, SwapLevel, VmInput,
};
use view::policy::Policy;
use view::{
    Clock, CpuTimes, Cpus, DirtyLimit, Disks, HostMemory, HostNode, HostVm, Memory, Nodes,
    ResourceView, Sample, Tasks, Vm,
};

const MIB: u64 = 1 << 20;
pub(crate) const USER_HZ: u64 = 100;
/// The page size of all captured hosts.
pub(crate) const PAGE: Kib = Kib(4);

/// Whether a file was captured; of some hosts only a few were.
pub(crate) fn has(host: &str, path: &str) -> bool {
    let dir = fixtures_dir().join(host);
    dir.join(path).exists() || dir.join(format!("{path}.gz")).exists()
}

/// The files of the catalogue that were captured of a host.
pub(crate) fn files(host: &str) -> impl Iterator<Item = &'static ProcFile> {
    PROC_FILES.iter().filter(move |file| has(host, &format!("proc/{}", file.name)))
}

/// The kernel prints a row for each online CPU.
pub(crate) fn online(host: &str) -> CpuSet {
    stat::busy_ticks(&fixture(host, "proc/stat")).map(|(cpu, _)| cpu).collect()
}

pub(crate) fn host_memory(host: &str) -> HostMemory {
    let totals = Totals::parse(&fixture(host, "proc/meminfo"));
    HostMemory { totals, overcommit_ratio: 50, ..Default::default() }
}

/// The host's nodes with memory, as far as its zones tell.
fn nodes(host: &str) -> Vec<HostNode> {
    let text = if has(host, "proc/zoneinfo") { fixture(host, "proc/zoneinfo") } else { vec![] };
    let mut nodes: Vec<HostNode> = Vec::new();
    for zone in zoneinfo::parse(&text) {
        let total = Kib(zone.managed() * PAGE.0);
        match nodes.iter_mut().find(|node| node.number == zone.node) {
            Some(node) => node.total += total,
            None => nodes.push(HostNode { number: zone.node, total, ..Default::default() }),
        }
    }
    nodes
}

/// A limit of 50 MiB, and 100 MiB of swap.
pub(crate) fn memory_input() -> MemoryInput {
    let level = MemoryLevel {
        limit: Limit::Value(Bytes(50 * MIB)),
        high: Limit::Max,
        usage: Bytes(20 * MIB),
        file: Bytes(5 * MIB),
        slab_reclaimable: Bytes(MIB),
        swap: SwapLevel::Swap { max: Limit::Value(Bytes(100 * MIB)), current: Bytes(MIB) },
    };
    let stat = MemoryStat { anon: Bytes(9 * MIB), file: Bytes(6 * MIB), ..Default::default() };
    MemoryInput { levels: vec![level], stat, swappiness: None }
}

/// A container of that memory on that host, with the host's CPUs as far as `quota` goes, and with
/// what it has used of those that it sees.
pub(crate) fn container(
    host: &str,
    quota: Option<Quota>,
    used: impl FnOnce(&CpuSet) -> CpuTimes,
) -> ResourceView {
    let policy = Policy::default();
    let memory = Memory::new(&memory_input(), Some(&[]), &host_memory(host), &policy);
    let cpus =
        Cpus::new(&CpuInput { quota, ..Default::default() }, &online(host), policy.cpu_count);
    let io = vec![DeviceIo { major: 254, rios: 7, rbytes: Bytes(MIB), ..Default::default() }];
    let counters = [(b"pgfault"[..].into(), 21), (b"workingset_refault_file"[..].into(), 22)];
    let vm_input = VmInput { counters: counters.into(), oom_kills: 23 };
    let dirty = DirtyLimit { ratio: 20, ..Default::default() };
    let (page_size, huge_page_size) = (PAGE.bytes(), Bytes(2 * MIB));
    let host_vm = HostVm { page_size, huge_page_size, dirty, ..Default::default() };
    let sample = Sample { running: 1, blocked: 0, total: 3, last_pid: 42 };
    ResourceView {
        nodes: Some(Nodes::new(&NumaInput::default(), &nodes(host), &cpus, Some(&memory))),
        vm: Some(Vm::new(vm_input, &io, host_vm)),
        slabs: Some(Vec::new()),
        memory: Some(memory),
        cpu_times: Some(used(cpus.visible())),
        cpus: Some(cpus),
        clock: Some(Clock { uptime: Usec(1_000_000), btime: None }),
        tasks: Some(Tasks { averages: [12, 5, 1], sample }),
        disks: Some(Disks::new(io, vec![(259, 0)])),
        thread_siblings: None,
        user_hz: USER_HZ,
    }
}
