//! Holds the FUSE connections, and starts, watches and replaces the workers that serve them.
//!
//! A supervisor mounts and answers the kernel's INIT; from then on it only keeps descriptors. A
//! worker dies, hangs or is upgraded, and the next one goes on with the same descriptors: readers
//! wait a moment and see no error. The supervisor itself may die as well: its worker serves on, and
//! the next supervisor takes over from that, from a supervisor that still runs, or from what the
//! service manager kept.
//!
//! One thread, one loop that waits in poll(2) and nowhere else. It knows nothing of the files that
//! are served, never walks a path into its own mounts, and keeps nothing that grows.

#![forbid(unsafe_code)]

mod config;
mod crashes;
mod desk;
mod ending;
mod error;
mod guard;
mod mountpoint;
mod predecessor;
mod program;
mod requests;
mod signals;
mod start;
mod store;
mod succession;
mod supervisor;
mod watch;
mod worker;

pub use config::{CommandLine, Config, Ended, MountpointCheck, OnStop};
pub use error::Error;

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::signals::{Signals, Wish};
use crate::supervisor::Supervisor;

/// Supervises until told to end; see [`Config`] for what happens then. Blocks, and takes over the
/// signals TERM, INT, HUP, USR1 (upgrade in place) and, where asked for, USR2. HUP ends as TERM does,
/// but is an upgrade under a service manager (`NOTIFY_SOCKET`). A signal that was ignored stays so.
///
/// Where a daemon with the same runtime directory runs, or has left a worker behind, this takes
/// over from it. Tells the service manager when readers are served (`READY=1`), and gives it the
/// descriptors to keep.
///
/// The process may have other threads, but should have none that starts programs.
///
/// # Errors
/// See [`Error`]: nothing could be served, or not unmounted.
pub fn run(config: Config) -> Result<Ended, Error> {
    let hup = if store::is_managed() { Wish::Upgrade } else { Wish::End };
    // Before anything is mounted: a signal that comes meanwhile must still unmount.
    let signals = Signals::new(hup, config.usr2_switches).map_err(|error| Error::System {
        what: "take over the signals",
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })?;
    let start = start::start(&config)?;
    let mut supervisor = Supervisor::new(config, signals, start)?;
    supervisor.run().inspect_err(|_| supervisor.give_up())
}

/// The absolute path of a mountpoint, found without touching what is mounted there: a view that
/// hangs would keep us waiting. A symbolic link in its last component is not followed.
///
/// # Errors
/// The directory that it is in does not exist.
pub fn resolve(mountpoint: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(mountpoint)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => Ok(absolute),
    }
}

/// Whether the file system at `path` answers. To be called in a process of its own, because a dead
/// one may never return.
#[must_use]
pub fn probe(path: &Path) -> bool {
    std::fs::read_dir(path)
        .is_ok_and(|mut entries| entries.next().is_none_or(|entry| entry.is_ok()))
}
