//! The directory with the pressure files, as a file system of its own.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cgroup::Pressure;
use container::{Container, ContainerKey};
use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, Notifier,
    OFlags, OpenFlags, OpenReply, Peek, Poll, PollFlags, PollHandle, ReadBuf,
};
use view::catalogue::PRESSURE;

use super::privilege::has_sys_resource;
use super::source::{Source, name, on_host};
use super::trigger::Trigger;
use super::watch::{NOTHING_TO_WAIT_FOR, READY, Registered, Watch};
use crate::adopt::{Owners, Resent, Whose, new_meta};
use crate::classes::class_of;
use crate::contents::{Contents, StartError};
use crate::handles::{Built, Handles, Snapshot};
use crate::keep::{Adopted, Keep, What};
use crate::listing::list;
use crate::nodes::number;
use crate::places::{Place, Places};

/// How many triggers a container may have, and the host, at the same time: each holds a descriptor
/// of ours, and work or a thread of the kernel's.
const TRIGGERS_EACH: usize = 64;
/// How many handles it may have open.
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
    triggers: Arc<Places<Owner>>,
    resent: Resent,
    /// `None`: no triggers here.
    watch: Option<Watch>,
    born: Duration,
}

type Owner = Option<ContainerKey>;

#[derive(Debug)]
struct OpenFile {
    /// `None`: the container has ended.
    source: Option<Source>,
    /// Whose trigger it will be; `None`: the host's.
    owner: Owner,
    /// Whether the opener may have triggers with windows of any length.
    is_privileged: bool,
    snapshot: Snapshot,
    trigger: Mutex<Option<Held>>,
    _place: Option<Place<Owner>>,
}

