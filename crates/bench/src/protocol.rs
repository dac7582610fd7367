//! What the measuring process and the one in the container say to each other: JSON, a line each.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Makes a root with `proc` and `sys` in it, as a container has them that gets this tree.
    Lay { root: PathBuf, tree: Laid },
    /// Says which of these files can be read below a root, and are not the kernel's unless that is
    /// what is asked for.
    Which { root: PathBuf, files: Vec<String>, kernel: bool },
    /// Reads a file.
    Read { root: PathBuf, file: String },
    /// Open, read to the end, close: the same file below one root after the other, `rounds` times.
    Latency {
        roots: Vec<PathBuf>,
        file: String,
        rounds: u32,
        /// How often it is read below each root in a round.
        reads: u32,
        /// How long to wait before each read, without giving up the CPU.
        gap: Duration,
    },
    /// As often as they can, `clients` processes at once.
    Rate { root: PathBuf, file: String, clients: u32, duration: Duration },
}

/// Whose files a root gets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Laid {
    /// Those that `resview attach` has put over the container's own `/proc` and `/sys`.
    Attached,
    /// The kernel's, with these in place: (from, to), the latter without leading slash. Without
    /// any, a plain container's.
    Bound(Vec<(PathBuf, String)>),
}

/// What came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Done,
    Files(Vec<String>),
    Text(String),
    /// Below each root, in the order asked.
    Latency(Vec<Latency>),
    /// How many reads all clients together made in a second.
    Rate {
        per_second: f64,
        reads: u64,
    },
    Failed(String),
}

/// How long reading a file took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}
