//! How long the container has been up.

use procfmt::units::Usec;

/// The container's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Time since the container's start, suspend included: the age of its init, or, with an init in
    /// a time namespace, what `CLOCK_BOOTTIME` says there.
    pub uptime: Usec,
    /// When the machine booted in seconds from the epoch, as the container's time namespace has it;
    /// `None` where the host's `btime` holds, so that process start times stay true.
    pub btime: Option<u64>,
}

impl Clock {
    /// The clock of a container whose init started `start` after boot, now that the machine has
    /// been up for `boottime`.
    #[must_use]
    pub fn since(start: Usec, boottime: Usec) -> Self {
        Self { uptime: boottime.saturating_sub(start), btime: None }
    }

    /// The clock of a container in a time namespace whose `boottime` is shifted by `offset`
    /// nanoseconds (`/proc/PID/timens_offsets`).
    ///
    /// The namespace's boot lies `offset` before the host's, so `btime` moves the other way; this
    /// is what the kernel prints there (fs/proc/stat.c adds the offset before it subtracts).
    #[must_use]
    pub fn in_time_namespace(offset_nanos: i64, boottime: Usec, host_btime: u64) -> Self {
        let now_nanos = i128::from(boottime.0) * 1000;
        let uptime =
            u64::try_from((now_nanos + i128::from(offset_nanos)).max(0) / 1000).unwrap_or(u64::MAX);
        let btime = i128::from(host_btime) - i128::from(offset_nanos.div_euclid(1_000_000_000));
        Self { uptime: Usec(uptime), btime: u64::try_from(btime).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_the_age_of_init() {
        assert_eq!(Clock::since(Usec(90), Usec(100)).uptime, Usec(10));
        // Field 22 of /proc/PID/stat is rounded: a process may seem to start in the future.
        assert_eq!(Clock::since(Usec(101), Usec(100)).uptime, Usec(0));
    }

    #[test]
    fn timens_all_clocks_agree() {
        let clock = Clock::in_time_namespace(-5_000_000_000, Usec(6_000_000), 1000);
        assert_eq!(clock, Clock { uptime: Usec(1_000_000), btime: Some(1005) });
        let ahead = Clock::in_time_namespace(5_000_000_000, Usec(6_000_000), 1000);
        assert_eq!(ahead, Clock { uptime: Usec(11_000_000), btime: Some(995) });
    }
}
