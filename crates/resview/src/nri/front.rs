//! What is done about what the runtime tells.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use api::{Created, Policy, View};
use hostfs::Dir;
use kube::policy::{Decision, Pod};
use nri::{Container, ContainerState, Error, Handle, Listing, Plugin, Runtime, Target};
use runtimes::find::{Finder, names_in_kubernetes};

use super::Place;
use super::ask::{self, Attached};
use super::known::{Known, Next, Owed};
use super::missed::Missed;
use super::policies::Policies;
use super::report::Reporter;

/// The plugin. It keeps nothing that it could not be told again.
#[derive(Debug)]
pub(super) struct Front {
    /// The agent's socket.
    pub(super) agent: PathBuf,
    pub(super) policies: Policies,
    pub(super) known: Known,
    pub(super) missed: Missed,
    pub(super) report: Reporter,
    pub(super) finder: Finder,
    /// The host's procfs.
    proc: Dir,
    pub(super) handle: Handle,
}

impl Front {
    pub(super) fn new(place: &Place, proc: Dir, handle: Handle) -> Self {
        let Place { agent, namespaces, options } = place;
        Self {
            agent: agent.clone(),
            policies: Policies::new(&options.nri_policy, namespaces),
            known: Known::default(),
            missed: Missed::default(),
            report: Reporter::new(agent, &options.nri_socket),
            finder: Finder::new("/", proc.clone()),
            proc,
            handle,
        }
    }

    /// Decides about a container and does it. May be called again about the same one.
    pub(super) fn consider(&self, target: &Target) {
        let Some(target) = self.with_process(target) else { return };
        let Target { pod, container, .. } = target.as_ref();
        let name = format!("{}/{}/{}", pod.namespace, pod.name, container.name);
        let Some(decision) = self.decide(&target) else {
            tracing::warn!(name, "left alone: the policy cannot be read");
            return self.known.settle(&container.id, false);
        };
        for warning in &decision.warnings {
            tracing::warn!(name, "{warning}; it counts as not said");
        }
        match decision.view {
            View::On => self.attach(&target, &name),
            View::Off => self.leave_alone(&target, &name, &decision.because),
        }
    }

    /// The container with its first process, which CRI-O tells from 1.36 on. None: it has none yet, and
    /// will be told of again; or it has ended, and what is told may be another's by now.
    fn with_process<'a>(&self, target: &'a Target) -> Option<Cow<'a, Target>> {
        let container = &target.container;
        if container.state() == ContainerState::Stopped {
            return None;
        }
        if container.pid != 0 {
            return Some(Cow::Borrowed(target));
        }
        let pid = self.finder.first_process(&container.id)?;
        let mut target = target.clone();
        Arc::make_mut(&mut target.container).pid = pid;
        Some(Cow::Owned(target))
    }

    fn decide(&self, target: &Target) -> Option<Decision> {
        let Target { pod, container, .. } = target;
        self.policies.decide(&Pod {
            namespace: &pod.namespace,
            labels: &pod.labels,
            annotations: &pod.annotations,
            runtime_handler: &pod.runtime_handler,
            host_pid: self.has_host_pid(container),
            ..Pod::default()
        })
    }

    /// Whether the container has the host's process ids, which are those of this process, too.
    /// Runtimes say so by no pid namespace, or by the path of one that happens to be the host's.
    fn has_host_pid(&self, container: &Container) -> bool {
        let namespace = |pid: &str| self.proc.read_link(format!("{pid}/ns/pid")).ok();
        let own = namespace("self");
        container.namespace("pid").is_none()
            || (own.is_some() && namespace(&container.pid.to_string()) == own)
    }

    fn attach(&self, target: &Target, name: &str) {
        let id = &target.container.id;
        let Some(start_time) = start_time(target.container.pid) else {
            return self.known.settle(id, false);
        };
        let (why, failed) = match ask::attach(&self.agent, created(target)) {
            Attached::Yes => return self.known.settle(id, true),
            Attached::No | Attached::Gone => return self.known.settle(id, false),
            Attached::NoAgent(why) => (why, false),
            Attached::Failed(why) => (why, true),
        };
        match self.known.owe(Owed { target: target.clone(), start_time }, failed) {
            Next::In(after) => {
                tracing::warn!(name, ?after, "not attached, to be tried again: {why}");
            }
            Next::Never => tracing::warn!(name, "not attached: {why}"),
        }
    }

    /// What is owed to a container, if that is still there.
    pub(super) fn try_again(&self, owed: &Owed) {
        let Owed { target, start_time: then } = owed;
        if start_time(target.container.pid) == Some(*then) {
            self.consider(target);
        } else {
            self.known.settle(&target.container.id, false);
        }
    }

    /// One that got the view here before the policy or its namespace said otherwise loses it. What
    /// an administrator attached by hand is left alone, too.
    fn leave_alone(&self, target: &Target, name: &str, because: &str) {
        let id = &target.container.id;
        tracing::info!(name, because, "left alone");
        if self.known.has_view(id)
            && let Err(why) = ask::detach(&self.agent, created(target))
        {
            tracing::warn!(name, "not detached: {why}");
        }
        self.known.settle(id, false);
    }
}

