//! `attach`: a container is registered, then its files are mounted into it.

use std::sync::Arc;

use ::attach::{FileReport, Nesting, Outcome as Mounted, Process, Root, attach as mount};
use api::{
    Answer, Attach, Container, ContainerAnswer, Created, Done, Failure, FileAnswer, FileOutcome,
    Outcome, Selector, View,
};
use container::registry::Id;
use runtimes::find::Found;

use super::containers::{file, process, replaceable};
use super::registering::{register, take_back};
use super::serving::Say;
use super::{Agent, detaching, files, foreign, policy, unmasked};

/// `attach`
pub(super) fn attach(agent: &Arc<Agent>, request: &Attach, say: Say<'_>) -> Result<Done, Failure> {
    let created = match &request.container {
        Selector::Created(created) => Some(created),
        _ => None,
    };
    let (mut count, mut failed) = (0, 0);
    for found in agent.find(&request.container)? {
        let answer = match created {
            Some(created) if unmasked::has_to_wait(created) => soon(agent, request, &found),
            _ => one(agent, request, created, &found),
        };
        count += 1;
        failed += u64::from(answer.outcome == Outcome::Failed);
        log(&answer);
        say(Answer::Container(answer));
    }
    Ok(Done::new(count, failed))
}

/// Attaches a container when it has its root.
fn soon(agent: &Arc<Agent>, request: &Attach, found: &Found) -> ContainerAnswer {
    let container = found.to_api();
    let (agent, request, found) = (Arc::clone(agent), request.clone(), found.clone());
    let started = unmasked::when_it_has_its_root(found.pid, move || {
        log(&one(&agent, &request, None, &found));
    });
    let (outcome, reason) = match started {
        Ok(()) => (Outcome::Skipped, unmasked::REASON.to_owned()),
        Err(error) => (Outcome::Failed, format!("cannot start a thread: {error}")),
    };
    ContainerAnswer { container, outcome, reason: Some(reason), files: Vec::new(), policy: None }
}

fn log(answer: &ContainerAnswer) {
    let Container { id, engine, .. } = &answer.container;
    let name = answer.container.names.first().map_or("", String::as_str);
    let reason = answer.reason.as_deref().unwrap_or_default();
    match answer.outcome {
        Outcome::Failed => tracing::warn!(container = id, name, engine, reason, "not attached"),
        Outcome::Skipped => tracing::info!(container = id, name, engine, reason, "left alone"),
        outcome => tracing::info!(container = id, name, engine, ?outcome, reason, "attached"),
    }
}

fn one(
    agent: &Agent,
    request: &Attach,
    created: Option<&Created>,
    found: &Found,
) -> ContainerAnswer {
    let _turn = agent.turns.take(&found.registration_id());
    let mut answer = ContainerAnswer {
        container: found.to_api(),
        outcome: Outcome::Failed,
        reason: None,
        files: Vec::new(),
        policy: None,
    };
    if let Err(error) = attach_one(agent, request, created, found, &mut answer) {
        answer.outcome = Outcome::Failed;
        answer.reason = Some(format!("{error:#}"));
    }
    answer
}

fn attach_one(
    agent: &Agent,
    request: &Attach,
    created: Option<&Created>,
    found: &Found,
    answer: &mut ContainerAnswer,
) -> anyhow::Result<()> {
    if let Some(why) = created.and_then(|created| foreign::why_left_alone(agent, created)) {
        answer.outcome = Outcome::Skipped;
        answer.reason = Some(why);
        return Ok(());
    }
    let id = Id::new(found.registration_id())?;
    let before = agent.registered(&id);
    let decided = policy::merged(
        request.policy.as_ref(),
        before.as_ref().map(|registration| &registration.policy),
        &found.annotations,
    );
    let kept = policy::to_registered(&decided);
    answer.policy = Some(policy::from_registered(&kept));
    answer.policy.take_if(|policy| *policy == api::Policy::default());
    register(agent, found, id.clone(), kept)?;
    answer.container.id = id.to_string();
    if decided.view == Some(View::Off) {
        detaching::unmount(agent, found)?;
        answer.outcome = Outcome::Skipped;
        answer.reason = Some("it is to have no view: view is off for it".to_owned());
        return Ok(());
    }
    let mounted = mount_all(agent, request, created, found, &id);
    let reports = mounted.inspect_err(|_| take_back(agent, &id, before.as_ref()))?;
    answer.outcome = outcome(&reports);
    if answer.outcome == Outcome::Skipped {
        answer.reason = reports.iter().find_map(|report| match &report.outcome {
            Mounted::LeftAlone(why) => Some(why.clone()),
            _ => None,
        });
    }
    answer.files = reports.iter().map(in_words).collect();
    Ok(())
}

