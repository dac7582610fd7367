//! `/dev/fuse`: one read(2) gives one request, one write(2) takes one reply.
//!
//! The descriptor is `O_NONBLOCK`. A thread that waits in read(2) could be made to stop only by a
//! signal (FUSE_NOTIFY_RETRIEVE would wake it as well, but newer kernels take that for regular
//! files only), so threads wait in epoll_wait(2) instead, together with an eventfd that says stop.
//! Reading comes first: under load it finds the next request, and a request costs two system calls
//! as with blocking reads. When idle, a request costs two more: 4 to 12 % of an open, read
//! and close by a lone reader, least with few threads; with more readers than threads nothing.

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
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Reads the next request, without waiting.
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
