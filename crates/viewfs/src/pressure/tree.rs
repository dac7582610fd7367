//! The directory with the pressure files, as a file system of its own.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cgroup::Pressure;
use container::Container;
use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, Notifier,
    OFlags, OpenReply, Peek, Poll, PollFlags, PollHandle, ReadBuf,
};
use view::catalogue::PRESSURE;

use super::held::{Held, OpenFile, Owner};
use super::privilege::has_sys_resource;
use super::registrar::{Due, Registrar};
use super::source::{Source, name, on_host};
use super::trigger::Trigger;
use super::watched::{NOTHING_TO_WAIT_FOR, READY};
use crate::adopt::{Owners, Resent, Whose, new_meta};
use crate::classes::class_of;
use crate::contents::{Contents, StartError};
use crate::handles::{Built, Handles, Snapshot, built_at_open};
use crate::keep::{Adopted, Keep, What};
use crate::listing::list;
use crate::nodes::number;
use crate::places::Places;

/// How many handles a container may have open, and the host.
const HANDLES_EACH: usize = 4096;
/// How long the kernel may use what never changes.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The file system: one directory.
///
/// What is open and which triggers there are is written down in a [`Keep`], so that the tree of
/// another process goes on with them. An event that happens while none is there to see it is not
/// told; the kernel tells again of pressure that lasts.
#[derive(Debug)]
pub struct PressureTree {
    contents: Arc<Contents>,
    keep: Arc<Keep>,
    /// What the host has, and its node.
    files: Vec<(NodeId, Pressure)>,
    open: Handles<OpenFile>,
    /// By container; `None` is the host.
    places: Arc<Places<Owner>>,
    resent: Resent,
    /// `None`: no triggers here.
    registrar: Option<Arc<Registrar>>,
    born: Duration,
}

