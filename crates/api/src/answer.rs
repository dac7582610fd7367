//! What the agent answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::VERSION;
use crate::explain::Explanation;
use crate::line::{self, LineError};
use crate::policy::Policy;
use crate::request::RequestError;

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// What was done with a container, or what it is.
    Container(ContainerAnswer),
    /// Where a number comes from.
    Explanation {
        /// The number and its source.
        explanation: Explanation,
    },
    /// How the agent and the daemon are.
    Status {
        /// In detail.
        status: Status,
    },
    /// The last line: everything was answered.
    Done(Done),
    /// The last line: it was not.
    Failure(Failure),
}

/// A container, as far as it is known.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Container {
    /// The engine's id, or `pid-<pid>-<start time>`, or `cgroup-<path>`.
    pub id: String,
    /// Its names, the usual one first.
    #[serde(default)]
    pub names: Vec<String>,
    /// `docker`, `podman`, `containerd`, `cri-o`, `runc`, `crun`, `youki`, `lxc`, `incus`, `lxd`,
    /// `systemd-nspawn` or `none`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub engine: String,
    /// Its first process, as the agent's pid namespace counts; missing: it has none (any more).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When that process started, in clock ticks after boot: field 22 of `/proc/PID/stat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// Its cgroup below the hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

/// What became of a container.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has the view now.
    Attached,
    /// It had it already, in every file.
    Already,
    /// It has it no longer, or it is forgotten.
    Detached,
    /// It was left alone, for a good reason: its policy, or because it would lose something.
    Skipped,
    /// Nothing was changed, because something went wrong.
    Failed,
    /// Nothing was asked to be changed: a line of `list`.
    Listed,
}

/// What became of one file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileOutcome {
    /// The view lies on it now.
    Attached,
    /// It lay there already.
    Already,
    /// A dead or another view lay there and was replaced.
    Replaced,
    /// The view was taken away.
    Detached,
    /// The engine hides this file from the container, and still does.
    Masked,
    /// The container has no such file.
    Missing,
    /// Something of the container's own lies there; it was left alone.
    Occupied,
    /// It could not be done.
    Failed,
}

