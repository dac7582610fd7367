//! What is asked of the daemon's agent.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use api::{Answer, Client, ClientError, Detach, Request, Selector};

use crate::nri::Report;

/// A question.
const PATIENCE: Duration = Duration::from_secs(10);
/// All containers of a node.
const DETACH_MAX: Duration = Duration::from_secs(300);

/// Whether the runtime has taken the daemon's plugin, and told it what runs. The pod may have process
/// ids of its own: so the agent has to say that it is the one that wrote so.
pub(crate) fn is_registered(socket: &Path) -> bool {
    let Some(report) = Report::written(socket) else { return false };
    let status = Request::Status(Default::default());
    let answers = Client::ask(socket, &status, PATIENCE).unwrap_or_default();
    answers.iter().any(|answer| match answer {
        Answer::Status { status } => status.pid == report.pid,
        _ => false,
    })
}

/// Gives all containers the kernel's own files back. Without an agent there is nothing that could.
///
/// # Errors
/// It cannot, in some container: that one keeps files that nobody serves.
pub(crate) fn detach_all(socket: &Path) -> anyhow::Result<()> {
    let detach = Request::Detach(Detach { container: Selector::All });
    let answers = match Client::ask(socket, &detach, DETACH_MAX) {
        Err(ClientError::Nobody { .. }) => return Ok(()),
        answers => answers?,
    };
    for answer in &answers {
        match answer {
            Answer::Failure(failure) => bail!("cannot detach containers: {}", failure.error),
            Answer::Done(done) if done.failed > 0 => {
                tracing::warn!(containers = done.failed, "some keep their files, which end now");
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use api::{Conversation, Done, Status};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugins_word_counts_while_its_agent_lives() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("resview.sock");
        assert!(!is_registered(&socket));
        let report = json!({
            "pid": 7, "start_time": 1, "runtime": "containerd", "version": "2.1.9",
            "socket": "/var/run/nri/nri.sock", "since": 0,
        });
        std::fs::write(dir.path().join("nri.json"), report.to_string()).unwrap();
        assert!(!is_registered(&socket), "nobody is there");
        let listener = UnixListener::bind(&socket).unwrap();
        let agent = std::thread::spawn(move || {
            for pid in [7, 8] {
                let (stream, _) = listener.accept().unwrap();
                let mut conversation = Conversation::new(stream, PATIENCE);
                conversation.request().unwrap();
                let status = Status { pid, ..Status::default() };
                conversation.answer(&Answer::Status { status }).unwrap();
                conversation.answer(&Answer::Done(Done::new(0, 0))).unwrap();
            }
        });
        assert!(is_registered(&socket));
        assert!(!is_registered(&socket), "another agent's");
        agent.join().unwrap();
    }
}
