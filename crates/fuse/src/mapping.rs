//! The journal's memory: a memfd mapped into this process, and the only unsafe code of this crate.
//!
//! The layout is made of atomic numbers throughout: any bytes are valid, and that other processes
//! map or write the same memory is no data race.

#![allow(unsafe_code, reason = "a mapping, and read(2) straight into it")]

use std::mem::size_of;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, munmap};

/// How many threads can serve one connection.
pub const MAX_THREADS: usize = 16;
/// How many requests can be put off.
pub(crate) const PARKED: usize = 4096;
/// Bytes in the slot of a thread: the kernel wants no less for a connection whose writes are short.
pub(crate) const SLOT_BYTES: usize = 8192;
/// Bytes of a request put off; the longest, a LOOKUP, has 296.
pub(crate) const PARKED_BYTES: usize = 512;

/// The memfd, from its first byte to its last.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Layout {
    pub(crate) head: Head,
    pub(crate) threads: [Record<{ SLOT_BYTES / 8 }>; MAX_THREADS],
    pub(crate) parked: [Record<{ PARKED_BYTES / 8 }>; PARKED],
}

/// What it is, and the counters. One page.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Head {
    pub(crate) magic: AtomicU64,
    pub(crate) version: AtomicU32,
    /// How many requests are parked.
    pub(crate) parked: AtomicU32,
    /// How many of the first places for parked requests have ever been used.
    pub(crate) parked_used: AtomicU32,
    /// By thread.
    pub(crate) answered: [Counter; MAX_THREADS],
}

/// A counter in a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Counter(pub(crate) AtomicU64);

impl Layout {
    /// Puts a request off, at `place`. Only one thread may do so at a time.
    pub(crate) fn park(&self, place: usize, request: &[u8]) {
        let Some(parked) = self.parked.get(place) else { return };
        let used = u32::try_from(place.saturating_add(1)).unwrap_or(u32::MAX);
        self.head.parked_used.fetch_max(used, Ordering::Release);
        parked.store(request);
        self.head.parked.fetch_add(1, Ordering::Relaxed);
    }

    /// The places that may have a request that was put off. The others are not to be touched:
    /// their memory is not there yet.
    pub(crate) fn parked(&self) -> &[Record<{ PARKED_BYTES / 8 }>] {
        let used = self.head.parked_used.load(Ordering::Acquire);
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        self.parked.get(..used).unwrap_or(&self.parked)
    }
}

impl Counter {
    /// Adds one. Only one thread may do so at a time.
    pub(crate) fn raise(&self) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(1), Ordering::Relaxed);
    }
}

/// Room for one request of at most `WORDS` times 8 bytes. Empty while its first 4 bytes, where a
/// request has its length, are 0.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Record<const WORDS: usize>([AtomicU64; WORDS]);

impl<const WORDS: usize> Record<WORDS> {
    /// Empties it.
    pub(crate) fn clear(&self) {
        if let Some(first) = self.0.first() {
            first.store(0, Ordering::Release);
        }
    }

    /// The length that it says it has, in bytes; 0 when empty.
    pub(crate) fn len(&self) -> usize {
        let first = self.0.first().map_or(0, |first| first.load(Ordering::Acquire));
        let [a, b, c, d, ..] = first.to_ne_bytes();
        usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX)
    }

    /// Copies its beginning into `to`, as much as there is room for.
    pub(crate) fn load(&self, to: &mut [u8]) {
        for (word, to) in self.0.iter().zip(to.chunks_mut(8)) {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            for (to, byte) in to.iter_mut().zip(bytes) {
                *to = byte;
            }
        }
    }

    /// Puts `request` there, its length last: whoever dies meanwhile leaves an empty record.
    /// What does not fit is cut off.
    pub(crate) fn store(&self, request: &[u8]) {
        self.clear();
        let words = self.0.iter().zip(request.chunks(8));
        for (word, chunk) in words.skip(1) {
            word.store(whole(chunk), Ordering::Relaxed);
        }
        if let Some((first, chunk)) = self.0.first().zip(request.chunks(8).next()) {
            first.store(whole(chunk), Ordering::Release);
        }
    }

    /// Calls `read` with the whole record, to be filled by the kernel. Only the thread to which the
    /// record belongs may do so.
    pub(crate) fn fill<T>(&self, read: impl FnOnce(&mut [u8]) -> T) -> T {
        let start = self.0.as_ptr().cast_mut().cast::<u8>();
        // SAFETY: the record has so many initialised bytes, all inside atomics and therefore open
        // to change through a shared reference. Nobody of this process looks at the record
        // meanwhile: it belongs to one thread (`Journal::claim`), and that one is here. Other
        // processes look at it through the kernel only.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, size_of::<Self>()) };
        read(bytes)
    }
}

