//! What is written down of a container, so that the container tree has it.

use std::sync::PoisonError;

use anyhow::Context;
use container::registry::{self, Id, Init, Registration, Target, is_name};
use procfmt::pid_status::PidStatus;
use runtimes::find::Found;

use super::Agent;

/// Writes down who it is.
///
/// # Errors
/// It cannot be told apart, or the file cannot be written.
pub(super) fn register(
    agent: &Agent,
    found: &Found,
    id: Id,
    policy: registry::Policy,
) -> anyhow::Result<()> {
    let mut registration = Registration::new(id, target(agent, found)?);
    registration.names = found.names.iter().filter(|name| is_name(name)).cloned().collect();
    registration.engine = found.engine.name().to_owned();
    registration.policy = policy;
    let writer = agent.registrations.lock().unwrap_or_else(PoisonError::into_inner);
    if writer.get(&registration.id).as_ref() != Some(&registration) {
        writer.put(&registration)?;
    }
    Ok(())
}

/// A container that got nothing is registered as it was before, if it was.
pub(super) fn take_back(agent: &Agent, id: &Id, before: Option<&Registration>) {
    let writer = agent.registrations.lock().unwrap_or_else(PoisonError::into_inner);
    let taken_back = match before {
        Some(before) => writer.put(before),
        None => writer.remove(id).map(drop),
    };
    if let Err(error) = taken_back {
        tracing::warn!("{error}");
    }
}

/// A container with an init is that init. One in the host's pid namespace is its cgroup, and so is
/// one that shares a pid namespace with others, whose init is somebody else's: a pod's pause process
/// or the container that is being debugged.
fn target(agent: &Agent, found: &Found) -> anyhow::Result<Target> {
    if !found.host_pid_ns && is_init(agent, found.pid)? {
        return Ok(Target::Init(Init { pid: found.pid, start_time: found.start_time }));
    }
    let path = found.cgroup.clone();
    let any = Target::Cgroup { path: path.clone(), instance: None };
    let there = registry::find(&agent.host, &agent.identifier, &any)?.with_context(|| {
        format!("it shares its process ids and has no cgroup of its own: {path}")
    })?;
    Ok(Target::Cgroup { path, instance: Some(there.instance) })
}

fn is_init(agent: &Agent, pid: u32) -> anyhow::Result<bool> {
    let mut text = Vec::new();
    agent.host.proc.read_one(format!("{pid}/status"), &mut text)?;
    let status = PidStatus::parse(&text);
    let status = status.with_context(|| format!("/proc/{pid}/status is not understood"))?;
    // Kernels that do not say have told until now by the namespace alone.
    Ok(status.ns_pid.is_empty() || status.is_namespace_init())
}
