//! The host is suspended while containers wait: the kernel freezes all tasks, in no order that
//! anybody chooses. See "Suspending the host" in docs/reliability.md.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[allow(dead_code, reason = "it serves the tests for pressure files as well")]
#[path = "pressure/support.rs"]
mod support;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::client::{Client, per_cgroup};
use common::eventually;
use support::Daemon;
use testkit::{Layout, TestCgroup, figures, layout};

/// How often all is frozen.
const TIMES: usize = 5;

/// One machine cannot be suspended by two.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cgroup whose tasks are frozen for as long as this lives: with the same signal, and the same
/// wait for each, as when the machine is suspended.
struct Frozen<'a>(&'a TestCgroup);

impl<'a> Frozen<'a> {
    fn new(cgroup: &'a TestCgroup) -> Self {
        // It exists before anything is frozen, so that nothing stays so.
        let frozen = Self(cgroup);
        frozen.set("1", "FROZEN");
        eventually("all are frozen", || frozen.is_complete());
        frozen
    }

    fn set(&self, v2: &str, v1: &str) {
        let (file, value) = match layout() {
            Layout::V2 => ("cgroup.freeze", v2),
            _ => ("freezer.state", v1),
        };
        self.0.write("freezer", file, value);
    }

    fn is_complete(&self) -> bool {
        let (file, line) = match layout() {
            Layout::V2 => ("cgroup.events", "frozen 1"),
            _ => ("freezer.state", "FROZEN"),
        };
        self.0.read("freezer", file).lines().any(|one| one == line)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.set("0", "THAWED");
    }
}

/// Freezes the whole machine as for a suspend, and thaws it after five seconds; whether this is a
/// machine of the tests, with which that may be done. Source:
/// Documentation/power/basic-pm-debugging.rst.
fn suspend_the_machine() -> bool {
    let power = Path::new("/sys/power");
    let is_own = std::fs::read_to_string("/proc/cmdline").unwrap().contains("xtask.cgroup=");
    if !is_own || !power.join("pm_test").exists() {
        return false;
    }
    std::fs::write(power.join("pm_test"), "freezer").unwrap();
    let suspended = std::fs::write(power.join("state"), "freeze");
    std::fs::write(power.join("pm_test"), "none").unwrap();
    suspended.unwrap();
    true
}

/// The daemon and its containers, each in a cgroup that can be frozen.
struct Machine {
    containers: TestCgroup,
    daemons: TestCgroup,
    _parent: TestCgroup,
}

impl Machine {
    fn new() -> Self {
        let parent = TestCgroup::new("suspend");
        let (containers, daemons) = (parent.bare_child("containers"), parent.bare_child("daemons"));
        Self { containers, daemons, _parent: parent }
    }

    fn start(&self, test: &str) -> Option<Daemon> {
        let daemon = Daemon::start(test)?;
        self.daemons.add_pid(daemon.pid());
        self.daemons.add_pid(daemon.worker());
        Some(daemon)
    }

    /// A container with many triggers. `None`: containers have none here.
    fn with_triggers(&self, daemon: &Daemon) -> Option<(Client, String)> {
        let mut client = Client::start(daemon, &[], &self.containers);
        if !per_cgroup() {
            assert_eq!(client.ask("open rw proc/pressure/memory"), "EOPNOTSUPP");
            return None;
        }
        let fds: Vec<_> = (0..32).map(|_| client.open_trigger("memory")).collect();
        Some((client, fds.join(" ")))
    }

    fn waits_with_epoll(&self, daemon: &Daemon) -> Option<Client> {
        let (mut client, fds) = self.with_triggers(daemon)?;
        // From then on nothing is asked of the daemon.
        assert_eq!(client.ask(&format!("epoll-each {fds}")), "registered");
        Some(client)
    }

    fn waits_with_poll(&self, daemon: &Daemon) -> Option<Client> {
        let (mut client, fds) = self.with_triggers(daemon)?;
        client.tell(&format!("each {fds}"));
        Some(client)
    }

    /// One that polls files without events, as udisks does.
    fn waits_in_vain(&self, daemon: &Daemon) -> Client {
        let mut client = Client::start(daemon, &[], &self.containers);
        let files = ["proc/swaps", "proc/meminfo", "proc/stat"];
        let fds = files.map(|file| client.open("r", file));
        // The first that polls is told that nobody need ask.
        assert_eq!(client.ask(&format!("poll {} PRI 0", fds[0])), "");
        client.tell(&format!("each {}", fds.join(" ")));
        client
    }
}

#[test]
fn a_suspend_completes_while_containers_wait_with_epoll() {
    let test = "a_suspend_completes_while_containers_wait_with_epoll";
    let _alone = alone();
    let machine = Machine::new();
    let Some(daemon) = machine.start(test) else { return };
    let worker = daemon.worker();
    let waiting = machine.waits_with_epoll(&daemon);
    let in_vain = machine.waits_in_vain(&daemon);
    for _ in 0..TIMES {
        // Whoever is woken last finds nobody who would answer.
        for order in
            [[&machine.daemons, &machine.containers], [&machine.containers, &machine.daemons]]
        {
            let _frozen = order.map(Frozen::new);
        }
    }
    let suspended = suspend_the_machine();
    figures(test, &format!("{TIMES} times in each order, the machine: {suspended}"));
    assert!(waiting.iter().chain([&in_vain]).all(Client::is_busy), "they wait on");
    assert_eq!(daemon.worker(), worker, "a frozen worker is not a dead one");
    let mut late = Client::start(&daemon, &[], &machine.containers);
    assert!(late.ask("cat proc/meminfo").starts_with("MemTotal:"));
}

#[test]
fn a_suspend_completes_with_all_waiters_when_containers_are_frozen_first() {
    let test = "a_suspend_completes_with_all_waiters_when_containers_are_frozen_first";
    let _alone = alone();
    let machine = Machine::new();
    let Some(daemon) = machine.start(test) else { return };
    let worker = daemon.worker();
    let waiting = machine.waits_with_poll(&daemon);
    for _ in 0..TIMES {
        let _frozen = [&machine.containers, &machine.daemons].map(Frozen::new);
    }
    let frozen = Frozen::new(&machine.containers);
    let suspended = suspend_the_machine();
    drop(frozen);
    figures(test, &format!("{TIMES} times, the machine: {suspended}"));
    assert!(waiting.iter().all(Client::is_busy), "they wait on");
    assert_eq!(daemon.worker(), worker, "a frozen worker is not a dead one");
    let mut late = Client::start(&daemon, &[], &machine.containers);
    assert!(late.ask("cat proc/meminfo").starts_with("MemTotal:"));
}
