//! What the next worker has to know of open files, in a memory file that outlives this one.
//!
//! Each open file or directory has a [`record`]: whose it is, which file, and the content
//! that its reader is in the middle of. A record is written before the answer that it is about: with
//! OPEN, and whenever a read at offset 0 makes new content. So what the next worker finds is what was
//! answered last, or what was about to be.
//!
//! When a file is closed, its record stays as the last good content of that container and file
//! until its room is needed, oldest first. An open file's record never gives way, and a container
//! has a share of the room, so one that opens many files pushes out nobody's but its own. A file
//! for which there is no room is served as any other, but the next worker does not know it: it
//! makes new content, for whoever reads then. A reader in the middle of it may see the end of
//! another text than the one it began with.
//!
//! Records are written through a mapping, so that opening and closing a file takes no system call
//! for them. They are never looked at there: whatever the bytes are, they are read with pread(2),
//! checked, and dropped where they are not what was written. Where somebody could make the file
//! shorter, as in a memory file that an older supervisor has made, records are written with
//! pwrite(2).

mod index;
mod meta;
mod names;
mod record;
mod scan;
mod space;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use fuse::{Fh, MappedFile, NodeId};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::io::Errno;

pub(crate) use meta::{KeptTrigger, Listed, Meta, Owner, What, listing_of, listing_to_bytes};

use index::{Held, Index, Room, file_of};
use names::Names;
use record::{Head, STATE_AT, State};

/// What a file of ours begins with.
const MAGIC: [u8; 8] = *b"rv-keep\0";
/// Raised whenever bytes change their meaning.
const VERSION: u32 = 1;
/// Where the header has the version, the epoch, and when it was made, in bytes.
const VERSION_AT: u64 = 8;
const EPOCH_AT: u64 = 16;
const BORN_AT: u64 = 24;
/// How much memory all records may take, in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// How much of it the open files of one container may take: 2048 files of the usual size.
const MOST_BYTES_EACH: u64 = 16 << 20;
/// A handle's number is the epoch, and below this bit a counter.
const EPOCH_BIT: u32 = 40;

/// The open files of the trees, in a memory file that outlives the process.
///
/// It takes at most 80 MiB of memory, by use: about 8 KiB for each open file of the usual size.
#[derive(Debug)]
pub struct Keep {
    file: File,
    /// `None`: it cannot be.
    mapped: Option<MappedFile>,
    limits: Limits,
    taken: OnceLock<Taken>,
    has_failed: AtomicBool,
    is_full: AtomicBool,
}

/// How much memory records may take, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    all: u64,
    each: u64,
}

/// What is known once the process before this one has stopped.
#[derive(Debug)]
struct Taken {
    next: AtomicU64,
    index: Mutex<Index>,
    names: Mutex<Names>,
    adopted: Mutex<Vec<Adopted>>,
}

/// An open file of the process before this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub(crate) meta: Meta,
    pub(crate) content: Vec<u8>,
}

/// Why open files cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The kernel gives no memory file.
    #[error("cannot make a memory file for open files: {0}")]
    Create(std::io::Error),
    /// The file cannot be read or written.
    #[error("cannot use the memory file with open files: {0}")]
    Io(#[from] std::io::Error),
    /// It is another file.
    #[error("this is no memory file with open files; start without it, or stop the daemon first")]
    Foreign,
    /// It was written by another version of Resview.
    #[error(
        "the open files are written down in version {found}, and this program knows version \
         {known}; upgrade to one that knows both, or stop the daemon first"
    )]
    Version {
        /// The file's version.
        found: u32,
        /// This program's.
        known: u32,
    },
}

impl Keep {
    /// An empty one.
    ///
    /// # Errors
    /// [`KeepError::Create`].
    pub fn create() -> Result<Self, KeepError> {
        Self::create_with(Limits { all: MOST_BYTES, each: MOST_BYTES_EACH })
    }