/// One file of a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileAnswer {
    /// Its path without the leading slash, such as `proc/meminfo`.
    pub file: String,
    /// What became of it.
    pub outcome: FileOutcome,
    /// Why, where that is not obvious.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One container in an answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ContainerAnswer {
    /// Which.
    pub container: Container,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for [`Outcome::Skipped`] and [`Outcome::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its files; with `list` those that have the view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileAnswer>,
    /// The policy that is kept for it; missing: none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// How the agent and the daemon are.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// The agent's release, as `resview --version` says it.
    pub release: String,
    /// The agent's process.
    pub pid: u32,
    /// Where the shared tree is mounted.
    pub mountpoint: PathBuf,
    /// Where the container tree is mounted; missing: it is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<PathBuf>,
    /// How many containers are registered.
    #[serde(default)]
    pub registered: u64,
    /// How many of them are attached.
    #[serde(default)]
    pub attached: u64,
    /// What is wrong, in sentences; empty: nothing.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// The end of an answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Done {
    done: True,
    /// How many containers the request was about.
    #[serde(default)]
    pub containers: u64,
    /// How many of them failed.
    #[serde(default)]
    pub failed: u64,
}

impl Done {
    /// The end of an answer about `containers`, of which `failed` failed.
    #[must_use]
    pub fn new(containers: u64, failed: u64) -> Self {
        Self { done: True, containers, failed }
    }
}

/// `true`, the only value that `done` can have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "bool", into = "bool")]
struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self) } else { Err("\"done\" can only be true") }
    }
}

impl From<True> for bool {
    fn from(_: True) -> Self {
        true
    }
}

/// What sort of failure, for programs; people read [`Failure::error`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The line was no request.
    Request,
    /// Another version of the protocol.
    Version,
    /// There is no such container.
    NotFound,
    /// Several containers are meant; [`Failure::candidates`] has them.
    Ambiguous,
    /// The client may not do this.
    Denied,
    /// Try again later.
    Busy,
    /// Anything else, also what a newer agent says.
    #[serde(other)]
    Other,
}

/// The end of an answer that could not be given.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// What happened, to what, and what to do.
    pub error: String,
    /// What sort of failure.
    #[serde(default = "FailureKind::other")]
    pub kind: FailureKind,
    /// The containers that could be meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Container>,
}

impl FailureKind {
    fn other() -> Self {
        Self::Other
    }
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(kind: FailureKind, error: impl Into<String>) -> Self {
        Self { error: error.into(), kind, candidates: Vec::new() }
    }
}

impl From<&RequestError> for Failure {
    fn from(error: &RequestError) -> Self {
        let kind = match error {
            RequestError::Line(LineError::Version { .. }) => FailureKind::Version,
            _ => FailureKind::Request,
        };
        Self::new(kind, error.to_string())
    }
}

impl Answer {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failure(_))
    }

    /// Reads an answer from a line without its newline. Fields that this version does not know are
    /// ignored.
    ///
    /// # Errors
    /// [`LineError::Json`], also for an answer of another kind; [`LineError::Version`].
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let value = match line::parse(line) {
            // An agent of another version still says in words what is wrong.
            Err(LineError::Version { theirs }) => return failure_of_another(line, theirs),
            value => value?,
        };
        let has = |key: &str| value.get(key).is_some();
        let answer = if has("error") {
            serde_json::from_value(value).map(Self::Failure)
        } else if has("done") {
            serde_json::from_value(value).map(Self::Done)
        } else if has("container") {
            serde_json::from_value(value).map(Self::Container)
        } else if has("explanation") {
            field(value, "explanation").map(|explanation| Self::Explanation { explanation })
        } else if has("status") {
            field(value, "status").map(|status| Self::Status { status })
        } else {
            return Err(LineError::Json("an answer of no known kind".to_owned()));
        };
        answer.map_err(|error| LineError::Json(error.to_string()))
    }

    /// The answer as a line with its newline.
    ///
    /// # Errors
    /// [`LineError::TooLong`]; [`LineError::Json`] when a path is not UTF-8.
    pub fn to_line(&self) -> Result<Vec<u8>, LineError> {
        line::print(self)
    }
}

fn field<T: serde::de::DeserializeOwned>(mut value: Value, key: &str) -> serde_json::Result<T> {
    serde_json::from_value(value.get_mut(key).map(Value::take).unwrap_or_default())
}

fn failure_of_another(line: &[u8], theirs: String) -> Result<Answer, LineError> {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    match value.get("error").and_then(Value::as_str) {
        Some(error) => Ok(Answer::Failure(Failure::new(
            FailureKind::Version,
            format!("the agent speaks version {theirs} of the protocol, not {VERSION}: {error}"),
        ))),
        None => Err(LineError::Version { theirs }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newer_agent_may_say_more() {
        let line = br#"{"version":1,"done":true,"containers":3,"failed":1,"took":9}"#;
        assert_eq!(Answer::parse(line).unwrap(), Answer::Done(Done::new(3, 1)));
        let line = br#"{"version":1,"error":"no","kind":"moon-phase"}"#;
        let Answer::Failure(failure) = Answer::parse(line).unwrap() else { panic!() };
        assert_eq!((failure.error.as_str(), failure.kind), ("no", FailureKind::Other));
    }

    #[test]
    fn an_agent_of_another_version_is_still_understood_when_it_says_no() {
        let line = br#"{"version":2,"error":"request in version 1"}"#;
        let Answer::Failure(failure) = Answer::parse(line).unwrap() else { panic!() };
        assert_eq!(failure.kind, FailureKind::Version);
        assert!(failure.error.contains("version 2") && failure.error.contains("not 1"));
        assert!(matches!(
            Answer::parse(br#"{"version":2,"done":true}"#),
            Err(LineError::Version { .. })
        ));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for line in [
            &br#"{"version":1}"#[..],
            br#"{"version":1,"done":false}"#,
            br#"{"version":1,"container":{"id":"a"},"outcome":"vanished"}"#,
            br#"{"version":1,"status":7}"#,
            b"",
        ] {
            let error = Answer::parse(line).unwrap_err();
            assert!(matches!(error, LineError::Json(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_read_as_it_was_written(
            id in ".{0,9}", name in ".{0,9}", pid: Option<u32>, reason: Option<String>,
        ) {
            let container =
                Container { id, names: vec![name], pid, ..Container::default() };
            let files = vec![FileAnswer {
                file: "proc/stat".to_owned(),
                outcome: FileOutcome::Replaced,
                reason: reason.clone(),
            }];
            let outcome = Outcome::Attached;
            let policy = Some(Policy::default());
            let answer =
                Answer::Container(ContainerAnswer { container, outcome, reason, files, policy });
            let line = answer.to_line().unwrap();
            prop_assert_eq!(Answer::parse(line.strip_suffix(b"\n").unwrap()).unwrap(), answer);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Answer::parse(text.as_bytes());
        }
    }
}
