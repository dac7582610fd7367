//! What a supervisor is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::{Degraded, Recovery};
use serde::Deserialize;

/// A program and its arguments, without `argv[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// An absolute path.
    pub program: PathBuf,
    /// The arguments.
    pub arguments: Vec<OsString>,
}

/// What becomes of the view when the supervisor is told to end by TERM or INT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// The worker ends, everything is unmounted.
    #[default]
    Unmount,
    /// The worker serves on, and the next supervisor finds it; for service managers that restart.
    Keep,
}

/// How a supervisor came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked on the control socket for the end of the view; it is not to be started again.
    Stopped,
    /// By a signal, by a successor, or because somebody else has unmounted the view.
    Otherwise,
}

/// Whether a directory is fit to be mounted on; if not, a sentence.
pub type MountpointCheck = fn(&Path) -> Result<(), String>;

/// What a supervisor holds, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// An existing, empty directory, by an absolute path; UTF-8.
    pub mountpoint: PathBuf,
    /// Where the control socket is; made if it is missing, mode 0700.
    pub runtime_dir: PathBuf,
    /// Makes the file system type `fuse.<subtype>`.
    pub subtype: String,
    /// Whether there is a connection for pressure files, on `proc/pressure` of the mountpoint.
    pub pressure: bool,
    /// The worker. Its standard input is the channel.
    pub worker: CommandLine,
    /// The guard: its standard input is a pipe that ends when nobody holds the connections any
    /// more. Started anew if it ends before.
    pub guard: Option<CommandLine>,
    /// Started with the mountpoint as its last argument where a view is mounted there that nobody
    /// answers for on the control socket: exit code 0 says that it answers reads. [`crate::probe`]
    /// does that.
    pub probe: CommandLine,
    /// Asked about the mountpoint before a view is mounted there afresh, when no view is left there:
    /// whether the directory is fit. The sentence it gives otherwise ends the start.
    pub before_mount: Option<MountpointCheck>,
    /// A worker that answers nothing for so long, while requests wait, is killed.
    pub watchdog: Duration,
    /// How requests are found again that a dead worker had in hand.
    pub recovery: Recovery,
    /// Where content comes from while workers keep dying.
    pub when_failing: Degraded,
    /// What TERM and INT do.
    pub on_stop: OnStop,
    /// Whether USR2 switches between the containers' content and the host's.
    pub usr2_switches: bool,
}

impl Config {
    /// The default of [`Self::watchdog`].
    pub const WATCHDOG: Duration = Duration::from_secs(2);
}
