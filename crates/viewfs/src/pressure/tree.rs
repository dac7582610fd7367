//! The directory with the pressure files, as a file system of its own.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cgroup::Pressure;
use container::ContainerKey;
use fuse::{
    Attr, AttrReply, Context, DirSink, Entry, Errno, Fh, FileType, Filesystem, NodeId, Notifier,
    OFlags, OpenFlags, OpenReply, Poll, PollFlags, ReadBuf,
};
use view::catalogue::PRESSURE;

use super::places::{Place, Places};
use super::privilege::has_sys_resource;
use super::source::{HostPressure, Source, name, on_host};
use super::trigger::Trigger;
use super::watch::{NOTHING_TO_WAIT_FOR, READY, Registered, Watch};
use crate::contents::{Contents, StartError};
use crate::handles::{Handles, Snapshot};
use crate::listing::list;
use crate::nodes::number;

/// How many triggers a container may have, and the host, at the same time.
const TRIGGERS_EACH: usize = 64;
/// How long the kernel may use what never changes.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The file system: one directory.
#[derive(Debug)]
pub struct PressureTree {
    contents: Arc<Contents>,
    host: HostPressure,
    /// What the host has, and its node.
    files: Vec<(NodeId, Pressure)>,
    open: Handles<OpenFile>,
    /// By container; `None` is the host.
    places: Arc<Places<Option<ContainerKey>>>,
    /// `None`: no triggers here.
    watch: Option<Watch>,
    born: Duration,
}

#[derive(Debug)]
struct OpenFile {
    source: Source,
    /// Whose trigger it will be; `None`: the host's.
    owner: Option<ContainerKey>,
    /// Whether the opener may have triggers with windows of any length.
    is_privileged: bool,
    snapshot: Snapshot,
    trigger: Mutex<Option<Held>>,
}

/// A trigger and its place among the container's. The trigger is freed first.
#[derive(Debug)]
struct Held {
    registered: Registered,
    _place: Place<Option<ContainerKey>>,
}

impl PressureTree {
    /// The tree for the containers that `contents` tells apart, and the thread that waits for
    /// triggers and tells `notifier`, which has to be of the connection that serves this tree.
    /// Without a notifier there are no triggers: writing is EINVAL.
    ///
    /// # Errors
    /// The thread cannot be started, or the host's files cannot be reached.
    pub fn start(contents: Arc<Contents>, notifier: Option<Notifier>) -> Result<Self, StartError> {
        let wake = |notifier: Notifier| {
            Watch::start(Box::new(move |handle| {
                if let Err(error) = notifier.wake(handle) {
                    tracing::warn!(%error, "cannot wake a waiter for pressure");
                }
            }))
        };
        let node = |what| number(&format!("proc/pressure/{}", name(what)));
        let files = on_host(contents.host()).into_iter().map(|what| (node(what), what)).collect();
        Ok(Self {
            host: HostPressure::mount()?,
            watch: notifier.map(wake).transpose()?,
            contents,
            files,
            open: Handles::new(),
            places: Places::new(TRIGGERS_EACH),
            born: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        })
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

    /// Has the kernel watch for what is `wanted` of `file`.
    fn register(&self, file: &OpenFile, wanted: &Trigger) -> fuse::Result<Held> {
        let watch = self.watch.as_ref().ok_or(Errno::INVAL)?;
        if !file.is_privileged && !wanted.is_for_everybody() {
            return Err(Errno::INVAL);
        }
        let place = self.places.take(file.owner).ok_or(Errno::NOSPC)?;
        let own = file.source.open(&self.host)?;
        rustix::io::write(&own, wanted.text().as_bytes())?;
        let window = wanted.window().0;
        tracing::debug!(what = ?file.source.what, owner = ?file.owner, window, "pressure trigger");
        Ok(Held { registered: watch.add(own)?, _place: place })
    }
}

impl OpenFile {
    fn trigger(&self) -> MutexGuard<'_, Option<Held>> {
        // What was there before a panic is as good as before.
        self.trigger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for PressureTree {
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
        let what = self.file(node)?;
        let container = self.contents.identify(ctx.caller.tid)?;
        // Who sees the host's pressure because the operator chose so has places of its own still.
        let owner = container.as_ref().map(|container| container.key());
        let container = container.filter(|_| self.contents.shows_own(PRESSURE));
        let source = Source { what, container };
        let content = source.read(self.contents.host())?.ok_or(Errno::OPNOTSUPP)?;
        // Only now is it certain who has opened the file; whoever writes may be somebody else.
        let may_write = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let is_privileged =
            may_write && has_sys_resource(&self.contents.host().proc, ctx.caller.tid);
        let snapshot = Snapshot::outdated(content);
        let trigger = Mutex::default();
        let fh = self.open.insert(OpenFile { source, owner, is_privileged, snapshot, trigger });
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
        let file = self.open.get(fh).ok_or(Errno::BADF)?;
        // A file that is no more since OPEN: what the kernel says of its own.
        let build = || file.source.read(self.contents.host())?.ok_or(Errno::NODEV);
        out.put_from(&file.snapshot.try_at(offset, build)?, offset);
        Ok(())
    }

    /// Registers a trigger, one per open file.
    fn write(&self, _: &Context<'_>, _: NodeId, fh: Fh, _: u64, data: &[u8]) -> fuse::Result<u32> {
        let file = self.open.get(fh).ok_or(Errno::BADF)?;
        let mut trigger = file.trigger();
        if trigger.is_some() {
            return Err(Errno::BUSY);
        }
        let wanted = Trigger::parse(data).ok_or(Errno::INVAL)?;
        *trigger = Some(self.register(&file, &wanted)?);
        u32::try_from(data.len()).map_err(|_| Errno::INVAL)
    }

    fn poll(&self, _: &Context<'_>, _: NodeId, fh: Fh, poll: Poll) -> fuse::Result<PollFlags> {
        let file = self.open.get(fh).ok_or(Errno::BADF)?;
        let trigger = file.trigger();
        let ready = trigger.as_ref().map(|held| held.registered.poll(poll.notify));
        Ok(ready.unwrap_or(READY | NOTHING_TO_WAIT_FOR))
    }

    fn release(&self, _: NodeId, fh: Fh) {
        self.open.remove(fh);
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