impl Plugin for Front {
    fn synchronize(&self, listing: &Listing) {
        let ids = listing.containers.iter().map(|target| target.container.id.as_str());
        self.known.listed(ids, listing.truncated);
        self.missed.listed(Instant::now());
        self.report.registered(&listing.runtime);
    }

    fn existing_container(&self, target: &Target) {
        self.consider(target);
    }

    fn start_container(&self, target: &Target) {
        self.known.add(&target.container.id);
        self.consider(target);
    }

    fn remove_container(&self, target: &Target) {
        let id = &target.container.id;
        self.known.remove(id);
        if let Err(why) = ask::forget(&self.agent, id) {
            tracing::debug!(id, "the agent finds out by itself that it is gone: {why}");
        }
    }

    fn disconnected(&self, reason: &Error) {
        tracing::debug!("the runtime tells nothing any more: {reason}");
        self.report.withdraw();
    }
}

/// When a process started; none: it has ended.
fn start_time(pid: u32) -> Option<u64> {
    attach::Process::running(pid).ok().map(|process| process.start_time)
}

/// The name by which the agent knows a runtime; none: the agent finds out.
pub(super) fn engine(runtime: &Runtime) -> Option<&'static str> {
    match runtime.name.to_ascii_lowercase().as_str() {
        "containerd" => Some("containerd"),
        "cri-o" | "crio" => Some("cri-o"),
        _ => None,
    }
}

