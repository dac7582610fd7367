//! Registrations of containers that have ended go.

use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::socket::Socket;
use super::{Agent, End};

/// How often. Nobody waits for it: a view of an ended container is ENOENT at once.
const INTERVAL: Duration = Duration::from_secs(10);

/// Prunes from time to time, on a thread of its own, and says so once another agent has taken the
/// socket.
pub(super) fn start(
    agent: Arc<Agent>,
    socket: Arc<Socket>,
    end: Sender<End>,
) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name("pruning".to_owned());
    let prune = move || {
        while socket.is_current() {
            prune(&agent);
            std::thread::sleep(INTERVAL);
        }
        // Nobody listens when the end has come already.
        let _ = end.send(End::Followed);
    };
    thread.spawn(prune).context("cannot start a thread")?;
    Ok(())
}

fn prune(agent: &Agent) {
    let writer = agent.registrations.lock().unwrap_or_else(PoisonError::into_inner);
    match writer.prune(&agent.host, &agent.identifier) {
        Ok(pruned) => {
            for registration in pruned {
                tracing::info!(container = %registration.id, "has ended and is forgotten");
            }
        }
        Err(error) => tracing::warn!("{error}"),
    }
}
