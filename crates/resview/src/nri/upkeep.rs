//! What the plugin looks after between events.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::front::Front;
use super::missed::{Verdict, running};

/// How often. Nobody waits for it.
const INTERVAL: Duration = Duration::from_millis(500);

/// Starts it, on a thread of its own, until the plugin stops.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn start(front: Arc<Front>) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name("nri upkeep".to_owned());
    let upkeep = move || {
        let mut seen = Seen::now(&front);
        while !front.handle.is_stopped() {
            look(&front, &mut seen);
            std::thread::sleep(INTERVAL);
        }
    };
    thread.spawn(upkeep).context("cannot start a thread")?;
    Ok(())
}

/// What tells that everything has to be decided anew.
#[derive(PartialEq, Eq)]
struct Seen {
    policies: u64,
    /// The agent's socket: the next daemon may have to heal what the last one has left.
    socket: Option<u64>,
}

impl Seen {
    fn now(front: &Front) -> Self {
        Self { policies: front.policies.generation(), socket: inode(&front.agent) }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

fn look(front: &Front, seen: &mut Seen) {
    let now = Seen::now(front);
    if now.policies != seen.policies {
        tracing::info!("the policy has changed; the runtime is asked what there is");
        front.handle.resync();
    } else if now.socket.is_some() && now.socket != seen.socket {
        tracing::info!("there is another agent; the runtime is asked what there is");
        front.handle.resync();
    }
    seen.policies = now.policies;
    seen.socket = now.socket.or(seen.socket);
    for owed in front.known.due(Instant::now()) {
        front.try_again(&owed);
    }
    look_for_missed(front);
}

fn look_for_missed(front: &Front) {
    let Some(runtime) = front.handle.status().runtime else { return };
    let engine = super::front::engine(&runtime);
    let verdict = front.missed.look(
        Instant::now(),
        || running(&front.finder, engine),
        |id| front.known.has(id),
    );
    match verdict {
        Verdict::Fine => {}
        Verdict::Resync(count) => {
            tracing::info!(count, "containers started unseen; the runtime is asked what there is");
            front.handle.resync();
        }
        Verdict::GiveUp(ids) => {
            let ids = ids.join(", ");
            tracing::warn!(
                ids,
                "the runtime does not tell of these containers; see resview attach"
            );
        }
    }
}
