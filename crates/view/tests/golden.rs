//! Every renderer over text captured from real kernels.
//!
//! `RESVIEW_BLESS=1 cargo test -p view --test golden` writes the golden files anew; read the
//! difference before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "common/captured.rs"]
mod captured;

use std::path::PathBuf;

use captured::{PAGE, files, has, online};
use procfmt::cpulist::CpuSet;
use procfmt::meminfo::{self, Totals};
use procfmt::stat::CpuTicks;
use procfmt::units::{Bytes, Kib, Ticks, Usec};
use procfmt::{
    cpuinfo, diskstats, loadavg, partitions, per_cpu, schedstat, stat, uptime, vmstat, zoneinfo,
};
use testkit::fixture;
use view::catalogue::{Sys, sys};
use view::input::{CpuInput, DeviceIo, Quota, VmInput};
use view::policy::CpuCount;
use view::{CpuTimes, Cpus, Disks, HostVm, ResourceView, Vm};

/// The captured hosts.
fn hosts() -> Vec<String> {
    let is_host = |name: &String| testkit::fixtures_dir().join(name).join("proc").is_dir();
    let hosts: Vec<_> = testkit::hosts().into_iter().filter(is_host).collect();
    assert!(hosts.len() >= 7, "fixtures are missing: {hosts:?}");
    hosts
}

/// A container of 50 MiB, 100 MiB of swap and one and a half CPUs on that host.
fn container(host: &str) -> ResourceView {
    let quota = Quota { quota: Usec(150_000), period: Usec(100_000) };
    let row = CpuTicks { user: Ticks(11), system: Ticks(3), idle: Ticks(86), ..Default::default() };
    captured::container(host, Some(quota), |visible| {
        let mut times = CpuTimes::default();
        for cpu in visible.iter() {
            times.total.add(&row);
            times.rows.push((cpu, row));
        }
        times
    })
}

fn render(host_text: &[u8], name: &str, view: &ResourceView) -> Vec<u8> {
    let mut out = Vec::new();
    let file = view::catalogue::proc_file(name).unwrap();
    (file.render)(host_text, view, &mut out).unwrap();
    out
}

#[test]
fn a_limited_container_gets_its_golden_files() {
    let bless = std::env::var_os("RESVIEW_BLESS").is_some();
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for host in hosts() {
        let view = container(&host);
        for file in files(&host) {
            let text = render(&fixture(&host, &format!("proc/{}", file.name)), file.name, &view);
            let path = golden.join(&host).join(file.name);
            if bless {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let expected = std::fs::read(&path).unwrap_or_default();
            let (text, expected) =
                (String::from_utf8_lossy(&text), String::from_utf8_lossy(&expected));
            assert_eq!(text, expected, "{}", path.display());
        }
    }
}

#[test]
fn arm32_caller_gets_32bit_cpuinfo() {
    let mut hosts_with_two = 0;
    for host in hosts().iter().filter(|host| has(host, "proc/cpuinfo.linux32")) {
        let view = container(host);
        let native = render(&fixture(host, "proc/cpuinfo"), "cpuinfo", &view);
        let text = fixture(host, "proc/cpuinfo.linux32");
        let own = render(&text, "cpuinfo", &view);
        let cpus = |text: &[u8]| cpuinfo::stanzas(text).filter_map(|s| s.cpu).collect::<CpuSet>();
        assert_eq!(cpus(&own), *view.cpus.as_ref().unwrap().visible(), "{host}");
        assert_eq!(cpus(&native), cpus(&own), "{host}: the same CPUs for both");
        // 32-bit programs look for these instruction sets; each row is the host's own.
        let (own, native) = (String::from_utf8_lossy(&own), String::from_utf8_lossy(&native));
        assert!(own.contains(" vfpv4 ") && !native.contains(" vfpv4 "), "{host}: {own}");
        let text = String::from_utf8_lossy(&text);
        assert!(own.lines().all(|line| text.lines().any(|of_host| of_host == line)), "{host}");
        hosts_with_two += 1;
    }
    assert!(hosts_with_two >= 3, "{hosts_with_two} hosts were captured both ways");
}

#[test]
fn with_no_limits_set_the_hosts_bytes_come_out_unchanged() {
    for host in hosts() {
        // A view that has parts, all of them the host's own, takes the long way through them.
        let everything = Cpus::new(&CpuInput::default(), &online(&host), CpuCount::Quota);
        let all_cpus = ResourceView { cpus: Some(everything), ..Default::default() };
        for file in files(&host) {
            let text = fixture(&host, &format!("proc/{}", file.name));
            assert!(render(&text, file.name, &ResourceView::default()) == text, "{host}");
            let long_way = render(&text, file.name, &all_cpus);
            let expected = match file.name {
                "interrupts" | "softirqs" => without_counts(&text, file.name, &online(&host)),
                _ => text,
            };
            let (text, expected) =
                (String::from_utf8_lossy(&long_way), String::from_utf8_lossy(&expected));
            assert!(text == expected, "{host} {}: {text} is not {expected}", file.name);
        }
    }
}

/// The host's table without what is never the container's: all rows of `interrupts`; of `softirqs`
/// the counts, and the columns of CPUs that are offline, which that file alone has.
fn without_counts(text: &[u8], file: &str, online: &CpuSet) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let (header, rows) = text.split_once('\n').unwrap();
    let is_online = |name: &&str| online.contains(name.trim_end()["CPU".len()..].parse().unwrap());
    let first = header.find("CPU").unwrap();
    let (blanks, mut names) = header.split_at(first);
    let mut columns = Vec::new();
    while !names.is_empty() {
        let (name, rest) = names.split_at(names[1..].find('C').map_or(names.len(), |at| at + 1));
        columns.push(name);
        names = rest;
    }
    let columns: Vec<_> = columns.into_iter().filter(is_online).collect();
    let mut expected = format!("{blanks}{}\n", columns.concat());
    if file == "softirqs" {
        for row in rows.lines() {
            let name = &row[..=row.find(':').unwrap()];
            expected += &format!("{name}{}\n", "          0".repeat(columns.len()));
        }
    }
    expected.into_bytes()
}

