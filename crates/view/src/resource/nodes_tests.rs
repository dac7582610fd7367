use proptest::prelude::*;

use super::*;
use crate::HugePages;
use crate::input::{CpuInput, NodeHugetlb};
use crate::policy::CpuCount;

fn set(list: &str) -> CpuSet {
    CpuSet::parse_list(list.as_bytes()).unwrap()
}

/// As the fixture of 64 CPUs: node 2 has no memory, node 3 no CPU.
fn host() -> Vec<HostNode> {
    let node = |number, cpus: &str, mib: u64| HostNode {
        number,
        cpus: set(cpus),
        total: Kib(mib << 10),
        huge_pages: 0,
    };
    vec![node(0, "0-31", 1024), node(1, "32-47", 512), node(2, "48-63", 0), node(3, "", 512)]
}

fn cpus(list: &str) -> Cpus {
    let input = CpuInput { cpuset: Some(set(list)), ..Default::default() };
    Cpus::new(&input, &set("0-63"), CpuCount::Cpuset)
}

fn numa(mems: &str) -> NumaInput {
    NumaInput { mems: Some(set(mems)), ..Default::default() }
}

fn list(set: &CpuSet) -> String {
    let mut out = Vec::new();
    set.write_list(&mut out);
    String::from_utf8(out).unwrap()
}

fn memory(total_mib: u64, free_mib: u64) -> Memory {
    Memory { total: Kib(total_mib << 10), free: Kib(free_mib << 10), ..Default::default() }
}

fn split_of(nodes: &Nodes) -> Vec<(u32, u64, u64)> {
    let part = |node: &Node| {
        let memory = node.memory.as_ref().unwrap();
        (node.number, memory.total.0 >> 10, memory.free.0 >> 10)
    };
    nodes.list.iter().map(part).collect()
}

#[test]
fn nodes_are_those_of_memory_and_of_cpus() {
    // mems, CPUs → the nodes, those with CPUs
    let cases = [
        ("0-1,3", "0-63", "0-3", "0-2"),
        ("0", "0", "0", "0"),
        ("3", "32", "1,3", "1"),
        ("1", "48,50", "1-2", "2"),
        ("0,9", "0-3", "0", "0"),
    ];
    for (mems, visible, seen, with_cpus) in cases {
        let nodes = Nodes::new(&numa(mems), &host(), &cpus(visible), None);
        assert_eq!(list(&nodes.numbers()), seen, "mems {mems} cpus {visible}");
        assert_eq!(list(&nodes.with_cpus()), with_cpus, "mems {mems} cpus {visible}");
        assert!(nodes.get(0).is_none_or(|node| node.memory.is_none()));
    }
}

#[test]
fn without_a_cpuset_all_nodes_are_there() {
    let gone = numa("7");
    for input in [&NumaInput::default(), &gone] {
        let nodes = Nodes::new(input, &host(), &cpus("0"), None);
        assert_eq!((list(&nodes.numbers()), list(nodes.mems())), ("0-3".into(), "0-3".into()));
        assert_eq!(list(&nodes.with_cpus()), "0");
    }
}

#[test]
fn a_limit_is_split_by_size_over_the_nodes_of_mems() {
    let nodes = Nodes::new(&numa("0-1"), &host(), &cpus("0-63"), Some(&memory(300, 150)));
    assert_eq!(split_of(&nodes), [(0, 200, 100), (1, 100, 50), (2, 0, 0)]);
}

#[test]
fn free_follows_what_is_used_on_each_node() {
    let on = |mib: u64| NodeInput { used: Bytes(mib << 20), ..Default::default() };
    let input =
        NumaInput { nodes: Some(BTreeMap::from([(0, on(150)), (1, on(0))])), ..numa("0-1") };
    let nodes = |free| Nodes::new(&input, &host(), &cpus("0"), Some(&memory(300, free)));
    assert_eq!(split_of(&nodes(150)), [(0, 200, 50), (1, 100, 100)]);
    // A sibling has used half of the room.
    assert_eq!(split_of(&nodes(75)), [(0, 200, 25), (1, 100, 50)]);
    // More has been used of node 0 than its part, so node 1 would fall short.
    let input = NumaInput { nodes: Some(BTreeMap::from([(0, on(250))])), ..numa("0-1") };
    let nodes = Nodes::new(&input, &host(), &cpus("0"), Some(&memory(300, 50)));
    assert_eq!(split_of(&nodes), [(0, 200, 0), (1, 100, 50)]);
}