/// Up to eight bytes as a number, the missing ones 0.
fn whole(chunk: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(chunk) {
        *to = *from;
    }
    u64::from_ne_bytes(bytes)
}

/// A [`Layout`] mapped from a memfd.
#[derive(Debug)]
pub(crate) struct Mapping(NonNull<Layout>);

// SAFETY: the layout is atomics only, and the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; `Record::fill` says who may call it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `memfd`; `None` where it does not have the layout's size or can be made smaller.
    pub(crate) fn new(memfd: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        // What is not a memfd has no seals.
        let sealed =
            rustix::fs::fcntl_get_seals(memfd).is_ok_and(|s| s.contains(SealFlags::SHRINK));
        let size = usize::try_from(rustix::fs::fstat(memfd)?.st_size);
        if !sealed || size != Ok(size_of::<Layout>()) {
            return Ok(None);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { mmap(null_mut(), size_of::<Layout>(), access, MapFlags::SHARED, memfd, 0)? };
        let Some(start) = NonNull::new(start.cast::<Layout>()) else { return Err(Errno::NOMEM) };
        // A page of a thread's slot that is not there when the kernel copies a request into it, and
        // cannot be had because the thread is being killed, would fail that request.
        let locked = std::mem::offset_of!(Layout, parked);
        // SAFETY: this range was just mapped. Where it may not be locked, it works all the same.
        let _ = unsafe { mlock(start.as_ptr().cast(), locked) };
        Ok(Some(Self(start)))
    }
}

impl Deref for Mapping {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        // SAFETY: mapped until drop, with this size, at the start of a page (the layout's
        // alignment); a seal keeps the memfd from shrinking; any bytes are valid atomics.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; every borrow of the layout has ended.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<Layout>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::fs::MemfdFlags;

    use super::*;

    fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::fs::ftruncate(&memfd, size).unwrap();
        rustix::fs::fcntl_add_seals(&memfd, seals).unwrap();
        memfd
    }

    fn memory() -> (Mapping, OwnedFd) {
        let memfd = memfd(size_of::<Layout>() as u64, SealFlags::SHRINK);
        (Mapping::new(memfd.as_fd()).unwrap().unwrap(), memfd)
    }

    #[test]
    fn what_could_vanish_under_us_is_not_mapped() {
        let size = size_of::<Layout>() as u64;
        for (size, seals) in
            [(size, SealFlags::GROW), (size - 1, SealFlags::SHRINK), (0, SealFlags::SHRINK)]
        {
            assert!(Mapping::new(memfd(size, seals).as_fd()).unwrap().is_none());
        }
    }

    #[test]
    fn a_record_keeps_what_was_put_there_and_a_second_mapping_sees_it() {
        let (one, memfd) = memory();
        let two = Mapping::new(memfd.as_fd()).unwrap().unwrap();
        let request = [&13_u32.to_ne_bytes()[..], b"a request"].concat();
        one.park(5, &request);
        assert_eq!((two.parked().len(), two.head.parked.load(Ordering::Relaxed)), (6, 1));
        let record = &two.parked()[5];
        assert_eq!(record.len(), 13);
        let mut found = [0; 13];
        record.load(&mut found);
        assert_eq!(found[..], request);
        record.clear();
        assert_eq!(one.parked()[5].len(), 0);
        one.park(PARKED, &request); // there is no such place
        assert_eq!(one.parked().len(), 6);
        one.head.parked_used.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(one.parked().len(), PARKED);
    }

    #[test]
    fn a_slot_is_filled_from_its_first_byte_to_its_last() {
        let (memory, memfd) = memory();
        for slot in &memory.threads {
            slot.fill(|bytes| {
                assert_eq!(bytes.len(), SLOT_BYTES);
                bytes.fill(0x5a);
            });
            let mut found = [0; SLOT_BYTES + 8];
            slot.load(&mut found);
            assert!(found[..SLOT_BYTES].iter().all(|&byte| byte == 0x5a));
            assert_eq!(found[SLOT_BYTES..], [0; 8], "no more than there is");
        }
        // Neither the head nor the parked ones were touched.
        let at = |offset: usize| {
            let mut byte = [0];
            rustix::io::pread(&memfd, &mut byte, offset as u64).unwrap();
            byte[0]
        };
        let threads = std::mem::offset_of!(Layout, threads);
        let parked = std::mem::offset_of!(Layout, parked);
        assert_eq!([threads - 1, threads, parked - 1, parked].map(at), [0, 0x5a, 0x5a, 0]);
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let (memory, _memfd) = memory();
        memory.park(0, &[7; PARKED_BYTES + 100]);
        let mut found = [0; PARKED_BYTES];
        memory.parked()[0].load(&mut found);
        assert_eq!(found, [7; PARKED_BYTES]);
        let mut next = [1; 8];
        memory.parked[1].load(&mut next);
        assert_eq!(next, [0; 8]);
    }
}
