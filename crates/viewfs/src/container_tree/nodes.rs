//! The nodes of the tree: what there is, once for each container.
//!
//! A node's number is that of the same file in the shared tree, mixed with a hash of the container's
//! id and of what tells it from others that had the same id. So another worker knows what the
//! kernel means without being told, and a container under an id that was another's has other nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cgroup::Pressure;
use container::registry::{Id, Target};
use fuse::NodeId;
use view::catalogue::ProcFile;

use crate::keep::Keep;
use crate::nodes::{self, Nodes, number};
use crate::pressure::source::{ALL, name};

/// A container under its id, told from later ones under the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: Id,
    /// See [`container::registry::Found::instance`].
    pub(super) instance: u64,
    /// Where it is found again, whether it is registered still or not.
    pub(super) target: Target,
    hash: u64,
}

impl Member {
    pub(super) fn new(id: Id, instance: u64, target: Target) -> Self {
        let hash = number(&format!("containers/{id}/{instance:016x}")).0;
        Self { id, instance, target, hash }
    }

    /// The number of what has the number `inner` in the shared tree.
    pub(super) fn number(&self, inner: NodeId) -> NodeId {
        NodeId(self.hash ^ inner.0)
    }

    /// What the number would have in the shared tree, were it this container's.
    fn inner(&self, node: NodeId) -> NodeId {
        NodeId(self.hash ^ node.0)
    }

    /// The class of its requests; see [`fuse::Filesystem::class`].
    pub(super) fn class(&self) -> u64 {
        self.hash.max(1)
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// The directory with the containers.
    Root,
    /// A link from a name to an id.
    Name(Arc<str>),
    /// Something of a container.
    Of(Arc<Member>, Inner),
}

/// Something of a container: its number in the shared tree, and what it is there.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    pub(super) number: NodeId,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// A directory that only leads to others.
    Passage(&'static [&'static str]),
    /// `proc/pressure`.
    Pressures,
    Pressure(Pressure),
    Proc(&'static ProcFile),
    /// What lies in a served directory of `sys`, by its path there.
    Sys(Arc<str>),
}

/// Which nodes there can be, and which of them the kernel knows.
#[derive(Debug)]
pub(super) struct Known {
    fixed: Nodes,
    pressure: NodeId,
    by_number: Mutex<HashMap<u64, Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    node: Node,
    lookups: u64,
}

impl Known {
    pub(super) fn new(has_pressure: bool) -> Self {
        let pressure = number("proc/pressure");
        Self { fixed: Nodes::new(has_pressure), pressure, by_number: Mutex::default() }
    }

    /// The top directory of a container.
    pub(super) fn top(&self) -> Inner {
        let what = self.fixed.get(NodeId::ROOT);
        let what = what.map_or(What::Passage(&[]), |node| self.what(NodeId::ROOT, node));
        Inner { number: NodeId::ROOT, what }
    }

    fn what(&self, number: NodeId, node: nodes::Node) -> What {
        match node {
            nodes::Node::Passage(_) if number == self.pressure => What::Pressures,
            nodes::Node::Passage(names) => What::Passage(names),
            nodes::Node::Proc(file) => What::Proc(file),
            nodes::Node::Sys(path) => What::Sys(path),
        }
    }

    /// The child `name` of a passage, whether it is served or not.
    pub(super) fn child(&self, parent: NodeId, name: &str) -> Option<Inner> {
        let (number, node) = self.fixed.child(parent, name)?;
        Some(Inner { number, what: self.what(number, node) })
    }

    /// Whether it is there for every container, unless it is decided otherwise.
    pub(super) fn is_fixed(&self, number: NodeId) -> bool {
        self.fixed.is_fixed(number)
    }

    /// A file in `proc/pressure`.
    pub(super) fn pressure(what: Pressure) -> Inner {
        Inner { number: pressure_number(what), what: What::Pressure(what) }
    }

    /// What has this number in the shared tree.
    fn inner(&self, number: NodeId, keep: &Keep) -> Option<Inner> {
        if let Some(node) = self.fixed.get(number) {
            return Some(Inner { number, what: self.what(number, node) });
        }
        if let Some(what) = ALL.into_iter().find(|what| pressure_number(*what) == number) {
            return Some(Self::pressure(what));
        }
        let path = keep.name_of(number)?;
        Some(Inner { number, what: What::Sys(path.into()) })
    }

    /// What the kernel means by `id`, if it was looked up here.
    pub(super) fn get(&self, id: NodeId) -> Option<Node> {
        if id == NodeId::ROOT {
            return Some(Node::Root);
        }
        self.lock().get(&id.0).map(|remembered| remembered.node.clone())
    }

