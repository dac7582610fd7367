//! `/proc/zoneinfo`: one zone per NUMA node from which the container gets memory. Zones and their
//! watermarks are the host's affair, so the node's memory is all in the zone that is the host's
//! largest there.

use procfmt::units::Kib;
use procfmt::zoneinfo::{Zone, parse, write_node_stats_header, write_protection};

use crate::render::{RenderError, vmstat};
use crate::{NodeMemory, ResourceView, Vm};

pub(crate) fn render(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let (Some(nodes), Some(vm), Some(_)) = (&view.nodes, &view.vm, &view.memory) else {
        out.extend_from_slice(host);
        return Ok(());
    };
    let zones = parse(host);
    if zones.is_empty() {
        let what = "it has no line `Node N, zone NAME`".to_owned();
        return Err(RenderError::HostText { file: "zoneinfo", what });
    }
    let mut before = Sum::default();
    for number in nodes.mems().iter() {
        let Some(memory) = nodes.get(number).and_then(|node| node.memory.as_ref()) else {
            continue;
        };
        let upto = Sum { total: before.total + memory.total, free: before.free + memory.free };
        let pages = Pages::between(&before, &upto, vm);
        write_node(number, &zones, memory, &pages, vm, out);
        before = upto;
    }
    Ok(())
}

/// Memory of the nodes so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    total: Kib,
    free: Kib,
}

/// The pages of one node. What is left of a page on one node is counted on the next, so that the
/// nodes add up to `/proc/meminfo`.
#[derive(Clone, Copy, Debug)]
struct Pages {
    total: u64,
    free: u64,
}

impl Pages {
    fn between(before: &Sum, upto: &Sum, vm: &Vm) -> Self {
        let pages = |before: Kib, upto: Kib| vm.pages(upto.bytes()) - vm.pages(before.bytes());
        let total = pages(before.total, upto.total);
        Self { total, free: pages(before.free, upto.free).min(total) }
    }
}

/// Appends the node's zone. A node without memory has none.
fn write_node(
    number: u32,
    zones: &[Zone<'_>],
    memory: &NodeMemory,
    pages: &Pages,
    vm: &Vm,
    out: &mut Vec<u8>,
) {
    let of_node = || zones.iter().filter(|zone| zone.node == number);
    let populated = of_node().filter(|zone| zone.managed() > 0);
    let Some(zone) = populated.max_by_key(|zone| zone.managed()) else { return };

    zone.write_header(out);
    let node_stats = || of_node().flat_map(|zone| &zone.node_stats);
    if node_stats().next().is_some() {
        write_node_stats_header(out);
    }
    for stat in node_stats() {
        stat.write_with(node_stat(stat.key, memory, vm), out);
    }
    for stat in &zone.pages {
        stat.write_with(zone_size(stat.key, pages), out);
    }
    write_protection(zone.protection, out);
    for stat in &zone.zone_stats {
        // There is but one zone, so what is counted per zone is as above.
        let value = match stat.key {
            b"nr_free_pages" => pages.free,
            key => node_stat(key, memory, vm),
        };
        stat.write_with(value, out);
    }
    // Where the memory lies is the host's secret.
    zone.tail.iter().for_each(|stat| stat.write_with(0, out));
}

/// What is counted per node: sizes, and the events of `memory.numa_stat`.
fn node_stat(key: &[u8], memory: &NodeMemory, vm: &Vm) -> u64 {
    if vmstat::is_event(key) {
        return memory.events.get(key).copied().unwrap_or(0);
    }
    vmstat::size(key, &memory.stat, vm).unwrap_or(0)
}

/// The zone's size, free pages and watermarks. Nothing is held back from the container at a
/// watermark: its limit is what stops it.
fn zone_size(key: &[u8], pages: &Pages) -> u64 {
    match key {
        b"pages free" => pages.free,
        b"spanned" | b"present" | b"managed" => pages.total,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use procfmt::cpulist::CpuSet;
    use procfmt::units::Bytes;

    use super::*;
    use crate::input::{CpuInput, MemoryStat, NumaInput, VmInput};
    use crate::policy::CpuCount;
    use crate::{Cpus, HostNode, HostVm, Memory, Nodes};

    const HOST: &[u8] = b"Node 0, zone      DMA\n  per-node stats\n      nr_mapped    777\n      \
        nr_file_pages 777\n      workingset_nodes 777\n  pages free     777\n        min      777\n        \
        managed  10\n        protection: (0, 777)\n      nr_free_pages 777\n  pagesets\n    cpu: 0\n              \
        count:    777\n  node_unreclaimable:  0\n  start_pfn:           777\n\
        Node 0, zone   Normal\n  pages free     777\n        min      777\n        managed  20\n        \
        protection: (0, 0)\n      nr_free_pages 777\n  start_pfn:           777\n\
        Node 0, zone  Movable\n  pages free     0\n        managed  0\n        protection: (0, 0)\n\
        Node 1, zone   Normal\n  per-node stats\n      nr_mapped    777\n  pages free     777\n        \
        managed  30\n        protection: (0, 0)\n";

    fn view(mems: Option<CpuSet>) -> ResourceView {
        let stat = MemoryStat { file: Bytes(80 << 10), ..Default::default() };
        let memory = Memory { total: Kib(404), free: Kib(240), stat, ..Default::default() };
        let cpus = Cpus::new(&CpuInput::default(), &CpuSet::first(1), CpuCount::Quota);
        let node = |number| HostNode { number, total: Kib(100), ..Default::default() };
        let host = [HostNode { cpus: CpuSet::first(1), ..node(0) }, node(1)];
        let numa = NumaInput { mems, ..Default::default() };
        let host_vm = HostVm { page_size: Bytes(4096), ..Default::default() };
        ResourceView {
            nodes: Some(Nodes::new(&numa, &host, &cpus, Some(&memory))),
            memory: Some(memory),
            vm: Some(Vm::new(VmInput::default(), &[], host_vm)),
            ..Default::default()
        }
    }

    fn rendered(view: &ResourceView) -> String {
        let mut out = Vec::new();
        render(HOST, view, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn vmstat_zoneinfo_interrupts_not_host() {
        let text = rendered(&view(Some(CpuSet::first(1))));
        let expected = "Node 0, zone   Normal\n  per-node stats\n      nr_mapped    0\n      \
            nr_file_pages 20\n      workingset_nodes 0\n  pages free     60\n        min      0\n        \
            managed  101\n        protection: (0, 0)\n      nr_free_pages 60\n  start_pfn:           0\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_nodes_add_up_to_the_containers_memory() {
        let text = rendered(&view(None));
        assert!(!text.contains('7'), "{text}");
        let zones = parse(text.as_bytes());
        let nodes: Vec<_> = zones.iter().map(|zone| zone.node).collect();
        assert_eq!(nodes, [0, 1]);
        // 202 KiB each: two halves of a page are one.
        let managed: Vec<_> = zones.iter().map(Zone::managed).collect();
        assert_eq!(managed, [50, 51]);
    }

    #[test]
    fn garbage_is_an_error_not_an_empty_file() {
        assert!(render(b"\xff\n", &view(None), &mut Vec::new()).is_err());
        let mut out = Vec::new();
        render(HOST, &ResourceView::default(), &mut out).unwrap();
        assert_eq!(out, HOST);
    }
}