impl PressureTree {
    /// The tree for the containers that `contents` tells apart, with what is open according to
    /// `keep`, and the thread that waits for triggers and tells `notifier`, which has to be of the
    /// connection that serves this tree: whoever served it before must have stopped. Without a
    /// notifier there are no triggers: writing is EINVAL.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        contents: Arc<Contents>,
        notifier: Option<Notifier>,
        keep: Arc<Keep>,
    ) -> Result<Self, StartError> {
        let wake = |notifier: Notifier| {
            move |handle| {
                if let Err(error) = notifier.wake(handle) {
                    tracing::warn!(%error, "cannot wake a waiter for pressure");
                }
            }
        };
        Self::start_waking(contents, notifier.map(wake), keep)
    }

    pub(crate) fn start_waking(
        contents: Arc<Contents>,
        wake: Option<impl Fn(PollHandle) + Send + Sync + 'static>,
        keep: Arc<Keep>,
    ) -> Result<Self, StartError> {
        let node = |what| number(&format!("proc/pressure/{}", name(what)));
        let files = on_host(contents.host()).into_iter().map(|what| (node(what), what)).collect();
        let registrar = wake.map(|wake| Registrar::start(Arc::clone(&contents), wake));
        let mut tree = Self {
            registrar: registrar.transpose()?.map(Arc::new),
            born: keep.born(),
            contents,
            keep,
            files,
            open: Handles::new(),
            places: Places::new(HANDLES_EACH),
            resent: Resent::default(),
        };
        tree.resent = tree.adopt()?;
        Ok(tree)
    }

    /// Opens what the last worker had open.
    fn adopt(&self) -> Result<Resent, StartError> {
        let adopted = self.keep.adopted(|what| matches!(what, What::Pressure { .. }));
        let resent = Resent::of(&adopted);
        let mut owners = Owners::new(&self.contents);
        let mut due = Vec::new();
        for one in adopted {
            let whose = owners.find(one.meta.owner.as_ref());
            let What::Pressure { trigger, waiter, .. } = one.meta.what else { continue };
            let (fh, waiter) = (Fh(one.meta.fh), waiter.map(PollHandle));
            let Some(file) = self.adopted(one, &whose) else {
                self.keep.close(fh);
                self.registrar.iter().zip(waiter).for_each(|(registrar, one)| registrar.wake(one));
                continue;
            };
            let file = self.open.get_or_insert(fh, file);
            if let Some((registrar, kept)) = self.registrar.as_ref().zip(trigger) {
                *file.trigger() = Some(Held::due(kept.written_by, waiter));
                let slot = registrar.slot(file.owner).ok();
                due.push(Due { file: Arc::downgrade(&file), wanted: Trigger::of(&kept), slot });
            }
        }
        if let Some(registrar) = &self.registrar {
            registrar.register_again(due)?;
        }
        Ok(resent)
    }

    fn adopted(&self, one: Adopted, whose: &Whose) -> Option<OpenFile> {
        let What::Pressure { is_privileged, .. } = one.meta.what else { return None };
        let what = self.file(NodeId(one.meta.node)).ok()?;
        let source = whose.container().ok().map(|container| self.source(what, container.cloned()));
        let owner = whose.key();
        let (place, trigger) = (self.places.take(owner), Mutex::default());
        let snapshot = Snapshot::adopted_outdated(one);
        Some(OpenFile { source, owner, is_privileged, snapshot, trigger, _place: place })
    }

    /// Who sees the host's pressure because the operator chose so sees the host's.
    fn source(&self, what: Pressure, container: Option<Arc<Container>>) -> Source {
        Source { what, container: self.contents.own(PRESSURE, container.as_ref()).cloned() }
    }

    fn file(&self, node: NodeId) -> fuse::Result<Pressure> {
        if node == NodeId::ROOT {
            return Err(Errno::ISDIR);
        }
        let found = self.files.iter().find(|file| file.0 == node);
        found.map(|file| file.1).ok_or(Errno::STALE)
    }

    fn attr(&self, node: NodeId) -> Attr {
        let (kind, mode, nlink) = match node {
            NodeId::ROOT => (FileType::Directory, 0o555, 2),
            _ => (FileType::Regular, 0o666, 1),
        };
        Attr { ino: node.0, size: 0, kind, mode, nlink, uid: 0, gid: 0, mtime: self.born }
    }

    fn open_as(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        flags: OFlags,
    ) -> fuse::Result<OpenFile> {
        let what = self.file(node)?;
        let container = self.contents.identify(ctx.caller.tid)?;
        // Who sees the host's pressure because the operator chose so has places of its own still.
        let owner = container.as_ref().map(|container| container.key());
        let place = Some(self.places.take(owner).ok_or(Errno::NFILE)?);
        let source = self.source(what, container.clone());
        let content = source.read(self.contents.host())?.ok_or(Errno::OPNOTSUPP)?;
        // Only now is it certain who has opened the file; whoever writes may be somebody else.
        let may_write = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let is_privileged =
            may_write && has_sys_resource(&self.contents.host().proc, ctx.caller.tid);
        let what = What::Pressure { is_privileged, trigger: None, waiter: None };
        let mut meta = new_meta(ctx, node, fh, container.as_deref(), what);
        meta.is_good = false;
        let snapshot = Snapshot::outdated(&self.keep, meta, Arc::new(content));
        let (source, trigger) = (Some(source), Mutex::default());
        Ok(OpenFile { source, owner, is_privileged, snapshot, trigger, _place: place })
    }

    /// The open file. One that the last worker has not written down is opened anew, for the
    /// container of whoever asks, and without privileges.
    fn open_file(&self, ctx: &Context<'_>, node: NodeId, fh: Fh) -> fuse::Result<Arc<OpenFile>> {
        match self.open.get(fh) {
            Some(file) => Ok(file),
            None if self.keep.is_of_predecessor(fh) => {
                let file = self.open_as(ctx, node, fh, OFlags::RDONLY)?;
                Ok(self.open.get_or_insert(fh, file))
            }
            None => Err(Errno::BADF),
        }
    }
}

impl Filesystem for PressureTree {
    fn class(&self, peek: &Peek) -> u64 {
        let file = peek.fh.and_then(|fh| self.open.get(fh));
        file.map_or_else(|| self.contents.class(peek.caller.tid), |file| class_of(file.owner))
    }

