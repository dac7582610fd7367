//! From what somebody asks for to containers.

use api::{Created, Selector};

use super::cgroup_path::told_by;
use super::containerd::kubernetes_names;
use super::merge::{found, inits, is_within};
use super::process::{self, Process, made_up_id};
use super::{Claim, Engine, Finder, Found, Inventory, docker, storage};

/// Why there is no such container.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FindError {
    /// No container that runs has this name or id.
    #[error("no running container has the name or id {name:?}; `resview list` shows all")]
    NoName {
        /// What was asked for.
        name: String,
    },
    /// Several containers are meant.
    #[error("{name:?} could be {} containers: {}; give one's id", .candidates.len(), list(.candidates))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Which ones.
        candidates: Vec<Found>,
    },
    /// There is no such process.
    #[error("there is no process {pid}")]
    NoProcess {
        /// What was asked for.
        pid: u32,
    },
    /// The cgroup holds no process.
    #[error(
        "no process is in the cgroup {cgroup} or below; give its path below the hierarchy, such as /docker/ID"
    )]
    NoCgroup {
        /// What was asked for.
        cgroup: String,
    },
}

fn list(candidates: &[Found]) -> String {
    let say = |found: &Found| {
        let name = found.names.last().map_or_else(String::new, |name| format!(" {name}"));
        format!("{} {}{name}", found.engine, found.id)
    };
    candidates.iter().map(say).collect::<Vec<_>>().join(", ")
}

impl Finder {
    /// The containers that a selector means: any number for [`Selector::All`], none for
    /// [`Selector::Stopped`], else exactly one.
    ///
    /// # Errors
    /// Nobody is meant, or several are.
    pub fn find(&self, selector: &Selector) -> Result<Vec<Found>, FindError> {
        match selector {
            Selector::All => Ok(self.inventory().found),
            Selector::Name(name) => Ok(vec![self.inventory().by_name(name)?]),
            Selector::Pid(pid) => Ok(vec![self.by_pid(*pid)?]),
            Selector::Cgroup(cgroup) => Ok(vec![self.by_cgroup(cgroup)?]),
            Selector::Created(created) => Ok(vec![self.created(created)?]),
            Selector::Stopped(_) => Ok(Vec::new()),
        }
    }

    /// The container of a process. A process that no engine knows stands for itself, or for its
    /// pid namespace's init.
    fn by_pid(&self, pid: u32) -> Result<Found, FindError> {
        let process = process::read(&self.proc, pid).ok_or(FindError::NoProcess { pid })?;
        let own = self.own_namespace();
        let is_hosts = process.pid_namespace == own;
        let inventory = self.inventory();
        let theirs = |found: &&Found| {
            process::pid_namespace(&self.proc, &found.pid.to_string()) == process.pid_namespace
        };
        let known = if is_hosts {
            let within = |found: &&Found| {
                found.host_pid_ns
                    && found.cgroup != "/"
                    && is_within(&process.cgroup, &found.cgroup)
            };
            inventory.found.iter().filter(within).max_by_key(|found| found.cgroup.len())
        } else {
            // Containers of a pod may share a pid namespace; the cgroup tells them apart.
            let rank =
                |found: &&Found| (is_within(&process.cgroup, &found.cgroup), found.cgroup.len());
            inventory.found.iter().filter(theirs).max_by_key(rank)
        };
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let mut all = inits(self, own.as_ref());
        let init = all.find(|init| init.pid_namespace == process.pid_namespace);
        Ok(self.unknown(init.as_ref().unwrap_or(&process)))
    }

