//! Pressure triggers outlive the worker that set them.

use rustix::process::Signal;
use testkit::TestCgroup;

use crate::clients::{Client, can_have_clients, per_cgroup};
use crate::common::client::{TRIGGER, different_triggers, squeeze};
use crate::common::{RESVIEW, eventually};
use crate::support::{Daemon, kill};

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

fn assert_no_hang(daemon: &Daemon) {
    let status = daemon.status().unwrap();
    assert_eq!(status["supervisor"]["killed"], 0, "none was thought to hang: {status:#}");
}

fn upgrade(daemon: &Daemon) {
    let old = daemon.worker();
    let output = daemon.command(&["upgrade", RESVIEW]);
    assert!(output.status.success(), "{output:?}");
    assert_ne!(daemon.worker(), old);
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
    let (other, fd) = (bystander.open_trigger("cpu"), waiting.open_trigger("cpu"));
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
    assert_eq!(waiting.write(&fd, TRIGGER), "EBUSY");
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
        let fds: Vec<_> = (0..64).map(|_| client.open_trigger("cpu")).collect();
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
    assert_eq!(late.try_trigger("io", TRIGGER), "ENOSPC", "every one is counted");
    assert_no_hang(&daemon);
}

#[test]
fn hundreds_of_different_triggers_do_not_delay_an_upgrade() {
    if !can_have_clients("hundreds_of_different_triggers_do_not_delay_an_upgrade") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    if nothing_but_errors(&daemon) {
        return;
    }
    let cgroups: Vec<_> =
        (0..4).map(|index| TestCgroup::new(&format!("triggers-all-{index}"))).collect();
    let mut clients: Vec<_> =
        cgroups.iter().map(|cgroup| Client::start(&daemon, &[], cgroup)).collect();
    for client in &mut clients {
        for text in different_triggers().take(64) {
            let fd = client.open_pressure("memory");
            assert_eq!(client.write(&fd, &text), "ok");
        }
    }
    upgrade(&daemon);
    for client in &mut clients {
        assert!(client.ask("cat proc/pressure/memory").starts_with("some avg10="));
        assert_eq!(client.try_trigger("io", TRIGGER), "ENOSPC", "every one is counted");
    }
    assert_no_hang(&daemon);
}
