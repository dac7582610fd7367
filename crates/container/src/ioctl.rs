//! The one ioctl that has no safe wrapper, and with it all unsafe code of this crate.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::AsFd;

use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// `NS_GET_TGID_FROM_PIDNS` of linux/nsfs.h: type 0xb7, number 7, an int. Since Linux 6.11.
const NS_GET_TGID_FROM_PIDNS: Opcode = opcode::read::<c_int>(0xb7, 7);

/// The process that has the id `pid` in the pid namespace that `namespace` refers to, as the
/// caller's own pid namespace numbers it.
///
/// # Errors
/// ENOTTY before Linux 6.11, or if `namespace` is no pid namespace; ESRCH if there is no such
/// process, or none that the caller's namespace can see.
pub(crate) fn tgid_from_pid_namespace(namespace: impl AsFd, pid: u32) -> Result<u32> {
    let request = TgidFromPidNamespace { pid: c_int::try_from(pid).map_err(|_| Errno::SRCH)? };
    // SAFETY: the implementation of `Ioctl` below describes the call truly.
    unsafe { ioctl(namespace, request) }
}

struct TgidFromPidNamespace {
    pid: c_int,
}

// SAFETY: although the opcode is that of a read of an int, the kernel's `ns_ioctl` takes the pid
// as the argument itself, reads and writes no memory through it, and returns the answer as the
// call's own result. On other files than namespaces an ioctl of this number could do anything; the
// only caller passes what it opened as `/proc/PID/ns/pid`.
unsafe impl Ioctl for TgidFromPidNamespace {
    type Output = u32;

    // Nothing in our memory changes.
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        NS_GET_TGID_FROM_PIDNS
    }

    fn as_ptr(&mut self) -> *mut c_void {
        // A number in a pointer's place, never followed; widening, as the id is not negative.
        std::ptr::without_provenance_mut(usize::try_from(self.pid).unwrap_or(0))
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<u32> {
        u32::try_from(out).map_err(|_| Errno::SRCH)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn init_of_the_own_pid_namespace_is_1() {
        let namespace = File::open("/proc/self/ns/pid").unwrap();
        match tgid_from_pid_namespace(&namespace, 1) {
            Err(Errno::NOTTY) => testkit::skip("init_of_the_own_pid_namespace_is_1", "needs 6.11"),
            init => assert_eq!(init, Ok(1)),
        }
    }

    #[test]
    fn a_thread_gives_its_process_and_nonsense_gives_none() {
        let namespace = File::open("/proc/self/ns/pid").unwrap();
        if tgid_from_pid_namespace(&namespace, 1) == Err(Errno::NOTTY) {
            testkit::skip("a_thread_gives_its_process_and_nonsense_gives_none", "needs 6.11");
            return;
        }
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        assert_eq!(tgid_from_pid_namespace(&namespace, thread), Ok(std::process::id()));
        assert_eq!(tgid_from_pid_namespace(&namespace, u32::MAX), Err(Errno::SRCH));
        assert_eq!(tgid_from_pid_namespace(&namespace, 0), Err(Errno::SRCH));
    }

    #[test]
    fn another_namespace_is_refused() {
        let namespace = File::open("/proc/self/ns/mnt").unwrap();
        assert!(tgid_from_pid_namespace(&namespace, 1).is_err());
    }
}
