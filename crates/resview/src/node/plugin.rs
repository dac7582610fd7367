//! At the start of the machine: the kubelet waits for the unit, and the unit for the plugin.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::nri::Report;

/// How long the start of the machine is held up at the most.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// `resview __wait-for-plugin`: waits until the runtime has taken the daemon's plugin, if it takes any.
/// Pods that start before that get the view a moment later, when their programs may have looked.
pub(crate) fn main() -> ExitCode {
    let takes_plugins = Path::new(nri::SOCKET).exists();
    if takes_plugins && !wait(Path::new(api::DEFAULT_SOCKET), WAIT_MAX) {
        eprintln!(
            "the runtime has not taken the plugin yet; pods that start now get the view when it has"
        );
    }
    ExitCode::SUCCESS
}

fn wait(agent: &Path, longest: Duration) -> bool {
    let begin = Instant::now();
    while Report::read(agent).is_none() {
        if begin.elapsed() >= longest {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_never_comes_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!wait(&dir.path().join("resview.sock"), Duration::from_millis(1)));
    }
}
