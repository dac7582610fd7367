//! A container tree that is mounted, where nobody else sees it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use container::registry::{Id, Init, Registration, Target, Writer};
use fuse::{
    AttrReply, Connection, Context, DirSink, Ended, Entry, Features, Fh, Filesystem, MountOptions,
    NodeId, OFlags, OpenReply, Peek, ReadBuf, Serve, ServeHandle, Session,
};
use procfmt::pid_stat::PidStat;
use view::policy::Policy;

use super::super::client::Process;
use crate::contents::Contents;
use crate::keep::Keep;
use crate::{ContainerTree, Upkeep};

/// The tree, its mount and its registrations.
pub(super) struct Mounted {
    pub(super) contents: Arc<Contents>,
    pub(super) writer: Writer,
    pub(super) asked: Arc<Asked>,
    keep: Arc<Keep>,
    served: Option<(Session, ServeHandle)>,
    mount: Option<OwnedFd>,
    _registrations: tempfile::TempDir,
}

/// How many requests came through to the tree.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) lookups: AtomicUsize,
    pub(super) attributes: AtomicUsize,
    pub(super) opens: AtomicUsize,
    pub(super) reads: AtomicUsize,
}

impl Asked {
    pub(super) fn all(&self) -> usize {
        let kinds = [&self.lookups, &self.attributes, &self.opens, &self.reads];
        kinds.iter().map(|kind| kind.load(Ordering::SeqCst)).sum()
    }
}

impl Mounted {
    /// `None`: this test cannot run here.
    pub(super) fn new(test: &str) -> Option<Self> {
        if !testkit::need_root(test) || !testkit::need_fuse(test) {
            return None;
        }
        let registrations = tempfile::tempdir().unwrap();
        let upkeep =
            Upkeep { registrations: Some(registrations.path().to_owned()), ..Upkeep::default() };
        let opened = Contents::of_this_host(Policy::default(), &upkeep).unwrap();
        let options = MountOptions {
            mountpoint: PathBuf::from("nowhere"),
            subtype: "resview".to_owned(),
            source: "resview-test".to_owned(),
            allow_other: true,
            default_permissions: true,
            read_only: true,
        };
        let (connection, mount) = Connection::detached(&options).unwrap();
        let mut mounted = Self {
            contents: Arc::new(opened.start().unwrap()),
            writer: Writer::open(registrations.path()).unwrap(),
            asked: Arc::default(),
            keep: Arc::new(Keep::create().unwrap()),
            served: None,
            mount: Some(mount),
            _registrations: registrations,
        };
        mounted.serve(connection.init(&Features::page_cached()).unwrap());
        Some(mounted)
    }

    fn serve(&mut self, session: Session) {
        let tree = ContainerTree::new(Arc::clone(&self.contents), Arc::clone(&self.keep));
        let fs = Arc::new(Counting { tree, asked: Arc::clone(&self.asked) });
        let how = Serve::with_threads(NonZeroUsize::new(4).unwrap());
        let handle = session.serve(fs, how).unwrap();
        self.served = Some((session, handle));
    }

    /// Another worker takes over, which knows what is written down and nothing else.
    pub(super) fn change_worker(&mut self) {
        let (session, handle) = self.served.take().unwrap();
        assert_eq!(handle.stop(), Ended::Stopped);
        let keep = self.keep.as_fd().try_clone_to_owned().unwrap();
        self.keep = Arc::new(Keep::adopt(keep).unwrap());
        let negotiated = *session.negotiated();
        let device = session.into_device().unwrap();
        self.serve(Session::adopt(device, negotiated).unwrap());
    }

    /// A path in the tree, for this process and its children.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        let mount = self.mount.as_ref().unwrap().as_raw_fd();
        PathBuf::from(format!("/proc/{}/fd/{mount}/{path}", std::process::id()))
    }

    pub(super) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        let text = std::fs::read_to_string(&path);
        text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(super) fn open(&self, path: &str) -> File {
        File::open(self.path(path)).unwrap()
    }

    /// Registers a container by its first process.
    pub(super) fn register(&self, id: &str, process: &Process) -> Registration {
        let registration = registration(id, process);
        self.writer.put(&registration).unwrap();
        registration
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Unmounted with its last descriptor, and the threads end.
        drop(self.mount.take());
        if let Some((_, handle)) = self.served.take() {
            let _ = handle.stop();
        }
    }
}

pub(super) fn registration(id: &str, process: &Process) -> Registration {
    Registration::new(Id::new(id).unwrap(), init_of(process))
}

fn init_of(process: &Process) -> Target {
    let mut text = Vec::new();
    let mut stat = File::open(format!("/proc/{}/stat", process.id())).unwrap();
    stat.read_to_end(&mut text).unwrap();
    let start_time = PidStat::parse(&text).unwrap().start_time.0;
    Target::Init(Init { pid: process.id(), start_time })
}

/// Counts the requests to a tree.
#[derive(Debug)]
struct Counting {
    tree: ContainerTree,
    asked: Arc<Asked>,
}

impl Filesystem for Counting {
    fn class(&self, peek: &Peek) -> u64 {
        self.tree.class(peek)
    }

    fn lookup(&self, ctx: &Context<'_>, parent: NodeId, name: &OsStr) -> fuse::Result<Entry> {
        self.asked.lookups.fetch_add(1, Ordering::SeqCst);
        self.tree.lookup(ctx, parent, name)
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        self.tree.forget(node, lookups);
    }

    fn getattr(&self, ctx: &Context<'_>, node: NodeId, fh: Option<Fh>) -> fuse::Result<AttrReply> {
        self.asked.attributes.fetch_add(1, Ordering::SeqCst);
        self.tree.getattr(ctx, node, fh)
    }

    fn readlink(&self, ctx: &Context<'_>, node: NodeId) -> fuse::Result<OsString> {
        self.tree.readlink(ctx, node)
    }

    fn open(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> fuse::Result<OpenReply> {
        self.asked.opens.fetch_add(1, Ordering::SeqCst);
        self.tree.open(ctx, node, flags)
    }

    fn read(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        self.asked.reads.fetch_add(1, Ordering::SeqCst);
        self.tree.read(ctx, node, fh, offset, out)
    }

    fn readdir(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> fuse::Result<()> {
        self.tree.readdir(ctx, node, fh, offset, out)
    }
}
