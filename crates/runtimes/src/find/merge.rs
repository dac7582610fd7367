//! From what files say and the kernel knows to one list.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::cgroup_path::{Told, is_engine_id, told_by};
use super::containerd::{Config, kubernetes_names};
use super::process::{self, Process};
use super::{Claim, Engine, Finder, Found, Inventory, Skipped};
use super::{containerd, docker, machines, oci_state, storage};

impl Finder {
    /// All containers that run.
    ///
    /// The cost is one look at each process of the machine and a few files per container.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let mut notes = Vec::new();
        let named = storage::names(self, &mut notes);
        let described = docker::described(self, &mut notes);
        let own = process::pid_namespace(&self.proc, "self");
        let mut claims = containerd::claims(self, &mut notes);
        claims.extend(oci_state::claims(self, &mut notes));
        claims.extend(machines::claims(self, &mut notes));
        let labels: HashMap<String, BTreeMap<String, String>> = described
            .into_iter()
            .map(|one| {
                let labels = (one.claim.id.clone(), one.policy);
                claims.push(one.claim);
                labels
            })
            .collect();

        let mut list = List { by_pid: HashMap::new(), own };
        for mut claim in claims {
            claim.names.extend(named.get(&claim.id).into_iter().flatten().cloned());
            // A container that does not run has no process.
            if claim.pid == 0 {
                continue;
            }
            match self.verify(&claim) {
                Ok(process) => list.add(self, claim, &process),
                Err(reason) => notes.push(Skipped { path: claim.source, reason }),
            }
        }
        list.scan(self);
        let mut found: Vec<Found> = list.by_pid.into_values().collect();
        for one in &mut found {
            one.annotations.extend(labels.get(&one.id).cloned().unwrap_or_default());
        }
        found.sort_by(|a, b| (a.engine, &a.id, a.pid).cmp(&(b.engine, &b.id, b.pid)));
        Inventory { found, skipped: notes }
    }

    /// The first process of the container with this id, in the pid namespace of the procfs that the
    /// finder reads; none: no such container runs, or it is only being made.
    ///
    /// The cost is a few files where CRI-O's or Podman's runtimes have kept a state, else that of
    /// [`Finder::inventory`].
    #[must_use]
    pub fn first_process(&self, id: &str) -> Option<u32> {
        // Others could be paths to elsewhere.
        let states = is_engine_id(id).then(|| oci_state::of(self, id)).into_iter().flatten();
        let mut processes = states.filter_map(|claim| self.verify(&claim).ok());
        processes.next().map(|process| process.pid).or_else(|| {
            let mut found = self.inventory().found.into_iter();
            found.find(|one| one.id == id).map(|one| one.pid)
        })
    }

    /// The process of a claim, if it is still the one that was meant.
    fn verify(&self, claim: &Claim) -> Result<Process, String> {
        let Claim { pid, .. } = *claim;
        let process = process::read(&self.proc, pid)
            .ok_or_else(|| format!("its process {pid} does not run any more"))?;
        let same = match claim.start_time {
            Some(start_time) => process.start_time == start_time,
            None => in_its_cgroup(claim, &process),
        };
        if same { Ok(process) } else { Err(format!("process {pid} is another one by now")) }
    }

    pub(super) fn own_namespace(&self) -> Option<String> {
        process::pid_namespace(&self.proc, "self")
    }
}

/// Whether a process is in the cgroup that its container should have.
fn in_its_cgroup(claim: &Claim, process: &Process) -> bool {
    // Whatever the folders above are called (`docker run --cgroup-parent`).
    let told = |path: &String| {
        told_by(path).is_some_and(|told| told.id == claim.id)
            || (is_engine_id(&claim.id) && path.contains(&claim.id))
    };
    let expected = claim.cgroup.as_deref().unwrap_or_default();
    // With systemd's driver it is `SLICE:PREFIX:NAME` and the scope is called `PREFIX-NAME`.
    let mut parts = expected.split(':').skip(1);
    let scope =
        parts.next().zip(parts.next()).map(|(prefix, name)| format!("/{prefix}-{name}.scope"));
    process.cgroups.iter().any(|path| {
        told(path)
            || (expected.starts_with('/') && expected != "/" && is_within(path, expected))
            || scope.as_ref().is_some_and(|scope| path.contains(scope.as_str()))
    })
}

