//! The OCI hook: `resview oci-hook createRuntime` and `poststop`.
//!
//! A runtime starts it as the engine's user, with the state of the container on standard input
//! (runtime.md of the OCI runtime specification). It mounts nothing: it tells the agent, and the
//! agent attaches before the container's first instruction. A hook that fails or takes too long
//! keeps the container from starting, so this one has a deadline of its own and fails open.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use api::{Answer, Attach, Client, ClientError, Created, Detach, Outcome};
use api::{Policy, PolicyError, Request, Selector, Stopped, View};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use crate::json_file::{self, FileError};
use crate::log::{SYSLOG, warn};

/// How long everything together may take; below the `timeout` that runtimes are told.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The longest state, in bytes.
const STATE_MAX: usize = 1 << 20;

/// When the runtime calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Namespaces and mounts are there, the root is not yet changed. `prestart`, its name before
    /// specification 1.0.2, comes at the same time.
    CreateRuntime,
    /// The container is gone.
    Poststop,
}

/// A stage at which there is nothing to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no stage of this hook; use createRuntime or poststop (createContainer runs inside the container, where the agent cannot be reached)"
)]
pub struct StageError(String);

impl FromStr for Stage {
    type Err = StageError;

    fn from_str(word: &str) -> Result<Self, StageError> {
        match word {
            "createRuntime" | "prestart" => Ok(Self::CreateRuntime),
            "poststop" => Ok(Self::Poststop),
            word => Err(StageError(word.to_owned())),
        }
    }
}

/// What the hook is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it is called.
    pub stage: Stage,
    /// The agent's socket.
    pub socket: PathBuf,
    /// Whether a container without the view must not start.
    pub required: bool,
    /// How long everything may take; [`DEADLINE`].
    pub deadline: Duration,
}

/// What the hook did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Report {
    /// The agent attached it, or had done so.
    Attached,
    /// The agent left it alone; its reason.
    Skipped(String),
    /// The container says that it wants no view.
    OptedOut,
    /// The agent knows that it is gone.
    Forgotten,
}

/// Why a container starts without the view.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Standard input.
    #[error("cannot read the container's state from standard input: {0}")]
    Input(io::Error),
    /// Standard input holds something else.
    #[error("standard input is no state of a container: {0}")]
    State(String),
    /// The state names no root, and its config.json does not either.
    #[error("cannot tell where the root of container {id} is: {source}")]
    Root {
        /// The container.
        id: String,
        /// About config.json.
        source: Unknown,
    },
    /// An annotation.
    #[error("container {id}: {source}")]
    Policy {
        /// The container.
        id: String,
        /// Which.
        source: PolicyError,
    },
    /// There is no answer.
    #[error("container {id}: {source}")]
    Agent {
        /// The container.
        id: String,
        /// Why.
        source: ClientError,
    },
    /// The agent could not do it.
    #[error("container {id}: the agent says: {reason}")]
    Refused {
        /// The container.
        id: String,
        /// In its words.
        reason: String,
    },
}

/// Why config.json says nothing about a root.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(String);

impl From<FileError> for Unknown {
    fn from(error: FileError) -> Self {
        Self(error.to_string())
    }
}

/// The state, of which `root` is crun's own addition.
#[derive(Deserialize)]
struct State {
    id: String,
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    bundle: Option<PathBuf>,
    #[serde(default)]
    root: Option<PathBuf>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// `resview oci-hook`: reads standard input, asks the agent, and says on standard error and in
/// the system log why a container has no view.
///
/// The exit code is 0, and 1 only for [`Options::required`] at `createRuntime`.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match run(options, io::stdin()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) if options.stage == Stage::Poststop => {
            warn(Path::new(SYSLOG), &format!("the end of a container goes unnoticed: {error}"));
            ExitCode::SUCCESS
        }
        Err(error) if options.required => {
            warn(
                Path::new(SYSLOG),
                &format!("the container must not start without the view: {error}"),
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            warn(
                Path::new(SYSLOG),
                &format!("the container starts with the host's values: {error}"),
            );
            ExitCode::SUCCESS
        }
    }
}

