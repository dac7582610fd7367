//! Opening files and directories of the shared tree.

use std::sync::Arc;

use container::{Container, ContainerKey};
use fuse::{Context, Errno, Fh, NodeId};
use view::catalogue::{FilePolicy, ProcFile, Sys};

use crate::adopt::{Whose, new_meta};
use crate::handles::{Built, Snapshot};
use crate::keep::{self, Listed, Meta, listing_to_bytes};
use crate::nodes::Node;
use crate::places::Place;
use crate::recent::Which;
use crate::shared_tree::{SharedTree, dots};

/// So many bytes of content count as one handle more: 256 MiB in all.
const BYTES_PER_HANDLE: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) what: What,
    pub(crate) whose: Whose,
    pub(crate) snapshot: Snapshot,
    pub(crate) _place: Option<Place<Option<ContainerKey>>>,
}

#[derive(Debug)]
pub(crate) struct OpenDirectory {
    pub(crate) listed: Vec<Listed>,
    pub(crate) _place: Option<Place<Option<ContainerKey>>>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Proc { file: &'static ProcFile, is_linux32: bool },
    Sys(Arc<str>),
}

impl What {
    fn name(&self) -> &str {
        match self {
            Self::Proc { file, .. } => file.name,
            Self::Sys(path) => path,
        }
    }

    fn is_linux32(&self) -> bool {
        matches!(self, Self::Proc { is_linux32: true, .. })
    }
}

impl SharedTree {
    /// What a node is; also one that only another worker has been asked about.
    pub(crate) fn node(&self, id: NodeId) -> fuse::Result<Node> {
        let named = || self.keep.name_of(id).map(|path| Node::Sys(path.into()));
        self.nodes.get(id).or_else(named).ok_or(Errno::STALE)
    }

    pub(crate) fn build(&self, meta: &Meta, what: &What, whose: &Whose) -> fuse::Result<Built> {
        let container = whose.container()?;
        if self.contents.degraded().is_some() {
            return self.make(meta, what, container); // every answer counts
        }
        let which = Which { node: meta.node, is_linux32: what.is_linux32(), container };
        self.made.of(which, || self.make(meta, what, container))
    }

    fn make(
        &self,
        meta: &Meta,
        what: &What,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<Built> {
        let degraded = self.contents.degraded().filter(|_| self.is_made(what, container));
        if let Some(log) = degraded {
            if let Some(content) = log.last_good(&self.keep, meta, what.name()) {
                return Ok(Built { content: Arc::new(content), is_good: true });
            }
            log.host(meta.node, what.name());
        }
        let content = match what {
            What::Proc { file, is_linux32 } => {
                self.contents.proc_file(file, *is_linux32, container)
            }
            What::Sys(path) => self.contents.sys_file(path, container),
        };
        let content = Arc::new(content?);
        Ok(Built { content, is_good: degraded.is_none() && container.is_some() })
    }

    /// Whether the container gets content that is made for it, not the host's.
    fn is_made(&self, what: &What, container: Option<&Arc<Container>>) -> bool {
        match what {
            What::Proc { file, .. } => self.contents.own(file.name, container).is_some(),
            What::Sys(path) => {
                let own = self.contents.own_of_sys(path, container);
                own.is_some() && matches!(view::catalogue::sys(path), Sys::Virtual(_))
            }
        }
    }

    /// Places for a handle with so many bytes of content.
    pub(crate) fn place(
        &self,
        owner: Option<ContainerKey>,
        bytes: usize,
    ) -> Option<Place<Option<ContainerKey>>> {
        self.places.take_some(owner, (bytes / BYTES_PER_HANDLE).saturating_add(1))
    }

    /// Opens a file under the number `fh`, for the caller's container.
    pub(crate) fn open_as(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
    ) -> fuse::Result<OpenFile> {
        let what = match self.node(node)? {
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
        // Names are looked up by everybody, so that only now it is not there for this one.
        if let (What::Proc { file, .. }, Some(container)) = (&what, &container)
            && self.contents.decision(container).of_file(file.name) == FilePolicy::Absent
        {
            return Err(Errno::NOENT);
        }
        let kept = keep::What::File { is_linux32: what.is_linux32() };
        let mut meta = new_meta(ctx, node, fh, container.as_deref(), kept);
        let whose = Whose::from(container);
        let Built { content, is_good } = self.build(&meta, &what, &whose)?;
        meta.is_good = is_good;
        let place = self.place(whose.key(), content.len());
        if place.is_none() {
            return Err(Errno::NFILE);
        }
        let snapshot = Snapshot::new(&self.keep, meta, content);
        Ok(OpenFile { what, whose, snapshot, _place: place })
    }

    /// The open file. One that the last worker has not written down is opened anew, for the
    /// container of whoever reads.
    pub(crate) fn file(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
    ) -> fuse::Result<Arc<OpenFile>> {
        match self.files.get(fh) {
            Some(file) => Ok(file),
            None if self.keep.is_of_predecessor(fh) => {
                let file = self.open_as(ctx, node, fh)?;
                Ok(self.files.get_or_insert(fh, file))
            }
            None => Err(Errno::BADF),
        }
    }

    pub(crate) fn opendir_as(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
    ) -> fuse::Result<OpenDirectory> {
        let what = self.node(node)?;
        let container = match &what {
            Node::Sys(path) => self.container_for(ctx, path)?,
            Node::Passage(_) | Node::Proc(_) => None,
        };
        let mut meta = new_meta(ctx, node, fh, container.as_deref(), keep::What::Directory);
        let (listed, is_good) = self.listed(&meta, &what, container.as_ref())?;
        meta.is_good = is_good && container.is_some();
        let content = listing_to_bytes(&listed);
        let key = container.map(|container| container.key());
        let place = Some(self.place(key, content.len()).ok_or(Errno::NFILE)?);
        self.keep.open(&meta, &content);
        Ok(OpenDirectory { listed, _place: place })
    }

    /// As [`SharedTree::file`].
    pub(crate) fn directory(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
    ) -> fuse::Result<Arc<OpenDirectory>> {
        match self.directories.get(fh) {
            Some(directory) => Ok(directory),
            None if self.keep.is_of_predecessor(fh) => {
                let directory = self.opendir_as(ctx, node, fh)?;
                Ok(self.directories.get_or_insert(fh, directory))
            }
            None => Err(Errno::BADF),
        }
    }

    /// The entries of a directory, `.` and `..` first, and whether they are as they should be.
    fn listed(
        &self,
        meta: &Meta,
        what: &Node,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<(Vec<Listed>, bool)> {
        let node = NodeId(meta.node);
        let degraded = self.contents.degraded().zip(container).map(|(log, _)| log);
        if let (Some(log), Node::Sys(path)) = (degraded, what)
            && let Some(content) = log.last_good(&self.keep, meta, path)
            && let Some(listed) = keep::listing_of(&content)
        {
            return Ok((listed, true));
        }
        let mut listed = Vec::from(dots(node));
        listed.extend(self.list(node, what, container)?);
        Ok((listed, degraded.is_none()))
    }
}