#[test]
fn parse_and_print_give_the_hosts_bytes() {
    for host in hosts() {
        let text = |name: &str| fixture(&host, &format!("proc/{name}"));
        let mut out = Vec::new();
        meminfo::parse(&text("meminfo")).for_each(|line| line.write(&mut out));
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&text("meminfo")),
            "{host}"
        );

        out.clear();
        uptime::Uptime::parse(&text("uptime")).unwrap().write(&mut out);
        loadavg::Loadavg::parse(&text("loadavg")).unwrap().write(&mut out);
        assert!(out == [text("uptime"), text("loadavg")].concat(), "{host}");

        let cpuinfo_text = text("cpuinfo");
        let joined: Vec<_> =
            cpuinfo::stanzas(&cpuinfo_text).flat_map(|s| s.text).copied().collect();
        assert!(joined == cpuinfo_text, "{host}");
        if has(&host, "proc/diskstats") {
            let text = text("diskstats");
            let all =
                diskstats::parse(&text).count() == text.split(|byte| *byte == b'\n').count() - 1;
            let columns = diskstats::parse(&text).all(|row| row.columns == 17);
            assert!(all && columns, "{host}: 17 counters in each row from 5.5 on");
        }
    }
}

#[test]
fn parse_and_print_give_the_hosts_bytes_of_tables() {
    for host in hosts().iter().filter(|host| has(host, "proc/zoneinfo")) {
        let text = |name: &str| fixture(host, &format!("proc/{name}"));
        let same = |out: &[u8], name: &str| {
            assert_eq!(
                String::from_utf8_lossy(out),
                String::from_utf8_lossy(&text(name)),
                "{host} {name}"
            );
        };
        let mut out = Vec::new();
        vmstat::parse(&text("vmstat")).for_each(|line| line.write(&mut out));
        same(&out, "vmstat");

        let mut out = partitions::HEADER.to_vec();
        partitions::parse(&text("partitions")).for_each(|row| row.write(&mut out));
        same(&out, "partitions");

        // Both tables have columns for the same CPUs; in softirqs also for those offline.
        let softirqs = text("softirqs");
        let header = softirqs.split(|&byte| byte == b'\n').next().unwrap();
        let names = String::from_utf8_lossy(header);
        let cpus = names.split_whitespace().map(|name| name["CPU".len()..].parse().unwrap());
        let mut out = Vec::new();
        per_cpu::write_header(per_cpu::indent(&softirqs).unwrap(), cpus, &mut out);
        assert_eq!(out.strip_suffix(b"\n").unwrap(), header, "{host} softirqs");
        let rows = softirqs.split(|&byte| byte == b'\n').count() - 2;
        assert_eq!(per_cpu::softirqs(&softirqs).count(), rows, "{host} softirqs");
        let interrupts = text("interrupts");
        let mut out = Vec::new();
        let indent = per_cpu::indent(&interrupts).unwrap();
        per_cpu::write_header(indent, online(host).iter(), &mut out);
        assert!(interrupts.starts_with(&out), "{host} interrupts");

        if has(host, "proc/schedstat") {
            let lines = schedstat::parse(&text("schedstat"))
                .filter(|line| *line == schedstat::Line::Cpu(9))
                .count();
            assert_eq!(lines, online(host).len() as usize, "{host} schedstat");
        }
        zones_print_as_the_hosts(host, &text("zoneinfo"));
    }
}

