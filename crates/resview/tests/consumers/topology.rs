//! CPUs and NUMA nodes: the files in `/sys`, and the programs that read them, agree.

use std::path::Path;

use procfmt::cpulist::CpuSet;
use testkit::TestCgroup;

use crate::programs::works;
use crate::support::{Daemon, MIB, in_every_container, number, read, text, value};

const NODE: &str = "sys/devices/system/node";

/// The nodes of this machine that have memory.
fn nodes_with_memory() -> CpuSet {
    CpuSet::parse_list(read(Path::new("/sys/devices/system/node/has_memory")).as_bytes()).unwrap()
}

#[test]
fn lscpu_shows_one_cpu() {
    works("lscpu", |text| {
        let line = |key: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(line("CPU(s):"), "1", "{text}");
        assert_eq!(line("On-line CPU(s) list:"), "0", "{text}");
        assert_eq!(line("NUMA node0 CPU(s):"), "0", "{text}");
        assert_eq!(line("Thread(s) per core:"), "1", "{text}");
    });
    works("lscpu -p=CPU,NODE", |text| {
        let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows, ["0,0"]);
    });
}

#[test]
fn numactl_shows_the_containers_memory() {
    works("numactl -H", |text| {
        let values = |name: &str| -> Vec<String> {
            let of_node = |line: &&str| line.starts_with("node ") && line.contains(name);
            let lines = text.lines().filter(of_node);
            lines.map(|line| line.split(": ").nth(1).unwrap_or_default().to_owned()).collect()
        };
        let mib = |name: &str| -> Vec<u64> {
            let number = |value: &String| value.trim_end_matches(" MB").parse().unwrap();
            values(name).iter().map(number).collect()
        };
        assert_eq!(values(" cpus:").concat(), "0", "{text}");
        // Each node's size is cut to whole megabytes.
        let (sizes, free) = (mib(" size:"), mib(" free:"));
        let nodes = u64::try_from(sizes.len()).unwrap();
        let total: u64 = sizes.iter().sum();
        assert!((51 - nodes..=50).contains(&total), "{text}");
        assert!(sizes.iter().zip(&free).all(|(size, free)| free <= size), "{text}");
        let header = text.lines().next().unwrap();
        assert!(header.starts_with(&format!("available: {nodes} nodes")), "{text}");
        let rows = text.lines().skip_while(|line| !line.starts_with("node distances")).skip(2);
        let rows: Vec<_> = rows.filter(|line| line.contains(':')).collect();
        assert_eq!(rows.len(), sizes.len(), "{text}");
        assert!(rows.iter().all(|row| row.split_whitespace().count() == sizes.len() + 1), "{text}");
    });
}

#[test]
fn lstopo_draws_one_cpu() {
    works("lstopo-no-graphics --of console --no-io", |text| {
        assert_eq!(text.matches("PU L#").count(), 1, "{text}");
        assert!(text.contains("PU L#0 (P#0)"), "{text}");
        assert!(text.lines().next().unwrap().contains("50MB total"), "{text}");
    });
}

