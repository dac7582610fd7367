//! The journal: which requests are in hand, in memory that outlives this process.
//!
//! Each thread reads from the device straight into its own slot of a memfd, so the kernel's copy of
//! a request is its record, at no cost. When the request has been answered, its length there is
//! made 0. What a dead server leaves behind is what it had not answered, or had answered just then:
//! the kernel refuses a second answer, so answering again is harmless.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::abi::UNIQUE_RESEND;
use crate::mapping::{Counter, Head, Layout, MAX_THREADS, Mapping, Record, SLOT_BYTES};

/// "RVJOURNL", as the machine stores it.
const MAGIC: u64 = u64::from_ne_bytes(*b"RVJOURNL");
/// Raised with every change of [`Layout`] or of what is in it.
const VERSION: u32 = 1;

/// Where the threads of one connection put the requests that they have in hand.
///
/// A memfd: whoever keeps a duplicate of its descriptor can hand it to the next server. One server
/// at a time.
#[derive(Debug)]
pub struct Journal {
    memfd: OwnedFd,
    memory: Mapping,
    claimed: AtomicBool,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be made.
    #[error("cannot make a journal of FUSE requests: {errno}")]
    Create {
        /// What memfd_create(2), ftruncate(2), fcntl(2) or mmap(2) said.
        errno: Errno,
    },
    /// The descriptor handed over cannot be mapped.
    #[error("cannot map the journal of FUSE requests handed over: {errno}")]
    Map {
        /// What fstat(2), pread(2) or mmap(2) said.
        errno: Errno,
    },
    /// Something else was handed over.
    #[error("the descriptor handed over is no journal of FUSE requests: {what}")]
    NotAJournal {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A program of another version wrote it.
    #[error(
        "the journal of FUSE requests has version {found}, and this program knows version {ours}: \
         go on without it, with requests sent again by the kernel"
    )]
    Version {
        /// What was found.
        found: u32,
        /// What this program writes.
        ours: u32,
    },
}

impl Journal {
    /// An empty journal.
    ///
    /// # Errors
    /// Where the kernel does not give the memory, a little more than 2 MiB of which most is never
    /// touched.
    pub fn create() -> Result<Self, JournalError> {
        let memfd = empty_memfd().map_err(|errno| JournalError::Create { errno })?;
        let memory = Mapping::new(memfd.as_fd())
            .and_then(|memory| memory.ok_or(Errno::INVAL))
            .map_err(|errno| JournalError::Create { errno })?;
        memory.head.magic.store(MAGIC, Ordering::Relaxed);
        memory.head.version.store(VERSION, Ordering::Relaxed);
        Ok(Self { memfd, memory, claimed: AtomicBool::new(false) })
    }

    /// The journal of an earlier server.
    ///
    /// # Errors
    /// Where `memfd` is no journal, or one of another version.
    pub fn adopt(memfd: OwnedFd) -> Result<Self, JournalError> {
        let refuse = |what| JournalError::NotAJournal { what };
        match identify(memfd.as_fd()) {
            Ok(Identity::Ours) => {}
            Ok(Identity::Other(found)) => {
                return Err(JournalError::Version { found, ours: VERSION });
            }
            Ok(Identity::Unknown) => return Err(refuse("it does not begin as one")),
            Err(errno) => return Err(JournalError::Map { errno }),
        }
        let memory = Mapping::new(memfd.as_fd())
            .map_err(|errno| JournalError::Map { errno })?
            .ok_or_else(|| refuse("it has another size, or can be cut off"))?;
        Ok(Self { memfd, memory, claimed: AtomicBool::new(false) })
    }

    pub(crate) fn memory(&self) -> &Layout {
        &self.memory
    }

    /// Reserves the slots for one server; `false` where another of this process has them.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Acquire)
    }

    /// Gives the slots back.
    pub(crate) fn release(&self) {
        self.claimed.store(false, Ordering::Release);
    }

    /// Forgets every request.
    pub(crate) fn clear(&self) {
        self.memory.threads.iter().for_each(Record::clear);
        self.memory.parked().iter().for_each(Record::clear);
        self.memory.head.parked_used.store(0, Ordering::Release);
        self.memory.head.parked.store(0, Ordering::Relaxed);
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

fn empty_memfd() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("resview-journal", flags)?;
    let size = u64::try_from(size_of::<Layout>()).unwrap_or(u64::MAX);
    rustix::fs::ftruncate(&memfd, size)?;
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memfd)
}

/// What the threads of a server are doing, seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// How many requests have been answered, or dealt with where no answer is taken, by all servers
    /// that had this journal. Grows only.
    pub answered: u64,
    /// The number of the request that each thread has in hand, without the bit of those sent again;
    /// `None` for one that waits for a request, or that does not exist.
    pub in_hand: [Option<u64>; MAX_THREADS],
    /// How many more requests wait for their turn; see [`Fairness`](crate::Fairness).
    pub parked: u32,
}

/// Looks at a journal that belongs to another process, with pread(2) alone: nothing is mapped,
/// allocated or waited for.
///
/// # Errors
/// What pread(2) says; `InvalidData` where it is no journal, or one of another version.
pub fn glance(journal: BorrowedFd<'_>) -> std::io::Result<Glance> {
    let invalid = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    match identify(journal)? {
        Identity::Ours => {}
        Identity::Other(_) => return Err(invalid("a journal of another version")),
        Identity::Unknown => return Err(invalid("no journal of FUSE requests")),
    }
    let [counts, _] = pread_longs(journal, offset_of!(Head, parked))?;
    let mut glance = Glance { parked: first_half(counts), ..Glance::default() };
    let counters = offset_of!(Layout, head) + offset_of!(Head, answered);
    let threads = offset_of!(Layout, threads);
    for (index, in_hand) in glance.in_hand.iter_mut().enumerate() {
        let [answered, _] = pread_longs(journal, counters + index * size_of::<Counter>())?;
        glance.answered = glance.answered.wrapping_add(answered);
        // Length and opcode, then the number.
        let [head, unique] = pread_longs(journal, threads + index * SLOT_BYTES)?;
        *in_hand = (first_half(head) != 0).then_some(unique & !UNIQUE_RESEND);
    }
    Ok(glance)
}

/// The number in the first four of eight bytes.
fn first_half(long: u64) -> u32 {
    let [a, b, c, d, ..] = long.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Whose journal a descriptor is.
enum Identity {
    Ours,
    /// One of that version.
    Other(u32),
    /// None at all.
    Unknown,
}

fn identify(memfd: BorrowedFd<'_>) -> Result<Identity, Errno> {
    let [magic, version] = match pread_longs(memfd, 0) {
        Err(Errno::NODATA) => return Ok(Identity::Unknown),
        longs => longs?,
    };
    Ok(match (magic, first_half(version)) {
        (MAGIC, VERSION) => Identity::Ours,
        (MAGIC, other) => Identity::Other(other),
        _ => Identity::Unknown,
    })
}

/// Two numbers; `ENODATA` where the file ends before.
fn pread_longs(file: BorrowedFd<'_>, offset: usize) -> Result<[u64; 2], Errno> {
    let mut bytes = [0; 16];
    let offset = u64::try_from(offset).unwrap_or(u64::MAX);
    if rustix::io::pread(file, &mut bytes, offset)? != bytes.len() {
        return Err(Errno::NODATA);
    }
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    Ok([u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)])
}