/// All of the host's lines but those about one CPU's pages.
fn zones_print_as_the_hosts(host: &str, text: &[u8]) {
    let mut out = Vec::new();
    for zone in zoneinfo::parse(text) {
        zone.write_header(&mut out);
        if !zone.node_stats.is_empty() {
            zoneinfo::write_node_stats_header(&mut out);
        }
        let own = |stat: &zoneinfo::Stat<'_>, out: &mut Vec<u8>| stat.write_with(stat.value, out);
        zone.node_stats.iter().chain(&zone.pages).for_each(|stat| own(stat, &mut out));
        out.extend_from_slice(b"        protection\n");
        zone.zone_stats.iter().chain(&zone.tail).for_each(|stat| own(stat, &mut out));
    }
    let text = String::from_utf8_lossy(text);
    let per_cpu = ["  pagesets", "    cpu:", "              ", "  vm stats"];
    let kept = text.lines().filter(|line| !per_cpu.iter().any(|start| line.starts_with(start)));
    let expected: String =
        kept.map(|line| line.split(": (").next().unwrap().to_owned() + "\n").collect();
    assert_eq!(String::from_utf8_lossy(&out), expected, "{host} zoneinfo");
}

#[test]
fn all_cpu_files_agree() {
    for host in hosts() {
        let view = container(&host);
        let visible = view.cpus.as_ref().unwrap().visible().clone();
        let text = |name: &str| render(&fixture(&host, &format!("proc/{name}")), name, &view);
        let cpuinfo_text = text("cpuinfo");
        let in_cpuinfo: CpuSet = cpuinfo::stanzas(&cpuinfo_text).filter_map(|s| s.cpu).collect();
        let stat_text = text("stat");
        let in_stat: CpuSet = stat::parse(&stat_text)
            .filter_map(|(line, _)| if let stat::Line::Cpu(cpu) = line { Some(cpu) } else { None })
            .collect();
        let mut in_online = Vec::new();
        let Sys::Virtual(online) = sys("devices/system/cpu/online") else {
            panic!("online is not virtual")
        };
        online.render(b"0\n", &view, &mut in_online).unwrap();
        assert_eq!(in_stat, visible, "{host}");
        assert_eq!(CpuSet::parse_list(&in_online).unwrap(), visible, "{host}");
        // Every architecture prints a stanza for each online CPU.
        assert_eq!(in_cpuinfo, visible, "{host}");
    }
}

#[test]
fn cpus_4096_not_truncated() {
    let largest = hosts().into_iter().max_by_key(|host| online(host).len()).unwrap();
    let online = online(&largest);
    assert!(online.len() >= 64, "{largest} has only {} CPUs", online.len());
    let view = ResourceView {
        cpus: Some(Cpus::new(
            &CpuInput { cpuset: Some(online.iter().skip(1).collect()), ..Default::default() },
            &online,
            CpuCount::Cpuset,
        )),
        ..Default::default()
    };
    let text = render(&fixture(&largest, "proc/cpuinfo"), "cpuinfo", &view);
    assert_eq!(
        cpuinfo::stanzas(&text).filter(|s| s.cpu.is_some()).count() + 1,
        online.len() as usize
    );
}

#[test]
fn no_host_memory_survives() {
    for host in hosts() {
        let totals = Totals::parse(&fixture(&host, "proc/meminfo"));
        let text = render(&fixture(&host, "proc/meminfo"), "meminfo", &container(&host));
        assert_eq!(Totals::parse(&text).mem_total, Kib(51_200), "{host}");
        for line in meminfo::parse(&text) {
            let is_hosts = line.value == totals.mem_total.0 || line.value == totals.mem_free.0;
            assert!(line.value == 0 || !is_hosts, "{host}: {}", String::from_utf8_lossy(line.key));
        }
    }
}

