//! Holds the FUSE connections, and starts, watches and replaces the workers that serve them.
//!
//! A supervisor is handed the connections by the crate `inheritance`; from then on it only keeps
//! descriptors. A worker dies, hangs or is upgraded, and the next one goes on with the same
//! descriptors: readers wait a moment and see no error. The supervisor itself may die as well: its
//! worker serves on, and the next supervisor inherits from that, from a supervisor that still runs,
//! or from what the service manager kept.
//!
//! One thread, one loop that waits in poll(2) and nowhere else. It knows nothing of the files that
//! are served, never walks a path into its own mounts, and keeps nothing that grows.

mod config;
mod crashes;
mod ending;
mod requests;
mod rest;
mod signals;
mod succession;
mod supervisor;
mod text;
mod watch;

pub use children::CommandLine;
pub use config::{Config, Ended, Error, Helper, OnStop};
pub use inheritance::{MountpointCheck, Transport, View, Wanted, probe, resolve};
pub use text::unmap_text_soon;

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
    // Before anything is mounted: a signal that comes meanwhile must still unmount.
    let signals = signals::Signals::new(config.usr2_switches).map_err(Error::System)?;
    let inheritance = inheritance::inherit(&config.view)?;
    Supervisor::new(config, signals, inheritance)?.run()
}
