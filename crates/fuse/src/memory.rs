//! A memory file that is mapped, for what the next process shall find there: writing to it is no
//! system call.
//!
//! A page of a mapping that cannot be had kills the process that touches it. So nothing is written
//! where the file's memory is not there for certain: the file cannot be made shorter (a seal sees to
//! that), and memory is allocated before it is first written to, by a system call that can fail.
//!
//! What is written is atomic numbers: whoever else writes or reads at the same place is no data race.

#![allow(unsafe_code, reason = "a mapping")]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{FallocateFlags, SealFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// By how many bytes memory is asked for and given back. No more than a page anywhere.
const UNIT: u64 = 4096;

/// A memfd mapped from its first byte on.
#[derive(Debug)]
pub struct MappedFile {
    memfd: OwnedFd,
    start: NonNull<AtomicU64>,
    words: usize,
    /// A bit for each unit that has memory. Locked for writing while memory is taken away, and for
    /// reading while it is written to.
    present: RwLock<Box<[AtomicU64]>>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is accessed as atomics only.
unsafe impl Send for MappedFile {}
// SAFETY: as above.
unsafe impl Sync for MappedFile {}

impl MappedFile {
    /// Maps the first `bytes` bytes of `memfd`, which is made so long and can never be made shorter
    /// again. `None` where it does not take seals: it is no memfd, or was not made for that.
    ///
    /// # Errors
    /// What ftruncate(2) and mmap(2) say.
    pub fn new(memfd: OwnedFd, bytes: u64) -> Result<Option<Self>, Errno> {
        let units = bytes.div_ceil(UNIT);
        let bytes = units.saturating_mul(UNIT);
        let length = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        let bits = usize::try_from(units.div_ceil(64)).map_err(|_| Errno::NOMEM)?;
        if rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK).is_err() {
            return Ok(None);
        }
        // Nobody can make it shorter from here on.
        if u64::try_from(rustix::fs::fstat(&memfd)?.st_size).is_ok_and(|size| size < bytes) {
            rustix::fs::ftruncate(&memfd, bytes)?;
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(null_mut(), length, access, MapFlags::SHARED, &memfd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        let present = RwLock::new((0..bits).map(|_| AtomicU64::new(0)).collect());
        Ok(Some(Self { memfd, start, words: length / size_of::<u64>(), present }))
    }

    /// Writes `parts`, one behind the other, at the byte `at`, a multiple of 8, and 0 for what is
    /// left of the last 8 bytes. The first 8 are 0 meanwhile: whoever dies in between leaves
    /// nothing that begins like the whole.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC` where there is no memory, `EINVAL` for what is not in the file: nothing is
    /// written.
    pub fn write(&self, at: u64, parts: &[&[u8]]) -> Result<(), Errno> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        self.with(at, length, |words| {
            let Some((first, rest)) = words.split_first() else { return };
            first.store(0, Ordering::Relaxed);
            fence(Ordering::Release); // nothing below comes before it
            let (mut beginning, mut rest) = (None, rest.iter());
            for_each_word(parts, |word| {
                if beginning.is_none() {
                    beginning = Some(word);
                } else if let Some(to) = rest.next() {
                    to.store(word, Ordering::Relaxed);
                }
            });
            first.store(beginning.unwrap_or_default(), Ordering::Release);
        })
    }

    /// Writes the 8 bytes at the byte `at`, a multiple of 8, all at once.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn set(&self, at: u64, bytes: [u8; 8]) -> Result<(), Errno> {
        self.with(at, 8, |words| {
            words.iter().for_each(|word| word.store(u64::from_ne_bytes(bytes), Ordering::Release));
        })
    }

    /// Gives the memory of `length` bytes from `at` on back to the system: they are 0 from now on.
    ///
    /// # Errors
    /// What fallocate(2) says; the memory is still there then.
    pub fn give_back(&self, at: u64, length: u64) -> Result<(), Errno> {
        let present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        each_unit(at, length, |unit| mark(&present, unit, false));
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.memfd, flags, at, length)
    }

    /// Calls `write` with the words of `length` bytes from `at` on, which have memory.
    fn with(&self, at: u64, length: u64, write: impl FnOnce(&[AtomicU64])) -> Result<(), Errno> {
        let first = usize::try_from(at / 8).map_err(|_| Errno::INVAL)?;
        let words = usize::try_from(length.div_ceil(8)).map_err(|_| Errno::INVAL)?;
        let end = first.checked_add(words).filter(|&end| end <= self.words);
        if !at.is_multiple_of(8) || end.is_none() {
            return Err(Errno::INVAL);
        }
        if length == 0 {
            return Ok(());
        }
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        let mut missing = false;
        each_unit(at, length, |unit| missing |= !is_marked(&present, unit));
        if missing {
            fallocate(&self.memfd, FallocateFlags::KEEP_SIZE, at, length)?;
            each_unit(at, length, |unit| mark(&present, unit, true));
        }
        // SAFETY: `first + words` is within the mapping, which lasts as long as `self`, at the
        // start of a page and so aligned; any bytes are valid atomics. That part of the file has
        // memory: it cannot be made shorter, and nobody takes it away while `present` is locked.
        let words = unsafe { std::slice::from_raw_parts(self.start.add(first).as_ptr(), words) };
        write(words);
        drop(present);
        Ok(())
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; every borrow of it has ended.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}

