//! A node: a daemon with its NRI plugin, and a container runtime that tells it what a test says.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nri::fake::{Connection, Form, Runtime};
use nri::{Container, ContainerState, LinuxContainer, LinuxNamespace, PodSandbox};

use testkit::TestCgroup;

use crate::common::{RESVIEW, Running, eventually};
use crate::inside::{self, PLAIN};
use crate::reach::{Reach, has_view};
use crate::support::in_mounts_of;

/// CreateContainer, StartContainer, StopContainer and RemoveContainer.
const EVENTS: i32 = 0x628;
/// Within this time the runtime was not answered because the plugin had no more time.
const IN_TIME: Duration = Duration::from_millis(400);

pub(crate) struct Node {
    pub(crate) reach: Reach,
    pub(crate) runtime: Runtime,
    pub(crate) dir: tempfile::TempDir,
}

impl Node {
    /// With the plugin in the daemon, or to be started by [`Node::plugin`].
    pub(crate) fn start(with_plugin: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::listen(&dir.path().join("nri.sock")).unwrap();
        let words = options(dir.path());
        let mut options: Vec<&str> = if with_plugin { vec!["--nri"] } else { Vec::new() };
        options.extend(words.iter().map(String::as_str));
        Self { reach: Reach::start(&options), runtime, dir }
    }

    /// `resview nri`, in the daemon's mount namespace.
    pub(crate) fn plugin(&self) -> Running {
        let mut command: Command = in_mounts_of(self.reach.daemon.witness());
        command.arg(RESVIEW).arg("nri").args(options(self.dir.path()));
        command.arg("--mountpoint").arg(&self.reach.daemon.mountpoint);
        command.arg("--runtime-dir").arg(self.reach.daemon.path("run")).args(["--log", "warn"]);
        Running::start(&mut command)
    }

    /// The next plugin that registers, told of these containers. One may have connected and thought
    /// better of it before it was accepted: then it is the next but one.
    pub(crate) fn synchronize(&self, all: &[(PodSandbox, Container)]) -> Connection {
        let (pods, containers): (Vec<_>, Vec<_>) = all.iter().cloned().unzip();
        let connect = || {
            let mut connection = self.runtime.accept().unwrap();
            let events = connection.register().ok()?;
            assert_eq!(events, EVENTS);
            connection.synchronize(&pods, &containers).ok()?;
            Some(connection)
        };
        std::iter::repeat_with(connect).take(10).flatten().next().unwrap()
    }

    /// Puts a file in its place as administrators and `resview node` do.
    pub(crate) fn write(&self, path: &Path, text: &str) {
        let begun = self.dir.path().join("new");
        std::fs::write(&begun, text).unwrap();
        std::fs::rename(begun, path).unwrap();
    }

    pub(crate) fn write_policy(&self, text: &str) {
        self.write(&self.dir.path().join("policy.json"), text);
    }
}

fn options(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let words = ["--nri-socket".to_owned(), path("nri.sock"), "--nri-policy".to_owned()];
    words.into_iter().chain([path("policy.json")]).collect()
}

/// Another pod of this namespace.
pub(crate) fn pod(namespace: &str) -> PodSandbox {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    PodSandbox {
        id: format!("pod-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        name: "shop-1".to_owned(),
        namespace: namespace.to_owned(),
        ..PodSandbox::default()
    }
}

pub(crate) fn annotated(namespace: &str, annotations: &[(&str, &str)]) -> PodSandbox {
    let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    PodSandbox { annotations: pairs.collect(), ..pod(namespace) }
}

/// A container of this process in a pod, with namespaces of its own.
pub(crate) fn container(pod: &PodSandbox, id: &str, pid: u32) -> Container {
    let of = |kind: &str| LinuxNamespace { r#type: kind.to_owned(), path: String::new() };
    let namespaces = ["pid", "mount", "ipc"].map(of).to_vec();
    Container {
        id: id.to_owned(),
        pod_sandbox_id: pod.id.clone(),
        name: "app".to_owned(),
        state: if pid == 0 { ContainerState::Unknown } else { ContainerState::Created }.into(),
        linux: Some(LinuxContainer { namespaces, ..LinuxContainer::default() }),
        pid,
        ..Container::default()
    }
}

/// One that runs, in a cgroup of its own as all of an engine are.
pub(crate) struct Limited {
    pub(crate) pid: u32,
    pub(crate) inside: inside::Container,
    _cgroup: TestCgroup,
}

impl Limited {
    pub(crate) fn new(name: &str, bytes: u64) -> Self {
        let cgroup = TestCgroup::new(name);
        cgroup.set_memory(bytes);
        let inside = inside::Container::new(PLAIN);
        cgroup.add_pid(inside.pid);
        Self { pid: inside.pid, inside, _cgroup: cgroup }
    }

    /// One whose limit does not matter.
    pub(crate) fn any(name: &str) -> Self {
        Self::new(name, 48 << 20)
    }
}

/// Tells that a container is about to start. Returns once it has the view: when the plugin
/// answers, unless that was at its deadline. How long the runtime was kept waiting.
#[track_caller]
pub(crate) fn start(
    connection: &mut Connection,
    form: Form,
    pod: &PodSandbox,
    one: &Container,
) -> Duration {
    let begin = Instant::now();
    connection.start_container(form, pod, one).unwrap();
    let waited = begin.elapsed();
    assert!(waited > IN_TIME || has_view(one.pid), "answered before it had the view");
    eventually("it has the view", || has_view(one.pid));
    waited
}
