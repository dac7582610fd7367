//! The inodes of the shared tree: LXCFS's layout, `proc/…` and `sys/devices/system/…`, and more
//! directories of `/sys` beside it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use fuse::NodeId;
use view::catalogue::{PROC_FILES, ProcFile, SYS_DIRECTORIES};

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A directory that only leads to others.
    Passage(&'static [&'static str]),
    /// A file of `proc/`.
    Proc(&'static ProcFile),
    /// A served directory of `sys`, or something in one, by its path there:
    /// `devices/system/cpu/cpu0`, `block`.
    Sys(Arc<str>),
}

/// All nodes that the kernel may name.
///
/// A node's number is a hash of its path: a server that takes over the connection finds the same
/// numbers without being told. Those in `sys/devices/system/cpu` and its like are remembered as
/// long as the kernel remembers them, for the host has many.
#[derive(Debug)]
pub(crate) struct Nodes {
    fixed: HashMap<u64, (Node, Arc<str>)>,
    below_sys: RwLock<HashMap<u64, Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    path: Arc<str>,
    lookups: u64,
}

const PASSAGES: [(&str, &[&str]); 5] = [
    ("", &["proc", "sys"]),
    ("sys", &["block", "class", "devices"]),
    ("sys/class", &["block"]),
    ("sys/devices", &["system"]),
    ("sys/devices/system", &["cpu", "node"]),
];

impl Nodes {
    /// With a directory `proc/pressure` to mount the pressure files on, or without.
    pub(crate) fn new(has_pressure: bool) -> Self {
        let mut fixed = HashMap::new();
        let mut add = |path: &str, node| fixed.insert(number(path).0, (node, Arc::from(path)));
        for (path, children) in PASSAGES {
            add(path, Node::Passage(children));
        }
        add("proc", Node::Passage(&PROC_NAMES));
        for file in &PROC_FILES {
            add(&format!("proc/{}", file.name), Node::Proc(file));
        }
        if has_pressure {
            add("proc/pressure", Node::Passage(&[]));
        }
        for directory in &SYS_DIRECTORIES {
            add(directory.name, Node::Sys(Arc::from(directory.path())));
        }
        Self { fixed, below_sys: RwLock::default() }
    }

    /// What the kernel means by `id`; `None` for a number that was never given out.
    pub(crate) fn get(&self, id: NodeId) -> Option<Node> {
        if let Some((node, _)) = self.fixed.get(&id.0) {
            return Some(node.clone());
        }
        let remembered = self.below_sys.read().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&id.0).map(|entry| Node::Sys(Arc::clone(&entry.path)))
    }

    /// The child `name` of a passage.
    pub(crate) fn child(&self, parent: NodeId, name: &str) -> Option<(NodeId, Node)> {
        let (_, path) = self.fixed.get(&parent.0)?;
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let id = number(&path);
        self.fixed.get(&id.0).map(|(node, _)| (id, node.clone()))
    }

    /// Whether the node is there for everybody and for good.
    pub(crate) fn is_fixed(&self, id: NodeId) -> bool {
        self.fixed.contains_key(&id.0)
    }

    /// The number of the entry `path` of `sys`, counting one lookup.
    pub(crate) fn remember(&self, path: &str) -> NodeId {
        let id = sys_number(path);
        let mut remembered = self.below_sys.write().unwrap_or_else(PoisonError::into_inner);
        let entry = remembered
            .entry(id.0)
            .or_insert_with(|| Remembered { path: Arc::from(path), lookups: 0 });
        entry.lookups += 1;
        id
    }

    /// The kernel gives lookups back.
    pub(crate) fn forget(&self, id: NodeId, lookups: u64) {
        let mut remembered = self.below_sys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = remembered.get_mut(&id.0) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                remembered.remove(&id.0);
            }
        }
    }
}

/// The names in `proc/`, in the catalogue's order, and the directory, last.
static PROC_NAMES: [&str; PROC_FILES.len() + 1] = {
    let mut names = ["pressure"; PROC_FILES.len() + 1];
    let mut index = 0;
    while index < PROC_FILES.len() {
        names[index] = PROC_FILES[index].name;
        index += 1;
    }
    names
};

/// The number of the entry `path` of `sys`.
pub(crate) fn sys_number(path: &str) -> NodeId {
    number(&format!("sys/{path}"))
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
        let nodes = Nodes::new(true);
        let (proc, _) = nodes.child(NodeId::ROOT, "proc").unwrap();
        assert!(matches!(nodes.get(proc), Some(Node::Passage(names)) if names.contains(&"stat")));
        for file in &PROC_FILES {
            let (id, node) = nodes.child(proc, file.name).unwrap();
            assert!(matches!(node, Node::Proc(found) if found.name == file.name));
            assert!(nodes.get(id).is_some());
        }
        for served in &SYS_DIRECTORIES {
            let mut id = NodeId::ROOT;
            for name in served.name.split('/') {
                let passage = nodes.get(id).unwrap();
                assert!(matches!(passage, Node::Passage(names) if names.contains(&name)));
                id = nodes.child(id, name).unwrap().0;
            }
            assert_eq!(id, sys_number(served.path()));
            assert!(matches!(nodes.get(id), Some(Node::Sys(path)) if &*path == served.path()));
            assert!(nodes.is_fixed(id));
        }
        assert!(nodes.child(proc, "kcore").is_none());
        let pressure = |nodes: &Nodes| nodes.child(proc, "pressure").map(|found| found.1);
        assert!(matches!(pressure(&nodes), Some(Node::Passage([]))));
        assert!(pressure(&Nodes::new(false)).is_none());
    }

    #[test]
    fn forgotten_nodes_take_no_memory() {
        let nodes = Nodes::new(true);
        let id = nodes.remember("block/sda/size");
        assert_eq!(nodes.remember("block/sda/size"), id);
        nodes.forget(id, 1);
        assert!(matches!(nodes.get(id), Some(Node::Sys(path)) if &*path == "block/sda/size"));
        assert!(!nodes.is_fixed(id));
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
