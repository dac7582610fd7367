//! `/sys/devices/system/node/**`: the container's NUMA nodes and its memory on them.
//! Source: Documentation/ABI/stable/sysfs-devices-node, drivers/base/node.c in the kernel.

use procfmt::cpulist::CpuSet;
use procfmt::node_meminfo::{self, Line};
use procfmt::num::{fields, lines, push_u64};
use procfmt::units::Bytes;

use crate::render::{RenderError, vmstat as proc_vmstat};
use crate::{NodeMemory, Nodes, ResourceView};

type Rendered = Result<(), RenderError>;

/// `online`, `possible`, `has_generic_initiator`: those that the container sees.
pub(crate) fn list(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, Nodes::numbers)
}

/// `has_cpu`: the nodes of the visible CPUs.
pub(crate) fn has_cpu(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, Nodes::with_cpus)
}

/// `has_memory`, `has_normal_memory`: the nodes that the container gets memory from.
pub(crate) fn has_memory(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    list_of(host, view, out, |nodes| nodes.mems().clone())
}

fn list_of(
    host: &[u8],
    view: &ResourceView,
    out: &mut Vec<u8>,
    own: impl FnOnce(&Nodes) -> CpuSet,
) -> Rendered {
    let Some(nodes) = &view.nodes else { return unchanged(host, out) };
    let listed =
        CpuSet::parse_list(host).map_err(|_| not_understood("a list of nodes such as 0-1,3"))?;
    listed.intersection(&own(nodes)).write_list(out);
    out.push(b'\n');
    Ok(())
}

/// `nodeN/distance`: the kernel prints a column for each online node.
pub(crate) fn distance(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    let Some(nodes) = &view.nodes else { return unchanged(host, out) };
    let columns: Vec<_> = fields(host).collect();
    // A node came or went while the host's files were being read: the next read is right.
    if columns.len() != nodes.host().len() as usize {
        return Err(not_understood("a distance for each online node"));
    }
    let seen = nodes.numbers();
    let own = columns.iter().zip(nodes.host().iter()).filter(|(_, node)| seen.contains(*node));
    let own: Vec<_> = own.map(|(column, _)| *column).collect();
    out.extend_from_slice(&own.join(&b' '));
    out.push(b'\n');
    Ok(())
}

/// `nodeN/numastat`: how often the host's allocator found memory where it wanted it. Not counted
/// per cgroup: 0.
pub(crate) fn numastat(host: &[u8], view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    if view.nodes.is_none() {
        return unchanged(host, out);
    }
    keyed(host, out, |_| 0);
    Ok(())
}

/// `nodeN/meminfo`: the host's lines in the host's order.
pub(crate) fn meminfo(host: &[u8], node: u32, view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    let Some(memory) = memory_of(view, node) else { return unchanged(host, out) };
    let before = out.len();
    for line in node_meminfo::parse(host) {
        let value = meminfo_value(&line, memory);
        Line { node, value, ..line }.write(out);
    }
    if out.len() == before {
        return Err(not_understood("lines of the form `Node 0 Key: value kB`"));
    }
    Ok(())
}

fn meminfo_value(line: &Line<'_>, memory: &NodeMemory) -> u64 {
    let stat = &memory.stat;
    let bytes = match line.key {
        b"MemTotal" => return memory.total.0,
        b"MemFree" => return memory.free.0,
        b"MemUsed" => return memory.total.saturating_sub(memory.free).0,
        b"HugePages_Total" => return memory.huge_pages.map_or(line.value, |pages| pages.0),
        b"HugePages_Free" => return memory.huge_pages.map_or(line.value, |pages| pages.1),
        b"HugePages_Surp" => return memory.huge_pages.map_or(line.value, |_| 0),
        b"SwapCached" => stat.swapcached,
        b"Active" => stat.active_anon + stat.active_file,
        b"Inactive" => stat.inactive_anon + stat.inactive_file,
        b"Active(anon)" => stat.active_anon,
        b"Inactive(anon)" => stat.inactive_anon,
        b"Active(file)" => stat.active_file,
        b"Inactive(file)" => stat.inactive_file,
        b"Unevictable" => stat.unevictable,
        b"Dirty" => stat.file_dirty,
        b"Writeback" => stat.file_writeback,
        b"FilePages" => stat.file,
        b"Mapped" => stat.file_mapped,
        b"AnonPages" => stat.anon,
        b"Shmem" => stat.shmem,
        b"KernelStack" => stat.kernel_stack,
        b"PageTables" => stat.pagetables,
        b"SecPageTables" => stat.sec_pagetables,
        b"KReclaimable" | b"SReclaimable" => stat.slab_reclaimable,
        b"Slab" => stat.slab,
        b"SUnreclaim" => stat.slab_unreclaimable,
        b"AnonHugePages" => stat.anon_thp,
        b"ShmemHugePages" => stat.shmem_thp,
        b"FileHugePages" => stat.file_thp,
        // Mlocked, Bounce, ShmemPmdMapped …: not counted per cgroup. What a later kernel adds
        // could tell about the host.
        _ => Bytes::ZERO,
    };
    bytes.kib().0
}

/// `nodeN/vmstat`: the host's keys in the host's order, as in `/proc/vmstat`.
pub(crate) fn vmstat(host: &[u8], node: u32, view: &ResourceView, out: &mut Vec<u8>) -> Rendered {
    let (Some(memory), Some(vm)) = (memory_of(view, node), &view.vm) else {
        return unchanged(host, out);
    };
    keyed(host, out, |key| match key {
        b"nr_free_pages" => vm.pages(memory.free.bytes()),
        key => memory
            .events
            .get(key)
            .copied()
            .or_else(|| proc_vmstat::size(key, &memory.stat, vm))
            .unwrap_or(0),
    });
    Ok(())
}

/// Lines `key value`: the host's keys, with values of the container's.
fn keyed(host: &[u8], out: &mut Vec<u8>, value: impl Fn(&[u8]) -> u64) {
    for key in lines(host).filter_map(|line| fields(line).next()) {
        out.extend_from_slice(key);
        out.push(b' ');
        push_u64(out, value(key));
        out.push(b'\n');
    }
}

fn memory_of(view: &ResourceView, node: u32) -> Option<&NodeMemory> {
    view.nodes.as_ref()?.get(node)?.memory.as_ref()
}

fn unchanged(host: &[u8], out: &mut Vec<u8>) -> Rendered {
    out.extend_from_slice(host);
    Ok(())
}

fn not_understood(expected: &str) -> RenderError {
    RenderError::HostText { file: "node directory", what: format!("expected {expected}") }
}

#[cfg(test)]
#[path = "sys_node_tests.rs"]
mod tests;
