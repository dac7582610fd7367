//! From request bytes to reply bytes, without a device.

use std::any::Any;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use crate::abi;
use crate::filesystem::{Context, Filesystem};
use crate::interrupt::{InFlight, Slot};
use crate::reply::Reply;
use crate::request::{self, Operation, Request};
use crate::types::{Fh, NodeId, Result};

/// Answers one request at a time. Each thread has its own; they share the table of requests in
/// flight, through which one learns of interrupts that another has read.
pub struct Dispatcher<'s> {
    fs: &'s dyn Filesystem,
    in_flight: &'s InFlight,
    slot: &'s Slot,
    reply: Reply,
    given: Given,
}

/// What the latest reply hands to the kernel, which the kernel gives back some day.
#[derive(Clone, Copy, Debug, Default)]
enum Given {
    #[default]
    Nothing,
    Lookup(NodeId),
    File(NodeId, Fh),
    Directory(NodeId, Fh),
}

impl<'s> Dispatcher<'s> {
    /// The dispatcher number `index` of those that share `in_flight`; `None` where the table is
    /// smaller. No two may use the same index at the same time.
    #[must_use]
    pub fn new(fs: &'s dyn Filesystem, in_flight: &'s InFlight, index: usize) -> Option<Self> {
        let slot = in_flight.slot(index)?;
        Some(Self { fs, in_flight, slot, reply: Reply::new(), given: Given::Nothing })
    }

    /// Answers `bytes`, one whole request as read from the device. `None` for requests that take no
    /// reply. Malformed ones are answered EINVAL; a panic in the file system, EIO.
    pub fn handle(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        self.reply.start();
        self.given = Given::Nothing;
        let request = match request::parse(bytes) {
            Ok(request) => request,
            Err(malformed) => {
                tracing::error!(unique = malformed.unique, "FUSE request: {}", malformed.what);
                return Some(self.reply.finish(malformed.unique?, Err(Errno::INVAL)));
            }
        };
        tracing::trace!(?request, "FUSE request");
        match request.operation {
            Operation::NotifyReply => return None,
            Operation::Interrupt { unique } => {
                self.in_flight.interrupt(unique);
                return None;
            }
            Operation::Forget { lookups } => {
                self.forget(std::iter::once((request.node(), lookups)));
                return None;
            }
            Operation::BatchForget { bodies } => {
                self.forget(request::forgets(bodies));
                return None;
            }
            _ => {}
        }
        let unique = request.header.unique;
        let outcome = self.answer(&request);
        Some(self.reply.finish(unique, outcome))
    }

    /// The reply to a request that is not handled at all.
    pub(crate) fn refuse(&mut self, unique: u64, errno: Errno) -> &[u8] {
        self.given = Given::Nothing;
        self.reply.start();
        self.reply.finish(unique, Err(errno))
    }

    /// The reply just made did not reach the kernel, because its request was interrupted: gives
    /// back to the file system what it had handed out, as the kernel never will.
    pub fn take_back(&mut self) {
        match std::mem::take(&mut self.given) {
            Given::Nothing => {}
            Given::Lookup(node) => self.forget(std::iter::once((node, 1))),
            Given::File(node, fh) => self.fs.release(node, fh),
            Given::Directory(node, fh) => self.fs.releasedir(node, fh),
        }
    }

    fn forget(&self, nodes: impl Iterator<Item = (NodeId, u64)>) {
        for (node, lookups) in nodes {
            let forget = AssertUnwindSafe(|| self.fs.forget(node, lookups));
            if let Err(panic) = catch_unwind(forget) {
                tracing::error!(?node, "panic in forget: {}", panic_text(panic.as_ref()));
            }
        }
    }

    fn answer(&mut self, request: &Request<'_>) -> Result<()> {
        let _held = self.in_flight.begin(self.slot, request.header.unique);
        let ctx = Context::new(request.caller(), request.header.unique, self.slot);
        let (fs, reply, given) = (self.fs, &mut self.reply, &mut self.given);
        // Unwind safety: the reply is started anew for the error, and the file system is shared
        // between threads anyway, so it sees to its own invariants.
        catch_unwind(AssertUnwindSafe(|| call(fs, &ctx, request, reply, given))).unwrap_or_else(
            |panic| {
                tracing::error!(?request, "panic, answered EIO: {}", panic_text(panic.as_ref()));
                Err(Errno::IO)
            },
        )
    }
}

impl std::fmt::Debug for Dispatcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("slot", self.slot).finish_non_exhaustive()
    }
}

fn call(
    fs: &dyn Filesystem,
    ctx: &Context<'_>,
    request: &Request<'_>,
    reply: &mut Reply,
    given: &mut Given,
) -> Result<()> {
    let node = request.node();
    match request.operation {
        Operation::Lookup { name } => {
            let entry = fs.lookup(ctx, node, name)?;
            *given = Given::Lookup(entry.node);
            reply.push(&abi::EntryOut::from(&entry));
        }
        Operation::Getattr { fh } => reply.push(&abi::AttrOut::from(&fs.getattr(ctx, node, fh)?)),
        Operation::Readlink => reply.push_bytes(fs.readlink(ctx, node)?.as_bytes()),
        Operation::Open { flags } => {
            let open = fs.open(ctx, node, flags)?;
            *given = Given::File(node, open.fh);
            reply.push(&abi::OpenOut::from(&open));
        }
        Operation::Read { fh, offset, size, direct } => {
            fs.read(ctx, node, fh, offset, &mut reply.read_buf(size, direct))?;
        }
        Operation::Write { fh, offset, data } => {
            let size = fs.write(ctx, node, fh, offset, data)?;
            reply.push(&abi::WriteOut { size, padding: 0 });
        }
        Operation::Flush { fh } => fs.flush(ctx, node, fh)?,
        Operation::Release { fh } => fs.release(node, fh),
        Operation::Opendir { flags } => {
            let open = fs.opendir(ctx, node, flags)?;
            *given = Given::Directory(node, open.fh);
            reply.push(&abi::OpenOut::from(&open));
        }
        Operation::Readdir { fh, offset, size } => {
            fs.readdir(ctx, node, fh, offset, &mut reply.dir_sink(size))?;
        }
        Operation::Releasedir { fh } => fs.releasedir(node, fh),
        Operation::Statfs => reply.push(&abi::StatfsOut::from(&fs.statfs(ctx, node)?)),
        Operation::Access { mask } => fs.access(ctx, node, mask)?,
        Operation::Poll { fh, poll } => {
            let revents = u32::from(fs.poll(ctx, node, fh, poll)?.bits());
            reply.push(&abi::PollOut { revents, padding: 0 });
        }
        Operation::Refused(errno) => return Err(errno),
        // DESTROY has an empty reply; the others were dealt with and have none.
        Operation::Destroy
        | Operation::Forget { .. }
        | Operation::BatchForget { .. }
        | Operation::Interrupt { .. }
        | Operation::NotifyReply => {}
    }
    Ok(())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