/// Does the hook's work with the state from `input`.
///
/// # Errors
/// Why the container has no view, or why the agent does not know that it is gone.
pub fn run(options: &Options, input: impl AsFd) -> Result<Report, HookError> {
    let until = Instant::now() + options.deadline;
    let text = read_all(input, until).map_err(HookError::Input)?;
    let state: State =
        serde_json::from_slice(&text).map_err(|error| HookError::State(error.to_string()))?;
    let annotations = state.annotations.clone().unwrap_or_default();
    // The policy itself travels with the annotations; here only "off" matters.
    let said = Policy::from_annotations(&annotations)
        .map_err(|source| HookError::Policy { id: state.id.clone(), source });
    if matches!(&said, Ok(Policy { view: Some(View::Off), .. })) {
        return Ok(Report::OptedOut);
    }
    let request = match options.stage {
        Stage::Poststop => Request::Detach(Detach {
            container: Selector::Stopped(Stopped { id: state.id.clone(), bundle: state.bundle }),
        }),
        Stage::CreateRuntime => {
            said?;
            let created = created(&state, annotations)?;
            let container = Selector::Created(created);
            Request::Attach(Attach { container, files: None, policy: None })
        }
    };
    let left = until.saturating_duration_since(Instant::now());
    let answers = Client::ask(&options.socket, &request, left)
        .map_err(|source| HookError::Agent { id: state.id.clone(), source })?;
    judge(options.stage, &answers).map_err(|reason| HookError::Refused { id: state.id, reason })
}

fn created(state: &State, annotations: BTreeMap<String, String>) -> Result<Created, HookError> {
    let pid = state.pid.filter(|&pid| pid > 0).ok_or_else(|| {
        HookError::State(format!(
            "container {} has no process yet; is this createRuntime?",
            state.id
        ))
    })?;
    let unknown = |source| HookError::Root { id: state.id.clone(), source };
    let root = root(state).map_err(unknown)?;
    Ok(Created {
        pid,
        root: Some(root),
        id: state.id.clone(),
        bundle: state.bundle.clone(),
        annotations,
        ..Created::default()
    })
}

/// crun says where the root is; for others config.json does, relative to the bundle.
fn root(state: &State) -> Result<PathBuf, Unknown> {
    #[derive(Deserialize)]
    struct Config {
        root: Root,
    }
    #[derive(Deserialize)]
    struct Root {
        path: PathBuf,
    }
    if let Some(root) = state.root.as_ref().filter(|root| root.is_absolute()) {
        return Ok(root.clone());
    }
    let bundle = state.bundle.as_ref().filter(|bundle| bundle.is_absolute());
    let bundle = bundle.ok_or_else(|| Unknown("the state names no bundle".to_owned()))?;
    let config: Config = json_file::read(&bundle.join("config.json"))?;
    Ok(bundle.join(config.root.path))
}

/// What the answer means for the container.
fn judge(stage: Stage, answers: &[Answer]) -> Result<Report, String> {
    let mut report = match stage {
        Stage::Poststop => Ok(Report::Forgotten),
        Stage::CreateRuntime => Err("it said nothing about the container".to_owned()),
    };
    for answer in answers {
        match answer {
            Answer::Failure(failure) => return Err(failure.error.clone()),
            Answer::Container(one) => {
                let reason = one.reason.clone().unwrap_or_else(|| "it gave no reason".to_owned());
                report = match one.outcome {
                    Outcome::Failed => return Err(reason),
                    Outcome::Skipped => Ok(Report::Skipped(reason)),
                    Outcome::Attached | Outcome::Already => Ok(Report::Attached),
                    Outcome::Detached | Outcome::Listed => report,
                };
            }
            _ => {}
        }
    }
    report
}

/// Everything from `input`, whose other end may hang.
fn read_all(input: impl AsFd, until: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let count = rustix::io::read(&input, &mut chunk)?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if bytes.len() > STATE_MAX {
            return Err(io::Error::other(format!("it has more than {STATE_MAX} bytes")));
        }
    }
}
