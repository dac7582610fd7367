//! The files of `/sys/devices/system/{cpu,node}` over trees captured from real kernels, and those of
//! `/sys/block` that follow from the captured `/proc/diskstats`.
//!
//! `RESVIEW_BLESS=1 cargo test -p view --test golden_sys` writes the golden files anew; read the
//! difference before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use procfmt::cpulist::CpuSet;
use procfmt::diskstats;
use procfmt::meminfo::Totals;
use procfmt::node_meminfo;
use procfmt::units::{Bytes, Kib};
use testkit::fixture;
use view::catalogue::{SYS_DIRECTORIES, Sys, proc_file, sys};
use view::input::{CpuInput, DeviceIo, MemoryStat, NodeInput, NumaInput, VmInput};
use view::policy::CpuCount;
use view::{Cpus, Disks, HostNode, HostVm, Memory, Nodes, ResourceView, Vm};

const SYSTEM: &str = "sys/devices/system";

/// The captured hosts with NUMA nodes.
fn hosts() -> Vec<String> {
    let has_nodes = |host: &String| {
        testkit::fixtures_dir().join(host).join(SYSTEM).join("node/online").exists()
    };
    let hosts: Vec<_> = testkit::hosts().into_iter().filter(has_nodes).collect();
    assert!(hosts.len() >= 12, "fixtures are missing: {hosts:?}");
    hosts
}

/// All files below the served directories, relative to `/sys/devices/system`.
fn files(host: &str) -> Vec<String> {
    let top = testkit::fixtures_dir().join(host).join(SYSTEM);
    let mut files = Vec::new();
    let below =
        SYS_DIRECTORIES.iter().filter_map(|one| Path::new(one.name).strip_prefix(SYSTEM).ok());
    below.for_each(|one| walk(&top, one, &mut files));
    files.sort();
    files
}

fn walk(top: &Path, below: &Path, files: &mut Vec<String>) {
    let Ok(entries) = top.join(below).read_dir() else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            walk(top, &path, files);
        } else {
            files.push(path.to_str().unwrap().trim_end_matches(".gz").to_owned());
        }
    }
}

/// What becomes of a path relative to `/sys/devices/system`.
fn policy(path: &str) -> Sys {
    sys(&format!("devices/system/{path}"))
}

fn host_text(host: &str, path: &str) -> Vec<u8> {
    fixture(host, &format!("{SYSTEM}/{path}"))
}

fn host_set(host: &str, path: &str) -> CpuSet {
    CpuSet::parse_list(&host_text(host, path)).unwrap()
}

fn host_nodes(host: &str) -> Vec<HostNode> {
    let node = |number| {
        let meminfo = host_text(host, &format!("node/node{number}/meminfo"));
        HostNode {
            number,
            cpus: host_set(host, &format!("node/node{number}/cpulist")),
            total: Kib(node_meminfo::value(&meminfo, b"MemTotal").unwrap()),
            huge_pages: node_meminfo::value(&meminfo, b"HugePages_Total").unwrap(),
        }
    };
    host_set(host, "node/online").iter().map(node).collect()
}

/// The sets of CPUs that share a core, as far as they were captured.
fn siblings(host: &str, cpus: &CpuSet) -> Vec<CpuSet> {
    let file = |cpu| format!("cpu/cpu{cpu}/topology/thread_siblings_list");
    let there = |path: &String| testkit::fixtures_dir().join(host).join(SYSTEM).join(path).exists();
    cpus.iter().map(file).filter(there).map(|path| host_set(host, &path)).collect()
}

/// A container with these CPUs, memory of these nodes, and 24 MiB of 40 in use, most of it on the
/// last node.
fn container(host: &str, cpuset: Option<CpuSet>, mems: Option<CpuSet>) -> ResourceView {
    const MIB: u64 = 1 << 20;
    let online = host_set(host, "cpu/online");
    let input = CpuInput { cpuset, ..Default::default() };
    let cpus = Cpus::new(&input, &online, CpuCount::Cpuset);
    let host_nodes = host_nodes(host);
    let node = |mib: u64| {
        let stat = MemoryStat {
            anon: Bytes(mib * MIB),
            active_anon: Bytes(mib * MIB),
            kernel_stack: Bytes(64 << 10),
            ..Default::default()
        };
        NodeInput { stat, used: Bytes(mib * MIB + (64 << 10)), events: BTreeMap::new() }
    };
    let last = host_nodes.iter().rfind(|node| node.total > Kib(0)).unwrap().number;
    let nodes =
        host_nodes.iter().map(|one| (one.number, node(if one.number == last { 20 } else { 2 })));
    let numa = NumaInput { mems, nodes: Some(nodes.collect()), ..Default::default() };
    let memory = Memory {
        total: Kib(40 << 10),
        free: Kib(16 << 10),
        available: Kib(16 << 10),
        ..Default::default()
    };
    let sizes =
        HostVm { page_size: Bytes(4096), huge_page_size: Bytes(2 << 20), ..Default::default() };
    ResourceView {
        nodes: Some(Nodes::new(&numa, &host_nodes, &cpus, Some(&memory))),
        thread_siblings: Some(siblings(host, cpus.visible())),
        cpus: Some(cpus),
        memory: Some(memory),
        vm: Some(Vm::new(VmInput::default(), &[], sizes)),
        ..Default::default()
    }
}

