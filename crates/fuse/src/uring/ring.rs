//! One ring and the memory of its entries: the unsafe code of this transport.

#![allow(unsafe_code, reason = "memory that the kernel writes to, and submissions that name it")]

use std::fmt::{Debug, Formatter};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use io_uring::opcode::{PollAdd, UringCmd80};
use io_uring::register::Restriction;
use io_uring::squeue::Entry128;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::wire::{COMMIT_AND_FETCH, Command, Header, REGISTER};
use crate::abi;
use crate::device::Device;

/// The user data of the one submission that is no entry's.
const STOP: u64 = u64::MAX;
/// Where a submission has its `len`: struct io_uring_sqe of linux/io_uring.h.
const LEN_OFFSET: usize = 24;
/// Header and payload.
const PARTS: u32 = 2;

/// A ring and its entries.
pub(super) struct Ring {
    uring: IoUring<Entry128>,
    entries: Vec<Entry>,
    /// Kept open as long as its number is in submissions.
    device: Option<Arc<Device>>,
}

/// Room for one request at a time.
#[derive(Debug)]
struct Entry {
    queue: u16,
    /// Between a request's completion and its commit. Else the kernel may write to the memory.
    is_ours: bool,
    header: NonNull<Header>,
    payload: NonNull<u8>,
    payload_len: usize,
    /// The two, as the kernel wants to be told.
    parts: NonNull<[Part; 2]>,
}

/// `struct iovec`.
#[derive(Debug)]
#[repr(C)]
struct Part {
    start: *mut u8,
    len: usize,
}

/// What a wait brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A request, in that entry.
    Request(usize),
    /// The word to stop, or nothing.
    Other,
    /// The entry's last command failed, so that the kernel does not have it any more.
    Failed(Errno),
}

// SAFETY: what the pointers lead to belongs to the entry alone, and is never freed.
unsafe impl Send for Entry {}

impl Entry {
    /// The memory is for good: the kernel may write to it until the connection has ended, which no
    /// drop of ours can wait for. Most of it is never touched.
    fn new(queue: u16, payload_len: usize) -> Self {
        let header = NonNull::from(Box::leak(Box::new(Header::EMPTY)));
        let payload = NonNull::from(vec![0_u8; payload_len].leak()).cast::<u8>();
        let start = header.as_ptr().cast();
        let parts = [
            Part { start, len: size_of::<Header>() },
            Part { start: payload.as_ptr(), len: payload_len },
        ];
        let parts = NonNull::from(Box::leak(Box::new(parts)));
        Self { queue, is_ours: false, header, payload, payload_len, parts }
    }

    /// Header and payload, while they are ours.
    fn memory(&mut self) -> Option<(&mut Header, &mut [u8])> {
        if !self.is_ours {
            return None;
        }
        // SAFETY: allocated with these sizes, initialised, and never freed. The kernel writes there
        // only until it completes the entry's command, which it has, and reads only after the next;
        // nobody else has the pointers, and the borrow of the entry keeps both from being used twice.
        let memory = unsafe {
            (
                self.header.as_mut(),
                std::slice::from_raw_parts_mut(self.payload.as_ptr(), self.payload_len),
            )
        };
        Some(memory)
    }

    /// Hands the entry to the kernel, for the first time.
    fn register(&self, device: Fd, user_data: u64) -> Entry128 {
        let command = Command { qid: self.queue, ..Command::default() };
        let parts = u64::try_from(self.parts.as_ptr().expose_provenance()).unwrap_or(0);
        let mut submission = UringCmd80::new(device, REGISTER)
            .cmd(padded(&command))
            .addr(Some(parts))
            .build()
            .user_data(user_data);
        set_len(&mut submission, PARTS);
        submission
    }

    /// Hands the reply in its memory to the kernel, and the entry with it.
    fn commit(&self, device: Fd, user_data: u64, commit_id: u64) -> Entry128 {
        let command = Command { qid: self.queue, commit_id, ..Command::default() };
        UringCmd80::new(device, COMMIT_AND_FETCH).cmd(padded(&command)).build().user_data(user_data)
    }
}

/// Sets `len`, for which the crate has no way with this operation.
fn set_len(submission: &mut Entry128, len: u32) {
    const { assert!(size_of::<Entry128>() == 128 && align_of::<Entry128>() >= 4) };
    let start = std::ptr::from_mut(submission).cast::<u8>();
    // SAFETY: inside the submission, which has the kernel's layout (`repr(C)`, 128 bytes) and is
    // aligned for it; any number is valid there.
    unsafe { start.add(LEN_OFFSET).cast::<u32>().write(len) };
}

