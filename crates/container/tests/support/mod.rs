//! Processes for the tests, started in a cgroup before they do anything.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cgroup::Layout;
use container::{Container, Identifier};
use hostfs::HostFs;

/// How long a process may take to appear; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Machine {
    pub(crate) identifier: Identifier,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let host = Arc::new(HostFs::mount().unwrap());
        let layout = Arc::new(Layout::detect(&host).unwrap());
        Self { identifier: Identifier::new(host, layout).unwrap() }
    }

    pub(crate) fn without_kernel_lookup() -> Self {
        Self { identifier: Self::new().identifier.without_kernel_lookup() }
    }

    pub(crate) fn container(&self, tid: u32) -> Arc<Container> {
        self.identifier.identify(tid).unwrap().unwrap()
    }
}

/// A command and what it has started; all killed when the test ends.
pub(crate) struct Run(Child);

impl Run {
    /// The descendant, or the command itself, that is called `comm`.
    pub(crate) fn descendant(&self, comm: &str) -> u32 {
        self.find_descendant(comm).unwrap_or_else(|| panic!("no {comm} was started"))
    }

    /// As [`Run::descendant`]; `None` if the command ends without it.
    pub(crate) fn find_descendant(&self, comm: &str) -> Option<u32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let found = family(self.0.id()).into_iter().find(|&pid| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.trim_end() == comm)
            });
            if found.is_some() {
                return found;
            }
            if has_ended(self.0.id()) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Children before their parents are gone and their ids can be found no more.
        for pid in family(self.0.id()).into_iter().rev() {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Runs a shell command; `place` puts its process where it belongs before it starts.
pub(crate) fn run_in(place: impl FnOnce(u32), command: &str) -> Run {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("read go; exec {command}")]).stdin(Stdio::piped());
    let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
    place(child.id());
    drop(child.stdin.take());
    Run(child)
}

/// Runs a shell command in the root of every hierarchy.
pub(crate) fn run_in_root_cgroup(command: &str) -> Run {
    let place = |pid: u32| {
        for hierarchy in testkit::hierarchies() {
            fs::write(hierarchy.mount.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    };
    run_in(place, command)
}

pub(crate) fn wait_until(mut met: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < end, "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The time since boot, in the ticks of field 22 of `/proc/PID/stat`.
pub(crate) fn boot_ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let hz = rustix::param::clock_ticks_per_second();
    let nanos = u64::try_from(now.tv_nsec).unwrap();
    u64::try_from(now.tv_sec).unwrap() * hz + nanos * hz / 1_000_000_000
}

pub(crate) fn current_tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// A process and its descendants, each before its children.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&parent) = all.get(next) {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        all.extend(children.unwrap_or_default().split_whitespace().flat_map(str::parse::<u32>));
        next += 1;
    }
    all
}

fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}
