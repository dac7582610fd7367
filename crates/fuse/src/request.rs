//! From bytes to a typed request. Pure; any bytes at all are answered, never a panic.

use std::ffi::OsStr;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;

use rustix::event::PollFlags;
use rustix::fs::{Access, OFlags};
use rustix::io::Errno;
use zerocopy::FromBytes;

use crate::abi::{self, opcode};
use crate::types::{Caller, Fh, NodeId, Peek, Poll, PollHandle};

/// The most that one READ or READDIR may ask for. The kernel asks for at most `max_pages` pages,
/// which with the largest pages (64 KiB) and its own bound (256) is just this.
const MAX_READ: u32 = 16 << 20;

/// One request, borrowing from the buffer it was read into.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) header: abi::InHeader,
    pub(crate) operation: Operation<'a>,
}

impl Request<'_> {
    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.header.nodeid)
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller { tid: self.header.pid }
    }
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    Lookup {
        name: &'a OsStr,
    },
    Forget {
        lookups: u64,
    },
    BatchForget {
        bodies: &'a [u8],
    },
    Getattr {
        fh: Option<Fh>,
    },
    Readlink,
    Open {
        flags: OFlags,
    },
    Read {
        fh: Fh,
        offset: u64,
        size: u32,
        /// The file was opened with `O_DIRECT`.
        direct: bool,
    },
    Write {
        fh: Fh,
        offset: u64,
        data: &'a [u8],
    },
    Statfs,
    Release {
        fh: Fh,
    },
    Flush {
        fh: Fh,
    },
    Opendir {
        flags: OFlags,
    },
    Readdir {
        fh: Fh,
        offset: u64,
        size: u32,
    },
    Releasedir {
        fh: Fh,
    },
    Access {
        mask: Access,
    },
    Poll {
        fh: Fh,
        poll: Poll,
    },
    Interrupt {
        unique: u64,
    },
    Destroy,
    NotifyReply,
    /// Nothing that this tree ever does.
    Refused(Errno),
}

/// A request that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Whom to answer; `None` where no answer is taken or the number did not arrive.
    pub(crate) unique: Option<u64>,
    /// What is wrong with it.
    pub(crate) what: &'static str,
}

/// Takes `bytes`, one whole request as read from the device, apart.
pub(crate) fn parse(bytes: &[u8]) -> Result<Request<'_>, Malformed> {
    let (header, body) = split(bytes)?;
    match operation(&header, body) {
        Ok(operation) => Ok(Request { header, operation }),
        Err(what) => Err(Malformed { unique: wants_reply(&header), what }),
    }
}

/// What there is to know about `bytes` before it is their turn; `None` for requests that are
/// malformed, that nobody waits for, or that write.
pub(crate) fn peek(bytes: &[u8]) -> Option<(u64, Peek)> {
    let request = parse(bytes).ok()?;
    let fh = match request.operation {
        Operation::Lookup { .. }
        | Operation::Readlink
        | Operation::Open { .. }
        | Operation::Opendir { .. }
        | Operation::Statfs
        | Operation::Access { .. } => None,
        Operation::Getattr { fh } => fh,
        Operation::Read { fh, .. }
        | Operation::Readdir { fh, .. }
        | Operation::Flush { fh }
        | Operation::Poll { fh, .. } => Some(fh),
        Operation::Forget { .. }
        | Operation::BatchForget { .. }
        | Operation::Write { .. }
        | Operation::Release { .. }
        | Operation::Releasedir { .. }
        | Operation::Interrupt { .. }
        | Operation::Destroy
        | Operation::NotifyReply
        | Operation::Refused(_) => return None,
    };
    let peek = Peek { caller: request.caller(), node: request.node(), fh };
    Some((request.header.unique, peek))
}

/// The number of the request that `bytes`, an INTERRUPT, are about.
pub(crate) fn interrupted(bytes: &[u8]) -> Option<u64> {
    match parse(bytes).ok()?.operation {
        Operation::Interrupt { unique } => Some(unique),
        _ => None,
    }
}

/// The header and what follows it.
pub(crate) fn split(bytes: &[u8]) -> Result<(abi::InHeader, &[u8]), Malformed> {
    let Ok((header, body)) = abi::InHeader::read_from_prefix(bytes) else {
        // Length, opcode and unique lead the header: enough to refuse what is cut off behind them.
        let unique = bytes.get(8..16).and_then(|at| at.try_into().ok()).map(u64::from_ne_bytes);
        return Err(Malformed { unique, what: "shorter than a header" });
    };
    if usize::try_from(header.len) != Ok(bytes.len()) {
        return Err(Malformed { unique: wants_reply(&header), what: "length does not match" });
    }
    Ok((header, body))
}

/// The number to answer to; requests of the kinds named here take no answer.
fn wants_reply(header: &abi::InHeader) -> Option<u64> {
    use opcode::{BATCH_FORGET, FORGET, INTERRUPT, NOTIFY_REPLY};
    match header.opcode {
        FORGET | BATCH_FORGET | INTERRUPT | NOTIFY_REPLY => None,
        _ => Some(header.unique),
    }
}

