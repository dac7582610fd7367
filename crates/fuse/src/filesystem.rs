//! What a file system has to answer.

use std::ffi::{OsStr, OsString};

use rustix::event::PollFlags;
use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use crate::abi::UNIQUE_RESEND;
use crate::interrupt::Slot;
use crate::reply::{DirSink, ReadBuf};
use crate::types::{AttrReply, Caller, Entry, Fh, NodeId, OpenReply, Peek, Poll, Result, Statfs};

/// The circumstances of one request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub caller: Caller,
    unique: u64,
    slot: Option<&'a Slot>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(caller: Caller, unique: u64, slot: &'a Slot) -> Self {
        Self { caller, unique: unique & !UNIQUE_RESEND, slot: Some(slot) }
    }

    /// A context without a request, for calling a file system directly: never interrupted.
    #[must_use]
    pub fn detached(caller: Caller) -> Self {
        Self { caller, unique: 0, slot: None }
    }

    /// The number of this request, never used twice on one connection; 0 without a request.
    ///
    /// A request that a server left unanswered when it died comes again, with the same number: by
    /// this a handler knows that it may have done its work before. The bit by which the kernel
    /// marks a request sent again is not in it.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Whether the caller has been sent a signal and waits only for this answer.
    ///
    /// A handler that may take long asks now and then and ends with `EINTR`: until it is answered,
    /// even SIGKILL does not free the caller. An interrupt is noticed only while some thread of
    /// the session is free to read it.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.slot.is_some_and(Slot::is_interrupted)
    }
}

/// A read-mostly file system, asked from several threads at once.
///
/// `ENOSYS` from `open`, `opendir`, `flush`, `access` and `poll` is for ever: the kernel then stops
/// asking on this connection, for every file and for all later servers, and takes its own default
/// (open succeeds and is never released, the rest is allowed). A server that takes over a
/// connection must answer as the one before it did.
///
/// A handler that panics costs its own request an EIO and nothing else. Changes to the tree never
/// get here: they are refused with EACCES or EPERM.
pub trait Filesystem: Send + Sync {
    /// Guesses whose request this is, so that a class of callers (the threads of one container, say)
    /// that asks for much has to wait for itself and not the others. Asked for every
    /// request that can wait, by the thread that reads them all: must be quick, from what is known
    /// already.
    ///
    /// 0, which is the default: not known. Such requests never wait, unless they are many.
    fn class(&self, peek: &Peek) -> u64 {
        let _ = peek;
        0
    }

    /// Guesses again, for a request of which [`class`](Self::class) knows nothing, after many of
    /// them while others waited: so that nobody escapes by asking from a new thread each time. May
    /// cost about what answering would.
    ///
    /// 0, which is the default: never to wait.
    fn class_of_stranger(&self, peek: &Peek) -> u64 {
        let _ = peek;
        0
    }

    /// Finds `name`, one path component without `/`, in the directory `parent`.
    ///
    /// # Errors
    /// `ENOENT` where there is none.
    fn lookup(&self, ctx: &Context<'_>, parent: NodeId, name: &OsStr) -> Result<Entry>;

    /// The kernel gives back `lookups` answers that named `node`. A file system with fixed nodes
    /// need not care.
    fn forget(&self, node: NodeId, lookups: u64) {
        let _ = (node, lookups);
    }

    /// The attributes of `node`; `fh` where they are asked of an open file.
    ///
    /// # Errors
    /// Whatever stat(2) shall say.
    fn getattr(&self, ctx: &Context<'_>, node: NodeId, fh: Option<Fh>) -> Result<AttrReply>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// By default `EINVAL`: there are no links.
    fn readlink(&self, ctx: &Context<'_>, node: NodeId) -> Result<OsString> {
        let _ = (ctx, node);
        Err(Errno::INVAL)
    }

    /// Opens a file. `flags` are open(2)'s, without `O_CREAT` and `O_TRUNC`. Root passes all checks
    /// of modes in the kernel, so a file not to be written has to be refused here.
    ///
    /// # Errors
    /// Whatever open(2) shall say, or `ENOSYS` (see above).
    fn open(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> Result<OpenReply>;

    /// Appends the content from `offset` on, at most `out.remaining()` bytes; none is end of file.
    /// `fh` is 0 where `open` is answered `ENOSYS`.
    ///
    /// # Errors
    /// Whatever read(2) shall say.
    fn read(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()>;

    /// Writes `data`; the number of bytes taken, at most `data.len()`.
    ///
    /// # Errors
    /// By default `EACCES`.
    fn write(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        data: &[u8],
    ) -> Result<u32> {
        let _ = (ctx, node, fh, offset, data);
        Err(Errno::ACCESS)
    }

    /// One descriptor of the open file was closed; the closing process waits for the answer.
    ///
    /// # Errors
    /// By default `ENOSYS`: never asked again.
    fn flush(&self, ctx: &Context<'_>, node: NodeId, fh: Fh) -> Result<()> {
        let _ = (ctx, node, fh);
        Err(Errno::NOSYS)
    }

    /// The last descriptor is gone. Nobody waits for this, and it may come late.
    fn release(&self, node: NodeId, fh: Fh) {
        let _ = (node, fh);
    }

    /// Opens a directory. By default every directory opens, with handle 0.
    ///
    /// # Errors
    /// Whatever open(2) shall say, or `ENOSYS` (see above).
    fn opendir(&self, ctx: &Context<'_>, node: NodeId, flags: OFlags) -> Result<OpenReply> {
        let _ = (ctx, node, flags);
        Ok(OpenReply::default())
    }

    /// Lists a directory from `offset` on (0, or what an earlier entry gave as its `next`), until
    /// the sink is full. Nothing added is the end.
    ///
    /// # Errors
    /// Whatever getdents(2) shall say; by default none: names are found, and not listed.
    fn readdir(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        fh: Fh,
        offset: u64,
        out: &mut DirSink<'_>,
    ) -> Result<()> {
        let _ = (ctx, node, fh, offset, out);
        Ok(())
    }

    /// As [`release`](Self::release), for a directory.
    fn releasedir(&self, node: NodeId, fh: Fh) {
        let _ = (node, fh);
    }

    /// What statfs(2) and df(1) show.
    ///
    /// # Errors
    /// By default none: an empty file system, as procfs is.
    fn statfs(&self, ctx: &Context<'_>, node: NodeId) -> Result<Statfs> {
        let _ = (ctx, node);
        Ok(Statfs::default())
    }

    /// access(2); not asked with the mount option `default_permissions`.
    ///
    /// # Errors
    /// By default `ENOSYS`: everything is allowed, never asked again.
    fn access(&self, ctx: &Context<'_>, node: NodeId, mask: Access) -> Result<()> {
        let _ = (ctx, node, mask);
        Err(Errno::NOSYS)
    }

    /// What an open file is ready for, answered at once: a caller whose poll(2) may wait waits in
    /// the kernel. If `poll` asks for it, a [`Notifier`](crate::Notifier) has to wake it later. The
    /// kernel drops bits of the answer that were not asked for, but for `ERR` and `HUP`.
    ///
    /// # Errors
    /// By default `ENOSYS`: always ready to read and write, never asked again.
    fn poll(&self, ctx: &Context<'_>, node: NodeId, fh: Fh, poll: Poll) -> Result<PollFlags> {
        let _ = (ctx, node, fh, poll);
        Err(Errno::NOSYS)
    }
}
