//! The directories of `/sys` that are served, and what becomes of what is in them.

use super::{Needs, sys_block, sys_cpu, sys_node};
use crate::ResourceView;
use crate::render::{DiskRenderer, NodeRenderer, RenderError, Renderer};

/// A directory of `/sys`.
#[derive(Clone, Copy, Debug)]
pub struct SysDirectory {
    /// Its name in the catalogue: its path in a tree, without leading slash.
    pub name: &'static str,
    /// Whether LXCFS 7 has the directory too; under that name, the others are not listed.
    pub in_lxcfs: bool,
    /// What becomes of a path below it.
    policy: fn(&str) -> Sys,
}

/// The directories that are served, where the host has them: a kernel without `CONFIG_NUMA` has no
/// `node`.
pub static SYS_DIRECTORIES: [SysDirectory; 4] = [
    SysDirectory { name: "sys/devices/system/cpu", in_lxcfs: true, policy: sys_cpu::policy },
    SysDirectory { name: "sys/devices/system/node", in_lxcfs: false, policy: sys_node::policy },
    SysDirectory { name: "sys/block", in_lxcfs: false, policy: sys_block::policy },
    SysDirectory { name: "sys/class/block", in_lxcfs: false, policy: sys_block::policy },
];

impl SysDirectory {
    /// Its path relative to `/sys`, without leading slash.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.name.strip_prefix("sys/").unwrap_or(self.name)
    }

    /// What follows the directory in `path`, which is relative to `/sys`: `Some("")` is the
    /// directory itself; `None`: the path is elsewhere.
    #[must_use]
    pub fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

/// The served directory that `path` is or lies in; it is relative to `/sys`.
#[must_use]
pub fn sys_directory(path: &str) -> Option<&'static SysDirectory> {
    SYS_DIRECTORIES.iter().find(|directory| directory.rest(path).is_some())
}

/// What becomes of an entry of `/sys`.
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
    /// A disk's or partition's directory: there if the container sees the device, whose number is
    /// in the file `dev` of that directory. A link on the host, a directory in the tree.
    OfDisk,
    /// A link that is named after a disk and leads to its directory: there if the container sees
    /// that one.
    ToDisk,
    /// The host's directory, where that has a link to it: the link would lead out of the tree.
    Followed,
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
    Disk(Option<(u32, u32)>, DiskRenderer),
}

impl SysFile {
    /// The file as one about the device (major, minor), which its path does not tell. Changes
    /// nothing of a file that is not about a disk.
    #[must_use]
    pub fn about(self, device: Option<(u32, u32)>) -> Self {
        match self.content {
            Content::Disk(_, render) => Self { content: Content::Disk(device, render), ..self },
            Content::Machine(_) | Content::Node(..) => self,
        }
    }

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
            Content::Disk(device, render) => render(host, device, view, out),
        }
    }
}

/// The policy for the entry `path`, which is relative to `/sys` and has no leading slash:
/// `devices/system/cpu/cpu3`, `block/sda/stat`. What lies outside the served directories, and these
/// themselves, are the host's.
#[must_use]
pub fn sys(path: &str) -> Sys {
    let below = |directory: &SysDirectory| match directory.rest(path)? {
        "" => None,
        rest => Some((directory.policy)(rest)),
    };
    SYS_DIRECTORIES.iter().find_map(below).unwrap_or(Sys::Host)
}

/// A file about the whole machine.
pub(super) const fn machine(needs: Needs, render: Renderer) -> Sys {
    Sys::Virtual(SysFile { needs, content: Content::Machine(render) })
}

/// A file about one node.
pub(super) const fn of_node(needs: Needs, node: u32, render: NodeRenderer) -> Sys {
    Sys::Virtual(SysFile { needs, content: Content::Node(node, render) })
}

/// A file about one disk.
pub(super) const fn of_disk(needs: Needs, render: DiskRenderer) -> Sys {
    Sys::Virtual(SysFile { needs, content: Content::Disk(None, render) })
}

/// N of a name such as `cpuN`.
pub(super) fn numbered(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_by_whole_names() {
        let name = |path| sys_directory(path).map(|directory| directory.name);
        assert_eq!(name("block"), Some("sys/block"));
        assert_eq!(name("block/sda/stat"), Some("sys/block"));
        assert_eq!(name("class/block/sda1/stat"), Some("sys/class/block"));
        assert_eq!(name("devices/system/cpu/cpu0"), Some("sys/devices/system/cpu"));
        for other in
            ["blocks", "class", "blocks/sda", "devices/system", "devices/system/cpus/x", ""]
        {
            assert_eq!(name(other), None, "{other}");
            assert!(matches!(sys(other), Sys::Host), "{other}");
        }
        assert!(matches!(sys("block/sda"), Sys::OfDisk));
        assert!(matches!(sys("block"), Sys::Host));
    }
}