fn mount_all(
    agent: &Agent,
    request: &Attach,
    created: Option<&Created>,
    found: &Found,
    id: &Id,
) -> anyhow::Result<Vec<FileReport>> {
    let place = &agent.place;
    let mut bindings = files::bindings(&place.containers, &place.mountpoint, id.as_str())?;
    if let Some(files) = &request.files {
        bindings = files::chosen(bindings, files)?;
    }
    let attachment = |process: Process, root: Root| {
        let mut attachment = ::attach::Attach::new(process, replaceable());
        attachment.root = root;
        attachment.bindings.clone_from(&bindings);
        attachment.nesting = Nesting::Keep;
        attachment
    };
    if let Some(root) = created.and_then(|created| created.root.clone()) {
        return Ok(mount(attachment(process(found), Root::BeforePivot(root)))?.files);
    }
    let report = mount(attachment(process(found), Root::Namespace))?;
    // A container's services may have mounts of their own. They come and go; that one of them is
    // not reached must not keep the others from the view.
    for other in agent.others(found) {
        if let Err(error) = mount(attachment(other, Root::Namespace)) {
            tracing::warn!(pid = other.pid, container = %id, "a process with mounts of its own: {error}");
        }
    }
    Ok(report.files)
}

fn outcome(reports: &[FileReport]) -> Outcome {
    let any = |wanted: fn(&Mounted) -> bool| reports.iter().any(|one| wanted(&one.outcome));
    if any(|one| matches!(one, Mounted::Attached | Mounted::Replaced)) {
        Outcome::Attached
    } else if any(|one| matches!(one, Mounted::Already)) {
        Outcome::Already
    } else {
        Outcome::Skipped
    }
}

fn in_words(report: &FileReport) -> FileAnswer {
    let outcome = match &report.outcome {
        Mounted::Attached => FileOutcome::Attached,
        Mounted::Already => FileOutcome::Already,
        Mounted::Replaced => FileOutcome::Replaced,
        Mounted::Masked => FileOutcome::Masked,
        Mounted::Missing => FileOutcome::Missing,
        Mounted::LeftAlone(_) => FileOutcome::Occupied,
    };
    let mut answer = file(&report.target, outcome);
    if let Mounted::LeftAlone(why) = &report.outcome {
        answer.reason = Some(why.clone());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Mounted) -> FileReport {
        FileReport { target: "/proc/stat".into(), outcome }
    }

    #[test]
    fn a_container_is_what_its_files_are() {
        let left = || report(Mounted::LeftAlone("unmasked".to_owned()));
        let of = |reports: &[FileReport]| outcome(reports);
        assert_eq!(of(&[left(), report(Mounted::Attached)]), Outcome::Attached);
        assert_eq!(of(&[report(Mounted::Already), report(Mounted::Replaced)]), Outcome::Attached);
        assert_eq!(of(&[report(Mounted::Already), report(Mounted::Masked)]), Outcome::Already);
        assert_eq!(of(&[left(), report(Mounted::Missing)]), Outcome::Skipped);
        let words = in_words(&left());
        assert_eq!((words.file.as_str(), words.outcome), ("proc/stat", FileOutcome::Occupied));
        assert_eq!(words.reason.as_deref(), Some("unmasked"));
    }
}
