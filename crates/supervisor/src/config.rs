//! What a supervisor is told, and how it ends.

use std::path::PathBuf;
use std::time::Duration;

use children::CommandLine;
use control::{Degraded, Recovery};
use inheritance::View;
use serde::Deserialize;

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

/// A process beside the workers: started when a worker of this supervisor is let go, and anew, with
/// a growing pause, when it ends before the supervisor does. It is handed nothing; its standard
/// input is a pipe that ends, without anything in it.
#[derive(Clone, Debug)]
pub struct Helper {
    /// What to start.
    pub command: CommandLine,
    /// Its pipe ends when nobody holds the connections any more, and until then it goes from one
    /// supervisor to the next. Else it ends with its supervisor, which sends it SIGTERM besides.
    pub outlives: bool,
}

/// What a supervisor holds, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The connections.
    pub view: View,
    /// The worker. Its standard input is the channel.
    pub worker: CommandLine,
    /// What else is to run.
    pub helpers: Vec<Helper>,
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

/// Why nothing is supervised. What another process serves is served on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no connections to hold, or they cannot be mounted or unmounted.
    #[error(transparent)]
    Inheritance(#[from] inheritance::Error),
    /// The first worker did not come up.
    #[error("the worker {} does not come up: {why}", .program.display())]
    Worker {
        /// Which.
        program: PathBuf,
        /// A sentence.
        why: String,
    },
    /// A system call that should not fail.
    #[error("the supervisor cannot go on")]
    System(#[source] std::io::Error),
}
