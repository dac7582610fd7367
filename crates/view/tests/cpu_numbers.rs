//! One set of CPUs under one numbering in every file, with gaps and without.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write;

use procfmt::cpuinfo::stanzas;
use procfmt::cpulist::CpuSet;
use procfmt::stat::{CpuTicks, busy_ticks};
use procfmt::units::{Ticks, Usec};
use proptest::prelude::*;
use view::catalogue::{Sys, proc_file, sys};
use view::input::{CpuInput, Quota};
use view::policy::{CpuNumbers, CpuPossible, Policy};
use view::{CpuTimes, Cpus, ResourceView};

/// The CPUs of the host.
const CPUS: u32 = 48;

fn cpuinfo() -> String {
    (0..CPUS).fold(String::new(), |mut text, cpu| {
        let (package, core) = (cpu / 24, cpu / 2 % 12);
        write!(
            text,
            "processor\t: {cpu}\nphysical id\t: {package}\nsiblings\t: 24\n\
             core id\t\t: {core}\ncpu cores\t: 12\n\n"
        )
        .unwrap();
        text
    })
}

fn rows(before: &str, numbers: &str) -> String {
    (0..CPUS).fold(before.to_owned(), |text, cpu| format!("{text}cpu{cpu} {numbers}\n"))
}

fn view(cpus: Cpus) -> ResourceView {
    // Each CPU's row tells which of the kernel's it is.
    let row = |cpu| (cpu, CpuTicks { user: Ticks(1000 + u64::from(cpu)), ..Default::default() });
    let times =
        CpuTimes { rows: cpus.visible().iter().map(row).collect(), total: CpuTicks::default() };
    let cpu_times = Some(times.as_shown(&cpus));
    ResourceView { cpus: Some(cpus), cpu_times, user_hz: 100, ..Default::default() }
}

fn proc(name: &str, host: &str, view: &ResourceView) -> Vec<u8> {
    let mut out = Vec::new();
    (proc_file(name).unwrap().render)(host.as_bytes(), view, &mut out).unwrap();
    out
}

fn list(path: &str, view: &ResourceView) -> CpuSet {
    let Sys::Virtual(file) = sys(&format!("devices/system/{path}")) else {
        panic!("{path} is not virtual")
    };
    let mut out = Vec::new();
    file.render(format!("0-{}\n", CPUS - 1).as_bytes(), view, &mut out).unwrap();
    CpuSet::parse_list(&out).unwrap()
}

/// The CPUs in the header of interrupts or softirqs.
fn header(text: &[u8]) -> CpuSet {
    let first = String::from_utf8_lossy(text).lines().next().unwrap_or("").to_owned();
    first
        .split_whitespace()
        .map(|name| name.strip_prefix("CPU").unwrap().parse().unwrap())
        .collect()
}

/// The CPUs of rows `cpuN`.
fn numbered_rows(text: &[u8]) -> CpuSet {
    let text = String::from_utf8_lossy(text);
    let numbers = text.lines().filter_map(|line| {
        line.strip_prefix("cpu")?.split(' ').next().filter(|digits| !digits.is_empty())
    });
    numbers.map(|digits| digits.parse().unwrap()).collect()
}

fn policies() -> impl Strategy<Value = Policy> {
    let numbers = prop_oneof![Just(CpuNumbers::Kernel), Just(CpuNumbers::Packed)];
    let possible = prop_oneof![Just(CpuPossible::Safe), Just(CpuPossible::Visible)];
    (numbers, possible).prop_map(|(cpu_numbers, cpu_possible)| Policy {
        cpu_numbers,
        cpu_possible,
        ..Policy::default()
    })
}