fn operation<'a>(
    header: &abi::InHeader,
    body: &'a [u8],
) -> std::result::Result<Operation<'a>, &'static str> {
    Ok(match header.opcode {
        opcode::LOOKUP => Operation::Lookup { name: name(body)? },
        opcode::FORGET => Operation::Forget { lookups: take::<abi::ForgetIn>(body)?.0.nlookup },
        opcode::BATCH_FORGET => Operation::BatchForget { bodies: batch(body)? },
        opcode::GETATTR => {
            let (getattr, _) = take::<abi::GetattrIn>(body)?;
            let valid = getattr.getattr_flags & abi::GETATTR_FH != 0;
            Operation::Getattr { fh: valid.then_some(Fh(getattr.fh)) }
        }
        opcode::READLINK => Operation::Readlink,
        opcode::OPEN => Operation::Open { flags: open_flags(body)? },
        opcode::OPENDIR => Operation::Opendir { flags: open_flags(body)? },
        opcode::READ => {
            let (read, _) = take::<abi::ReadIn>(body)?;
            let (size, flags) = (bounded(read.size)?, OFlags::from_bits_retain(read.flags));
            let direct = flags.contains(OFlags::DIRECT);
            Operation::Read { fh: Fh(read.fh), offset: read.offset, size, direct }
        }
        opcode::READDIR => {
            let (read, _) = take::<abi::ReadIn>(body)?;
            Operation::Readdir { fh: Fh(read.fh), offset: read.offset, size: bounded(read.size)? }
        }
        opcode::WRITE => {
            let (write, data) = take::<abi::WriteIn>(body)?;
            if usize::try_from(write.size) != Ok(data.len()) {
                return Err("WRITE does not carry the bytes it announces");
            }
            Operation::Write { fh: Fh(write.fh), offset: write.offset, data }
        }
        opcode::STATFS => Operation::Statfs,
        opcode::RELEASE => Operation::Release { fh: Fh(take::<abi::ReleaseIn>(body)?.0.fh) },
        opcode::RELEASEDIR => Operation::Releasedir { fh: Fh(take::<abi::ReleaseIn>(body)?.0.fh) },
        opcode::FLUSH => Operation::Flush { fh: Fh(take::<abi::FlushIn>(body)?.0.fh) },
        opcode::ACCESS => {
            let mask = take::<abi::AccessIn>(body)?.0.mask;
            Operation::Access { mask: Access::from_bits_retain(mask) }
        }
        opcode::POLL => {
            let (poll, _) = take::<abi::PollIn>(body)?;
            let wanted = poll.flags & abi::POLL_SCHEDULE_NOTIFY != 0;
            let notify = wanted.then_some(PollHandle(poll.kh));
            Operation::Poll {
                fh: Fh(poll.fh),
                poll: Poll { events: poll_events(poll.events), notify },
            }
        }
        opcode::INTERRUPT => {
            Operation::Interrupt { unique: take::<abi::InterruptIn>(body)?.0.unique }
        }
        opcode::DESTROY => Operation::Destroy,
        opcode::NOTIFY_REPLY => Operation::NotifyReply,
        opcode::INIT => return Err("INIT on a connection that is initialised"),
        other => Operation::Refused(refusal(other)),
    })
}

/// What is answered to requests that this tree never serves.
///
/// ENOSYS makes the kernel stop asking, on the whole connection, and is right for everything that
/// has a meaning without a server (xattr, fsync, lseek, statx, ioctl). For changes of the tree it
/// would be wrong: CREATE would come again as MKNOD and OPEN, and the caller would see ENOSYS.
fn refusal(opcode: u32) -> Errno {
    match opcode {
        opcode::SETATTR => Errno::PERM,
        opcode::SYMLINK
        | opcode::MKNOD
        | opcode::MKDIR
        | opcode::UNLINK
        | opcode::RMDIR
        | opcode::RENAME
        | opcode::LINK
        | opcode::CREATE
        | opcode::RENAME2
        | opcode::TMPFILE => Errno::ACCESS,
        _ => Errno::NOSYS,
    }
}

/// The structure at the head of `body`, and the rest. Newer kernels may append fields.
fn take<T: FromBytes>(body: &[u8]) -> std::result::Result<(T, &[u8]), &'static str> {
    T::read_from_prefix(body).map_err(|_| "body is cut off")
}

/// The one file name that is the body.
fn name(body: &[u8]) -> std::result::Result<&OsStr, &'static str> {
    let name = body.strip_suffix(&[0]).ok_or("name without its NUL")?;
    if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
        return Err("not a file name");
    }
    Ok(OsStr::from_bytes(name))
}

fn open_flags(body: &[u8]) -> std::result::Result<OFlags, &'static str> {
    Ok(OFlags::from_bits_retain(take::<abi::OpenIn>(body)?.0.flags))
}

fn bounded(size: u32) -> std::result::Result<u32, &'static str> {
    if size <= MAX_READ { Ok(size) } else { Err("asks for more than the kernel may") }
}

/// The bits that poll(2) knows; epoll's own are above them and say nothing to a file.
fn poll_events(events: u32) -> PollFlags {
    let [low, high, _, _] = events.to_le_bytes();
    PollFlags::from_bits_retain(u16::from_le_bytes([low, high]))
}

/// The `fuse_forget_one` bodies, checked against their count.
fn batch(body: &[u8]) -> std::result::Result<&[u8], &'static str> {
    let (head, bodies) = take::<abi::BatchForgetIn>(body)?;
    let announced = usize::try_from(head.count).unwrap_or(usize::MAX);
    if bodies.len() != announced.saturating_mul(size_of::<abi::ForgetOne>()) {
        return Err("BATCH_FORGET does not carry what it counts");
    }
    Ok(bodies)
}

/// The nodes and lookup counts of a BATCH_FORGET.
pub(crate) fn forgets(mut bodies: &[u8]) -> impl Iterator<Item = (NodeId, u64)> + '_ {
    std::iter::from_fn(move || {
        let (one, rest) = abi::ForgetOne::read_from_prefix(bodies).ok()?;
        bodies = rest;
        Some((NodeId(one.nodeid), one.nlookup))
    })
}
