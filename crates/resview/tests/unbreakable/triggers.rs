//! Pressure triggers outlive the worker that set them.

use std::process::Command;

use rustix::process::Signal;
use testkit::TestCgroup;

use crate::clients::{Client, can_have_clients, per_cgroup};
use crate::common::{RESVIEW, Running, eventually};
use crate::support::{Daemon, kill};

/// Windows of two seconds are everybody's.
const TRIGGER: &str = "some 1500000 2000000";

/// Whether there is nothing to test: on pure v1 containers have no pressure, which they are told
/// by every worker alike.
fn nothing_but_errors(daemon: &Daemon) -> bool {
    if per_cgroup() {
        return false;
    }
    let cgroup = TestCgroup::new("triggers-none");
    let mut client = Client::start(daemon, &[], &cgroup);
    for _ in 0..2 {
        assert_eq!(client.ask("open rw proc/pressure/cpu"), "EOPNOTSUPP");
        kill_worker(daemon);
    }
    true
}

fn kill_worker(daemon: &Daemon) {
    let old = daemon.worker().unwrap();
    kill(old, Signal::KILL);
    eventually("another worker serves", || daemon.worker().is_some_and(|pid| pid != old));
}

fn upgrade(daemon: &Daemon) {
    let old = daemon.worker();
    let output = daemon.command(&["upgrade", RESVIEW]);
    assert!(output.status.success(), "{output:?}");
    assert_ne!(daemon.worker(), old);
}

fn with_trigger(client: &mut Client) -> String {
    let fd = client.open("rw", "proc/pressure/cpu");
    assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), TRIGGER.len().to_string());
    fd
}

/// Two loops on a fifth of one CPU.
fn squeeze(cgroup: &TestCgroup) -> [Running; 2] {
    cgroup.set_cpuset("0");
    cgroup.set_quota(20_000, 100_000);
    [(), ()].map(|()| {
        let mut command = Command::new("sh");
        let running = Running::start(command.args(["-c", "while :; do :; done"]));
        cgroup.add_pid(running.pid());
        running
    })
}

#[test]
fn a_trigger_keeps_firing_when_its_worker_is_killed_or_upgraded() {
    if !can_have_clients("a_trigger_keeps_firing_when_its_worker_is_killed_or_upgraded") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    if nothing_but_errors(&daemon) {
        return;
    }
    let [idle, squeezed] = ["triggers-idle", "triggers-busy"].map(TestCgroup::new);
    let mut bystander = Client::start(&daemon, &[], &idle);
    let mut waiting = Client::start(&daemon, &[], &squeezed);
    let (other, fd) = (with_trigger(&mut bystander), with_trigger(&mut waiting));
    assert_eq!(waiting.ask(&format!("poll {fd} PRI 0")), "");
    // It waits already when the workers change, and there is no pressure yet.
    waiting.tell(&format!("poll {fd} PRI 120000"));
    kill_worker(&daemon);
    upgrade(&daemon);
    assert!(waiting.is_busy(), "nothing has happened to it");
    let _loops = squeeze(&squeezed);
    assert_eq!(waiting.answer(), "PRI");
    for replace in [kill_worker, upgrade, kill_worker] {
        replace(&daemon);
        assert_eq!(waiting.ask(&format!("poll {fd} PRI 120000")), "PRI", "it goes on");
        assert_eq!(bystander.ask(&format!("poll {other} PRI 0")), "", "but not there");
    }
    // It is still the same trigger, and still counts as one.
    assert_eq!(waiting.ask(&format!("write {fd} {TRIGGER}")), "EBUSY");
    assert!(waiting.ask(&format!("read {fd}")).starts_with("some avg10="));
}

#[test]
fn hundreds_of_pollers_survive_their_worker() {
    if !can_have_clients("hundreds_of_pollers_survive_their_worker") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    if nothing_but_errors(&daemon) {
        return;
    }
    let cgroups: Vec<_> =
        (0..4).map(|index| TestCgroup::new(&format!("triggers-many-{index}"))).collect();
    let mut clients: Vec<_> =
        cgroups.iter().map(|cgroup| Client::start(&daemon, &[], cgroup)).collect();
    for client in &mut clients {
        let fds: Vec<_> = (0..64).map(|_| with_trigger(client)).collect();
        client.tell(&format!("each {}", fds.join(" ")));
    }
    kill_worker(&daemon);
    upgrade(&daemon);
    kill_worker(&daemon);
    assert!(clients.iter().all(Client::is_busy), "all 256 wait");
    let _loops: Vec<_> = cgroups.iter().map(squeeze).collect();
    for client in &mut clients {
        assert_eq!(client.answer(), "64xPRI");
    }
    let mut late = Client::start(&daemon, &[], &cgroups[0]);
    let fd = late.open("rw", "proc/pressure/io");
    assert_eq!(late.ask(&format!("write {fd} {TRIGGER}")), "ENOSPC", "every one is counted");
}
