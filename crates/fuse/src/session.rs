//! A connection that is mounted and initialised, and how it shall be served.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::device::{self, Device};
use crate::fair::Fairness;
use crate::filesystem::Filesystem;
use crate::init::Negotiated;
use crate::journal::Journal;
use crate::mapping::{MAX_THREADS, SLOT_BYTES};
use crate::notify::Notifier;
use crate::serve::{self, ServeHandle};
use crate::uring::Rings;

/// A connection that is mounted and initialised.
///
/// Neither dropping it nor the end of its threads unmounts: as long as somebody holds a duplicate
/// of the descriptor, requests wait for whoever adopts it.
#[derive(Debug)]
pub struct Session {
    device: Arc<Device>,
    negotiated: Negotiated,
}

/// How a session shall be served.
#[derive(Clone, Debug)]
pub struct Serve {
    /// How many threads answer, 1 to [`MAX_THREADS`]. Two or more: an interrupt is noticed only
    /// while a thread is free to read it.
    pub threads: NonZeroUsize,
    /// Where requests in hand are kept for the next server, should this one die. `None`: nowhere.
    pub journal: Option<Arc<Journal>>,
    /// What to do about the requests that the server before this one had in hand.
    pub recovery: Recovery,
    /// How requests are shared out among those who ask.
    pub fairness: Fairness,
}

impl Serve {
    /// `threads` threads, nothing kept, nothing to recover.
    #[must_use]
    pub fn with_threads(threads: NonZeroUsize) -> Self {
        let (recovery, fairness) = (Recovery::None, Fairness::default());
        Self { threads, journal: None, recovery, fairness }
    }
}

/// What becomes of the requests that a dead server had in hand. It must really be dead.
///
/// Their callers wait, and not even SIGKILL frees them. FORGET, which nobody waits for, may be lost
/// or come twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// There are none: nobody served before, or the one before stopped of its own accord. Empties
    /// the journal.
    #[default]
    None,
    /// The kernel sends them again (6.9; [`InitFlags::HAS_RESEND`](crate::InitFlags::HAS_RESEND)
    /// among those offered). Empties the journal.
    Resend,
    /// They are in the journal. Each thread begins with its share of them, so that one which
    /// makes its handler hang holds up a single thread.
    Journal,
    /// The kernel sends them again; where it cannot, they are in the journal.
    Both,
}

/// Why serving did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptor adopted is not usable.
    #[error("cannot take over the FUSE descriptor: {errno}")]
    Adopt {
        /// What fcntl(2) said.
        errno: Errno,
    },
    /// epoll(7) or eventfd(2) failed.
    #[error("cannot wait for FUSE requests: {errno}")]
    Wait {
        /// What the system call said.
        errno: Errno,
    },
    /// There is no place in the journal for so many.
    #[error("{threads} FUSE threads are too many; at most {MAX_THREADS} can serve a connection")]
    Threads {
        /// How many were asked for.
        threads: NonZeroUsize,
    },
    /// Requests of this connection do not fit in the journal.
    #[error(
        "FUSE requests may have {size} bytes here, and the journal has room for {SLOT_BYTES}: \
         mount with a smaller max_write"
    )]
    RequestSize {
        /// The largest request, in bytes.
        size: usize,
    },
    /// Another session of this process is being served with the same journal.
    #[error("the journal of FUSE requests serves another session")]
    JournalInUse,
    /// No journal of its own, where none was given.
    #[error(transparent)]
    Journal(#[from] crate::JournalError),
    /// The kernel does not send requests again.
    #[error("the kernel does not send FUSE requests again: {errno}; Linux 6.9 is the first to")]
    Resend {
        /// What write(2) said.
        errno: Errno,
    },
    /// A thread could not be started.
    #[error("cannot start a FUSE thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl Session {
    pub(crate) fn new(device: Device, negotiated: Negotiated) -> Self {
        Self { device: Arc::new(device), negotiated }
    }

    /// A session over a descriptor that is mounted and initialised already, by another process or
    /// another session. Makes the open file `O_NONBLOCK`, for all its duplicates in all processes.
    ///
    /// # Errors
    /// Where fcntl(2) fails.
    pub fn adopt(fd: OwnedFd, negotiated: Negotiated) -> Result<Self, ServeError> {
        let device = Device::adopt(fd).map_err(|errno| ServeError::Adopt { errno })?;
        Ok(Self::new(device, negotiated))
    }

    /// The descriptor, to be duplicated for whoever keeps the connection alive.
    #[must_use]
    pub fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// The descriptor, for one who only keeps it.
    ///
    /// # Errors
    /// Where it has to be duplicated, because a thread or a notifier uses it, and cannot be.
    pub fn into_device(self) -> std::io::Result<OwnedFd> {
        Arc::try_unwrap(self.device)
            .map(Device::into_fd)
            .or_else(|shared| shared.as_fd().try_clone_to_owned())
    }

    /// What was agreed at INIT.
    #[must_use]
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// A way to tell the kernel something that it has not asked for.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier::new(Arc::clone(&self.device))
    }

    /// Answers requests until stopped or unmounted, after those that the server before this one
    /// left behind.
    ///
    /// # Errors
    /// Where threads, the journal or what they wait on cannot be had, or the kernel does not send
    /// requests again; nothing is served then.
    pub fn serve(&self, fs: Arc<dyn Filesystem>, how: Serve) -> Result<ServeHandle, ServeError> {
        self.start(fs, how, None)
    }

    /// As [`serve`](Self::serve), over rings, for a connection that has
    /// [agreed](Negotiated::is_over_io_uring) to them and has not been served before. There are as
    /// many threads as rings and one more, whatever `how` says; nothing is put off, and nothing can
    /// be recovered: when this process ends, the connection is to be aborted.
    ///
    /// # Errors
    /// As for `serve`.
    pub fn serve_over(
        &self,
        rings: Rings,
        fs: Arc<dyn Filesystem>,
        how: Serve,
    ) -> Result<ServeHandle, ServeError> {
        self.start(fs, how, Some(rings))
    }

    fn start(
        &self,
        fs: Arc<dyn Filesystem>,
        how: Serve,
        rings: Option<Rings>,
    ) -> Result<ServeHandle, ServeError> {
        let size = self.negotiated.read_buffer_size();
        if size > SLOT_BYTES {
            return Err(ServeError::RequestSize { size });
        }
        serve::start(Arc::clone(&self.device), fs, how, rings)
    }
}

/// Whether a request waits in the kernel for somebody to read it.
///
/// # Errors
/// What poll(2) says; `ENODEV` where nothing is mounted any more.
pub fn has_pending(device: BorrowedFd<'_>) -> std::io::Result<bool> {
    device::has_pending(device).map_err(Into::into)
}
