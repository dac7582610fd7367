//! What the host says about its NUMA nodes and about which CPUs share a core.

use hostfs::{Error, HostFs, KeptDir};
use procfmt::cpulist::{CpuSet, ParseError};
use procfmt::node_meminfo;
use procfmt::units::Kib;
use view::HostNode;

use crate::gather::GatherError;

/// The host's `/sys/devices/system/node`.
#[derive(Debug)]
pub(crate) struct HostNodes {
    /// `None`: a kernel without `CONFIG_NUMA`.
    dir: Option<KeptDir>,
}

impl HostNodes {
    pub(crate) fn open(host: &HostFs) -> Result<Self, Error> {
        match KeptDir::open(&host.sys, "devices/system/node", &host.kept) {
            Ok(dir) => Ok(Self { dir: Some(dir) }),
            Err(error) if error.is_absent() => Ok(Self { dir: None }),
            Err(error) => Err(error),
        }
    }

    /// The online nodes; their sizes only if `with_memory` says so. Without NUMA, everything is on
    /// node 0, as `/proc/zoneinfo` has it.
    pub(crate) fn read(
        &self,
        cpus: &CpuSet,
        with_memory: bool,
    ) -> Result<Vec<HostNode>, GatherError> {
        let Some(dir) = &self.dir else {
            return Ok(vec![HostNode { cpus: cpus.clone(), ..HostNode::default() }]);
        };
        let mut text = Vec::new();
        dir.read_one("online", &mut text)?;
        let mut nodes = Vec::new();
        for number in CpuSet::parse_list(&text)?.iter() {
            nodes.extend(node(dir, number, with_memory, &mut text)?);
        }
        Ok(nodes)
    }
}

impl HostNodes {
    /// What the nodes of `mems` have, if that leaves out any that has memory. It is not asked for
    /// where one node has it all. A set of which no node is left bounds nothing.
    pub(crate) fn totals_of_some(
        &self,
        mems: impl FnOnce() -> Result<Option<CpuSet>, cgroup::Error>,
    ) -> Result<Option<Vec<node_meminfo::Totals>>, GatherError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let mut text = Vec::new();
        let with_memory = list(dir, "has_memory", &mut text)?.unwrap_or_default();
        if with_memory.len() < 2 {
            return Ok(None);
        }
        let Some(mems) = mems()?.map(|mems| mems.intersection(&with_memory)) else {
            return Ok(None);
        };
        if mems.is_empty() || mems == with_memory {
            return Ok(None);
        }
        let mut totals = Vec::new();
        for number in mems.iter() {
            if read(dir, &format!("node{number}/meminfo"), &mut text)? {
                totals.push(node_meminfo::Totals::parse(&text));
            }
        }
        Ok(Some(totals))
    }
}

/// `None` if the node has gone offline meanwhile.
fn node(
    dir: &KeptDir,
    number: u32,
    with_memory: bool,
    text: &mut Vec<u8>,
) -> Result<Option<HostNode>, GatherError> {
    let Some(cpus) = list(dir, &format!("node{number}/cpulist"), text)? else { return Ok(None) };
    let mut node = HostNode { number, cpus, ..HostNode::default() };
    if with_memory && read(dir, &format!("node{number}/meminfo"), text)? {
        node.total = Kib(node_meminfo::value(text, b"MemTotal").unwrap_or(0));
        node.huge_pages = node_meminfo::value(text, b"HugePages_Total").unwrap_or(0);
    }
    Ok(Some(node))
}

/// For each of `cpus`, the CPUs on its core; `dir` is the host's `/sys/devices/system/cpu`.
pub(crate) fn thread_siblings(dir: &KeptDir, cpus: &CpuSet) -> Result<Vec<CpuSet>, GatherError> {
    let mut text = Vec::new();
    let mut cores = Vec::new();
    for cpu in cpus.iter() {
        cores.extend(list(dir, &format!("cpu{cpu}/topology/thread_siblings_list"), &mut text)?);
    }
    Ok(cores)
}

/// A file that holds a list of CPUs; `None` if there is none.
fn list(dir: &KeptDir, file: &str, text: &mut Vec<u8>) -> Result<Option<CpuSet>, GatherError> {
    if !read(dir, file, text)? {
        return Ok(None);
    }
    let set: Result<_, ParseError> = CpuSet::parse_list(text);
    Ok(Some(set?))
}

/// False if there is no such file.
fn read(dir: &KeptDir, file: &str, text: &mut Vec<u8>) -> Result<bool, Error> {
    match dir.read_one(file, text) {
        Ok(()) => Ok(true),
        Err(error) if error.is_absent() || error.is_gone() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &str) -> CpuSet {
        CpuSet::parse_list(list.as_bytes()).unwrap()
    }

    fn host(name: &str) -> HostFs {
        let root = testkit::fixtures_dir().join(name);
        HostFs::at(root.join("proc"), root.join("sys")).unwrap()
    }

    #[test]
    fn nodes_without_memory_and_without_cpus() {
        let nodes = HostNodes::open(&host("x86_64-64-6.12")).unwrap();
        let nodes = nodes.read(&set("0-63"), true).unwrap();
        let [n0, n1, n2, n3] = &nodes[..] else { panic!("{nodes:?}") };
        assert_eq!((n0.number, n0.total, &n0.cpus), (0, Kib(1_022_536), &set("0-31")));
        assert_eq!((n1.number, n2.number, n3.number), (1, 2, 3));
        assert_eq!((n2.total, &n2.cpus), (Kib(0), &set("48-63")));
        assert!(n3.total > Kib(0) && n3.cpus.is_empty());
    }

    #[test]
    fn without_numa_everything_is_on_node_0() {
        let nodes = HostNodes::open(&host("s390x-4-6.12")).unwrap();
        let nodes = nodes.read(&set("0-3"), false).unwrap();
        assert_eq!(nodes, [HostNode { cpus: set("0-3"), ..HostNode::default() }]);
    }

    #[test]
    fn some_nodes_bound_and_all_nodes_do_not() {
        let totals = |fixture: &str, mems: Option<&str>| {
            let nodes = HostNodes::open(&host(fixture)).unwrap();
            let mems = mems.map(set);
            nodes.totals_of_some(|| Ok(mems)).unwrap().map(|totals| {
                let kib = totals.iter().map(|node| node.mem_total.0);
                kib.collect::<Vec<_>>()
            })
        };
        let two = "x86_64-8-6.12";
        let [first, second] = &totals(two, Some("0"))
            .into_iter()
            .chain(totals(two, Some("1")))
            .collect::<Vec<_>>()[..]
        else {
            panic!()
        };
        assert!(first.len() == 1 && second.len() == 1 && first != second);
        assert_eq!(totals(two, Some("0-1")), None);
        assert_eq!(totals(two, Some("7")), None);
        assert_eq!(totals(two, None), None);
        // Node 2 has no memory; the rest of them have it all.
        assert_eq!(totals("x86_64-64-6.12", Some("0-1,3")), None);
        assert_eq!(totals("x86_64-64-6.12", Some("0,3")).unwrap().len(), 2);
        assert_eq!(totals("s390x-4-6.12", Some("0")), None);
    }

    #[test]
    fn cores_of_a_machine_with_threads() {
        let host = host("x86_64-8-7.2-cpu3-offline");
        let dir = KeptDir::open(&host.sys, "devices/system/cpu", &host.kept).unwrap();
        // CPU 3 is offline and has no topology; its sibling has nobody but itself.
        let cores = thread_siblings(&dir, &set("0-3")).unwrap();
        assert_eq!(cores, [set("0-1"), set("0-1"), set("2")]);
    }
}