    fn create_with(limits: Limits) -> Result<Self, KeepError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let made = memfd_create("resview-open-files", flags);
        let file = File::from(made.map_err(|errno| KeepError::Create(errno.into()))?);
        Self::begin(file, limits)
    }

    fn begin(file: File, limits: Limits) -> Result<Self, KeepError> {
        begin(&file)?;
        Ok(Self::of(file, limits))
    }

    /// The one that another process has used, or an empty file that shall be one. The other may go
    /// on using it: what is in it is read when the first tree is made, and by then it must have
    /// stopped.
    ///
    /// # Errors
    /// [`KeepError::Foreign`] and [`KeepError::Version`] for what is not understood.
    pub fn adopt(fd: OwnedFd) -> Result<Self, KeepError> {
        let limits = Limits { all: MOST_BYTES, each: MOST_BYTES_EACH };
        Self::adopt_with(fd, limits)
    }

    fn adopt_with(fd: OwnedFd, limits: Limits) -> Result<Self, KeepError> {
        let file = File::from(fd);
        if file.metadata()?.len() == 0 {
            begin(&file)?;
        }
        let (mut magic, mut version) = ([0; 8], [0; 4]);
        let read = file
            .read_exact_at(&mut magic, 0)
            .and_then(|()| file.read_exact_at(&mut version, VERSION_AT));
        match read {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            Ok(()) if magic == MAGIC => {}
            _ => return Err(KeepError::Foreign),
        }
        let found = u32::from_le_bytes(version);
        if found != VERSION {
            return Err(KeepError::Version { found, known: VERSION });
        }
        Ok(Self::of(file, limits))
    }

    fn of(file: File, limits: Limits) -> Self {
        let (has_failed, is_full) = (AtomicBool::new(false), AtomicBool::new(false));
        let mapped = file.try_clone().map_err(|error| error.raw_os_error()).map(OwnedFd::from);
        let mapped = mapped.map(|memfd| MappedFile::new(memfd, space::END).ok().flatten());
        let mapped = mapped.ok().flatten();
        Self { file, mapped, limits, taken: OnceLock::new(), has_failed, is_full }
    }

    /// When it was made, since the epoch: how old the trees' files are, whichever process serves
    /// them.
    pub(crate) fn born(&self) -> Duration {
        let mut nanos = [0; 8];
        if let Err(error) = self.file.read_exact_at(&mut nanos, BORN_AT) {
            self.log_failed(&error);
        }
        Duration::from_nanos(u64::from_le_bytes(nanos))
    }

    /// The open files that `wanted` names, as the process before this one has left them: once.
    pub(crate) fn adopted(&self, wanted: impl Fn(&What) -> bool) -> Vec<Adopted> {
        let mut adopted = lock(&self.taken().adopted);
        let all = std::mem::take(&mut *adopted);
        let (wanted, others) = all.into_iter().partition(|one| wanted(&one.meta.what));
        *adopted = others;
        wanted
    }

    /// A number for a handle that no other has had, in this process or in one before it.
    pub(crate) fn new_fh(&self) -> Fh {
        Fh(self.taken().next.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes down a file that is about to be open.
    pub(crate) fn open(&self, meta: &Meta, content: &[u8]) {
        let Some(head) = Head::new(meta, content) else { return };
        self.write_new(meta, head, content);
    }

    /// Writes down what has become of an open file. Calls for the same one must not overlap.
    pub(crate) fn refresh(&self, meta: &Meta, content: &[u8]) {
        let Some(before) = self.index().get(meta.fh) else { return };
        let Some(mut head) = Head::new(meta, content) else { return };
        let length = head.length().saturating_add(content.len());
        let turned = self.index().turn(meta, length);
        let is_written = match turned {
            Some(held) => {
                head.number(held.sequence, content);
                let is_written = self.write(held, &head, content);
                if is_written {
                    self.index().hold(meta.fh, held);
                    return;
                }
                is_written
            }
            None => self.write_new(meta, head, content),
        };
        if !is_written {
            // What is written down is not what its reader has seen.
            self.index().release(meta.fh);
        }
        self.mark(before, State::Freed);
        self.index().space().give(before.slot);
    }

    /// Writes down the content of a file that is shown without being open, under a number of its
    /// own: for the first time, or anew. Calls for the same one must not overlap.
    pub(crate) fn show(&self, meta: &Meta, content: &[u8]) {
        let is_known = self.index().get(meta.fh).is_some();
        if is_known { self.refresh(meta, content) } else { self.open(meta, content) }
    }

    /// The file is closed.
    pub(crate) fn close(&self, fh: Fh) {
        let Some(held) = self.index().release(fh.0) else { return };
        // Marked before anybody else may use the slot.
        if held.is_good {
            self.mark(held, State::Closed);
            self.index().keep_closed(held);
        } else {
            self.mark(held, State::Freed);
            self.index().space().give(held.slot);
        }
    }

    /// Whether a handle was given out by a process before this one.
    pub(crate) fn is_of_predecessor(&self, fh: Fh) -> bool {
        fh.0 >> EPOCH_BIT != self.taken().next.load(Ordering::Relaxed) >> EPOCH_BIT
    }

    /// What was last read, or built to be read, of this file by the same container.
    pub(crate) fn last_good(&self, like: &Meta) -> Option<Vec<u8>> {
        let held = self.index().newest(file_of(like))?;
        let record = self.read(held.slot)?;
        // The key is but a hash, and the slot may have been written anew meanwhile.
        let is_same = match (&record.meta.owner, &like.owner) {
            (Some(kept), Some(asking)) => kept.identity().is_same(&asking.identity()),
            (None, None) => true,
            _ => false,
        };
        (is_same && file_of(&record.meta) == file_of(like)).then_some(record.content)
    }

    /// Writes down the path of a node below `/sys`, once.
    pub(crate) fn name(&self, node: NodeId, path: &str) {
        let mut names = lock(&self.taken().names);
        if names.has(node.0) {
            return;
        }
        match names.write(&self.file, node.0, path) {
            Ok(true) => {}
            Ok(false) => self.log_full(),
            Err(error) => self.log_failed(&error),
        }
    }

    /// The path of a node that some process has written down.
    pub(crate) fn name_of(&self, node: NodeId) -> Option<String> {
        let (at, length) = lock(&self.taken().names).get(node.0)?;
        let mut path = vec![0; length.into()];
        self.file.read_exact_at(&mut path, at).ok()?;
        String::from_utf8(path).ok().filter(|path| names::is_name_of(node.0, path))
    }

    fn write_new(&self, meta: &Meta, mut head: Head, content: &[u8]) -> bool {
        let size = space::size_for(head.length().saturating_add(content.len()));
        let file = file_of(meta);
        let room = size.and_then(|size| self.index().room(file.0, size));
        let Some(Room { slot, sequence, give_back }) = room else {
            self.log_full();
            return false;
        };
        for slot in give_back {
            self.punch(slot.start(), slot.bytes());
        }
        head.number(sequence, content);
        let held = Held { slot, file, sequence, is_good: meta.is_good };
        let is_written = self.write(held, &head, content);
        if is_written {
            self.index().hold(meta.fh, held);
        } else {
            self.index().space().give(slot);
        }
        is_written
    }

    /// A process that is killed has written it or not; where the file is not mapped, a record of
    /// several pages may be half written.
    fn write(&self, held: Held, head: &Head, content: &[u8]) -> bool {
        let at = held.slot.offset();
        let written = match &self.mapped {
            Some(mapped) => mapped.write(at, &[head.bytes(), content]),
            None => self.write_by_call(at, head, content),
        };
        written.map_err(|errno| self.log_failed(&errno.into())).is_ok()
    }

    fn write_by_call(&self, at: u64, head: &Head, content: &[u8]) -> Result<(), Errno> {
        let parts = [IoSlice::new(head.bytes()), IoSlice::new(content)];
        let written = rustix::io::pwritev(&self.file, &parts, at)?;
        let is_all = written == head.length().saturating_add(content.len());
        if is_all { Ok(()) } else { Err(Errno::NOSPC) }
    }

    fn mark(&self, held: Held, state: State) {
        let at = held.slot.offset().saturating_add(STATE_AT);
        let marked = match &self.mapped {
            Some(mapped) => mapped.set(at, state.to_bytes()).map_err(Into::into),
            None => self.file.write_all_at(&state.to_bytes(), at),
        };
        if let Err(error) = marked {
            self.log_failed(&error);
        }
    }

    fn punch(&self, offset: u64, bytes: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punched = match &self.mapped {
            Some(mapped) => mapped.give_back(offset, bytes),
            None => fallocate(&self.file, flags, offset, bytes),
        };
        if let Err(errno) = punched {
            self.log_failed(&errno.into());
        }
    }

    fn log_failed(&self, error: &std::io::Error) {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "open files cannot be written down; a restart may show a reader \
                another text in the middle of a file");
        }
    }

    fn log_full(&self) {
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "so many or so large files are open that not all are written down; a restart may \
                 show a reader another text in the middle of a file"
            );
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.taken().index)
    }

    fn taken(&self) -> &Taken {
        self.taken.get_or_init(|| self.take_over())
    }
}

impl AsFd for Keep {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes an empty file one of ours.
fn begin(file: &File) -> std::io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let born = u64::try_from(now.as_nanos()).unwrap_or(0).to_le_bytes();
    let header = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 12], &born].concat();
    file.write_all_at(&header, 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole whenever the lock is free: nothing that can panic runs under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
