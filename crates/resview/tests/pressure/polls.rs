//! Waiting for a trigger.

use testkit::TestCgroup;

use crate::common::client::{Client, TRIGGER, squeeze};
use crate::support::{Daemon, nothing_but_errors};

#[test]
fn a_trigger_fires_under_real_pressure_and_only_there() {
    let Some(daemon) = Daemon::start("a_trigger_fires_under_real_pressure_and_only_there") else {
        return;
    };
    if nothing_but_errors(&daemon, "a_trigger_fires_under_real_pressure_and_only_there") {
        return;
    }
    let (idle, squeezed) = (TestCgroup::new("pressure-idle"), TestCgroup::new("pressure-busy"));
    let (mut waiting, mut bystander) =
        (Client::start(&daemon, &[], &squeezed), Client::start(&daemon, &[], &idle));
    let (fd, other) = (waiting.open_pressure("cpu"), bystander.open_pressure("cpu"));
    for (client, fd) in [(&mut waiting, &fd), (&mut bystander, &other)] {
        assert_eq!(client.write(fd, TRIGGER), "ok");
    }
    assert_eq!(waiting.ask(&format!("poll {fd} PRI 0")), "");
    // It waits before there is any pressure, so it has to be woken.
    waiting.tell(&format!("poll {fd} PRI 120000"));
    let _loops = squeeze(&squeezed);
    assert_eq!(waiting.answer(), "PRI");
    assert_eq!(waiting.ask(&format!("epoll {fd} PRI 120000")), "PRI", "and again, by epoll");
    assert_eq!(bystander.ask(&format!("poll {other} PRI 0")), "");
    assert!(waiting.ask(&format!("read {fd}")).starts_with("some avg10="));
}

#[test]
fn a_poller_is_told_that_its_cgroup_is_gone() {
    let Some(daemon) = Daemon::start("a_poller_is_told_that_its_cgroup_is_gone") else { return };
    if nothing_but_errors(&daemon, "a_poller_is_told_that_its_cgroup_is_gone") {
        return;
    }
    let (first, second) = (TestCgroup::new("pressure-gone"), TestCgroup::new("pressure-next"));
    let mut client = Client::start(&daemon, &[], &first);
    let fd = client.open_pressure("memory");
    client.write(&fd, TRIGGER);
    client.tell(&format!("poll {fd} PRI 120000"));
    second.add_pid(client.pid());
    drop(first);
    assert_eq!(client.answer(), "PRI+ERR");
    assert_eq!(client.ask(&format!("read {fd}")), "ENODEV");
}

#[test]
fn a_poller_does_not_keep_the_daemon_from_ending() {
    let test = "a_poller_does_not_keep_the_daemon_from_ending";
    let Some(daemon) = Daemon::start(test) else { return };
    let mut client = Client::of_host(&daemon);
    let fd = client.open_pressure("memory");
    assert_eq!(client.write(&fd, "some 2000000 2000000"), "ok");
    assert_eq!(client.ask(&format!("poll {fd} PRI 0")), "");
    client.tell(&format!("poll {fd} PRI 120000"));
    drop(daemon); // asserts that it exits with 0
    assert_eq!(client.answer(), "ERR");
}