/// As the agent is told of it.
fn created(target: &Target) -> Created {
    let Target { runtime, pod, container } = target;
    // Whether it gets the view is decided.
    let ours = [Policy::CPU_COUNT, Policy::FILES];
    let annotations = ours.iter().filter_map(|key| pod.annotations.get_key_value(*key));
    Created {
        pid: container.pid,
        root: None,
        id: container.id.clone(),
        bundle: None,
        annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        names: names_in_kubernetes(&pod.namespace, &pod.name, &container.name),
        engine: engine(runtime).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nri::{LinuxContainer, LinuxNamespace, PodSandbox};

    use super::*;
    use crate::nri::PluginOptions;

    fn front(dir: &Path, proc: &Path) -> Front {
        let options = PluginOptions {
            nri_policy: dir.join("policy"),
            nri_socket: dir.join("nri.sock"),
            nri_wait: std::time::Duration::from_millis(500),
        };
        let place = Place::of(dir, &dir.join("agent"), options);
        Front::new(&place, Dir::open(proc).unwrap(), Handle::new())
    }

    fn target(namespace: &str, annotations: &[(&str, &str)], namespaces: &[&str]) -> Target {
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let of = |kind: &&str| LinuxNamespace { r#type: (*kind).to_owned(), path: String::new() };
        Target {
            runtime: Arc::new(Runtime { name: "containerd".into(), version: "2.1".into() }),
            pod: Arc::new(PodSandbox {
                name: "shop-1".into(),
                namespace: namespace.into(),
                annotations: pairs.collect(),
                ..PodSandbox::default()
            }),
            container: Arc::new(Container {
                id: "4f2a".into(),
                name: "app".into(),
                pid: u32::MAX,
                linux: Some(LinuxContainer {
                    namespaces: namespaces.iter().map(of).collect(),
                    ..LinuxContainer::default()
                }),
                ..Container::default()
            }),
        }
    }

    #[test]
    fn a_container_without_a_pid_namespace_has_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let front = front(dir.path(), Path::new("/proc"));
        let view = |target: &Target| front.decide(target).unwrap().view;
        assert_eq!(view(&target("shop", &[], &["mount", "pid"])), View::On);
        assert_eq!(view(&target("shop", &[], &["mount"])), View::Off);
        let mut by_path = target("shop", &[], &["mount", "pid"]);
        Arc::make_mut(&mut by_path.container).pid = std::process::id();
        assert_eq!(view(&by_path), View::Off);
        assert_eq!(view(&target("kube-system", &[], &["pid"])), View::Off);
        std::fs::write(dir.path().join("policy"), r#"{"version":1,"hostPid":"on"}"#).unwrap();
        assert_eq!(view(&target("shop", &[], &["mount"])), View::On);
    }

    #[test]
    fn a_container_whose_process_is_not_told_is_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut front = front(dir.path(), Path::new("/proc"));
        front.finder = Finder::new(dir.path(), front.proc.clone());
        let pid = std::process::id();
        let id = "4f".repeat(32);
        let mut web = target("shop", &[], &["pid"]);
        let container = Arc::make_mut(&mut web.container);
        (container.id, container.pid) = (id.clone(), 0);
        assert_eq!(front.with_process(&web), None, "it is only being made");
        let state = dir.path().join("run/crun").join(&id);
        std::fs::create_dir_all(&state).unwrap();
        let status =
            format!(r#"{{"pid": {pid}, "process-start-time": {}}}"#, start_time(pid).unwrap());
        std::fs::write(state.join("status"), status).unwrap();
        let found = front.with_process(&web).unwrap().into_owned();
        assert_eq!(found.container.pid, pid);
        assert_eq!(front.with_process(&found).unwrap().into_owned(), found);
        Arc::make_mut(&mut web.container).set_state(ContainerState::Stopped);
        assert_eq!(front.with_process(&web), None);
    }

    #[test]
    fn the_agent_is_told_names_and_choices_and_nothing_of_others() {
        let annotations =
            [("resview.dev/view", "maybe"), ("resview.dev/cpu-count", "cpuset"), ("a/b", "c")];
        let created = created(&target("shop", &annotations, &["pid"]));
        let names = ["app", "shop-1/app", "shop/shop-1/app", "shop_shop-1_app"];
        assert_eq!(created.names, names);
        assert_eq!(created.engine.as_deref(), Some("containerd"));
        let annotations = [("resview.dev/cpu-count".to_owned(), "cpuset".to_owned())];
        assert_eq!(created.annotations, annotations.into());
        assert_eq!(created.root, None);
    }

    #[test]
    fn without_an_agent_it_is_owed_and_without_a_process_or_a_policy_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        // In this procfs nobody has the host's pid namespace.
        let front = front(dir.path(), dir.path());
        let owed = |front: &Front| {
            let later = Instant::now() + std::time::Duration::from_secs(3600);
            front.known.due(later).len()
        };
        let mut web = target("shop", &[], &["pid"]);
        Arc::make_mut(&mut web.container).pid = std::process::id();
        front.start_container(&web);
        assert_eq!(owed(&front), 1);
        let mut none = web.clone();
        Arc::make_mut(&mut none.container).pid = 0;
        front.existing_container(&none);
        assert_eq!(owed(&front), 0);
        front.start_container(&target("kube-system", &[], &["pid"]));
        assert_eq!(owed(&front), 0);
        front.start_container(&web);
        front.remove_container(&web);
        assert_eq!(owed(&front), 0);
        let stale = Owed { target: web.clone(), start_time: 1 };
        front.start_container(&web);
        front.try_again(&stale);
        assert_eq!(owed(&front), 0, "it is another process by now");
    }
}
