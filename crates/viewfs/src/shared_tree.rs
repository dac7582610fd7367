//! The shared tree: LXCFS's layout, one inode per file for everybody.
//!
//! Who asks is found out at OPEN, and content is built there; see [`handles`](crate::handles). As
//! an inode's content differs from caller to caller, nothing of it may be in the page cache: every
//! open is `DIRECT_IO`. Names that not every container has (cpuN, nodeN, disks) are looked up anew
//! each time.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use container::Container;
use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, OFlags,
    OpenFlags, OpenReply, ReadBuf,
};
use view::catalogue::ProcFile;

use crate::contents::Contents;
use crate::handles::{Handles, Snapshot};
use crate::listing::list;
use crate::nodes::{Node, Nodes, sys_number};
use crate::sys::{self, SysEntry};

/// How long the kernel may use what never changes.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// How long it may use what a CPU going online or offline changes.
const SHORTLY: Duration = Duration::from_secs(1);
/// What depends on the caller is asked every time.
const NEVER: Duration = Duration::ZERO;

/// The file system.
#[derive(Debug)]
pub struct SharedTree {
    contents: Arc<Contents>,
    nodes: Nodes,
    files: Handles<OpenFile>,
    directories: Handles<Vec<Listed>>,
    born: Duration,
}

#[derive(Debug)]
struct OpenFile {
    what: What,
    container: Option<Arc<Container>>,
    snapshot: Snapshot,
}

#[derive(Clone, Debug)]
enum What {
    Proc { file: &'static ProcFile, is_linux32: bool },
    Sys(Arc<str>),
}

#[derive(Debug)]
struct Listed {
    node: NodeId,
    kind: FileType,
    name: OsString,
}

impl SharedTree {
    /// The tree over `contents`.
    #[must_use]
    pub fn new(contents: Arc<Contents>) -> Self {
        let born = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (files, directories) = (Handles::new(), Handles::new());
        let nodes = Nodes::new(contents.has_pressure());
        Self { contents, nodes, files, directories, born }
    }

    /// Where the content comes from.
    #[must_use]
    pub fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    fn build(&self, what: &What, container: Option<&Arc<Container>>) -> fuse::Result<Vec<u8>> {
        match what {
            What::Proc { file, is_linux32 } => {
                self.contents.proc_file(file, *is_linux32, container)
            }
            What::Sys(path) => self.contents.sys_file(path, container),
        }
    }

    fn attr(&self, node: NodeId, kind: FileType, mode: u32) -> Attr {
        let nlink = if kind == FileType::Directory { 2 } else { 1 };
        // A size of 0, as in procfs: a reader goes on to the end of file.
        Attr { ino: node.0, size: 0, kind, mode, nlink, uid: 0, gid: 0, mtime: self.born }
    }

    fn fixed_attr(&self, node: NodeId, what: &Node) -> Attr {
        match what {
            Node::Proc(file) => self.attr(node, FileType::Regular, file.mode),
            Node::Passage(_) | Node::Sys(_) => self.attr(node, FileType::Directory, 0o555),
        }
    }

    fn lookup_sys(&self, ctx: &Context<'_>, parent: &str, name: &str) -> fuse::Result<Entry> {
        let path = sys::join(parent, name);
        let entry = sys::entry(&self.contents, &path, || self.container_for(ctx, parent))?;
        let node = self.nodes.remember(&path);
        let attr = self.attr(node, entry.kind, entry.mode);
        let entry_ttl = if entry.depends_on_caller { NEVER } else { SHORTLY };
        Ok(Entry { node, attr, entry_ttl, attr_ttl: SHORTLY })
    }

    /// The child of a passage, if the tree has it.
    fn child(&self, parent: NodeId, name: &str) -> Option<(NodeId, Node)> {
        let (node, what) = self.nodes.child(parent, name)?;
        let served = match &what {
            Node::Proc(file) => self.contents.serves(file),
            Node::Sys(directory) => self.contents.serves_directory(directory),
            // One that leads nowhere is not there; `proc/pressure` is there to be mounted on.
            Node::Passage(names) => {
                names.is_empty() || names.iter().any(|name| self.child(node, name).is_some())
            }
        };
        served.then_some((node, what))
    }

    fn container(&self, ctx: &Context<'_>) -> fuse::Result<Option<Arc<Container>>> {
        self.contents.identify(ctx.caller.tid)
    }

    /// The container for an entry of a served directory of `sys`.
    fn container_for(&self, ctx: &Context<'_>, path: &str) -> fuse::Result<Option<Arc<Container>>> {
        self.contents.identify_for(path, ctx.caller.tid)
    }