/// The lowest and the highest CPU, and memory of the last node that has some.
fn cornered(host: &str) -> ResourceView {
    let online = host_set(host, "cpu/online");
    let cpuset = CpuSet::from_iter([online.iter().next().unwrap(), online.max().unwrap()]);
    let mems = host_set(host, "node/has_memory").max();
    container(host, Some(cpuset), Some(mems.into_iter().collect()))
}

/// Whether every directory on the way is there for the container.
fn reachable(path: &str, view: &ResourceView) -> bool {
    let ends = path.match_indices('/').map(|(end, _)| &path[..end]).chain([path]);
    ends.filter(|path| path.contains('/')).all(|path| match policy(path) {
        Sys::OfCpu(cpu) => view.cpus.as_ref().unwrap().visible().contains(cpu),
        Sys::OfNode(node) => view.nodes.as_ref().unwrap().get(node).is_some(),
        Sys::Absent => false,
        Sys::Virtual(_) | Sys::Host | Sys::Followed => true,
        Sys::OfDisk | Sys::ToDisk => panic!("{path} is no disk"),
    })
}

fn rendered(host: &str, path: &str, view: &ResourceView) -> Option<String> {
    let Sys::Virtual(file) = policy(path) else { return None };
    let mut out = Vec::new();
    let result = file.render(&host_text(host, path), view, &mut out);
    result.unwrap_or_else(|error| panic!("{host} {path}: {error}"));
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn a_container_in_a_corner_of_the_machine_gets_its_golden_files() {
    let bless = std::env::var_os("RESVIEW_BLESS").is_some();
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for host in hosts() {
        let view = cornered(&host);
        let mut text = String::new();
        for path in files(&host).into_iter().filter(|path| reachable(path, &view)) {
            if let Some(content) = rendered(&host, &path, &view) {
                let _ = write!(text, "== {path}\n{content}");
            }
        }
        let path = golden.join(&host).join("sys");
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{}", path.display());
    }
}

#[test]
fn with_no_limits_set_the_hosts_bytes_come_out_unchanged() {
    for host in hosts() {
        let everything = container(&host, None, None);
        for path in files(&host) {
            let Some(own) = rendered(&host, &path, &ResourceView::default()) else { continue };
            let text = String::from_utf8(host_text(&host, &path)).unwrap();
            assert_eq!(own, text, "{host} {path}");
            // Files about sets come out the same by the long way too. With a CPU offline, sets of
            // CPUs that might come cannot; `(null)` is what nohz_full says when there are none.
            let about_sets = !path.ends_with("/meminfo") && !path.contains("stat");
            let all_online = host_set(&host, "cpu/online") == host_set(&host, "cpu/possible");
            if about_sets && all_online && !text.contains("(null)") {
                assert_eq!(rendered(&host, &path, &everything).unwrap(), text, "{host} {path}");
            }
        }
    }
}

#[test]
fn node_meminfo_prints_as_the_kernel_does() {
    for host in hosts() {
        for path in files(&host).into_iter().filter(|path| path.starts_with("node/")) {
            if path.ends_with("/meminfo") {
                let text = host_text(&host, &path);
                let mut out = Vec::new();
                node_meminfo::parse(&text).for_each(|line| line.write(&mut out));
                let (out, text) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&text));
                assert_eq!(out, text, "{host} {path}");
            }
        }
    }
}

#[test]
fn sums_over_the_nodes_files_are_the_containers() {
    for host in hosts() {
        for view in [cornered(&host), container(&host, None, None)] {
            let nodes = view.nodes.as_ref().unwrap().numbers();
            let sum = |key: &[u8]| -> u64 {
                let file =
                    |node| rendered(&host, &format!("node/node{node}/meminfo"), &view).unwrap();
                let value = |node| node_meminfo::value(file(node).as_bytes(), key).unwrap();
                nodes.iter().map(value).sum()
            };
            assert_eq!(sum(b"MemTotal"), 40 << 10, "{host}");
            assert_eq!(sum(b"MemFree"), 16 << 10, "{host}");
            assert_eq!(sum(b"MemUsed"), 24 << 10, "{host}");
        }
    }
}