    fn class_of_stranger(&self, peek: &Peek) -> u64 {
        // That of an open file is known: it is the host's.
        peek.fh.map_or_else(|| self.contents.class_of_stranger(peek.caller.tid), |_| 0)
    }

    fn lookup(&self, _: &Context<'_>, parent: NodeId, wanted: &OsStr) -> fuse::Result<Entry> {
        if parent != NodeId::ROOT {
            return Err(Errno::NOTDIR);
        }
        let found = self.files.iter().find(|file| wanted == name(file.1));
        let node = found.map(|file| file.0).ok_or(Errno::NOENT)?;
        Ok(Entry { node, attr: self.attr(node), entry_ttl: FOR_EVER, attr_ttl: FOR_EVER })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> fuse::Result<AttrReply> {
        if node != NodeId::ROOT {
            self.file(node)?;
        }
        Ok(AttrReply { attr: self.attr(node), ttl: FOR_EVER })
    }

    fn open(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> fuse::Result<OpenReply> {
        let open = |fh| self.open_as(ctx, node, fh, flags);
        self.resent.open(ctx, node, &self.open, &self.keep, open).map(built_at_open)
    }

    fn read(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        let file = self.open_file(ctx, node, fh)?;
        let build = || {
            let source = file.source.as_ref().ok_or(Errno::NODEV)?;
            // A file that is no more since OPEN: what the kernel says of its own.
            let content = source.read(self.contents.host())?.ok_or(Errno::NODEV)?;
            Ok::<_, Errno>(Built { content: Arc::new(content), is_good: false })
        };
        out.put_from(&file.snapshot.try_at(offset, ctx.unique(), &self.keep, build)?, offset);
        Ok(())
    }

    /// Registers a trigger, one per open file.
    fn write(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        _: u64,
        data: &[u8],
    ) -> fuse::Result<u32> {
        let file = self.open_file(ctx, node, fh)?;
        let written = u32::try_from(data.len()).map_err(|_| Errno::INVAL)?;
        let mut trigger = file.trigger();
        if let Some(held) = &*trigger {
            // Sent again, because the last worker's answer did not arrive.
            let is_again = held.written_by != 0 && held.written_by == ctx.unique();
            return if is_again { Ok(written) } else { Err(Errno::BUSY) };
        }
        let wanted = Trigger::parse(data).ok_or(Errno::INVAL)?;
        let registrar = self.registrar.as_ref().ok_or(Errno::INVAL)?;
        let watched = registrar.register(&file, &wanted)?;
        *trigger = Some(Held::new(ctx.unique(), watched));
        file.snapshot.note(&self.keep, |meta| match &mut meta.what {
            What::Pressure { trigger, .. } => {
                *trigger = Some(wanted.kept(ctx.unique()));
                true
            }
            _ => false,
        });
        Ok(written)
    }

    fn poll(&self, ctx: &Context<'_>, node: NodeId, fh: Fh, poll: Poll) -> fuse::Result<PollFlags> {
        let file = self.open_file(ctx, node, fh)?;
        if let Some(PollHandle(waiter)) = poll.notify {
            // Once: it is the same as long as the file is open.
            file.snapshot.note(&self.keep, |meta| match &mut meta.what {
                What::Pressure { waiter: known, .. } => known.replace(waiter) != Some(waiter),
                _ => false,
            });
        }
        let ready = file.trigger().as_mut().map(|held| held.poll(poll.notify));
        Ok(ready.unwrap_or(READY | NOTHING_TO_WAIT_FOR))
    }

    fn release(&self, _: NodeId, fh: Fh) {
        self.open.release(fh, &self.keep);
    }

    fn readdir(
        &self,
        _: &Context<'_>,
        node: NodeId,
        _: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> fuse::Result<()> {
        if node != NodeId::ROOT {
            return Err(Errno::NOTDIR);
        }
        let dots = [".", ".."].map(|dot| (node, FileType::Directory, dot));
        let files = self.files.iter().map(|file| (file.0, FileType::Regular, name(file.1)));
        list(dots.into_iter().chain(files), offset, out);
        Ok(())
    }
}
