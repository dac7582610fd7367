//! `detach`: the mounts go, then the registration.

use std::path::PathBuf;
use std::sync::PoisonError;

use ::attach::{Detach as Unmount, Process, detach as unmount_targets};
use anyhow::Context;
use api::{
    Answer, Container, ContainerAnswer, Detach, Done, Failure, FailureKind, FileOutcome, Outcome,
    Selector, Stopped,
};
use container::registry::Id;
use runtimes::find::Found;

use super::Agent;
use super::containers::{file, look, ours, process};
use super::serving::Say;

/// `detach`
pub(super) fn detach(agent: &Agent, request: &Detach, say: Say<'_>) -> Result<Done, Failure> {
    if let Selector::Stopped(stopped) = &request.container {
        return forget_stopped(agent, stopped, say);
    }
    let (mut count, mut failed) = (0, 0);
    for found in agent.find(&request.container)? {
        let _turn = agent.turns.take(&found.registration_id());
        let answer = one(agent, &found);
        count += 1;
        failed += u64::from(answer.outcome == Outcome::Failed);
        say(Answer::Container(answer));
    }
    Ok(Done::new(count, failed))
}

fn one(agent: &Agent, found: &Found) -> ContainerAnswer {
    let done = unmount(agent, found).and_then(|targets| {
        forget(agent, &found.registration_id())?;
        Ok(targets)
    });
    let mut answer = ContainerAnswer {
        container: found.to_api(),
        outcome: Outcome::Detached,
        reason: None,
        files: Vec::new(),
        policy: None,
    };
    match done {
        Ok(targets) => {
            tracing::info!(container = found.id, files = targets.len(), "detached");
            let detached = |target: &PathBuf| file(target, FileOutcome::Detached);
            answer.files = targets.iter().map(detached).collect();
        }
        Err(error) => {
            tracing::warn!(container = found.id, "not detached: {error:#}");
            answer.outcome = Outcome::Failed;
            answer.reason = Some(format!("{error:#}"));
        }
    }
    answer
}

/// Takes away every mount of ours, wherever it lies; says where they were.
///
/// # Errors
/// The container cannot be entered, or a mount does not go.
pub(super) fn unmount(agent: &Agent, found: &Found) -> anyhow::Result<Vec<PathBuf>> {
    let targets = unmount_from(process(found))?;
    for other in agent.others(found) {
        if let Err(error) = unmount_from(other) {
            tracing::warn!(pid = other.pid, "a process with mounts of its own: {error:#}");
        }
    }
    Ok(targets)
}

fn unmount_from(process: Process) -> anyhow::Result<Vec<PathBuf>> {
    let mut targets: Vec<_> = look(process)?.into_iter().map(|found| found.target).collect();
    targets.sort();
    targets.dedup();
    if targets.is_empty() {
        return Ok(targets);
    }
    Ok(unmount_targets(Unmount::new(process, targets, ours()))?.targets)
}

fn forget(agent: &Agent, id: &str) -> anyhow::Result<()> {
    let id = Id::new(id)?;
    let writer = agent.registrations.lock().unwrap_or_else(PoisonError::into_inner);
    writer.remove(&id).map(drop).context("it is detached, but not forgotten")
}

/// Its mounts have gone with it.
fn forget_stopped(agent: &Agent, stopped: &Stopped, say: Say<'_>) -> Result<Done, Failure> {
    let _turn = agent.turns.take(&stopped.id);
    forget(agent, &stopped.id)
        .map_err(|error| Failure::new(FailureKind::Other, format!("{error:#}")))?;
    say(Answer::Container(ContainerAnswer {
        container: Container { id: stopped.id.clone(), ..Container::default() },
        outcome: Outcome::Detached,
        reason: None,
        files: Vec::new(),
        policy: None,
    }));
    Ok(Done::new(1, 0))
}