#[test]
fn no_host_memory_survives_in_a_nodes_files() {
    for host in hosts() {
        let view = cornered(&host);
        let totals = Totals::parse(&fixture(&host, "proc/meminfo"));
        for node in host_nodes(&host) {
            if view.nodes.as_ref().unwrap().get(node.number).is_none() {
                continue;
            }
            for name in ["meminfo", "vmstat", "numastat"] {
                let path = format!("node/node{}/{name}", node.number);
                let text = rendered(&host, &path, &view).unwrap();
                let host_text = String::from_utf8(host_text(&host, &path)).unwrap();
                assert_eq!(text.lines().count(), host_text.lines().count(), "{host} {path}");
                for (line, own) in host_text.lines().zip(text.lines()) {
                    let number = |line: &str| -> u64 {
                        let fields: Vec<_> = line.split_whitespace().collect();
                        let last = if line.ends_with("kB") { 2 } else { 1 };
                        fields[fields.len() - last].parse().unwrap()
                    };
                    let hosts = number(line);
                    let same = hosts == number(own) && hosts > 40 << 10;
                    assert!(
                        !same && (hosts == 0 || number(own) != totals.mem_total.0),
                        "{path} {own}"
                    );
                }
            }
        }
    }
}

/// `/sys/block/NAME/stat` of a captured host: the numbers of the disk's row, as wide as the kernel
/// prints them.
fn host_stat(row: &diskstats::Row<'_>) -> String {
    let numbers = std::str::from_utf8(row.text).unwrap().split_whitespace();
    let numbers: Vec<_> =
        numbers.rev().take(row.columns).map(|word| format!("{word:>8}")).collect();
    numbers.into_iter().rev().collect::<Vec<_>>().join(" ") + "\n"
}

/// A file of the disk as the container reads it.
fn of_disk(row: &diskstats::Row<'_>, name: &str, host: &str, view: &ResourceView) -> String {
    let path = format!("block/{}/{name}", std::str::from_utf8(row.name).unwrap());
    let Sys::Virtual(file) = sys(&path) else { panic!("{path} is not virtual") };
    let mut out = Vec::new();
    let device = Some((row.major, row.minor));
    file.about(device).render(host.as_bytes(), view, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn stat_of_every_disk_agrees_with_proc_diskstats() {
    let mut disks = 0;
    for host in hosts() {
        let text = fixture(&host, "proc/diskstats");
        let rows: Vec<_> = diskstats::parse(&text).collect();
        // Every other disk is used, all are mounted.
        let io = |row: &diskstats::Row<'_>| DeviceIo {
            major: row.major,
            minor: row.minor,
            rios: 41,
            rbytes: Bytes(168_960),
            wios: 5,
            wbytes: Bytes(123_456_789 << 9),
            ..Default::default()
        };
        let used = rows.iter().step_by(2).map(io).collect();
        let mounted = rows.iter().map(|row| (row.major, row.minor)).collect();
        let view = ResourceView { disks: Some(Disks::new(used, mounted)), ..Default::default() };
        let mut own = Vec::new();
        (proc_file("diskstats").unwrap().render)(&text, &view, &mut own).unwrap();
        let own = String::from_utf8(own).unwrap();
        assert_eq!(own.lines().count(), rows.len(), "{host}");
        for (row, own) in rows.iter().zip(own.lines()) {
            let stat = host_stat(row);
            assert_eq!(of_disk(row, "stat", &stat, &ResourceView::default()), stat, "{host}");
            let rendered = of_disk(row, "stat", &stat, &view);
            // A name may hold blanks.
            let words = 2 + row.name.split(|&byte| byte == b' ').count();
            let numbers = own.split_whitespace().skip(words);
            assert!(rendered.split_whitespace().eq(numbers), "{host} {own}: {rendered}");
            let inflight = of_disk(row, "inflight", "       3       12\n", &view);
            assert_eq!(inflight, "       0        0\n", "{host}");
            disks += 1;
        }
    }
    assert!(disks > 20, "{disks} disks in all fixtures");
}

#[test]
fn stat_of_a_disk_is_as_the_kernel_prints_it() {
    let io =
        DeviceIo { major: 254, minor: 0, rios: 41, rbytes: Bytes(168_960), ..Default::default() };
    let disks = Disks::new(vec![io], Vec::new());
    let view = ResourceView { disks: Some(disks), ..Default::default() };
    let text = b" 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
    let row = diskstats::parse(text).next().unwrap();
    let expected = "      41        0      330        0        0        0        0        0        \
                    0        0        0        0        0        0        0        0        0\n";
    assert_eq!(of_disk(&row, "stat", &host_stat(&row), &view), expected);
}