proptest! {
    #[test]
    fn all_cpu_files_agree(
        cpuset in proptest::collection::btree_set(0..CPUS, 1..20),
        tenths in proptest::option::of(1u64..400),
        policy in policies(),
    ) {
        let quota = tenths.map(|q| Quota { quota: Usec(q * 10_000), period: Usec(100_000) });
        let input = CpuInput {
            cpuset: Some(cpuset.iter().copied().collect()),
            quota,
            weight: None,
        };
        let cpus = Cpus::by_policy(&input, &CpuSet::first(CPUS), &policy);
        let shown = cpus.shown().clone();
        let is_packed = policy.cpu_numbers == CpuNumbers::Packed;
        prop_assert_eq!(&shown, &if is_packed { CpuSet::first(cpus.count()) } else { cpus.visible().clone() });
        let (visible, view) = (cpus.visible().clone(), view(cpus));

        let cpuinfo = proc("cpuinfo", &cpuinfo(), &view);
        let in_cpuinfo: CpuSet = stanzas(&cpuinfo).filter_map(|stanza| stanza.cpu).collect();
        prop_assert_eq!(&in_cpuinfo, &shown);
        let stat = proc("stat", &rows("cpu  0 0 0 0\n", "0 0 0 0"), &view);
        prop_assert_eq!(&numbered_rows(&stat), &shown);
        prop_assert_eq!(&numbered_rows(&proc("schedstat", &rows("version 17\n", "0 0 0 0 0 0 0 0 0"), &view)), &shown);
        for name in ["interrupts", "softirqs"] {
            prop_assert_eq!(&header(&proc(name, "CPU0\n", &view)), &shown);
        }
        for path in ["cpu/online", "cpu/present", "cpu/isolated", "cpu/cpu0/topology/core_cpus_list", "node/node0/cpulist"] {
            prop_assert_eq!(&list(path, &view), &shown, "{}", path);
        }
        let (possible, offline) = (list("cpu/possible", &view), list("cpu/offline", &view));
        prop_assert_eq!(&possible.difference(&shown), &offline);
        match policy.cpu_possible {
            CpuPossible::Visible => prop_assert!(offline.is_empty() && possible == shown),
            // Whatever CPU a thread may run on, an array of this size has room for it.
            CpuPossible::Safe => prop_assert_eq!(possible.max(), cpuset.last().copied()),
        }
        // The i-th row is the i-th CPU's, whatever its number.
        let busy: Vec<_> = busy_ticks(&stat).map(|(_, ticks)| ticks.0).collect();
        let expected: Vec<_> = visible.iter().map(|cpu| 1000 + u64::from(cpu)).collect();
        prop_assert_eq!(busy, expected);
    }
}

/// Some JVMs do not start where the processors are 8, 23, …
#[test]
fn packed_numbers_have_no_gaps() {
    let input = CpuInput { cpuset: CpuSet::parse_list(b"8,23,40").ok(), ..Default::default() };
    let policy = Policy { cpu_numbers: CpuNumbers::Packed, ..Policy::default() };
    let view = view(Cpus::by_policy(&input, &CpuSet::first(CPUS), &policy));
    let text = String::from_utf8(proc("cpuinfo", &cpuinfo(), &view)).unwrap();
    let numbers: Vec<_> = text.lines().filter(|line| line.starts_with("processor")).collect();
    assert_eq!(numbers, ["processor\t: 0", "processor\t: 1", "processor\t: 2"]);
    assert_eq!(list("cpu/online", &view).to_string(), "0-2");
    // CPUs 40 and 41 share a core; the container has the first, and sees it as CPU 2.
    let Sys::Virtual(mask) = sys("devices/system/cpu/cpu2/topology/thread_siblings") else {
        panic!()
    };
    let mut out = Vec::new();
    mask.render(b"0300,00000000\n", &view, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "0000,00000004\n");
}

/// The text that arm64 prints for 32-bit programs has the same CPUs.
#[test]
fn arm32_caller_gets_32bit_cpuinfo() {
    let hosts = testkit::hosts().into_iter().filter(|host| host.starts_with("aarch64-"));
    let mut seen = 0;
    for host in hosts {
        let text = |name: &str| testkit::fixture(&host, &format!("proc/{name}"));
        let (native, linux32) = (text("cpuinfo"), text("cpuinfo.linux32"));
        let online: CpuSet = stanzas(&native).filter_map(|stanza| stanza.cpu).collect();
        let last = online.max().unwrap();
        let input = CpuInput { cpuset: Some([last].into_iter().collect()), ..Default::default() };
        let policy = Policy { cpu_numbers: CpuNumbers::Packed, ..Policy::default() };
        let view = view(Cpus::by_policy(&input, &online, &policy));
        let mut out = Vec::new();
        (proc_file("cpuinfo").unwrap().render)(&linux32, &view, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.matches("processor\t: ").count(), 1, "{host}: {out}");
        assert!(out.contains("processor\t: 0\n"), "{host}: {out}");
        // A 32-bit feature that no 64-bit text has.
        let is_32bit = |text: &str| text.contains(" vfpv4 ");
        assert!(is_32bit(&out) && !is_32bit(&String::from_utf8_lossy(&native)), "{host}: {out}");
        seen += 1;
    }
    assert!(seen >= 3, "{seen} hosts");
}