/// A trigger and its place among the container's. The trigger is freed first.
#[derive(Debug)]
struct Held {
    /// `None`: the container has ended since, and there is nothing to wait for.
    registered: Option<Registered>,
    _place: Option<Place<Owner>>,
    /// The number of the write.
    written_by: u64,
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
        let wake = |notifier: Notifier| -> Wake {
            Arc::new(move |handle| {
                if let Err(error) = notifier.wake(handle) {
                    tracing::warn!(%error, "cannot wake a waiter for pressure");
                }
            })
        };
        Self::start_waking(contents, notifier.map(wake), keep)
    }

    pub(crate) fn start_waking(
        contents: Arc<Contents>,
        wake: Option<Wake>,
        keep: Arc<Keep>,
    ) -> Result<Self, StartError> {
        let node = |what| number(&format!("proc/pressure/{}", name(what)));
        let files = on_host(contents.host()).into_iter().map(|what| (node(what), what)).collect();
        let watching = wake.clone().map(|wake| Watch::start(Box::new(move |waiter| wake(waiter))));
        let mut tree = Self {
            watch: watching.transpose()?,
            born: keep.born(),
            contents,
            keep,
            files,
            open: Handles::new(),
            places: Places::new(HANDLES_EACH),
            triggers: Places::new(TRIGGERS_EACH),
            resent: Resent::default(),
        };
        let (resent, waiters) = tree.adopt();
        tree.resent = resent;
        // Each asks anew, and is then waited for by this process.
        if let Some(wake) = wake {
            waiters.into_iter().for_each(|waiter| wake(waiter));
        }
        Ok(tree)
    }

    /// Opens what the last worker had open. Also who waits for it.
    fn adopt(&self) -> (Resent, Vec<PollHandle>) {
        let adopted = self.keep.adopted(|what| matches!(what, What::Pressure { .. }));
        let resent = Resent::of(&adopted);
        let mut owners = Owners::new(&self.contents);
        let mut waiters = Vec::new();
        for one in adopted {
            let whose = owners.find(one.meta.owner.as_ref());
            let What::Pressure { waiter, .. } = one.meta.what else { continue };
            waiters.extend(waiter.map(PollHandle));
            let fh = Fh(one.meta.fh);
            match self.adopted(one, &whose) {
                Some(file) => self.open.insert(fh, file),
                None => self.keep.close(fh),
            }
        }
        (resent, waiters)
    }

    fn adopted(&self, one: Adopted, whose: &Whose) -> Option<OpenFile> {
        let What::Pressure { is_privileged, trigger, waiter } = one.meta.what else { return None };
        let what = self.file(NodeId(one.meta.node)).ok()?;
        let source = whose.container().ok().map(|container| self.source(what, container.cloned()));
        let owner = whose.key();
        let place = self.places.take(owner);
        let snapshot = Snapshot::adopted_outdated(one);
        let trigger_of_file = Mutex::default();
        let file = OpenFile {
            source,
            owner,
            is_privileged,
            snapshot,
            trigger: trigger_of_file,
            _place: place,
        };
        if let Some(kept) = trigger {
            let registered = self.register(&file, &Trigger::of(&kept), kept.written_by);
            let held = registered.unwrap_or_else(|errno| {
                if file.source.is_some() {
                    tracing::warn!(?what, %errno, "cannot register a pressure trigger again");
                }
                Held { registered: None, _place: None, written_by: kept.written_by }
            });
            if let Some(registered) = &held.registered {
                registered.poll(waiter.map(PollHandle));
            }
            *file.trigger() = Some(held);
        }
        Some(file)
    }

    /// Who sees the host's pressure because the operator chose so sees the host's.
    fn source(&self, what: Pressure, container: Option<Arc<Container>>) -> Source {
        Source { what, container: container.filter(|_| self.contents.shows_own(PRESSURE)) }
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
        let snapshot = Snapshot::outdated(&self.keep, meta, content);
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

    /// Has the kernel watch for what is `wanted` of `file`.
    fn register(&self, file: &OpenFile, wanted: &Trigger, written_by: u64) -> fuse::Result<Held> {
        let watch = self.watch.as_ref().ok_or(Errno::INVAL)?;
        if !file.is_privileged && !wanted.is_for_everybody() {
            return Err(Errno::INVAL);
        }
        let source = file.source.as_ref().ok_or(Errno::NODEV)?;
        let place = self.triggers.take(file.owner).ok_or(Errno::NOSPC)?;
        let own = source.open(self.contents.host_pressure().ok_or(Errno::NODEV)?)?;
        rustix::io::write(&own, wanted.text().as_bytes())?;
        let window = wanted.window().0;
        tracing::debug!(what = ?source.what, owner = ?file.owner, window, "pressure trigger");
        Ok(Held { registered: Some(watch.add(own)?), _place: Some(place), written_by })
    }
}

/// Wakes whoever polls.
type Wake = Arc<dyn Fn(PollHandle) + Send + Sync>;

impl OpenFile {
    fn trigger(&self) -> MutexGuard<'_, Option<Held>> {
        // What was there before a panic is as good as before.
        self.trigger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for PressureTree {
    fn class(&self, peek: &Peek) -> u64 {
        let file = peek.fh.and_then(|fh| self.open.get(fh));
        file.map_or_else(|| self.contents.class(peek.caller.tid), |file| class_of(file.owner))
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
        let is_here = |fh| self.open.get(fh).is_some();
        let fh = if let Some(fh) = self.resent.find(ctx, node).filter(|&fh| is_here(fh)) {
            fh
        } else {
            let fh = self.keep.new_fh();
            self.open.insert(fh, self.open_as(ctx, node, fh, flags)?);
            fh
        };
        Ok(OpenReply { fh, flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
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
            Ok::<_, Errno>(Built { content, is_good: false })
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
        *trigger = Some(self.register(&file, &wanted, ctx.unique())?);
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
        let trigger = file.trigger();
        let registered = trigger.as_ref().and_then(|held| held.registered.as_ref());
        let ready = registered.map(|registered| registered.poll(poll.notify));
        Ok(ready.unwrap_or(READY | NOTHING_TO_WAIT_FOR))
    }

    fn release(&self, _: NodeId, fh: Fh) {
        self.open.remove(fh);
        self.keep.close(fh);
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
