//! `/sys/devices/system/node`.

use anyhow::{Context, Result, ensure};
use procfmt::cpulist::CpuSet;

use super::memory::MIB;
use crate::container::Container;
use crate::text::{cpus, meminfo};
use crate::tree::Tree;

const NODE: &str = "sys/devices/system/node";

pub(super) fn node_cpus_are_the_visible_ones(tree: &Tree) -> Result<()> {
    super::cpus::two_cpus()?;
    tree.needs(&[&format!("{NODE}/online"), "sys/devices/system/cpu/online"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_cpuset("1"))?;
    let online = cpus(&container.read("/sys/devices/system/cpu/online")?)?;
    let lists = container.sh(&format!("cat /{NODE}/node[0-9]*/cpulist"))?;
    let mut in_nodes = CpuSet::default();
    for list in lists.lines().filter(|list| !list.is_empty()) {
        cpus(list)?.iter().for_each(|cpu| in_nodes.insert(cpu));
    }
    ensure!(in_nodes == online, "the nodes have {lists:?}, online are {online:?}");
    Ok(())
}

pub(super) fn node_memory_adds_up_to_memtotal(tree: &Tree) -> Result<()> {
    tree.needs(&[&format!("{NODE}/online"), "proc/meminfo"])?;
    let mut container = Container::limited(tree, |cgroup| cgroup.set_memory(64 * MIB))?;
    let total = meminfo(&container.read("/proc/meminfo")?, "MemTotal")?;
    let lines = container.sh(&format!("grep -h MemTotal /{NODE}/node[0-9]*/meminfo"))?;
    let mut sum = 0;
    for line in lines.lines() {
        let value = line.split_whitespace().nth(3).context("a short line MemTotal")?;
        sum += value.parse::<u64>()?;
    }
    ensure!(sum == total, "the nodes have {sum} kB, MemTotal is {total} kB");
    Ok(())
}
