//! How a container's memory and huge pages lie on the NUMA nodes.

use std::collections::BTreeMap;

use procfmt::numa_stat;
use procfmt::units::Bytes;
use view::input::{NodeHugetlb, NodeInput, NumaInput};

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::memory::v2_field;

type ByNode<T> = BTreeMap<u32, T>;

const MEMORY: &str = "memory.numa_stat";
const SPLIT: &str = "a key and a number for each node, such as `anon N0=4096`, on each line";

impl Group {
    /// The nodes from which the container may get memory, and what it has on each.
    ///
    /// Each part is missing where its controller does not hold for the container.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn numa(&self) -> Result<NumaInput, Error> {
        let nodes = self.walk(Controller::Memory, |chain, _| memory(chain))?;
        let hugetlb = self.hugetlb_by_node()?;
        Ok(NumaInput {
            mems: self.mems()?,
            nodes: nodes.flatten(),
            hugetlb: hugetlb.unwrap_or_default(),
        })
    }
}

/// `None` on kernels without the file (v2 before 5.10, v1 without `CONFIG_NUMA`).
fn memory(chain: &Chain) -> Result<Option<ByNode<NodeInput>>, Error> {
    let mut text = Vec::new();
    if !chain.own.read(MEMORY, &mut text)? {
        return Ok(None);
    }
    let mut nodes = ByNode::new();
    let unexpected = || Error::unexpected(chain.own.path_of(MEMORY), SPLIT, &text);
    for line in numa_stat::parse(&text) {
        let line = line.ok_or_else(unexpected)?;
        for (node, value) in line.nodes() {
            let node = nodes.entry(node).or_default();
            match chain.version {
                Version::V1 => add_v1(node, line.key, value),
                Version::V2 => add_v2(node, line.key, value),
            }
        }
    }
    if chain.version == Version::V2 {
        nodes.values_mut().for_each(sum_v2);
    }
    Ok(Some(nodes))
}

/// v2: sizes in bytes under the keys of `memory.stat`, and events.
fn add_v2(node: &mut NodeInput, key: &[u8], value: u64) {
    match v2_field(key, &mut node.stat) {
        Some(field) => *field = Bytes(value),
        None => drop(node.events.insert(key.into(), value)),
    }
}

/// Two sums that v2's `memory.stat` has and its split by node has not. `file` includes tmpfs, and
/// `anon` and `file` include what is unevictable.
fn sum_v2(node: &mut NodeInput) {
    let stat = &mut node.stat;
    stat.slab = stat.slab_reclaimable + stat.slab_unreclaimable;
    node.used = stat.anon + stat.file + stat.kernel_stack + stat.pagetables + stat.slab;
}

/// v1: LRU lists in pages; with the prefix, those of the cgroups below are included.
fn add_v1(node: &mut NodeInput, key: &[u8], pages: u64) {
    let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
    let bytes = Bytes(pages.saturating_mul(page_size));
    match key {
        b"hierarchical_total" => node.used = bytes,
        b"hierarchical_anon" => node.stat.anon = bytes,
        b"hierarchical_file" => node.stat.file = bytes,
        b"hierarchical_unevictable" => node.stat.unevictable = bytes,
        _ => {}
    }
}

/// The line of `hugetlb.<size>.numa_stat` that counts a cgroup with those below it: v1 has one
/// without them too. Both are in bytes. `None`: a kernel before 5.16.
pub(crate) fn hugetlb(
    chain: &Chain,
    size: Bytes,
    file: &str,
    text: &mut Vec<u8>,
) -> Result<Option<NodeHugetlb>, Error> {
    if !chain.own.read(file, text)? {
        return Ok(None);
    }
    let wanted: &[u8] = match chain.version {
        Version::V1 => b"hierarchical_total",
        Version::V2 => b"total",
    };
    let mut nodes = ByNode::new();
    for line in numa_stat::parse(text) {
        let line = line.ok_or_else(|| Error::unexpected(chain.own.path_of(file), SPLIT, text))?;
        if line.key == wanted {
            nodes.extend(line.nodes().map(|(node, bytes)| (node, Bytes(bytes))));
        }
    }
    Ok(Some(NodeHugetlb { size, nodes }))
}

#[cfg(test)]
mod tests {
    use procfmt::cpulist::CpuSet;

