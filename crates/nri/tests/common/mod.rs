//! A plugin that writes down what it is told, and a runtime for it.
#![allow(dead_code, reason = "no test binary needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nri::fake::{Connection, Runtime};
use nri::{
    Config, Container, ContainerState, Error, Handle, LinuxContainer, LinuxNamespace, Listing,
    Plugin, PodSandbox, Target,
};

/// Only bounds a hang.
const SOON: Duration = Duration::from_secs(60);

/// Writes down what it is told, and waits or panics where a test wants it to.
#[derive(Default)]
pub(crate) struct Recorder {
    state: Mutex<Recorded>,
    changed: Condvar,
}

#[derive(Default)]
struct Recorded {
    told: Vec<String>,
    targets: HashMap<String, Target>,
    truncated: bool,
    /// Ids of containers whose methods do not return.
    held: Vec<String>,
    panicking: Vec<String>,
}

impl Recorder {
    fn note(&self, what: &str, target: &Target) {
        let id = target.container.id.clone();
        self.say(format!("{what} {id}"));
        let mut state = self.state.lock().unwrap();
        state.targets.insert(id.clone(), target.clone());
        let panics = state.panicking.contains(&id);
        while state.held.contains(&id) {
            state = self.changed.wait(state).unwrap();
        }
        drop(state);
        assert!(!panics, "as the test wants it");
        self.say(format!("{what} {id} done"));
    }

    fn say(&self, words: String) {
        self.state.lock().unwrap().told.push(words);
        self.changed.notify_all();
    }

    pub(crate) fn hold(&self, id: &str) {
        self.state.lock().unwrap().held.push(id.to_owned());
    }

    pub(crate) fn release(&self, id: &str) {
        self.state.lock().unwrap().held.retain(|held| held != id);
        self.changed.notify_all();
    }

    pub(crate) fn panic_at(&self, id: &str) {
        self.state.lock().unwrap().panicking.push(id.to_owned());
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.state.lock().unwrap().told.clone()
    }

    pub(crate) fn target(&self, id: &str) -> Target {
        self.state.lock().unwrap().targets[id].clone()
    }

    pub(crate) fn truncated(&self) -> bool {
        self.state.lock().unwrap().truncated
    }

    /// Waits until it was told this, so many times in all.
    pub(crate) fn wait_for(&self, words: &str, times: usize) {
        let until = Instant::now() + SOON;
        let mut state = self.state.lock().unwrap();
        while state.told.iter().filter(|told| *told == words).count() < times {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never told `{words}`, only {:?}", state.told);
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Plugin for Recorder {
    fn synchronize(&self, listing: &Listing) {
        let ids: Vec<_> = listing.containers.iter().map(|target| &*target.container.id).collect();
        self.state.lock().unwrap().truncated = listing.truncated;
        self.say(format!("listing [{}]", ids.join(" ")));
        let mut state = self.state.lock().unwrap();
        while state.held.iter().any(|held| held == "listing") {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn existing_container(&self, target: &Target) {
        self.note("existing", target);
    }

    fn start_container(&self, target: &Target) {
        self.note("start", target);
    }

    fn stop_container(&self, target: &Target) {
        self.note("stop", target);
    }

    fn remove_container(&self, target: &Target) {
        self.note("remove", target);
    }

    fn disconnected(&self, reason: &Error) {
        self.say(format!("disconnected: {reason}"));
        let panics = self.state.lock().unwrap().panicking.iter().any(|id| id == "the connection");
        assert!(!panics, "as the test wants it");
    }
}

/// A plugin that serves, and the runtime's socket.
pub(crate) struct Bench {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) handle: Handle,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) socket: PathBuf,
    thread: Option<JoinHandle<Result<(), Error>>>,
    _directory: tempfile::TempDir,
}

impl Bench {
    /// With a runtime that listens.
    pub(crate) fn new() -> Self {
        Self::with(Duration::from_millis(500))
    }

    /// With a runtime that listens, for a plugin of this deadline.
    pub(crate) fn with(deadline: Duration) -> Self {
        let mut bench = Self::without_runtime(deadline);
        bench.start_runtime();
        bench
    }

    /// Where there is no runtime yet.
    pub(crate) fn without_runtime(deadline: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("nri.sock");
        let (recorder, handle) = (Arc::new(Recorder::default()), Handle::new());
        let config = Config { socket: socket.clone(), deadline, ..Config::default() };
        let (plugin, stop) = (Arc::clone(&recorder), handle.clone());
        let thread = std::thread::spawn(move || nri::serve(&config, &plugin, &stop));
        let (runtime, thread) = (None, Some(thread));
        Self { recorder, handle, runtime, socket, thread, _directory: directory }
    }

    pub(crate) fn start_runtime(&mut self) {
        self.runtime = Some(Runtime::listen(&self.socket).unwrap());
    }

    pub(crate) fn accept(&self) -> Connection {
        self.runtime.as_ref().unwrap().accept().unwrap()
    }

    /// A connection that is registered and has told that there is nothing.
    pub(crate) fn connect(&self) -> Connection {
        let mut connection = self.accept();
        assert_eq!(connection.register().unwrap(), 0x628);
        connection.synchronize(&[], &[]).unwrap();
        connection
    }

    /// Waits for a condition of the plugin's status.
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&nri::Status) -> bool) {
        let until = Instant::now() + SOON;
        while !condition(&self.handle.status()) {
            assert!(Instant::now() < until, "never {what}: {:?}", self.handle.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

pub(crate) fn pod(id: &str) -> PodSandbox {
    let annotations = [("resview.dev/view".to_owned(), "on".to_owned())].into();
    let (id, name, namespace) = (id.to_owned(), "web".to_owned(), "shop".to_owned());
    PodSandbox { id, name, namespace, annotations, pid: 41, ..PodSandbox::default() }
}

pub(crate) fn container(id: &str) -> Container {
    let namespaces =
        vec![LinuxNamespace { r#type: "pid".to_owned(), path: "/proc/41/ns/pid".to_owned() }];
    Container {
        id: id.to_owned(),
        pod_sandbox_id: "p".to_owned(),
        state: ContainerState::Created.into(),
        linux: Some(LinuxContainer { namespaces, cgroups_path: format!("/kubepods/p/{id}") }),
        pid: 42,
        ..Container::default()
    }
}
