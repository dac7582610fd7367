//! What the running daemon goes by, so that the numbers are those that it shows.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use control::Client;
use serde_json::Value;
use view::policy::Policy;
use viewfs::Upkeep;

use crate::cli::DaemonPlace;
use crate::mountpoint::resolve;
use crate::{runtime_dir, worker};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What decides beside the container's limits.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    pub(super) policy: Policy,
    /// Where CPU accounts, load histories and registrations are.
    pub(super) upkeep: Upkeep,
    /// Everybody gets the host's content at the moment.
    pub(super) is_off: bool,
    /// Why there is none to ask, and what was taken instead.
    pub(super) note: Option<String>,
}

/// Asks the daemon at `place`. Without one, its defaults stand in.
pub(super) fn of(place: &DaemonPlace) -> Daemon {
    asked(place).unwrap_or_else(|error| Daemon {
        note: Some(format!(
            "the default options, and CPU accounts and load that begin now, stand in for a \
             daemon's, because {error:#}"
        )),
        ..Daemon::default()
    })
}

fn asked(place: &DaemonPlace) -> anyhow::Result<Daemon> {
    let mountpoint = resolve(&place.mountpoint)?;
    let client = Client::connect(&runtime_dir::of(&place.runtime_dir, &mountpoint))?;
    let report = client.status(PATIENCE)?;
    let pid = worker_pid(&report).context("it has no worker at the moment")?;
    let settings = worker::settings(&arguments(pid)?, Path::new(&mountpoint))?;
    let is_off = ["worker", "supervisor"].iter().any(|part| report[part]["virtual"] == false);
    Ok(Daemon {
        policy: settings.serve.policy,
        upkeep: settings.serve.upkeep,
        is_off,
        note: is_off.then(|| "the daemon is switched to the host's content".to_owned()),
    })
}

/// The process that serves, by what `resview status --json` says.
pub(crate) fn worker_pid(report: &Value) -> Option<u32> {
    let pid = [&report["worker"]["pid"], &report["supervisor"]["worker"]["pid"]];
    pid.into_iter().find_map(|pid| u32::try_from(pid.as_u64()?).ok())
}

/// The command line of a worker after `__worker`, which is that of its daemon.
fn arguments(pid: u32) -> anyhow::Result<Vec<OsString>> {
    let path = format!("/proc/{pid}/cmdline");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    let text = text.strip_suffix(&[0]).unwrap_or(&text);
    let words = text.split(|&byte| byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    Ok(words.skip(2).collect())
}
