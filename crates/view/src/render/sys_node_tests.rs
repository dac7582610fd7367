use std::collections::BTreeMap;

use procfmt::units::{Bytes, Kib};

use super::*;
use crate::input::{CpuInput, MemoryStat, NodeInput, NumaInput, VmInput};
use crate::policy::CpuCount;
use crate::render::Renderer;
use crate::{Cpus, HostNode, HostVm, Memory, Vm};

/// CPUs 0-3 of nodes 0 and 1, memory of node 0 and 2; node 2 is what another host would call 5.
fn view() -> ResourceView {
    let set = |list: &str| CpuSet::parse_list(list.as_bytes()).unwrap();
    let node =
        |number, cpus: &str| HostNode { number, cpus: set(cpus), total: Kib(1024), huge_pages: 0 };
    let host = [node(0, "0-1"), node(1, "2-3"), node(2, "4-5"), node(5, "")];
    let input = CpuInput { cpuset: Some(set("0-3")), ..Default::default() };
    let cpus = Cpus::new(&input, &set("0-5"), CpuCount::Cpuset);
    let on_five = NodeInput {
        stat: MemoryStat {
            anon: Bytes(8192),
            kernel_stack: Bytes(16 << 10),
            anon_thp: Bytes(2 << 20),
            ..Default::default()
        },
        used: Bytes(24 << 10),
        events: BTreeMap::from([(b"pgdemote_direct"[..].into(), 3)]),
    };
    let numa = NumaInput {
        mems: Some(set("0,5")),
        nodes: Some(BTreeMap::from([(5, on_five)])),
        ..Default::default()
    };
    let memory = Memory { total: Kib(400), free: Kib(376), ..Default::default() };
    let pages =
        HostVm { page_size: Bytes(4096), huge_page_size: Bytes(2 << 20), ..Default::default() };
    ResourceView {
        nodes: Some(Nodes::new(&numa, &host, &cpus, Some(&memory))),
        cpus: Some(cpus),
        memory: Some(memory),
        vm: Some(Vm::new(VmInput::default(), &[], pages)),
        ..Default::default()
    }
}

fn text(render: Renderer, host: &str) -> String {
    let mut out = Vec::new();
    render(host.as_bytes(), &view(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn lists_have_the_containers_nodes() {
    assert_eq!(text(list, "0-2,5\n"), "0-1,5\n");
    assert_eq!(text(list, "\n"), "\n");
    assert_eq!(text(has_cpu, "0-2\n"), "0-1\n");
    assert_eq!(text(has_memory, "0-1,5\n"), "0,5\n");
}

#[test]
fn a_row_of_distances_has_a_column_for_each_node() {
    assert_eq!(text(distance, "10 20 30 50\n"), "10 20 50\n");
    let mut out = Vec::new();
    assert!(distance(b"10 20\n", &view(), &mut out).is_err());
}

#[test]
fn numastat_shows_nothing_of_the_host() {
    assert_eq!(text(numastat, "numa_hit 7\nother_node 7\n"), "numa_hit 0\nother_node 0\n");
}

#[test]
fn no_host_line_left_in_a_nodes_meminfo() {
    let host = b"Node 5 MemTotal:        7777777 kB\nNode 5 MemFree:         7777777 kB\n\
        Node 5 MemUsed:         7777777 kB\nNode 5 AnonPages:       7777777 kB\n\
        Node 5 Mlocked:         7777777 kB\nNode 5 Future:          7777777 kB\n";
    let mut out = Vec::new();
    meminfo(host, 5, &view(), &mut out).unwrap();
    let expected = "Node 5 MemTotal:            200 kB\nNode 5 MemFree:             176 kB\n\
        Node 5 MemUsed:              24 kB\nNode 5 AnonPages:             8 kB\n\
        Node 5 Mlocked:               0 kB\nNode 5 Future:                0 kB\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert!(meminfo(b"garbage\n", 5, &view(), &mut Vec::new()).is_err());
}

#[test]
fn vmstat_of_a_node_counts_pages() {
    let host = b"nr_free_pages 9\nnr_anon_pages 9\nnr_kernel_stack 9\nnuma_hit 9\n\
        nr_anon_transparent_hugepages 9\npgdemote_direct 9\nworkingset_nodes 9\n";
    let mut out = Vec::new();
    vmstat(host, 5, &view(), &mut out).unwrap();
    let expected = "nr_free_pages 44\nnr_anon_pages 2\nnr_kernel_stack 16\nnuma_hit 0\n\
        nr_anon_transparent_hugepages 1\npgdemote_direct 3\nworkingset_nodes 0\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn without_a_view_of_its_own_the_host_is_unchanged() {
    let host = b"Node 0 MemTotal: 7 kB\n";
    for render in [list, has_cpu, has_memory, distance, numastat] {
        let mut out = Vec::new();
        render(host, &ResourceView::default(), &mut out).unwrap();
        assert_eq!(out, host);
    }
    for render in [meminfo, vmstat] {
        let mut out = Vec::new();
        render(host, 0, &ResourceView::default(), &mut out).unwrap();
        assert_eq!(out, host);
    }
}