/// A command in the place that a submission has for it.
fn padded(command: &Command) -> [u8; 80] {
    let mut bytes = [0; 80];
    for (to, from) in bytes.iter_mut().zip(command.as_bytes()) {
        *to = *from;
    }
    bytes
}

impl Ring {
    /// `each` entries for each of `queues`, with payloads of so many bytes. Not known to any
    /// connection before [`start`](Self::start).
    pub(super) fn new(queues: &[u16], each: u16, payload_bytes: usize) -> Result<Self, Errno> {
        let queues = queues.iter().flat_map(|&queue| (0..each).map(move |_| queue));
        let entries: Vec<_> = queues.map(|queue| Entry::new(queue, payload_bytes)).collect();
        // One command of each entry is under way, and the wait for the word to stop.
        let size = u32::try_from(entries.len().saturating_add(1)).unwrap_or(u32::MAX);
        let uring: IoUring<Entry128> = IoUring::builder()
            .setup_r_disabled()
            .setup_coop_taskrun()
            .build(size)
            .map_err(|error| of_io(&error))?;
        let mut only = [Restriction::sqe_op(UringCmd80::CODE), Restriction::sqe_op(PollAdd::CODE)];
        let submitter = uring.submitter();
        submitter
            .register_restrictions(&mut only)
            .and_then(|()| submitter.register_enable_rings())
            .map_err(|error| of_io(&error))?;
        Ok(Self { uring, entries, device: None })
    }

    /// Registers all entries with the connection of `device`, and waits for `stop` to be readable
    /// as well. The kernel takes note with the next [`next`](Self::next), of this very thread: it
    /// writes requests to memory in the context of the one that submits.
    pub(super) fn start(&mut self, device: Arc<Device>, stop: BorrowedFd<'_>) -> Result<(), Errno> {
        let fd = Fd(device.as_fd().as_raw_fd());
        self.device = Some(device);
        let flags = u32::from(PollFlags::IN.bits());
        let wait = PollAdd::new(Fd(stop.as_raw_fd()), flags).build().user_data(STOP);
        push(&mut self.uring, &wait.into())?;
        for (index, entry) in self.entries.iter().enumerate() {
            push(&mut self.uring, &entry.register(fd, number(index)))?;
        }
        Ok(())
    }

    /// The next thing that comes; with `wait` after a wait, if nothing is there yet. What was
    /// committed is submitted by then.
    pub(super) fn next(&mut self, wait: bool) -> Result<Came, Errno> {
        if self.uring.completion().is_empty() {
            match self.uring.submit_and_wait(usize::from(wait)) {
                Ok(_) => {}
                // EBUSY: completions are to be taken first.
                Err(error) if matches!(of_io(&error), Errno::INTR | Errno::BUSY) => {}
                Err(error) => return Err(of_io(&error)),
            }
        }
        let next = self.uring.completion().next();
        Ok(next.map_or(Came::Other, |completion| self.take(&completion)))
    }

    fn take(&mut self, completion: &cqueue::Entry) -> Came {
        let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get_mut(index) else { return Came::Other };
        match completion.result() {
            0.. => {
                entry.is_ours = true;
                Came::Request(index)
            }
            error => Came::Failed(Errno::from_raw_os_error(error.saturating_neg())),
        }
    }

    /// Copies the request of an entry to the beginning of `to`: its length. `None` where there is
    /// none, or it makes no sense.
    pub(super) fn request(&mut self, index: usize, to: &mut [u8]) -> Option<usize> {
        let (header, payload) = self.entries.get_mut(index)?.memory()?;
        header.assemble(payload, to)
    }

    /// Answers the request of an entry, with the next submission. `None` where there is none, or
    /// the reply does not fit.
    pub(super) fn commit(&mut self, index: usize, reply: &[u8]) -> Option<()> {
        let entry = self.entries.get_mut(index)?;
        let (header, payload) = entry.memory()?;
        let body = header.answer(reply, payload.len())?;
        payload.get_mut(..body.len())?.copy_from_slice(body);
        let commit_id = header.entry.commit_id;
        entry.is_ours = false;
        let fd = Fd(self.device.as_ref()?.as_fd().as_raw_fd());
        push(&mut self.uring, &entry.commit(fd, number(index), commit_id)).ok()
    }

