//! What the daemon does beside answering reads.

use std::path::PathBuf;

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
}
