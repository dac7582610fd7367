//! Reading whole files of unknown length from a descriptor.

use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

/// How much room a read starts with: the smallest page, which the kernel's own buffer for such files
/// starts with as well. Larger pages are whole numbers of it.
const FIRST: usize = 4096;

/// When a file counts as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When a read gives nothing more. Right for every file.
    End,
    /// When a read gives less than there was room for, and no whole pages. Right for files that the
    /// kernel prints in one piece, and for the long lists of CPUs in sysfs, which come in whole pages; it
    /// saves a system call there. Lists of many records come in pieces of any length.
    ShortRead,
}

/// Reads from the beginning into `buffer`, whose content is replaced and which grows as needed.
/// Returns how many system calls that took.
///
/// The descriptor must not be read by anybody else meanwhile: the kernel continues a file of
/// several pieces from state in the open file, and would mix two generations of it.
pub(crate) fn whole(fd: BorrowedFd<'_>, until: Until, buffer: &mut Vec<u8>) -> Result<u64, Errno> {
    buffer.clear();
    let mut calls = 0;
    loop {
        if buffer.capacity() - buffer.len() < FIRST / 4 {
            buffer.reserve(buffer.len().max(FIRST));
        }
        let room = buffer.capacity() - buffer.len();
        let offset = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        calls += 1;
        match pread(fd, spare_capacity(buffer), offset) {
            Ok(0) => return Ok(calls),
            Ok(count) if until == Until::ShortRead && count < room && count % FIRST != 0 => {
                return Ok(calls);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
