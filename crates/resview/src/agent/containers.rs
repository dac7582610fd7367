//! Which containers there are, and what they have.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use ::attach::{Ask, Inspect, Ours, Process, inspect, namespaces_of};
use ::cgroup::{CgroupPaths, Group};
use api::{
    Answer, Container, ContainerAnswer, Done, Explain, Failure, FailureKind, FileAnswer,
    FileOutcome, List, Outcome, Selector, Status,
};
use container::registry::{Id, Registration, Target};
use runtimes::find::{FindError, Found};

use super::serving::Say;
use super::{Agent, policy};
use crate::cli::{DaemonPlace, VERSION};
use crate::explain::explanations;
use crate::mountinfo;

/// How many processes of a container are looked at for mount namespaces of their own.
const MOST_PROCESSES: usize = 4096;

/// What is ours.
pub(super) fn ours() -> Ours {
    Ours::types(&["fuse.resview"])
}

/// What attaching may put something else in the place of: LXCFS's files too. Nobody but LXCFS takes
/// those away for good.
pub(super) fn replaceable() -> Ours {
    Ours::types(&["fuse.resview", "fuse.lxcfs"])
}

/// What lies in a container of ours, as its mount table has it.
///
/// # Errors
/// The process is not there any more.
pub(super) fn look(process: Process) -> Result<Vec<::attach::Found>, ::attach::Error> {
    inspect(&Inspect { process, ours: ours(), current: Vec::new(), ask: Ask::Never })
}

/// The process to enter a container by.
pub(super) fn process(found: &Found) -> Process {
    Process { pid: found.pid, start_time: found.start_time }
}

impl Agent {
    /// The containers that are meant. A number that is nobody's name is a process.
    ///
    /// # Errors
    /// Nobody is meant, or several are.
    pub(super) fn find(&self, selector: &Selector) -> Result<Vec<Found>, Failure> {
        let found = match (self.finder.find(selector), selector) {
            (Err(FindError::NoName { .. }), Selector::Name(name))
                if name.parse::<u32>().is_ok() =>
            {
                let pid = name.parse().unwrap_or_default();
                self.finder.find(&Selector::Pid(pid))
            }
            (found, _) => found,
        };
        found.map_err(|error| failure(&error))
    }

    /// What is registered of a container.
    pub(super) fn registered(&self, id: &Id) -> Option<Registration> {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner).get(id)
    }

    /// Processes of the container with other mount namespaces than its first one.
    pub(super) fn others(&self, found: &Found) -> Vec<Process> {
        let first = process(found);
        let others = self.processes(found).and_then(|pids| Ok(namespaces_of(first, pids)?));
        let mut others = others.unwrap_or_else(|error| {
            tracing::debug!(pid = found.pid, "its other mount namespaces are unknown: {error:#}");
            Vec::new()
        });
        others.retain(|other| *other != first);
        others
    }

    fn processes(&self, found: &Found) -> anyhow::Result<Vec<u32>> {
        let mut text = Vec::new();
        self.host.proc.read(format!("{}/cgroup", found.pid), &mut text)?;
        let paths = CgroupPaths::of_process(&self.layout, &text);
        if paths.is_root() {
            return Ok(Vec::new()); // those of the whole machine
        }
        Ok(Group::new(&self.layout, paths).processes(MOST_PROCESSES)?)
    }

    pub(super) fn all_registered(&self) -> Vec<Arc<Registration>> {
        let writer = self.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        writer.reader().now().iter().cloned().collect()
    }
}

fn failure(error: &FindError) -> Failure {
    let mut failure = Failure::new(FailureKind::NotFound, error.to_string());
    if let FindError::Ambiguous { candidates, .. } = error {
        failure.kind = FailureKind::Ambiguous;
        failure.candidates = candidates.iter().map(Found::to_api).collect();
    }
    failure
}