/// Calls `to` for each 8 bytes of `parts` taken as one, the last filled up with 0.
fn for_each_word(parts: &[&[u8]], mut to: impl FnMut(u64)) {
    let (mut begun, mut length) = ([0; 8], 0);
    for part in parts {
        let mut part = *part;
        while length > 0 || part.len() < 8 {
            let Some((&byte, rest)) = part.split_first() else { break };
            part = rest;
            if let Some(place) = begun.get_mut(length) {
                *place = byte;
            }
            length = (length + 1) % 8;
            if length == 0 {
                to(u64::from_ne_bytes(begun));
                begun = [0; 8];
            }
        }
        let (words, rest) = part.as_chunks::<8>();
        words.iter().for_each(|word| to(u64::from_ne_bytes(*word)));
        for (place, byte) in begun.iter_mut().zip(rest) {
            *place = *byte;
            length += 1;
        }
    }
    if length > 0 {
        to(u64::from_ne_bytes(begun));
    }
}

/// Calls `of` for each unit that `length` bytes from `at` on lie in.
fn each_unit(at: u64, length: u64, of: impl FnMut(u64)) {
    (at / UNIT..at.saturating_add(length).div_ceil(UNIT)).for_each(of);
}

fn mark(present: &[AtomicU64], unit: u64, on: bool) {
    let Some(word) = usize::try_from(unit / 64).ok().and_then(|at| present.get(at)) else { return };
    let bit = 1 << (unit % 64);
    if on {
        word.fetch_or(bit, Ordering::Relaxed);
    } else {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

fn is_marked(present: &[AtomicU64], unit: u64) -> bool {
    let word = usize::try_from(unit / 64).ok().and_then(|at| present.get(at));
    word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (unit % 64)) != 0)
}

impl AsFd for MappedFile {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::MemfdFlags;

    use super::*;

    fn memfd(flags: MemfdFlags) -> OwnedFd {
        rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | flags).unwrap()
    }

    fn mapped(bytes: u64) -> MappedFile {
        MappedFile::new(memfd(MemfdFlags::ALLOW_SEALING), bytes).unwrap().unwrap()
    }

    fn found(file: &MappedFile, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        assert_eq!(rustix::io::pread(file, &mut bytes, at).unwrap(), length);
        bytes
    }

    fn blocks(file: &MappedFile) -> i64 {
        rustix::fs::fstat(file).unwrap().st_blocks
    }

    #[test]
    fn what_could_vanish_under_us_is_not_mapped() {
        assert!(MappedFile::new(memfd(MemfdFlags::empty()), 4096).unwrap().is_none());
        assert!(MappedFile::new(tempfile::tempfile().unwrap().into(), 4096).unwrap().is_none());
        let file = mapped(4 << 20);
        assert_eq!(rustix::fs::ftruncate(&file, 1), Err(Errno::PERM));
        let again = MappedFile::new(file.as_fd().try_clone_to_owned().unwrap(), 4 << 20);
        assert!(again.unwrap().is_some());
    }

    #[test]
    fn memory_is_had_before_it_is_touched_and_can_be_given_back() {
        let file = mapped(1 << 30);
        assert_eq!(blocks(&file), 0, "nothing is there yet");
        file.write(1 << 20, &[&[7; 5000]]).unwrap();
        assert_eq!(blocks(&file), 16, "two pages");
        file.set((1 << 20) + 8, *b"eight by").unwrap();
        assert_eq!(found(&file, (1 << 20) + 7, 10), b"\x07eight by\x07");
        file.give_back(1 << 20, 8192).unwrap();
        assert_eq!((blocks(&file), found(&file, 1 << 20, 2)), (0, vec![0; 2]));
        file.write(1 << 20, &[b"again"]).unwrap();
        assert_eq!((blocks(&file), found(&file, 1 << 20, 5)), (8, b"again".to_vec()));
    }

    #[test]
    fn nothing_is_written_outside() {
        let file = mapped(8192);
        let long = vec![1; 8192];
        for (at, part) in [(4, &b"x"[..]), (8192, b"x"), (u64::MAX - 7, b"x"), (8, &long)] {
            assert_eq!(file.write(at, &[part]), Err(Errno::INVAL), "{at}");
        }
        assert_eq!(file.write(8184, &[b"to the end", b""]), Err(Errno::INVAL));
        file.write(8184, &[b"the", b" end"]).unwrap();
        file.write(0, &[&long]).unwrap();
        assert_eq!(found(&file, 0, 8192), long);
    }

    #[test]
    fn the_first_word_is_the_last_to_be_written() {
        let file = mapped(4096);
        let (beginning, rest) = (b"beginner", [9; 800]);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..20_000 {
                    file.write(0, &[&[0; 808]]).unwrap();
                    file.write(0, &[beginning, &rest]).unwrap();
                }
            });
            while !writer.is_finished() {
                // Looked at in this order: what is behind cannot be older than the beginning.
                let word = |at: usize| {
                    // SAFETY: within the mapping, and has memory once the beginning was seen.
                    unsafe { file.start.add(at).as_ref() }.load(Ordering::Acquire)
                };
                file.set(4088, [0; 8]).unwrap();
                if word(0) == u64::from_ne_bytes(*beginning) {
                    let last = word(100);
                    let is_first_still = word(0) == u64::from_ne_bytes(*beginning);
                    let whole = last == u64::from_ne_bytes([9; 8]);
                    assert!(whole || last == 0 || !is_first_still);
                }
            }
        });
    }

    proptest! {
        #[test]
        fn parts_are_written_one_behind_the_other(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        ) {
            let file = mapped(4096);
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            file.write(64, &parts).unwrap();
            let mut expected = parts.concat();
            expected.resize(expected.len().next_multiple_of(8), 0);
            prop_assert_eq!(found(&file, 64, expected.len()), expected.clone());
            prop_assert_eq!(found(&file, 64 + expected.len() as u64, 8), vec![0; 8]);
        }
    }
}