    fn list(&self, ctx: &Context<'_>, parent: NodeId, node: &Node) -> fuse::Result<Vec<Listed>> {
        match node {
            Node::Passage(names) => Ok(names
                .iter()
                .filter_map(|name| {
                    let (node, what) = self.child(parent, name)?;
                    let kind = self.fixed_attr(node, &what).kind;
                    Some(Listed { node, kind, name: name.into() })
                })
                .collect()),
            Node::Sys(path) => {
                let entries = sys::list(&self.contents, path, || self.container_for(ctx, path))?;
                Ok(entries
                    .into_iter()
                    .map(|(name, kind)| {
                        let node = sys_number(&sys::join(path, &name));
                        Listed { node, kind, name: name.into() }
                    })
                    .collect())
            }
            Node::Proc(_) => Err(Errno::NOTDIR),
        }
    }
}

/// `.` and `..`, which the kernel leaves to us.
fn dots(node: NodeId) -> [Listed; 2] {
    [".", ".."].map(|name| Listed { node, kind: FileType::Directory, name: name.into() })
}

impl Filesystem for SharedTree {
    fn lookup(&self, ctx: &Context<'_>, parent: NodeId, name: &OsStr) -> fuse::Result<Entry> {
        let name = name.to_str().ok_or(Errno::NOENT)?;
        match self.nodes.get(parent).ok_or(Errno::STALE)? {
            Node::Passage(_) => {
                let (node, what) = self.child(parent, name).ok_or(Errno::NOENT)?;
                let attr = self.fixed_attr(node, &what);
                Ok(Entry { node, attr, entry_ttl: FOR_EVER, attr_ttl: FOR_EVER })
            }
            Node::Sys(path) => self.lookup_sys(ctx, &path, name),
            Node::Proc(_) => Err(Errno::NOTDIR),
        }
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        self.nodes.forget(node, lookups);
    }

    fn getattr(&self, ctx: &Context<'_>, node: NodeId, _: Option<Fh>) -> fuse::Result<AttrReply> {
        match self.nodes.get(node).ok_or(Errno::STALE)? {
            Node::Sys(path) if !self.nodes.is_fixed(node) => {
                let caller = || self.container_for(ctx, &path);
                let SysEntry { kind, mode, .. } = sys::stat(&self.contents, &path, caller)?;
                Ok(AttrReply { attr: self.attr(node, kind, mode), ttl: SHORTLY })
            }
            what => Ok(AttrReply { attr: self.fixed_attr(node, &what), ttl: FOR_EVER }),
        }
    }

    fn readlink(&self, ctx: &Context<'_>, node: NodeId) -> fuse::Result<OsString> {
        match self.nodes.get(node).ok_or(Errno::STALE)? {
            Node::Sys(path) => {
                sys::read_link(&self.contents, &path, || self.container_for(ctx, &path))
            }
            Node::Proc(_) | Node::Passage(_) => Err(Errno::INVAL),
        }
    }

    fn open(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> fuse::Result<OpenReply> {
        // Modes do not hold root back, so it is done here.
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            return Err(Errno::ACCESS);
        }
        let what = match self.nodes.get(node).ok_or(Errno::STALE)? {
            Node::Proc(file) => {
                let is_linux32 = self.contents.is_linux32(file, ctx.caller.tid);
                What::Proc { file, is_linux32 }
            }
            Node::Sys(path) => What::Sys(path),
            Node::Passage(_) => return Err(Errno::ISDIR),
        };
        let container = match &what {
            What::Proc { .. } => self.container(ctx)?,
            What::Sys(path) => self.container_for(ctx, path)?,
        };
        let snapshot = Snapshot::new(self.build(&what, container.as_ref())?);
        let fh = self.files.insert(OpenFile { what, container, snapshot });
        Ok(OpenReply { fh, flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
    }

    fn read(
        &self,
        _: &Context<'_>,
        _: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        let file = self.files.get(fh).ok_or(Errno::BADF)?;
        let build = || self.build(&file.what, file.container.as_ref());
        out.put_from(&file.snapshot.at(offset, build), offset);
        Ok(())
    }

    fn release(&self, _: NodeId, fh: Fh) {
        self.files.remove(fh);
    }

    fn opendir(&self, ctx: &Context<'_>, node: NodeId, _: OFlags) -> fuse::Result<OpenReply> {
        let what = self.nodes.get(node).ok_or(Errno::STALE)?;
        let mut listed = Vec::from(dots(node));
        listed.extend(self.list(ctx, node, &what)?);
        Ok(OpenReply { fh: self.directories.insert(listed), flags: OpenFlags::empty() })
    }

    fn readdir(
        &self,
        _: &Context<'_>,
        _: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> fuse::Result<()> {
        let listed = self.directories.get(fh).ok_or(Errno::BADF)?;
        list(listed.iter().map(|entry| (entry.node, entry.kind, &entry.name)), offset, out);
        Ok(())
    }

    fn releasedir(&self, _: NodeId, fh: Fh) {
        self.directories.remove(fh);
    }
}
