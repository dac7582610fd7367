//! `/sys/devices/system/node/**`: the NUMA nodes.

use super::sys::{Sys, machine, numbered, of_node};
use super::{CPUS, Needs};
use crate::render::sys_node as render;

const NODES: Needs = Needs { nodes: true, ..CPUS };
const NODE_MEMORY: Needs = Needs { memory: true, ..NODES };
const NODE_VM: Needs = Needs { vm: true, ..NODE_MEMORY };

/// The policy for a path below the directory.
pub(super) fn policy(path: &str) -> Sys {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (numbered(first, "node"), rest) {
        (Some(node), "") => Sys::OfNode(node),
        (Some(node), rest) => below_node(node, rest),
        (None, "") => top_level(first),
        (None, _) => Sys::Host,
    }
}

fn top_level(name: &str) -> Sys {
    match name {
        "online" | "possible" | "has_generic_initiator" => machine(NODES, render::list),
        "has_cpu" => machine(NODES, render::has_cpu),
        "has_memory" | "has_normal_memory" | "has_high_memory" => {
            machine(NODES, render::has_memory)
        }
        _ => Sys::Host,
    }
}

fn below_node(node: u32, path: &str) -> Sys {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    match (directory, name) {
        ("", "cpulist") => machine(CPUS, crate::render::sys_cpu::list),
        ("", "cpumap") => machine(CPUS, crate::render::sys_cpu::mask),
        ("", "distance") => machine(NODES, render::distance),
        ("", "meminfo") => of_node(NODE_MEMORY, node, render::meminfo),
        ("", "vmstat") => of_node(NODE_VM, node, render::vmstat),
        ("", "numastat") => machine(NODES, render::numastat),
        // What root writes to make the kernel work.
        ("", "compact" | "reclaim") => Sys::Absent,
        // Which of the host's memory has failed.
        _ if path.split('/').next() == Some("memory_failure") => Sys::Absent,
        // memoryM leads to the host's blocks of physical memory.
        ("", _) if numbered(name, "memory").is_some() => Sys::Absent,
        // Besides cpuN, also `access0/initiators/nodeN` leads to another directory.
        _ => numbered(name, "cpu")
            .map(Sys::OfCpu)
            .or_else(|| numbered(name, "node").map(Sys::OfNode))
            .unwrap_or(Sys::Host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_directories_and_links() {
        assert!(matches!(policy("node12"), Sys::OfNode(12)));
        assert!(matches!(policy("node0/cpu3"), Sys::OfCpu(3)));
        assert!(matches!(policy("node0/access0/targets/node2"), Sys::OfNode(2)));
        for other in ["node", "node01", "power", "uevent", "node0/power", "node0/cpufreq"] {
            assert!(matches!(policy(other), Sys::Host), "{other}");
        }
    }

    #[test]
    fn memory_blocks_and_triggers_are_absent() {
        for path in ["node0/memory32", "node0/compact", "node0/reclaim", "node0/memory_failure"] {
            assert!(matches!(policy(path), Sys::Absent), "{path}");
        }
        assert!(matches!(policy("node0/memory_failure/total"), Sys::Absent));
        assert!(matches!(policy("node0/hugepages/hugepages-2048kB/nr_hugepages"), Sys::Host));
    }

    #[test]
    fn what_counts_is_virtual() {
        for path in ["online", "has_memory", "node1/meminfo", "node1/vmstat", "node1/numastat"] {
            assert!(matches!(policy(path), Sys::Virtual(_)), "{path}");
        }
    }
}