    /// Answers the request of an entry with an error, whatever else can be said of it: else its
    /// caller would wait for ever.
    pub(super) fn fail(&mut self, index: usize, errno: Errno) {
        let entry = self.entries.get_mut(index);
        let Some((header, _)) = entry.and_then(Entry::memory) else { return };
        let error = errno.raw_os_error().saturating_neg();
        let reply = abi::OutHeader { len: 16, error, unique: header.entry.commit_id };
        self.commit(index, reply.as_bytes());
    }
}

fn push(uring: &mut IoUring<Entry128>, submission: &Entry128) -> Result<(), Errno> {
    // SAFETY: the memory that it names is never freed, and belongs to the kernel until the
    // completion (`Entry::is_ours`); descriptors are open: the device is kept with the ring, and
    // what is waited on is taken note of before the borrow of it ends with the thread.
    unsafe { uring.submission().push(submission) }.map_err(|_| Errno::BUSY)
}

fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(STOP)
}

fn of_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Debug for Ring {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use io_uring::opcode::Nop;

    use super::*;

    fn bytes(submission: &Entry128) -> [u8; 128] {
        let copy = submission.clone();
        // SAFETY: plain numbers, 128 bytes of them, without padding.
        unsafe { std::mem::transmute(copy) }
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn a_submission_says_what_the_kernel_looks_for_and_where() {
        let entry = Entry::new(3, 16);
        let registered = bytes(&entry.register(Fd(9), 5));
        assert_eq!(registered[24..28], 2_u32.to_ne_bytes(), "two parts");
        assert_eq!(u64_at(&registered, 16), entry.parts.as_ptr().addr() as u64);
        assert_eq!((u64_at(&registered, 8), u64_at(&registered, 32)), (1, 5));
        assert_eq!(registered[64..66], 3_u16.to_ne_bytes(), "the queue, after flags and number");
        let commit = bytes(&entry.commit(Fd(9), 5, 77));
        assert_eq!((u64_at(&commit, 8), u64_at(&commit, 56)), (2, 77));
        assert_eq!(commit[64..66], 3_u16.to_ne_bytes());
    }

    #[test]
    fn memory_is_touched_only_while_it_is_ours() {
        let mut ring = Ring::new(&[0], 2, 64).unwrap();
        assert_eq!(ring.request(0, &mut [0; 100]), None);
        assert_eq!(ring.commit(0, &[0; 16]), None);
        ring.entries[1].is_ours = true;
        let (header, payload) = ring.entries[1].memory().unwrap();
        header.in_out[0] = 44;
        header.entry.payload_sz = 4;
        assert_eq!(payload, [0; 64]);
        payload.copy_from_slice(&[7; 64]);
        let mut to = [0; 100];
        assert_eq!(ring.request(1, &mut to), Some(44));
        assert_eq!(to[40..45], [7, 7, 7, 7, 0]);
        assert_eq!(ring.commit(1, &[1; 90]), None, "more than the payload has room for");
        assert_eq!(ring.request(2, &mut to), None, "there is no such entry");
        // What the kernel is told of the memory.
        // SAFETY: made by `Entry::new`, never freed, and only read.
        let parts = unsafe { ring.entries[1].parts.as_ref() };
        assert_eq!([parts[0].len, parts[1].len], [288, 64]);
        assert_eq!(parts[1].start, ring.entries[1].payload.as_ptr());
    }

    #[test]
    fn a_ring_can_do_nothing_but_its_work() {
        let mut ring = Ring::new(&[], 0, 0).unwrap();
        push(&mut ring.uring, &Nop::new().build().user_data(1).into()).unwrap();
        ring.uring.submit_and_wait(1).unwrap();
        let result = ring.uring.completion().next().unwrap().result();
        assert_eq!(result, -Errno::ACCESS.raw_os_error());
        assert!(ring.uring.submitter().register_eventfd(0).is_err());
    }

    #[test]
    fn the_word_to_stop_ends_a_wait_and_a_device_without_a_connection_is_refused() {
        let mut ring = Ring::new(&[0], 1, 64).unwrap();
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let stop = rustix::event::eventfd(1, flags).unwrap();
        let Ok(device) = Device::open() else {
            return testkit::skip("fuse::uring::the_word_to_stop", "needs /dev/fuse");
        };
        ring.start(Arc::new(device), stop.as_fd()).unwrap();
        let came = [ring.next(true).unwrap(), ring.next(true).unwrap()];
        assert!(came.contains(&Came::Other), "{came:?}");
        assert!(came.iter().any(|came| matches!(came, Came::Failed(_))), "{came:?}");
    }
}
