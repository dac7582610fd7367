//! The clocks that views are made with.

use procfmt::units::Usec;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// `CLOCK_MONOTONIC`: stands still during suspend.
pub(crate) fn monotonic() -> Usec {
    usec(clock_gettime(ClockId::Monotonic))
}

/// `CLOCK_BOOTTIME`: time since boot, suspend included, as `/proc/uptime` has it.
pub(crate) fn boottime() -> Usec {
    usec(clock_gettime(ClockId::Boottime))
}

/// `CLOCK_THREAD_CPUTIME_ID`: the CPU time of the calling thread, the kernel's on its behalf included.
pub(crate) fn thread_cpu() -> Usec {
    usec(clock_gettime(ClockId::ThreadCPUTime))
}

fn usec(time: Timespec) -> Usec {
    // None of them is ever negative outside a time namespace, and we run in none.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Usec(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
}
