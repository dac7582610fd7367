//! `/dev/fuse`: one read(2) gives one request, one write(2) takes one reply.
//!
//! The open file is `O_NONBLOCK` but while the threads wait in read(2), which [`quiet`](crate::quiet)
//! decides. (FUSE_NOTIFY_RETRIEVE would wake such a thread as well, but newer kernels take that for
//! regular files only.) Reading comes first in any case: it finds the next request if there is one,
//! so that a request costs two system calls.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Where the kernel has the device.
pub(crate) const PATH: &str = "/dev/fuse";

/// One descriptor of a FUSE connection.
#[derive(Debug)]
pub(crate) struct Device(OwnedFd);

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A request of so many bytes.
    Request(usize),
    /// None is waiting.
    Nothing,
    /// The request was taken back while it was being read.
    Again,
    /// Unmounted, or aborted by the administrator.
    Gone,
    /// The device does not work.
    Failed(Errno),
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The kernel has it.
    Taken,
    /// Nobody waits for it any more.
    Unwanted,
}

impl Device {
    /// Opens a connection that is not mounted yet.
    pub(crate) fn open() -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::open(PATH, flags, Mode::empty()).map(Self)
    }

    /// Takes over a descriptor from elsewhere. `O_NONBLOCK` belongs to the open file, so this holds
    /// for its duplicates in other processes as well.
    pub(crate) fn adopt(fd: OwnedFd) -> Result<Self, Errno> {
        let device = Self(fd);
        device.set_waiting(false)?;
        Ok(device)
    }

    /// Makes reads wait for a request, or not: for this and all duplicates of the descriptor.
    pub(crate) fn set_waiting(&self, on: bool) -> Result<(), Errno> {
        let mut flags = rustix::fs::fcntl_getfl(&self.0)?;
        flags.set(OFlags::NONBLOCK, !on);
        rustix::fs::fcntl_setfl(&self.0, flags)
    }

    /// Whether reads wait for a request.
    pub(crate) fn waits(&self) -> Result<bool, Errno> {
        rustix::fs::fcntl_getfl(&self.0).map(|flags| !flags.contains(OFlags::NONBLOCK))
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Reads the next request; waits for it only where that is [switched on](Self::set_waiting).
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Incoming {
        match rustix::io::read(&self.0, buffer) {
            Ok(len) => Incoming::Request(len),
            Err(Errno::AGAIN) => Incoming::Nothing,
            Err(Errno::INTR | Errno::NOENT) => Incoming::Again,
            Err(Errno::NODEV | Errno::CONNABORTED) => Incoming::Gone,
            Err(errno) => Incoming::Failed(errno),
        }
    }

    /// Waits until there is a request to read, or the connection is gone.
    pub(crate) fn wait(&self) -> Result<(), Errno> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Sends a finished reply. That nobody waits for it any more is no failure.
    pub(crate) fn write(&self, reply: &[u8]) -> Result<Sent, Errno> {
        match rustix::io::write(&self.0, reply) {
            Ok(_) => Ok(Sent::Taken),
            // ENOENT: the request was interrupted, or answered by another server.
            Err(Errno::NOENT | Errno::NODEV | Errno::CONNABORTED) => Ok(Sent::Unwanted),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a request waits to be read; `ENODEV` where the connection is gone.
pub(crate) fn has_pending(device: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(device, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&Timespec::default())))?;
    let ready = fds.first().map_or(PollFlags::empty(), PollFd::revents);
    if ready.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
        return Err(Errno::NODEV);
    }
    Ok(ready.contains(PollFlags::IN))
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