/// Whether a cgroup is `ancestor` or below it.
pub(super) fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct List {
    by_pid: HashMap<u32, Found>,
    /// The reader's own pid namespace.
    own: Option<String>,
}

impl List {
    /// Adds what a verified claim says to what others say about the same process.
    fn add(&mut self, finder: &Finder, claim: Claim, process: &Process) {
        let new = found(finder, claim, process, self.own.as_ref());
        let Some(old) = self.by_pid.get_mut(&process.pid) else {
            self.by_pid.insert(process.pid, new);
            return;
        };
        // An engine knows more than the runtime that it used.
        if matches!(old.engine, Engine::Runc | Engine::Crun | Engine::Youki) {
            old.engine = new.engine;
        }
        for name in new.names {
            if !old.names.contains(&name) {
                old.names.push(name);
            }
        }
        old.bundle = old.bundle.take().or(new.bundle);
        old.rootfs = new.rootfs.or(old.rootfs.take());
        old.annotations.extend(new.annotations);
    }

    /// Adds containers whose files cannot be seen: rootless ones, LXC's, those inside others.
    fn scan(&mut self, finder: &Finder) {
        let ids: HashSet<String> = self.by_pid.values().map(|one| one.id.clone()).collect();
        let mut seen: HashMap<(Engine, String), Process> = HashMap::new();
        for process in inits(finder, self.own.as_ref()) {
            let Some(Told { engine, id }) = told_by(&process.cgroup) else { continue };
            if self.by_pid.contains_key(&process.pid) || ids.contains(&id) {
                continue;
            }
            // A container may have pid namespaces inside: the outermost, oldest init is its own.
            let rank = |process: &Process| (process.depth, process.start_time, process.pid);
            match seen.get(&(engine, id.clone())) {
                Some(before) if rank(before) <= rank(&process) => {}
                _ => {
                    seen.insert((engine, id), process);
                }
            }
        }
        for ((engine, id), process) in seen {
            let claim = Claim { engine: Some(engine), id, ..Claim::default() };
            self.by_pid.insert(process.pid, found(finder, claim, &process, self.own.as_ref()));
        }
    }
}

/// The first process of each pid namespace but the reader's own.
pub(super) fn inits<'a>(
    finder: &'a Finder,
    own: Option<&'a String>,
) -> impl Iterator<Item = Process> + 'a {
    process::pids(&finder.proc).into_iter().filter_map(move |pid| {
        // The cheapest question first: most processes are the host's.
        let namespace = process::pid_namespace(&finder.proc, &pid.to_string())?;
        if own == Some(&namespace) {
            return None;
        }
        process::read(&finder.proc, pid).filter(|process| process.is_init && process.depth > 1)
    })
}

/// A container from what is known about it.
pub(super) fn found(
    finder: &Finder,
    claim: Claim,
    process: &Process,
    own: Option<&String>,
) -> Found {
    let config = claim.bundle.as_deref().map(|bundle| Config::read(finder, bundle));
    let config = config.and_then(Result::ok).unwrap_or_default();
    let mut engine = claim.engine.unwrap_or(Engine::None);
    if matches!(engine, Engine::Runc | Engine::Crun) {
        let told = told_by(&process.cgroup).filter(|told| told.id == claim.id);
        engine = config.manager().or(told.map(|told| told.engine)).unwrap_or(engine);
    }
    let mut rootfs = claim.rootfs;
    let mut names = claim.names;
    if engine == Engine::Lxc {
        let (whose, called, root) = machines::lxc(finder, &claim.id);
        (engine, rootfs) = (whose, rootfs.or(root));
        names.extend(called);
    }
    if engine == Engine::Nspawn {
        names.push(claim.id.clone());
    }
    let annotations = config.annotations();
    names.extend(kubernetes_names(&annotations));
    Found {
        engine,
        id: claim.id,
        names,
        pid: process.pid,
        start_time: process.start_time,
        cgroup: process.cgroup.clone(),
        rootfs,
        bundle: claim.bundle,
        annotations,
        host_pid_ns: own.is_some() && process.pid_namespace.as_ref() == own,
    }
}
