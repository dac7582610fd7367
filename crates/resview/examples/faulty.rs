//! The program, with workers that misbehave on demand: for the tests of what happens then.
//!
//! The file `orders` in the directory named by `RESVIEW_FAULT` says how: `loop PID`, `deadlock PID`,
//! `leak PID` or `abort PID` is done at the next OPEN by the worker with that pid;
//! `panic proc/uptime` makes every OPEN of that file panic.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "that is what it is for")]

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};

use fuse::{
    Access, AttrReply, Caller, Context, DirSink, Entry, Fh, Filesystem, NodeId, OpenReply, Poll,
    PollFlags, ReadBuf, Result, Statfs,
};
use rustix::fs::{CWD, Mode, OFlags, openat};

/// The directory with the orders: a worker in its sandbox finds nothing by path.
static DIRECTORY: OnceLock<OwnedFd> = OnceLock::new();

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os("RESVIEW_FAULT") {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        DIRECTORY.set(openat(CWD, path, flags, Mode::empty()).unwrap()).unwrap();
    }
    resview::main_with(|inner| Arc::new(Faulty { inner }))
}

struct Faulty {
    inner: Arc<dyn Filesystem>,
}

impl Faulty {
    fn misbehave(&self, node: NodeId) {
        let Some(orders) = orders() else { return };
        let Some((what, whom)) = orders.trim().split_once(' ') else { return };
        if what == "panic" {
            assert!(self.node(whom) != Some(node), "as ordered");
        } else if whom == std::process::id().to_string() {
            obey(what);
        }
    }

    fn node(&self, path: &str) -> Option<NodeId> {
        let ctx = Context::detached(Caller { tid: std::process::id() });
        path.split('/').try_fold(NodeId::ROOT, |parent, name| {
            Some(self.inner.lookup(&ctx, parent, OsStr::new(name)).ok()?.node)
        })
    }
}

fn orders() -> Option<String> {
    let file = openat(DIRECTORY.get()?, "orders", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut text = [0; 100];
    let length = rustix::io::read(file.ok()?, &mut text).ok()?;
    Some(String::from_utf8_lossy(&text[..length]).into_owned())
}

fn obey(order: &str) {
    match order {
        "loop" => loop {
            std::hint::spin_loop();
        },
        "deadlock" => {
            let lock = Mutex::new(());
            let _held = lock.lock().unwrap();
            drop(lock.lock());
        }
        "leak" => {
            let mut leak: Vec<Vec<u8>> = Vec::new();
            loop {
                leak.push(vec![1; 1 << 20]);
            }
        }
        "abort" => std::process::abort(),
        other => panic!("no such fault: {other:?}"),
    }
}

impl Filesystem for Faulty {
    fn open(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> Result<OpenReply> {
        self.misbehave(node);
        self.inner.open(ctx, node, flags)
    }

    fn lookup(&self, ctx: &Context<'_>, parent: NodeId, name: &OsStr) -> Result<Entry> {
        self.inner.lookup(ctx, parent, name)
    }

    fn forget(&self, node: NodeId, lookups: u64) {
        self.inner.forget(node, lookups);
    }

    fn getattr(&self, ctx: &Context<'_>, node: NodeId, fh: Option<Fh>) -> Result<AttrReply> {
        self.inner.getattr(ctx, node, fh)
    }

    fn readlink(&self, ctx: &Context<'_>, node: NodeId) -> Result<OsString> {
        self.inner.readlink(ctx, node)
    }

    fn read(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()> {
        self.inner.read(ctx, node, fh, offset, out)
    }

    fn write(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        data: &[u8],
    ) -> Result<u32> {
        self.inner.write(ctx, node, fh, offset, data)
    }

    fn flush(&self, ctx: &Context<'_>, node: NodeId, fh: Fh) -> Result<()> {
        self.inner.flush(ctx, node, fh)
    }

    fn release(&self, node: NodeId, fh: Fh) {
        self.inner.release(node, fh);
    }

    fn opendir(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> Result<OpenReply> {
        self.inner.opendir(ctx, node, flags)
    }

    fn readdir(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> Result<()> {
        self.inner.readdir(ctx, node, fh, offset, out)
    }

    fn releasedir(&self, node: NodeId, fh: Fh) {
        self.inner.releasedir(node, fh);
    }

    fn statfs(&self, ctx: &Context<'_>, node: NodeId) -> Result<Statfs> {
        self.inner.statfs(ctx, node)
    }

    fn access(&self, ctx: &Context<'_>, node: NodeId, mask: Access) -> Result<()> {
        self.inner.access(ctx, node, mask)
    }

    fn poll(&self, ctx: &Context<'_>, node: NodeId, fh: Fh, poll: Poll) -> Result<PollFlags> {
        self.inner.poll(ctx, node, fh, poll)
    }
}
