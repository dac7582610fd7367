//! The files of `/proc`, from captured host text, and the parts of the view that cost most.

use std::hint::black_box;

use anyhow::{Result, ensure};
use procfmt::cpulist::CpuSet;
use procfmt::limit::Limit;
use procfmt::meminfo::Totals;
use procfmt::units::{Bytes, Kib, Usec};
use procfmt::{stat, zoneinfo};
use testkit::{fixture, fixtures_dir};
use view::catalogue::PROC_FILES;
use view::input::{
    CpuInput, CpuTimeInput, DeviceIo, MemoryInput, MemoryLevel, MemoryStat, NumaInput, SwapLevel,
    VmInput,
};
use view::policy::{CpuCount, Policy};
use view::{
    Clock, CpuAccount, Cpus, DirtyLimit, Disks, Hint, HostMemory, HostNode, HostVm, Memory, Nodes,
    ResourceView, Sample, Step, Tasks, Vm,
};

use crate::HotPath;

/// Captured hosts of 2 and of 64 CPUs; the containers see them all.
const HOSTS: [(&str, &str); 2] = [("x86_64-2-6.18", "2-cpus"), ("x86_64-64-6.12", "64-cpus")];

const MIB: u64 = 1 << 20;
const USER_HZ: u64 = 100;

pub(crate) fn paths() -> Result<Vec<HotPath>> {
    let mut paths = Vec::new();
    for (host, size) in HOSTS {
        paths.extend(files(host, size)?);
        paths.push(totals(host, size));
        paths.push(memory(host, size));
        paths.push(account(host, size));
    }
    Ok(paths)
}

/// Each file of the catalogue that was captured of the host.
fn files(host: &str, size: &str) -> Result<Vec<HotPath>> {
    let mut paths = Vec::new();
    for file in &PROC_FILES {
        let path = format!("proc/{}", file.name);
        let captured = fixtures_dir().join(host).join(&path);
        if !captured.exists() && !captured.with_extension("gz").exists() {
            continue;
        }
        let (text, view) = (fixture(host, &path), container(host));
        let mut out = Vec::new();
        paths.push(HotPath::new(format!("view/{}/{size}", file.name), move || {
            out.clear();
            (file.render)(black_box(&text), &view, &mut out)?;
            Ok(())
        }));
    }
    ensure!(paths.len() >= 12, "files were not captured of {host}: see fixtures/README.md");
    Ok(paths)
}

/// The host's totals, read before a container's memory is told.
fn totals(host: &str, size: &str) -> HotPath {
    let text = fixture(host, "proc/meminfo");
    HotPath::new(format!("procfmt/meminfo-totals/{size}"), move || {
        ensure!(Totals::parse(black_box(&text)).mem_total.0 > 0, "no MemTotal");
        Ok(())
    })
}

/// The memory part of a container three cgroups deep.
fn memory(host: &str, size: &str) -> HotPath {
    let (mut input, host) = (memory_input(), host_memory(host));
    input.levels = vec![input.levels[0].clone(); 3];
    HotPath::new(format!("view/memory/{size}"), move || {
        black_box(Memory::new(black_box(&input), Some(&[]), &host, &Policy::default()));
        Ok(())
    })
}

/// A step of the CPU account, as each read of stat makes one.
fn account(host: &str, size: &str) -> HotPath {
    let visible = online(host);
    let mut input = cpu_time();
    let mut now = Usec(1_000_000_000);
    let mut account = CpuAccount::open(&step(now, &input, &visible), Usec(900_000_000));
    HotPath::new(format!("view/cpu-account/{size}"), move || {
        now.0 += 1_000_000;
        input.user.0 += 700_000;
        input.system.0 += 100_000;
        account.step(&step(now, &input, &visible));
        let rows = account.times(&visible, USER_HZ).rows.len();
        ensure!(rows == usize::try_from(visible.len())?, "{rows} rows");
        Ok(())
    })
}

fn step<'a>(now: Usec, input: &'a CpuTimeInput, visible: &'a CpuSet) -> Step<'a> {
    Step { now, input, visible, hint: Hint::None }
}

/// The kernel prints a row for each online CPU.
fn online(host: &str) -> CpuSet {
    stat::busy_ticks(&fixture(host, "proc/stat")).map(|(cpu, _)| cpu).collect()
}

fn cpu_time() -> CpuTimeInput {
    let (user, system) = (Usec(400_000_000), Usec(90_000_000));
    CpuTimeInput { user, system, ..Default::default() }
}

fn memory_input() -> MemoryInput {
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

fn host_memory(host: &str) -> HostMemory {
    let totals = Totals::parse(&fixture(host, "proc/meminfo"));
    HostMemory { totals, overcommit_ratio: 50, ..Default::default() }
}

/// A container with a limit of memory and all CPUs of that host.
fn container(host: &str) -> ResourceView {
    let memory = Memory::new(&memory_input(), Some(&[]), &host_memory(host), &Policy::default());
    let cpus = Cpus::new(&CpuInput::default(), &online(host), CpuCount::Quota);
    let time = cpu_time();
    let account =
        CpuAccount::open(&step(Usec(1_000_000), &time, cpus.visible()), Usec(900_000_000));
    let io = vec![DeviceIo { major: 254, rios: 7, rbytes: Bytes(MIB), ..Default::default() }];
    let counters = [(b"pgfault"[..].into(), 21), (b"workingset_refault_file"[..].into(), 22)];
    let vm_input = VmInput { counters: counters.into(), oom_kills: 23 };
    let dirty = DirtyLimit { ratio: 20, ..Default::default() };
    let (page_size, huge_page_size) = (Kib(4).bytes(), Bytes(2 * MIB));
    let host_vm = HostVm { page_size, huge_page_size, dirty, ..Default::default() };
    let sample = Sample { running: 1, blocked: 0, total: 3, last_pid: 42 };
    ResourceView {
        nodes: Some(Nodes::new(&NumaInput::default(), &nodes(host), &cpus, Some(&memory))),
        vm: Some(Vm::new(vm_input, &io, host_vm)),
        slabs: Some(Vec::new()),
        memory: Some(memory),
        cpu_times: Some(account.times(cpus.visible(), USER_HZ)),
        cpus: Some(cpus),
        clock: Some(Clock { uptime: Usec(1_000_000), btime: None }),
        tasks: Some(Tasks { averages: [12, 5, 1], sample }),
        disks: Some(Disks::new(io, vec![(259, 0)])),
        thread_siblings: None,
        user_hz: USER_HZ,
    }
}

/// The host's nodes with memory, as far as its zones tell.
fn nodes(host: &str) -> Vec<HostNode> {
    let text = fixture(host, "proc/zoneinfo");
    let mut nodes: Vec<HostNode> = Vec::new();
    for zone in zoneinfo::parse(&text) {
        let total = Kib(zone.managed() * 4);
        match nodes.iter_mut().find(|node| node.number == zone.node) {
            Some(node) => node.total += total,
            None => nodes.push(HostNode { number: zone.node, total, ..Default::default() }),
        }
    }
    nodes
}
