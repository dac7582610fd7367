//! The daemon on the host, by what it says of itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use control::{Answer, Client, ClientError, Request};
use serde_json::Value;

/// How long it may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to bring up a worker, and to be started.
pub(crate) const START_MAX: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Who serves the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// Nobody.
    Nobody,
    /// A worker whose supervisor is dead.
    Orphan,
    /// A whole one.
    Whole(Supervised),
}

/// A daemon with its supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Supervised {
    /// As the daemon's pid namespace counts.
    pub(crate) pid: u64,
    /// From which program its workers are started: a path on the host.
    pub(crate) program: PathBuf,
    /// The supervisor's version.
    pub(crate) version: String,
    /// The worker's, if one answers.
    pub(crate) worker_version: Option<String>,
    /// Whether a worker serves that is not degraded.
    pub(crate) serves: bool,
}

impl Daemon {
    /// Asks the one with this directory for its control socket.
    ///
    /// # Errors
    /// Somebody is there and cannot be understood.
    pub(crate) fn look(control: &Path) -> anyhow::Result<Self> {
        let client = match Client::connect(control) {
            Err(ClientError::Nobody { .. }) => return Ok(Self::Nobody),
            client => client?,
        };
        Ok(Self::read(&client.status(PATIENCE)?))
    }

    fn read(report: &Value) -> Self {
        let Some(supervisor) = report.get("supervisor") else { return Self::Orphan };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let worker = &supervisor["worker"];
        Self::Whole(Supervised {
            pid: supervisor["pid"].as_u64().unwrap_or_default(),
            program: text(&supervisor["program"]).into(),
            version: text(&supervisor["version"]),
            worker_version: report["worker"]["version"].as_str().map(str::to_owned),
            serves: worker["serving"] == true && worker["degraded"] == false,
        })
    }
}

impl Supervised {
    /// Whether all of it is this version.
    pub(crate) fn is(&self, version: &str) -> bool {
        self.version == version && self.worker_version.as_deref() == Some(version)
    }
}

/// Has the daemon serve from another program.
///
/// # Errors
/// That one does not come up; the one before has not stopped.
pub(crate) fn upgrade(control: &Path, program: &Path) -> anyhow::Result<()> {
    let request = Request::Upgrade { program: Some(program.to_owned()) };
    match Client::connect(control)?.ask(&request, START_MAX)? {
        Answer::Done { .. } => Ok(()),
        Answer::RolledBack { why } => bail!("the old version goes on, because the new one {why}"),
        other => bail!("the daemon answers {other:?}"),
    }
}

/// Waits for a daemon that is wanted.
///
/// # Errors
/// It does not come.
pub(crate) fn wait_for(
    control: &Path,
    mut is_wanted: impl FnMut(&Supervised) -> bool,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        // Between two daemons, anything may be answered.
        let found = Daemon::look(control);
        if let Ok(Daemon::Whole(daemon)) = &found
            && daemon.serves
            && is_wanted(daemon)
        {
            return Ok(());
        }
        if begin.elapsed() > START_MAX {
            let found = found.context("it cannot be talked to")?;
            bail!("the daemon does not serve after {} s: {found:?}", START_MAX.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_read() {
        let worker = json!({ "pid": 8, "version": "0.2.0" });
        assert_eq!(Daemon::read(&json!({ "worker": worker })), Daemon::Orphan);
        let mut report = json!({ "worker": worker, "supervisor": {
            "pid": 7, "program": "/opt/resview/resview", "version": "0.1.0",
            "worker": { "serving": true, "degraded": false },
        }});
        let Daemon::Whole(daemon) = Daemon::read(&report) else { panic!("it has a supervisor") };
        assert!(daemon.serves && daemon.program == Path::new("/opt/resview/resview"));
        assert!(!daemon.is("0.1.0") && !daemon.is("0.2.0"), "half of it is older");
        report["supervisor"]["version"] = json!("0.2.0");
        report["supervisor"]["worker"]["degraded"] = json!(true);
        let Daemon::Whole(daemon) = Daemon::read(&report) else { panic!("it has a supervisor") };
        assert!(daemon.is("0.2.0") && !daemon.serves);
        assert_eq!(
            Daemon::read(&json!({ "supervisor": 3 })),
            Daemon::Whole(Supervised::default()),
            "another protocol is no panic"
        );
    }

    #[test]
    fn nobody_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Daemon::look(dir.path()).unwrap(), Daemon::Nobody);
    }
}
