//! The directories of `/sys/devices/system` that are served, and what becomes of what is in them.

use super::{Needs, sys_cpu, sys_node};
use crate::ResourceView;
use crate::render::{NodeRenderer, RenderError, Renderer};

/// A directory of `/sys/devices/system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysDirectory {
    /// Its name.
    pub name: &'static str,
    /// Whether LXCFS 7 has the directory too; under that name, the others are not listed.
    pub in_lxcfs: bool,
}

/// The directories that are served, where the host has them: a kernel without `CONFIG_NUMA` has no
/// `node`.
pub static SYS_DIRECTORIES: [SysDirectory; 2] =
    [SysDirectory { name: "cpu", in_lxcfs: true }, SysDirectory { name: "node", in_lxcfs: false }];

/// What becomes of an entry below `/sys/devices/system`.
#[derive(Clone, Copy, Debug)]
pub enum Sys {
    /// The container's own content.
    Virtual(SysFile),
    /// The host's content, because it is true for the container too.
    Host,
    /// A directory or link `cpuN`: there if the container sees the CPU.
    OfCpu(u32),
    /// A directory or link `nodeN`: there if the container sees the node.
    OfNode(u32),
    /// Not there: it cannot be read, or says what a container should not know.
    Absent,
}

/// A file with the container's own content.
#[derive(Clone, Copy, Debug)]
pub struct SysFile {
    /// What it is made from.
    pub needs: Needs,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Machine(Renderer),
    Node(u32, NodeRenderer),
}

impl SysFile {
    /// Appends the content for a container.
    ///
    /// # Errors
    /// [`RenderError`] where the host's text is not what it should be.
    pub fn render(
        &self,
        host: &[u8],
        view: &ResourceView,
        out: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        match self.content {
            Content::Machine(render) => render(host, view, out),
            Content::Node(node, render) => render(host, node, view, out),
        }
    }
}

/// The policy for the entry `path`, which is relative to `/sys/devices/system` and has no leading
/// slash: `cpu/online`, `cpu/cpu3`, `node/node0/meminfo`.
#[must_use]
pub fn sys(path: &str) -> Sys {
    match path.split_once('/') {
        Some(("cpu", rest)) => sys_cpu::policy(rest),
        Some(("node", rest)) => sys_node::policy(rest),
        _ => Sys::Host,
    }
}

/// A file about the whole machine.
pub(super) const fn machine(needs: Needs, render: Renderer) -> Sys {
    Sys::Virtual(SysFile { needs, content: Content::Machine(render) })
}

/// A file about one node.
pub(super) const fn of_node(needs: Needs, node: u32, render: NodeRenderer) -> Sys {
    Sys::Virtual(SysFile { needs, content: Content::Node(node, render) })
}

/// N of a name such as `cpuN`.
pub(super) fn numbered(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}