#[test]
fn sums_over_the_nodes_are_those_of_meminfo() {
    let script = format!(
        "cd /{NODE}
        all=$(cat node*/meminfo)
        sum() {{ echo \"$all\" | awk -v key=\"$1:\" '$3 == key {{sum += $4}} END {{print sum}}'; }}
        echo total=$(sum MemTotal)
        echo used=$(sum MemUsed)
        echo free=$(sum MemFree)
        echo hits=$(awk '{{sum += $2}} END {{print sum}}' node*/numastat)
        echo nodes=$(ls -d node[0-9]* | wc -l)
        echo blocks=$(ls -d node*/memory[0-9]* node*/compact node*/reclaim 2>/dev/null | wc -l)
        echo cpus=$(cat node*/cpulist)
        echo links=$(ls -d node*/cpu[0-9]* | tr '\\n' ' ')
        echo back=$(ls -d ../cpu/cpu0/node0/cpu0/topology)"
    );
    in_every_container("sums_over_the_nodes_are_those_of_meminfo", &script, |way, text| {
        assert_eq!(value(text, "total"), "51200", "{way:?}");
        assert!((number(text, "used") + number(text, "free") - 51_200.0).abs() < 0.5, "{text}");
        assert!(number(text, "free") > 0.0, "{way:?}");
        assert_eq!(value(text, "hits"), "0", "{way:?}");
        assert_eq!(value(text, "blocks"), "0", "{way:?}");
        assert_eq!(value(text, "cpus").trim(), "0", "{way:?}");
        assert_eq!(value(text, "links").trim(), "node0/cpu0", "{way:?}");
        assert_eq!(value(text, "back"), "../cpu/cpu0/node0/cpu0/topology", "{way:?}");
        let mut nodes = nodes_with_memory();
        nodes.insert(0);
        assert_eq!(value(text, "nodes"), nodes.len().to_string(), "{way:?}");
    });
}

#[test]
fn nproc_and_getconf_count_possible_and_online() {
    let test = "nproc_and_getconf_count_possible_and_online";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    let script = "echo all=$(nproc --all); echo conf=$(getconf _NPROCESSORS_CONF); \
        echo onln=$(getconf _NPROCESSORS_ONLN)";
    for runtime in ["runc", "crun"] {
        if !testkit::need_command(test, runtime) {
            continue;
        }
        // One CPU's worth of time on two CPUs: threads run on CPU 1 too, so it stays possible.
        let container = daemon.container(runtime, &["sh", "-c", script]);
        let output = container.memory(64 * MIB).quota(100_000, 100_000).cpuset("0-1").run();
        let text = text(runtime, &output);
        assert_eq!((value(&text, "all"), value(&text, "conf")), ("2", "2"), "{runtime}");
        assert_eq!(value(&text, "onln"), "1", "{runtime}");
    }
}

#[test]
fn nodes_follow_the_cpuset() {
    let test = "nodes_follow_the_cpuset";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    let cgroup = TestCgroup::new(test);
    cgroup.set_memory(64 * MIB);
    cgroup.set_cpuset("0");
    let nodes = nodes_with_memory();
    let last = nodes.max().unwrap();
    let cat = |files: &[&str]| {
        let files: Vec<_> =
            files.iter().map(|file| daemon.file(&format!("{NODE}/{file}"))).collect();
        in_cgroup(&cgroup, "cat \"$@\"", &files)
    };
    let mut seen = CpuSet::from_iter([last]);
    for mems in [nodes.clone(), seen.clone()] {
        let mut list = Vec::new();
        mems.write_list(&mut list);
        cgroup.write("cpuset", "cpuset.mems", std::str::from_utf8(&list).unwrap());
        let has_memory = cat(&["has_memory"]);
        assert_eq!(CpuSet::parse_list(has_memory.as_bytes()).unwrap(), mems);
        let total: u64 = mems
            .iter()
            .map(|node| {
                let meminfo = cat(&[&format!("node{node}/meminfo")]);
                procfmt::node_meminfo::value(meminfo.as_bytes(), b"MemTotal").unwrap()
            })
            .sum();
        assert_eq!(total, 64 << 10);
    }
    // CPU 0 keeps node 0 in sight, though no memory comes from there.
    seen.insert(0);
    assert_eq!(CpuSet::parse_list(cat(&["online"]).as_bytes()).unwrap(), seen);
    assert_eq!(cat(&["has_cpu"]), "0\n");
    let columns = cat(&["node0/distance"]).split_whitespace().count();
    assert_eq!(u32::try_from(columns).unwrap(), seen.len());
    let listed = in_cgroup(&cgroup, "ls -d \"$1\"/node[0-9]*", &[daemon.file(NODE)]);
    assert_eq!(u32::try_from(listed.lines().count()).unwrap(), seen.len(), "{listed}");
}

#[test]
fn a_container_confined_to_a_node_has_no_more_than_the_node() {
    let test = "a_container_confined_to_a_node_has_no_more_than_the_node";
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    // Without a limit: the nodes alone bound it. Where there is one node, that is the machine.
    let cgroup = TestCgroup::new(test);
    let nodes = nodes_with_memory();
    let machine = || procfmt::meminfo::Totals::parse(read(Path::new("/proc/meminfo")).as_bytes());
    for node in nodes.iter() {
        cgroup.write("cpuset", "cpuset.mems", &node.to_string());
        let files = [
            daemon.file("proc/meminfo"),
            daemon.file(&format!("{NODE}/node{node}/meminfo")),
            daemon.file("proc/zoneinfo"),
        ];
        let seen =
            |file: usize| in_cgroup(&cgroup, "cat \"$@\"", &[files[file].clone()]).into_bytes();
        let of_host = read(Path::new(&format!("/{NODE}/node{node}/meminfo")));
        let of_host = procfmt::node_meminfo::Totals::parse(of_host.as_bytes());
        let memory = procfmt::meminfo::Totals::parse(&seen(0));
        let most = if nodes.len() == 1 { machine().mem_total } else { of_host.mem_total };
        assert_eq!(memory.mem_total, most, "node {node}");
        assert!(memory.mem_free <= memory.mem_available, "{memory:?}");
        assert!(memory.mem_available <= memory.mem_total, "{memory:?}");
        let node_total = procfmt::node_meminfo::Totals::parse(&seen(1)).mem_total;
        assert_eq!(node_total, memory.mem_total, "node {node}");
        let zones = seen(2);
        let zones = procfmt::zoneinfo::parse(&zones);
        let pages: u64 = zones.iter().map(procfmt::zoneinfo::Zone::managed).sum();
        let page = u64::try_from(rustix::param::page_size()).unwrap() >> 10;
        assert_eq!(pages, memory.mem_total.0 / page, "node {node}");
        assert_eq!(memory.swap_total, machine().swap_total, "swap is no node's");
    }
}

/// What a shell script prints whose process is in the cgroup.
fn in_cgroup(cgroup: &TestCgroup, script: &str, arguments: &[std::path::PathBuf]) -> String {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("read go; {script}"), "sh"]).args(arguments);
    shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = shell.spawn().unwrap();
    cgroup.add_pid(child.id());
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
