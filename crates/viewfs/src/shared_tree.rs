//! The shared tree: LXCFS's layout, one inode per file for everybody.
//!
//! Who asks is found out at OPEN, and content is built there; see [`handles`](crate::handles). As
//! an inode's content differs from caller to caller, nothing of it may be in the page cache: every
//! open is `DIRECT_IO`. Names that not every container has (cpuN, nodeN, disks) are looked up anew
//! each time.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use container::{Container, ContainerKey};
use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, OFlags,
    OpenFlags, OpenReply, Peek, ReadBuf,
};

use crate::adopt::Resent;
use crate::classes::class_of;
use crate::contents::Contents;
use crate::handles::{Handles, built_at_open};
use crate::keep::{Keep, Listed};
use crate::listing::list;
use crate::nodes::{Node, Nodes, sys_number};
use crate::open::{OpenDirectory, OpenFile};
use crate::places::Places;
use crate::recent::Made;
use crate::sys::{self, SysEntry};

/// How long the kernel may use what never changes.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// How long it may use what a CPU going online or offline changes.
const SHORTLY: Duration = Duration::from_secs(1);
/// What depends on the caller is asked every time.
const NEVER: Duration = Duration::ZERO;

/// How many handles a container may have open, and the host; one of large content counts as
/// several.
const HANDLES_EACH: usize = 4096;

/// The file system.
///
/// What is open is written down in a [`Keep`], so that the tree of another process answers for the
/// same handles, after this one has stopped or died at any moment. A container that has 4096 files
/// and directories open gets ENFILE for more.
#[derive(Debug)]
pub struct SharedTree {
    pub(crate) contents: Arc<Contents>,
    pub(crate) keep: Arc<Keep>,
    pub(crate) nodes: Nodes,
    pub(crate) files: Handles<OpenFile>,
    pub(crate) directories: Handles<OpenDirectory>,
    /// By container; `None` is the host.
    pub(crate) places: Arc<Places<Option<ContainerKey>>>,
    pub(crate) made: Made,
    /// What the last worker had opened, by the number of the request.
    resent: Resent,
    born: Duration,
}

impl SharedTree {
    /// The tree over `contents`, with what is open according to `keep`: whoever served the same
    /// mount with it before must have stopped. A file whose container has ended keeps its content.
    #[must_use]
    pub fn new(contents: Arc<Contents>, keep: Arc<Keep>) -> Self {
        let born = keep.born();
        let (files, directories) = (Handles::new(), Handles::new());
        let nodes = Nodes::new(contents.has_pressure());
        let (places, resent) = (Places::new(HANDLES_EACH), Resent::default());
        let made = Made::new(contents.moment);
        let mut tree =
            Self { contents, keep, nodes, files, directories, places, made, resent, born };
        tree.resent = tree.adopt();
        tree
    }

    /// Where the content comes from.
    #[must_use]
    pub fn contents(&self) -> &Arc<Contents> {
        &self.contents
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
        self.keep.name(node, &path);
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

    pub(crate) fn container(&self, ctx: &Context<'_>) -> fuse::Result<Option<Arc<Container>>> {
        self.contents.identify(ctx.caller.tid)
    }

    /// The container for an entry of a served directory of `sys`.
    pub(crate) fn container_for(
        &self,
        ctx: &Context<'_>,
        path: &str,
    ) -> fuse::Result<Option<Arc<Container>>> {
        self.contents.identify_for(path, ctx.caller.tid)
    }

    pub(crate) fn list(
        &self,
        parent: NodeId,
        node: &Node,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<Vec<Listed>> {
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
                let entries = sys::list(&self.contents, path, || Ok(container.cloned()))?;
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
pub(crate) fn dots(node: NodeId) -> [Listed; 2] {
    [".", ".."].map(|name| Listed { node, kind: FileType::Directory, name: name.into() })
}

impl Filesystem for SharedTree {
    fn class(&self, peek: &Peek) -> u64 {
        let file = peek.fh.and_then(|fh| self.files.get(fh));
        let class = file.map(|file| class_of(file.whose.key())).filter(|&class| class != 0);
        class.unwrap_or_else(|| self.contents.class(peek.caller.tid))
    }

    fn class_of_stranger(&self, peek: &Peek) -> u64 {
        // That of an open file is known: it is the host's.
        peek.fh.map_or_else(|| self.contents.class_of_stranger(peek.caller.tid), |_| 0)
    }

    fn lookup(&self, ctx: &Context<'_>, parent: NodeId, name: &OsStr) -> fuse::Result<Entry> {
        let name = name.to_str().ok_or(Errno::NOENT)?;
        match self.node(parent)? {
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
        match self.node(node)? {
            Node::Sys(path) if !self.nodes.is_fixed(node) => {
                let caller = || self.container_for(ctx, &path);
                let SysEntry { kind, mode, .. } = sys::stat(&self.contents, &path, caller)?;
                Ok(AttrReply { attr: self.attr(node, kind, mode), ttl: SHORTLY })
            }
            what => Ok(AttrReply { attr: self.fixed_attr(node, &what), ttl: FOR_EVER }),
        }
    }

    fn readlink(&self, ctx: &Context<'_>, node: NodeId) -> fuse::Result<OsString> {
        match self.node(node)? {
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
        let open = |fh| self.open_as(ctx, node, fh);
        self.resent.open(ctx, node, &self.files, &self.keep, open).map(built_at_open)
    }

    fn read(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        let file = self.file(ctx, node, fh)?;
        let build = || {
            let meta = file.snapshot.meta().clone();
            self.build(&meta, &file.what, &file.whose)
        };
        out.put_from(&file.snapshot.at(offset, ctx.unique(), &self.keep, build), offset);
        Ok(())
    }

    fn release(&self, _: NodeId, fh: Fh) {
        self.files.release(fh, &self.keep);
    }

    fn opendir(&self, ctx: &Context<'_>, node: NodeId, _: OFlags) -> fuse::Result<OpenReply> {
        let open = |fh| self.opendir_as(ctx, node, fh);
        let fh = self.resent.open(ctx, node, &self.directories, &self.keep, open)?;
        Ok(OpenReply { fh, flags: OpenFlags::empty() })
    }

    fn readdir(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> fuse::Result<()> {
        let open = self.directory(ctx, node, fh)?;
        list(open.listed.iter().map(|entry| (entry.node, entry.kind, &entry.name)), offset, out);
        Ok(())
    }

    fn releasedir(&self, _: NodeId, fh: Fh) {
        self.directories.release(fh, &self.keep);
    }
}
