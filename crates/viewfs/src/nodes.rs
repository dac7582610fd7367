//! The inodes of the shared tree: LXCFS's layout, `proc/…` and `sys/devices/system/cpu/…`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fuse::NodeId;
use view::catalogue::{PROC_FILES, ProcFile};

/// The directory that is served from the host's sysfs, as a path in the tree.
pub(crate) const SYS_CPU: &str = "sys/devices/system/cpu";

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A directory that only leads to others.
    Passage(&'static [&'static str]),
    /// A file of `proc/`.
    Proc(&'static ProcFile),
    /// Something below `sys/devices/system/cpu`, by its path there; empty for the directory itself.
    SysCpu(Arc<str>),
}

/// All nodes that the kernel may name.
///
/// A node's number is a hash of its path: a server that takes over the connection finds the same
/// numbers without being told. Those below `sys/devices/system/cpu` are remembered as long as the
/// kernel remembers them, for the host has many.
#[derive(Debug)]
pub(crate) struct Nodes {
    fixed: HashMap<u64, (Node, Arc<str>)>,
    below_sys_cpu: RwLock<HashMap<u64, Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    path: Arc<str>,
    lookups: u64,
}

const PASSAGES: [(&str, &[&str]); 4] = [
    ("", &["proc", "sys"]),
    ("sys", &["devices"]),
    ("sys/devices", &["system"]),
    ("sys/devices/system", &["cpu"]),
];

impl Nodes {
    pub(crate) fn new() -> Self {
        let mut fixed = HashMap::new();
        let mut add = |path: &str, node| fixed.insert(number(path).0, (node, Arc::from(path)));
        for (path, children) in PASSAGES {
            add(path, Node::Passage(children));
        }
        add("proc", Node::Passage(&PROC_NAMES));
        for file in &PROC_FILES {
            add(&format!("proc/{}", file.name), Node::Proc(file));
        }
        add(SYS_CPU, Node::SysCpu(Arc::from("")));
        Self { fixed, below_sys_cpu: RwLock::default() }
    }

    /// What the kernel means by `id`; `None` for a number that was never given out.
    pub(crate) fn get(&self, id: NodeId) -> Option<Node> {
        if let Some((node, _)) = self.fixed.get(&id.0) {
            return Some(node.clone());
        }
        let remembered = self.below_sys_cpu.read().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&id.0).map(|entry| Node::SysCpu(Arc::clone(&entry.path)))
    }

    /// The child `name` of a passage.
    pub(crate) fn child(&self, parent: NodeId, name: &str) -> Option<(NodeId, Node)> {
        let (_, path) = self.fixed.get(&parent.0)?;
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let id = number(&path);
        self.fixed.get(&id.0).map(|(node, _)| (id, node.clone()))
    }

    /// The number of the entry `path` of `sys/devices/system/cpu`, counting one lookup.
    pub(crate) fn remember(&self, path: &str) -> NodeId {
        let id = sys_cpu_number(path);
        let mut remembered = self.below_sys_cpu.write().unwrap_or_else(PoisonError::into_inner);
        let entry = remembered
            .entry(id.0)
            .or_insert_with(|| Remembered { path: Arc::from(path), lookups: 0 });
        entry.lookups += 1;
        id
    }

    /// The kernel gives lookups back.
    pub(crate) fn forget(&self, id: NodeId, lookups: u64) {
        let mut remembered = self.below_sys_cpu.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = remembered.get_mut(&id.0) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                remembered.remove(&id.0);
            }
        }
    }
}

/// The names in `proc/`, in the catalogue's order.
static PROC_NAMES: [&str; PROC_FILES.len()] = {
    let mut names = [""; PROC_FILES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = PROC_FILES[index].name;
        index += 1;
    }
    names
};

/// The number of the entry `path` of `sys/devices/system/cpu`.
pub(crate) fn sys_cpu_number(path: &str) -> NodeId {
    if path.is_empty() { number(SYS_CPU) } else { number(&format!("{SYS_CPU}/{path}")) }
}

/// FNV-1a of the path in 64 bits; the root's number is given by the protocol. Among the hundred
/// thousand paths of a very large host, two with one hash are as likely as 1 in 3 billion.
pub(crate) fn number(path: &str) -> NodeId {
    if path.is_empty() {
        return NodeId::ROOT;
    }
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // 0 is no node and 1 the root.
    NodeId(hash.max(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_leads_to_every_file() {
        let nodes = Nodes::new();
        let (proc, _) = nodes.child(NodeId::ROOT, "proc").unwrap();
        assert!(matches!(nodes.get(proc), Some(Node::Passage(names)) if names.contains(&"stat")));
        for file in &PROC_FILES {
            let (id, node) = nodes.child(proc, file.name).unwrap();
            assert!(matches!(node, Node::Proc(found) if found.name == file.name));
            assert!(nodes.get(id).is_some());
        }
        let mut id = NodeId::ROOT;
        for name in SYS_CPU.split('/') {
            id = nodes.child(id, name).unwrap().0;
        }
        assert!(matches!(nodes.get(id), Some(Node::SysCpu(path)) if path.is_empty()));
        assert!(nodes.child(proc, "kcore").is_none());
    }

    #[test]
    fn forgotten_nodes_take_no_memory() {
        let nodes = Nodes::new();
        let id = nodes.remember("cpu0/online");
        assert_eq!(nodes.remember("cpu0/online"), id);
        nodes.forget(id, 1);
        assert!(matches!(nodes.get(id), Some(Node::SysCpu(path)) if &*path == "cpu0/online"));
        nodes.forget(id, 1);
        assert!(nodes.get(id).is_none());
        nodes.forget(id, 7);
    }

    #[test]
    fn numbers_are_the_same_in_every_version() {
        assert_eq!(number("proc/meminfo"), NodeId(0x4986_5b5a_0139_bf53));
        assert_ne!(number("proc/meminfo"), number("proc/stat"));
    }
}