    /// What the kernel means by `id`, which another worker has given out: one of these containers'
    /// or a link. Remembered from now on.
    pub(super) fn recover<'a>(
        &self,
        id: NodeId,
        members: &[Arc<Member>],
        mut names: impl Iterator<Item = &'a str>,
        keep: &Keep,
    ) -> Option<Node> {
        let of = |member: &Arc<Member>| {
            let inner = self.inner(member.inner(id), keep)?;
            Some(Node::Of(Arc::clone(member), inner))
        };
        let link =
            || names.find(|name| name_number(name) == id).map(|name| Node::Name(name.into()));
        let node = members.iter().find_map(of).or_else(link)?;
        let remembered = Remembered { node: node.clone(), lookups: 0 };
        self.lock().entry(id.0).or_insert(remembered);
        Some(node)
    }

    /// The number of a node, counting one lookup.
    pub(super) fn remember(&self, node: Node) -> NodeId {
        let id = match &node {
            Node::Root => return NodeId::ROOT,
            Node::Name(name) => name_number(name),
            Node::Of(member, inner) => member.number(inner.number),
        };
        let mut known = self.lock();
        let remembered = known.entry(id.0).or_insert(Remembered { node, lookups: 0 });
        remembered.lookups = remembered.lookups.saturating_add(1);
        id
    }

    /// The kernel gives lookups back.
    pub(super) fn forget(&self, id: NodeId, lookups: u64) {
        let mut known = self.lock();
        if let Some(remembered) = known.get_mut(&id.0) {
            remembered.lookups = remembered.lookups.saturating_sub(lookups);
            if remembered.lookups == 0 {
                known.remove(&id.0);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Remembered>> {
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pressure_number(what: Pressure) -> NodeId {
    number(&format!("proc/pressure/{}", name(what)))
}

/// The number of a link.
pub(super) fn name_number(name: &str) -> NodeId {
    number(&format!("names of containers/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, instance: u64) -> Arc<Member> {
        let target = Target::Cgroup { path: format!("/{id}"), instance: Some(instance) };
        Arc::new(Member::new(Id::new(id).unwrap(), instance, target))
    }

    fn file(known: &Known, path: &str) -> Inner {
        let mut names = path.split('/').peekable();
        let mut inner = known.top();
        while let Some(name) = names.next() {
            let child = known.child(inner.number, name);
            inner = child.unwrap_or_else(|| Known::pressure(Pressure::Cpu));
            assert!(names.peek().is_none() || !matches!(inner.what, What::Proc(_)));
        }
        inner
    }

    #[test]
    fn another_worker_knows_what_the_kernel_means() {
        let keep = Keep::create().unwrap();
        let members = [member("a", 1), member("a", 2), member("b", 1)];
        let known = Known::new(true);
        keep.name(nodes::sys_number("block/sda"), "block/sda");
        let sys =
            Inner { number: nodes::sys_number("block/sda"), what: What::Sys("block/sda".into()) };
        let mut numbers = Vec::new();
        for member in &members {
            for inner in [
                known.top(),
                file(&known, "proc/stat"),
                file(&known, "proc/pressure"),
                file(&known, "proc/pressure/cpu"),
                file(&known, "sys/devices/system/cpu"),
                sys.clone(),
            ] {
                let node = Node::Of(Arc::clone(member), inner);
                let id = known.remember(node.clone());
                let next = Known::new(true);
                assert!(next.get(id).is_none());
                let found = next.recover(id, &members, ["web"].into_iter(), &keep).unwrap();
                assert_eq!(format!("{found:?}"), format!("{node:?}"));
                assert!(next.get(id).is_some());
                numbers.push(id);
            }
        }
        let link = known.remember(Node::Name("web".into()));
        let found = Known::new(true).recover(link, &members, ["db", "web"].into_iter(), &keep);
        assert!(matches!(found, Some(Node::Name(name)) if &*name == "web"));
        numbers.extend([link, NodeId::ROOT]);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 3 * 6 + 2, "no number twice");
        let other = member("c", 1).number(NodeId::ROOT);
        assert!(known.recover(other, &members, std::iter::empty(), &keep).is_none());
    }

    #[test]
    fn forgotten_nodes_take_no_memory() {
        let known = Known::new(true);
        let node = Node::Of(member("a", 1), known.top());
        let id = known.remember(node.clone());
        assert_eq!(known.remember(node), id);
        known.forget(id, 1);
        assert!(known.get(id).is_some());
        known.forget(id, 1);
        assert!(known.get(id).is_none());
        known.forget(id, 1);
    }
}