    use super::*;
    use crate::fake::{Fake, V1, V2};

    const V2_TEXT: &str = "anon N0=40 N3=4\nfile N0=1 N3=0\nkernel_stack N0=2 N3=0\n\
        pagetables N0=3 N3=0\nslab_reclaimable N0=5 N3=0\nslab_unreclaimable N0=6 N3=0\n\
        workingset_refault_anon N0=0 N3=9\n";

    #[test]
    fn v2_in_bytes_with_sums_and_events() {
        let fake = Fake::new(V2);
        let files = [
            ("memory.numa_stat", V2_TEXT),
            ("cpuset.mems.effective", "0,3\n"),
            ("cgroup.controllers", "memory hugetlb\n"),
            ("hugetlb.2MB.max", "max\n"),
            ("hugetlb.2MB.numa_stat", "total=4194304 N0=4194304 N3=0\n"),
            ("hugetlb.1GB.max", "max\n"),
        ];
        fake.files("unified/a", &files);
        let numa = fake.group("/a").numa().unwrap();
        assert_eq!(numa.mems, Some(CpuSet::from_iter([0, 3])));
        let nodes = numa.nodes.unwrap();
        assert_eq!((nodes[&0].used, nodes[&0].stat.slab), (Bytes(57), Bytes(11)));
        assert_eq!((nodes[&3].used, nodes[&3].stat.anon), (Bytes(4), Bytes(4)));
        assert_eq!(nodes[&3].events.get(&b"workingset_refault_anon"[..]), Some(&9));
        let in_use = ByNode::from([(0, Bytes(4 << 20)), (3, Bytes(0))]);
        assert_eq!(numa.hugetlb, [NodeHugetlb { size: Bytes(2 << 20), nodes: in_use }]);
    }

    #[test]
    fn v1_in_pages_with_the_cgroups_below() {
        let fake = Fake::new(V1);
        let text = "total=9 N0=9 N1=0\nanon=9 N0=9 N1=0\nhierarchical_total=7 N0=4 N1=3\n\
            hierarchical_file=3 N0=1 N1=2\nhierarchical_anon=3 N0=2 N1=1\n\
            hierarchical_unevictable=1 N0=1 N1=0\n";
        fake.files("memory/a", &[("memory.numa_stat", text)]);
        fake.files("cpuset/a", &[("cpuset.effective_mems", "1\n")]);
        fake.files("hugetlb/a", &[]);
        let numa = fake.group("/a").numa().unwrap();
        assert_eq!(numa.mems, Some(CpuSet::from_iter([1])));
        let page = rustix::param::page_size() as u64;
        let nodes = numa.nodes.unwrap();
        assert_eq!(nodes[&0].used, Bytes(4 * page));
        let stat = &nodes[&0].stat;
        assert_eq!(
            (stat.anon, stat.file, stat.unevictable),
            (Bytes(2 * page), Bytes(page), Bytes(page))
        );
        assert_eq!(nodes[&1].used, Bytes(3 * page));
    }

    #[test]
    fn v1_huge_pages_count_with_the_cgroups_below() {
        let fake = Fake::new(V1);
        let text = "total=0 N0=0\nhierarchical_total=2097152 N0=2097152\n";
        let files = [("hugetlb.2MB.limit_in_bytes", "4194304\n"), ("hugetlb.2MB.numa_stat", text)];
        fake.files("hugetlb/a", &files);
        for hierarchy in ["memory", "cpuset"] {
            fake.files(&format!("{hierarchy}/a"), &[]);
        }
        let numa = fake.group("/a").numa().unwrap();
        assert_eq!(numa.hugetlb[0].nodes, ByNode::from([(0, Bytes(2 << 20))]));
    }

    #[test]
    fn a_kernel_without_the_files_says_nothing() {
        for layout in [V1, V2] {
            let fake = Fake::new(layout);
            for (hierarchy, _) in layout {
                fake.files(&format!("{hierarchy}/a"), &[]);
            }
            assert_eq!(fake.group("/a").numa().unwrap(), NumaInput::default());
        }
    }

    #[test]
    fn garbage_is_an_error() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("memory.numa_stat", "anon many\n")]);
        assert!(matches!(fake.group("/a").numa().unwrap_err(), Error::Unexpected { .. }));
    }
}