    /// The container in a cgroup, whether an engine knows it or not.
    fn by_cgroup(&self, cgroup: &str) -> Result<Found, FindError> {
        let inventory = self.inventory();
        let path = if cgroup == "/" { cgroup } else { cgroup.trim_end_matches('/') };
        let mut known = inventory.found.into_iter().filter(|found| found.cgroup == path);
        if let (Some(found), None) = (known.next(), known.next()) {
            return Ok(found);
        }
        let within = |process: &Process| process.cgroups.iter().any(|one| is_within(one, path));
        let all = process::pids(&self.proc).into_iter();
        let inside = all.filter_map(|pid| process::read(&self.proc, pid)).filter(within);
        // An init before others, the outermost and oldest first.
        let own = self.own_namespace();
        let rank = |process: &Process| {
            let hosts = process.pid_namespace == own;
            (hosts, !process.is_init, process.depth, process.start_time, process.pid)
        };
        let first = inside.min_by_key(rank);
        let first = first.ok_or_else(|| FindError::NoCgroup { cgroup: cgroup.to_owned() })?;
        Ok(self.unknown(&first))
    }

    /// A container that its engine tells of: its state files may not be there yet. What is said
    /// counts; for the rest it is looked into the engines' files.
    fn created(&self, created: &Created) -> Result<Found, FindError> {
        let pid = created.pid;
        let process = process::read(&self.proc, pid).ok_or(FindError::NoProcess { pid })?;
        let own = self.own_namespace();
        let said = created.engine.as_deref().and_then(Engine::of_name);
        let others = |said| said != Engine::Docker;
        let described =
            if said.is_some_and(others) { None } else { docker::one(self, &created.id) };
        let engine = match (&described, said) {
            (_, Some(said)) => said,
            (Some(_), None) => Engine::Docker,
            (None, None) => self.engine_of(created, &process),
        };
        let claim = Claim {
            engine: Some(engine),
            id: created.id.clone(),
            names: match &described {
                _ if !created.names.is_empty() => created.names.clone(),
                Some(one) => one.claim.names.clone(),
                None => {
                    storage::names(self, &mut Vec::new()).remove(&created.id).unwrap_or_default()
                }
            },
            rootfs: created.root.clone(),
            bundle: created.bundle.clone(),
            ..Claim::default()
        };
        let mut found = found(self, claim, &process, own.as_ref());
        found.annotations.extend(described.map(|one| one.policy).unwrap_or_default());
        found.annotations.extend(created.annotations.clone());
        if found.names.is_empty() {
            found.names = kubernetes_names(&found.annotations);
        }
        Ok(found)
    }

    fn engine_of(&self, created: &Created, process: &Process) -> Engine {
        let told = told_by(&process.cgroup).filter(|told| told.id == created.id);
        let bundle = created.bundle.as_deref().and_then(|path| path.to_str()).unwrap_or_default();
        match told {
            Some(told) => told.engine,
            None if bundle.contains("/io.containerd.runtime.v2.task/") => Engine::Containerd,
            // Which of the runtimes does not show before it has written its state.
            None => Engine::Runc,
        }
    }

    /// A container that no engine knows.
    fn unknown(&self, process: &Process) -> Found {
        let id = made_up_id(process.pid, process.start_time);
        let claim = Claim { id, ..Claim::default() };
        found(self, claim, process, self.own_namespace().as_ref())
    }
}

impl Inventory {
    /// The one container with this id, else with this name, else with an id that begins so.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn by_name(&self, name: &str) -> Result<Found, FindError> {
        let rules: [&dyn Fn(&&Found) -> bool; 3] = [
            &|found| found.id == name,
            &|found| found.names.iter().any(|one| one == name),
            &|found| !name.is_empty() && found.id.starts_with(name),
        ];
        for rule in rules {
            let candidates: Vec<&Found> = self.found.iter().filter(rule).collect();
            match candidates.as_slice() {
                [] => {}
                [one] => return Ok((*one).clone()),
                several => {
                    let candidates = several.iter().map(|&found| found.clone()).collect();
                    return Err(FindError::Ambiguous { name: name.to_owned(), candidates });
                }
            }
        }
        Err(FindError::NoName { name: name.to_owned() })
    }
}