#[test]
fn vmstat_zoneinfo_interrupts_not_host() {
    // 50 MiB in pages; nothing else that is counted here is more.
    const MOST: u64 = 12_800;
    for host in hosts().iter().filter(|host| has(host, "proc/zoneinfo")) {
        let view = container(host);
        let text = |name: &str| render(&fixture(host, &format!("proc/{name}")), name, &view);
        for line in vmstat::parse(&text("vmstat")) {
            assert!(line.value <= MOST, "{host}: {}", String::from_utf8_lossy(line.key));
        }
        let zoneinfo = text("zoneinfo");
        let zones = zoneinfo::parse(&zoneinfo);
        assert_eq!(zones.iter().map(zoneinfo::Zone::managed).sum::<u64>(), MOST, "{host}");
        for zone in zones {
            let stats = zone.node_stats.iter().chain(&zone.pages).chain(&zone.zone_stats);
            for stat in stats.chain(&zone.tail) {
                assert!(stat.value <= MOST, "{host}: {}", String::from_utf8_lossy(stat.key));
            }
        }
        assert_eq!(text("interrupts").split(|&byte| byte == b'\n').count(), 2, "{host}");
    }
}

/// The host whose text has what a capture rarely has; see fixtures/disturb.
const ODD: &str = "x86_64-8-odd-derived";

#[test]
fn counters_at_their_greatest_come_out_whole() {
    const MOST: u64 = u64::MAX;
    for host in hosts() {
        let view = busiest(&host);
        for file in files(&host) {
            let text = render(&fixture(&host, &format!("proc/{}", file.name)), file.name, &view);
            let text = String::from_utf8(text).unwrap();
            let expected = match file.name {
                "stat" => format!("cpu  {MOST} 0 0 {MOST}"),
                "vmstat" => format!("\npgfault {MOST}\n"),
                "uptime" => format!(" {}.", MOST / 100),
                _ => continue,
            };
            assert!(text.contains(&expected), "{host} {}: {text}", file.name);
        }
    }
}

/// A container that has counted as far as one can.
fn busiest(host: &str) -> ResourceView {
    const MOST: u64 = u64::MAX;
    let mut view = container(host);
    let row = CpuTicks { user: Ticks(MOST), idle: Ticks(MOST), ..Default::default() };
    let times = view.cpu_times.as_mut().unwrap();
    times.total = row;
    times.rows.iter_mut().for_each(|(_, own)| *own = row);
    let bytes = Bytes(MOST);
    let device = |major| DeviceIo {
        major,
        rbytes: bytes,
        wbytes: bytes,
        rios: MOST,
        wios: MOST,
        ..Default::default()
    };
    let io = vec![device(104), device(254)];
    let counters = [(b"pgfault"[..].into(), MOST)];
    let input = VmInput { counters: counters.into(), oom_kills: MOST };
    let host_vm = HostVm { page_size: PAGE.bytes(), ..Default::default() };
    view.vm = Some(Vm::new(input, &io, host_vm));
    view.disks = Some(Disks::new(io, vec![(253, 0)]));
    view
}

#[test]
fn devices_with_blanks_and_exclamation_marks_keep_their_names() {
    const MOST: u64 = u64::MAX;
    let view = busiest(ODD);
    let text = |name: &str| {
        let text = render(&fixture(ODD, &format!("proc/{name}")), name, &view);
        String::from_utf8(text).unwrap()
    };
    let sectors = MOST / 512;
    let used = format!(" {MOST} 0 {sectors} 0 {MOST} 0 {sectors} 0{}", " 0".repeat(9));
    let idle = " 0".repeat(17);
    let expected = format!(
        " 254       0 vda{used}\n 104       0 cciss!c0d0{used}\n 253       0 a disk of mine{idle}\n"
    );
    assert_eq!(text("diskstats"), expected);
    let text = text("partitions");
    let names: Vec<_> = partitions::parse(text.as_bytes()).map(|row| row.name).collect();
    assert_eq!(names, [&b"vda"[..], b"cciss!c0d0", b"a disk of mine"], "{text}");
}

#[test]
fn lines_of_a_kernel_to_come_are_zero_or_not_there() {
    let view = container(ODD);
    for file in files(ODD) {
        let host = String::from_utf8(fixture(ODD, &format!("proc/{}", file.name))).unwrap();
        let own = String::from_utf8(render(host.as_bytes(), file.name, &view)).unwrap();
        let future = |text: &str| {
            let lines = text.lines().filter(|line| line.to_lowercase().contains("future"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let zero = |line: &String| line.replace("777", "  0");
        // As docs/files says of each.
        let expected: Vec<_> = match file.name {
            "meminfo" => future(&host).iter().map(zero).collect(),
            "vmstat" => vec!["nr_future 0".to_owned()],
            "softirqs" => vec![format!("      FUTURE:{}", "          0".repeat(2))],
            "zoneinfo" => vec!["      nr_future    0".to_owned(); zones(&own)],
            "cpuinfo" => future(&host)[..2].to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(future(&own), expected, "{}", file.name);
    }
}

/// How many zones a text has that count anything per node.
fn zones(text: &str) -> usize {
    text.matches("per-node stats").count()
}
