//! What the daemon does beside answering reads.

use std::path::PathBuf;
use std::time::Duration;

use procfmt::units::Usec;

use crate::recent::MOMENT;

/// What the daemon does beside answering reads: nothing, unless told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// The directory, of this daemon's own and on a tmpfs, in which CPU accounts and load histories
    /// outlive it; made if it is missing. `None`: they end with the process.
    pub histories: Option<PathBuf>,
    /// The directory with the [registrations](container::registry) of containers, on a tmpfs; made
    /// if it is missing. `None`: no container is registered.
    pub registrations: Option<PathBuf>,
    /// cgroup v1: make the kernel count each container's I/O on each disk, which it does not before
    /// somebody has set a throttling rule there. An unlimited rule is set and taken away at once;
    /// what stays is some work for the kernel with each request to the disk. cgroup v2 always
    /// counts.
    pub blkio_accounting: bool,
    /// For how long what was found out or made is used again. `None`: a millisecond.
    pub moment: Option<Duration>,
}

impl Upkeep {
    pub(crate) fn moment(&self) -> Usec {
        let usec = |moment: Duration| Usec(u64::try_from(moment.as_micros()).unwrap_or(u64::MAX));
        self.moment.map_or(MOMENT, usec)
    }
}
