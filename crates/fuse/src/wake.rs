//! The signal that ends another thread's wait in read(2).
//!
//! Its handler does nothing, and the call that it meets is begun again (`SA_RESTART`): a read that
//! has waited sees what has changed meanwhile, and any other call does not notice. So it does no
//! harm that it comes too late, to a thread that has gone on or to another of this process.

#![allow(unsafe_code, reason = "signals, which have no safe interface with a handler")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use rustix::io::Errno;

/// A real-time signal that this process uses for nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wake {
    signal: c_int,
    process: libc::pid_t,
}

extern "C" fn nothing(_: c_int) {}

impl Wake {
    /// Takes the last real-time signal that nobody handles, or the one that this has taken before.
    /// `None`: there is none, or threads may not be signalled here.
    pub(crate) fn prepare() -> Option<Self> {
        let process = rustix::process::getpid().as_raw_nonzero().get();
        let mut signals = (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev();
        let signal = signals.find(|&signal| take(signal))?;
        let wake = Self { signal, process };
        // Whether it is allowed shows here, and not when it is too late.
        wake.accept().and_then(|()| wake.send(own_tid())).ok().map(|()| wake)
    }

    /// Lets it reach the calling thread, which may have been started with all signals blocked.
    pub(crate) fn accept(self) -> Result<(), Errno> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset(3) initialises the set before the others look at it; both live on.
        let code = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), self.signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), null_mut())
        };
        if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code)) }
    }

    /// Sends it to a thread of this process; `ESRCH` where that has ended.
    pub(crate) fn send(self, tid: libc::pid_t) -> Result<(), Errno> {
        // SAFETY: three numbers; the signal has a handler, and it reaches this process only.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, self.process, tid, self.signal) };
        if sent == 0 { Ok(()) } else { Err(last_errno()) }
    }
}

/// The calling thread's number.
pub(crate) fn own_tid() -> libc::pid_t {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Whether the signal has a handler now that does nothing: ours, or one that a linker made the same.
fn take(signal: c_int) -> bool {
    let handler = nothing as extern "C" fn(c_int) as libc::sighandler_t;
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; all zeros are a valid sigaction, and the kernel writes a valid one.
    let before = unsafe {
        if libc::sigaction(signal, null(), before.as_mut_ptr()) != 0 {
            return false;
        }
        before.assume_init()
    };
    if before.sa_sigaction != libc::SIG_DFL {
        return before.sa_sigaction == handler && before.sa_flags & libc::SA_RESTART != 0;
    }
    // SAFETY: all zeros are a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler touches nothing at all, so that it may run at any point of any thread.
    unsafe { libc::sigaction(signal, &raw const action, null_mut()) == 0 }
}

fn last_errno() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    #[test]
    fn a_read_that_waits_is_begun_again_and_sees_what_has_changed() {
        let wake = Wake::prepare().unwrap();
        assert_eq!(Wake::prepare().unwrap().signal, wake.signal, "no other is taken");
        let (from, _to) = rustix::pipe::pipe().unwrap();
        let tid = AtomicI32::new(0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                wake.accept().unwrap();
                tid.store(own_tid(), Ordering::SeqCst);
                rustix::io::read(&from, &mut [0_u8; 1])
            });
            while tid.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            wake.send(tid.load(Ordering::SeqCst)).unwrap();
            assert!(!reader.is_finished(), "the signal alone ends nothing");
            rustix::io::ioctl_fionbio(from.as_fd(), true).unwrap();
            wake.send(tid.load(Ordering::SeqCst)).unwrap();
            assert_eq!(reader.join().unwrap(), Err(Errno::AGAIN));
        });
        let ended = std::thread::spawn(own_tid).join().unwrap();
        assert_eq!(wake.send(ended), Err(Errno::SRCH));
    }

    #[test]
    fn a_thread_that_was_started_with_all_signals_blocked_is_reached() {
        let wake = Wake::prepare().unwrap();
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        wake.accept().unwrap();
        wake.send(own_tid()).unwrap();
        let pending = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let pending = pending.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
        assert_eq!(pending.trim().trim_matches('0'), "", "it was delivered");
    }
}
