//! FUSE over io_uring (Linux 6.14): requests come as completions, a reply and the wish for the next
//! request are one submission.
//!
//! The kernel has one queue for each possible CPU and puts a request into that of the CPU its caller
//! runs on. A queue has entries, each with memory of ours for one request and its reply. FORGET and
//! INTERRUPT still come through `/dev/fuse`, and notifications go there.
//!
//! **A connection ends with its server.** The kernel never goes back to the device, does not send
//! requests again that an entry had, and loses those that it had given to an entry whose task died
//! before it saw them; their callers wait until the connection is aborted. So there is no recovery
//! and no adopting here, and whoever holds the connection has to abort it when its server is gone.
//!
//! Nor is a request put off: it would keep its entry. [`Fairness`](crate::Fairness) is the kernel's,
//! first come, first served in each queue.
//!
//! Source: include/uapi/linux/fuse.h and Documentation/filesystems/fuse/fuse-io-uring.rst.

mod queues;
mod ring;
mod thread;
mod wire;

use rustix::io::Errno;

use self::queues::{Queues, share};
use self::ring::Ring;
use crate::init::{MAX_PAGES, Negotiated};
use crate::mapping::MAX_THREADS;

pub(crate) use self::thread::run;

/// Threads beside those of the rings, which read what comes through the device all the same.
pub(crate) const DEVICE_THREADS: usize = 1;
/// Entries of one queue. The second takes the next request while the first is being answered.
const ENTRIES: u16 = 2;

/// The rings of one connection, one for each thread that will serve it.
///
/// They can carry FUSE commands and wait for the word to stop, and nothing else, whoever has them:
/// to be made before a sandbox is entered that forbids io_uring_setup(2). Serving takes
/// io_uring_enter(2) and, to put threads where their queues are, sched_setaffinity(2).
#[derive(Debug)]
pub struct Rings(pub(crate) Vec<ThreadRing>);

/// What one thread serves.
#[derive(Debug)]
pub(crate) struct ThreadRing {
    ring: Ring,
    /// Its queues, which are CPUs as well.
    queues: Vec<u16>,
}

/// Why there are no rings.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    /// Not known which CPUs there may be.
    #[error("cannot tell the possible CPUs from {path}: {what}")]
    Cpus {
        /// The file.
        path: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The kernel gives no ring.
    #[error("cannot make a ring: {errno}; see sysctl kernel.io_uring_disabled")]
    Ring {
        /// What io_uring_setup(2) or io_uring_register(2) said.
        errno: Errno,
    },
}

impl Rings {
    /// Rings for a connection that has [agreed](Negotiated::is_over_io_uring) to them.
    ///
    /// # Errors
    /// See [`RingsError`].
    pub fn new(agreed: &Negotiated) -> Result<Self, RingsError> {
        let payload = payload_bytes(agreed);
        let queues = Queues::of_this_machine()?;
        let shares = share(queues, MAX_THREADS.saturating_sub(DEVICE_THREADS));
        let rings = shares.into_iter().map(|queues| {
            let ring = Ring::new(&queues, ENTRIES, payload);
            ring.map(|ring| ThreadRing { ring, queues }).map_err(|errno| RingsError::Ring { errno })
        });
        Ok(Self(rings.collect::<Result<_, _>>()?))
    }

    /// Whether this process may have rings at all. To be asked before INIT: a connection that has
    /// agreed to them holds all requests back until it has them.
    ///
    /// # Errors
    /// See [`RingsError`].
    pub fn try_out() -> Result<(), RingsError> {
        Queues::of_this_machine()?;
        Ring::new(&[], 0, 0).map(drop).map_err(|errno| RingsError::Ring { errno })
    }
}

/// What the kernel wants to have for the payload of one request, at the least.
fn payload_bytes(agreed: &Negotiated) -> usize {
    let pages = rustix::param::page_size().saturating_mul(MAX_PAGES.into());
    pages.max(agreed.read_buffer_size())
}
