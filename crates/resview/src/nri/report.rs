//! How the plugin is, in a file beside the agent's socket, for `resview status` and `doctor`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ::attach::Process;
use serde::{Deserialize, Serialize};

/// The file's name.
const NAME: &str = "nri.json";

/// A plugin that is registered with a runtime.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The plugin's process, and when that started, in clock ticks after boot.
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    /// The runtime and its version, as it says.
    pub(crate) runtime: String,
    pub(crate) version: String,
    /// The runtime's socket.
    pub(crate) socket: PathBuf,
    /// When it was registered, in seconds since the epoch.
    pub(crate) since: u64,
}

impl Report {
    /// That of the plugin of the agent with this socket, if it lives and is registered.
    pub(crate) fn read(agent: &Path) -> Option<Self> {
        let report = Self::written(agent)?;
        let process = Process::running(report.pid).ok()?;
        (process.start_time == report.start_time).then_some(report)
    }

    /// The last one that was written there: its process may be dead.
    pub(crate) fn written(agent: &Path) -> Option<Self> {
        let text = std::fs::read(agent.with_file_name(NAME)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// In words.
    pub(crate) fn in_words(&self) -> String {
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(self.since);
        let since = humantime::format_rfc3339_seconds(since);
        let Self { runtime, version, socket, .. } = self;
        format!("registered with {runtime} {version} at {} since {since}", socket.display())
    }
}

/// Where the report is kept.
#[derive(Debug)]
pub(super) struct Reporter {
    path: PathBuf,
    socket: PathBuf,
}

impl Reporter {
    pub(super) fn new(agent: &Path, socket: &Path) -> Self {
        Self { path: agent.with_file_name(NAME), socket: socket.to_owned() }
    }

    /// The plugin is registered. That nobody can be told of it is no reason to be any less.
    pub(super) fn registered(&self, runtime: &nri::Runtime) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let pid = std::process::id();
        let Ok(process) = Process::running(pid) else { return };
        let report = Report {
            pid,
            start_time: process.start_time,
            runtime: runtime.name.clone(),
            version: runtime.version.clone(),
            socket: self.socket.clone(),
            since: since.as_secs(),
        };
        if let Err(error) = self.write(&report) {
            tracing::warn!("cannot write {}: {error}", self.path.display());
        }
    }

    /// It is not any more. Another plugin's report is left alone.
    pub(super) fn withdraw(&self) {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let ours = serde_json::from_slice::<Report>(&text);
        if ours.is_ok_and(|report| report.pid == std::process::id()) {
            // Gone already, or nobody believes it once this process has ended.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn write(&self, report: &Report) -> std::io::Result<()> {
        let begun = self.path.with_extension(format!("{}.new", report.pid));
        std::fs::write(&begun, serde_json::to_vec(report)?)?;
        std::fs::rename(&begun, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_believed_as_long_as_its_process_lives() {
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join("resview.sock");
        let reporter = Reporter::new(&agent, Path::new("/n/nri.sock"));
        assert_eq!(Report::read(&agent), None);
        let runtime = nri::Runtime { name: "containerd".to_owned(), version: "2.1.9".to_owned() };
        reporter.registered(&runtime);
        let report = Report::read(&agent).unwrap();
        let words = report.in_words();
        assert!(words.contains("containerd 2.1.9") && words.contains("/n/nri.sock"), "{words}");
        let other = Report { start_time: report.start_time + 1, ..report.clone() };
        reporter.write(&other).unwrap();
        assert_eq!(Report::read(&agent), None);
        reporter.write(&Report { pid: report.pid + 1, ..report }).unwrap();
        reporter.withdraw();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "it is somebody else's");
        reporter.registered(&runtime);
        reporter.withdraw();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