#[test]
fn what_the_kernel_does_not_say_lies_everywhere_alike() {
    let stat = MemoryStat { anon: Bytes(30 << 20), ..Default::default() };
    let container = Memory { stat, ..memory(300, 270) };
    let nodes = Nodes::new(&numa("0-1"), &host(), &cpus("0"), Some(&container));
    assert_eq!(split_of(&nodes), [(0, 200, 180), (1, 100, 90)]);
    let anon = |number| nodes.get(number).unwrap().memory.as_ref().unwrap().stat.anon;
    assert_eq!((anon(0), anon(1)), (Bytes(20 << 20), Bytes(10 << 20)));
}

#[test]
fn huge_pages_lie_where_the_host_has_them() {
    let mut host = host();
    host[1].huge_pages = 8;
    let size = Bytes(2 << 20);
    let huge_pages = Some(HugePages { size, total: 6, free: 4, reserved: 0 });
    let container = Memory { huge_pages, ..memory(300, 300) };
    let in_use = NodeHugetlb { size, nodes: BTreeMap::from([(1, Bytes(4 << 20))]) };
    let input = NumaInput { hugetlb: vec![in_use], ..numa("0-1") };
    let nodes = Nodes::new(&input, &host, &cpus("0"), Some(&container));
    let pages = |number| nodes.get(number).unwrap().memory.as_ref().unwrap().huge_pages;
    assert_eq!((pages(0), pages(1)), (Some((0, 0)), Some((6, 4))));
}

/// A host with nodes of any size and CPU, some without.
fn any_host() -> impl Strategy<Value = Vec<HostNode>> {
    let node = (0u64..1 << 50, 0u32..8, 0u64..1000);
    proptest::collection::btree_map(0u32..100, node, 1..9).prop_map(|nodes| {
        let node = |(number, (total, cpu, huge_pages))| HostNode {
            number,
            cpus: CpuSet::from_iter([cpu]),
            total: Kib(total),
            huge_pages,
        };
        nodes.into_iter().map(node).collect()
    })
}

proptest! {
    #[test]
    fn sums_over_the_nodes_are_those_of_meminfo(
        host in any_host(),
        mems in proptest::collection::vec(0u32..100, 0..40),
        used in proptest::option::of(proptest::collection::btree_map(0u32..100, any::<u64>(), 0..9)),
        anon: u64, total in 0u64..1 << 50, percent in 0u64..=100,
    ) {
        let input = |used: BTreeMap<u32, u64>| -> BTreeMap<_, _> {
            let node = |used| NodeInput { used: Bytes(used), ..Default::default() };
            used.into_iter().map(|(number, used)| (number, node(used))).collect()
        };
        let input = NumaInput {
            mems: Some(mems.into_iter().collect()),
            nodes: used.map(input),
            ..Default::default()
        };
        let free = Kib(scale(total, percent, 100));
        let stat = MemoryStat { anon: Bytes(anon), ..Default::default() };
        let memory = Memory { total: Kib(total), free, stat, ..Default::default() };
        let nodes = Nodes::new(&input, &host, &cpus("0-7"), Some(&memory));
        let parts: Vec<_> = nodes.list.iter().filter_map(|node| node.memory.as_ref()).collect();
        prop_assert_eq!(parts.len(), nodes.list.len());
        prop_assert_eq!(parts.iter().map(|part| part.total).sum::<Kib>(), memory.total);
        prop_assert_eq!(parts.iter().map(|part| part.free).sum::<Kib>(), memory.free);
        prop_assert!(parts.iter().all(|part| part.free <= part.total));
        if input.nodes.is_none() {
            let anon: Bytes = parts.iter().map(|part| part.stat.anon).sum();
            prop_assert_eq!(anon, memory.stat.anon);
        }
        prop_assert!(nodes.mems().difference(&nodes.numbers()).is_empty());
        prop_assert!(nodes.with_cpus().difference(&nodes.numbers()).is_empty());
    }
}