/// `list`
pub(super) fn list(agent: &Agent, request: &List, say: Say<'_>) -> Result<Done, Failure> {
    let mut registered: BTreeMap<_, _> =
        agent.all_registered().into_iter().map(|one| (one.id.to_string(), one)).collect();
    let found = agent.find(request.container.as_ref().unwrap_or(&Selector::All))?;
    let mut count = 0;
    for found in &found {
        let policy = registered.remove(&found.registration_id());
        let policy = policy.map(|one| policy::from_registered(&one.policy));
        say(listed(found.to_api(), files_of(process(found)), policy));
        count += 1;
    }
    if request.container.is_none() {
        // Those that no engine knows.
        for registration in registered.values() {
            let files = init_of(registration).map(files_of).unwrap_or_default();
            let policy = Some(policy::from_registered(&registration.policy));
            say(listed(container(registration), files, policy));
            count += 1;
        }
    }
    Ok(Done::new(count, 0))
}

fn listed(container: Container, files: Vec<FileAnswer>, policy: Option<api::Policy>) -> Answer {
    let outcome = Outcome::Listed;
    Answer::Container(ContainerAnswer { container, outcome, reason: None, files, policy })
}

/// What lies in a container of ours; nothing if that cannot be told.
fn files_of(process: Process) -> Vec<FileAnswer> {
    let found = look(process).unwrap_or_default();
    let seen = found.into_iter().filter(|found| found.is_seen);
    let mut files: Vec<_> = seen.map(|found| file(&found.target, FileOutcome::Already)).collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    files
}

/// A file in an answer.
pub(super) fn file(target: &std::path::Path, outcome: FileOutcome) -> FileAnswer {
    let file = target.to_string_lossy().trim_start_matches('/').to_owned();
    FileAnswer { file, outcome, reason: None }
}

fn init_of(registration: &Registration) -> Option<Process> {
    match &registration.target {
        Target::Init(init) => Some(Process { pid: init.pid, start_time: init.start_time }),
        Target::Cgroup { .. } => None,
    }
}

fn container(registration: &Registration) -> Container {
    let init = init_of(registration);
    let cgroup = match &registration.target {
        Target::Cgroup { path, .. } => Some(path.clone()),
        Target::Init(_) => None,
    };
    Container {
        id: registration.id.to_string(),
        names: registration.names.clone(),
        engine: registration.engine.clone(),
        pid: init.map(|init| init.pid),
        start_time: init.map(|init| init.start_time),
        cgroup,
    }
}

/// `explain`
pub(super) fn explain(agent: &Agent, request: &Explain, say: Say<'_>) -> Result<Done, Failure> {
    let failed = |error: anyhow::Error| Failure::new(FailureKind::Request, format!("{error:#}"));
    let place = DaemonPlace {
        mountpoint: agent.place.mountpoint.clone(),
        runtime_dir: agent.place.runtime_dir.clone(),
    };
    let found = agent.find(&request.container)?;
    for one in &found {
        let field = request.field.as_deref();
        for explanation in explanations(&place, one.pid, &request.file, field).map_err(failed)? {
            say(Answer::Explanation { explanation });
        }
    }
    Ok(Done::new(found.len() as u64, 0))
}

/// `status`
pub(super) fn status(agent: &Agent, say: Say<'_>) -> Result<Done, Failure> {
    let registered = agent.all_registered();
    let inits = registered.iter().filter_map(|registration| init_of(registration));
    let attached = inits.filter(|init| !files_of(*init).is_empty()).count();
    let place = &agent.place;
    let mut problems = Vec::new();
    let mounts = mountinfo::read().unwrap_or_default();
    let mut is_mounted = |path: &std::path::Path, what: &str| {
        let is = mountinfo::at(&mounts, path).is_some_and(|mount| mount.fs_type == "fuse.resview");
        if !is {
            problems.push(format!(
                "{what} is not mounted at {}: start the daemon (resview daemon)",
                path.display()
            ));
        }
        is
    };
    is_mounted(&place.mountpoint, "the shared tree");
    let has_containers = is_mounted(&place.containers, "the container tree");
    say(Answer::Status {
        status: Status {
            release: VERSION.to_owned(),
            pid: std::process::id(),
            mountpoint: place.mountpoint.clone(),
            containers: has_containers.then(|| place.containers.clone()),
            registered: registered.len() as u64,
            attached: attached as u64,
            problems,
        },
    });
    Ok(Done::new(registered.len() as u64, 0))
}
