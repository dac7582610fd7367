//! Which triggers can be set, how many, and what becomes of them.

use testkit::TestCgroup;

use crate::common::client::{Client, TRIGGER, different_triggers, per_cgroup};
use crate::common::eventually;
use crate::support::{Daemon, nothing_but_errors};

/// Whether the daemon, and a client started as usual, may have windows of any length.
fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() & (1 << 24) != 0
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let Some(daemon) = Daemon::start("what_the_kernel_refuses_is_refused") else { return };
    if nothing_but_errors(&daemon, "what_the_kernel_refuses_is_refused") {
        return;
    }
    let cgroup = TestCgroup::new("pressure-refused");
    let mut client = Client::start(&daemon, &[], &cgroup);
    for text in [
        "some",
        "most 100000 2000000",
        "some 0 2000000",
        "some 2000001 2000000",
        "some 100000 0",
        "some 100000 12000000",
        "some 100000 4294967296",
    ] {
        assert_eq!(client.try_trigger("memory", text), "EINVAL", "{text}");
    }
    for text in ["some 100000 2000000", "full 2000000 2000000", "some 1 10000000"] {
        for name in ["cpu", "memory", "io"] {
            assert_eq!(client.try_trigger(name, text), "ok", "{name}: {text}");
        }
    }
    let fd = client.open_pressure("cpu");
    assert_eq!(client.ask(&format!("poll {fd} IN+PRI 60000")), "IN+PRI+ERR", "no trigger");
    assert_eq!(client.write(&fd, "some 0 2000000"), "EINVAL");
    assert_eq!(client.write(&fd, TRIGGER), "ok");
    assert_eq!(client.write(&fd, TRIGGER), "EBUSY");
    assert_eq!(client.ask(&format!("poll {fd} IN+OUT 0")), "IN+OUT");
}

#[test]
fn psi_window_not_forced_to_2s() {
    let Some(daemon) = Daemon::start("psi_window_not_forced_to_2s") else { return };
    if nothing_but_errors(&daemon, "psi_window_not_forced_to_2s") {
        return;
    }
    let cgroup = TestCgroup::new("pressure-window");
    let mut client = Client::start(&daemon, &[], &cgroup);
    // Without the capability the kernel refuses the daemon, and the daemon the client.
    let expected = if has_sys_resource() { "ok" } else { "EINVAL" };
    for text in ["some 100000 1000000", "some 100000 1500000"] {
        assert_eq!(client.try_trigger("memory", text), expected, "{text}");
    }
    assert_eq!(client.try_trigger("memory", "some 100000 2000000"), "ok");
}

#[test]
fn psi_unprivileged_window_rule() {
    let Some(daemon) = Daemon::start("psi_unprivileged_window_rule") else { return };
    if nothing_but_errors(&daemon, "psi_unprivileged_window_rule") {
        return;
    }
    let without = "-sys_resource";
    let ways: [&[&str]; 3] = [
        &["setpriv", "--inh-caps", without, "--bounding-set", without],
        &["setpriv", "--reuid", "65534", "--clear-groups"],
        &["unshare", "--user", "--map-root-user"],
    ];
    for way in ways {
        let cgroup = TestCgroup::new("pressure-unprivileged");
        let mut client = Client::start(&daemon, way, &cgroup);
        assert_eq!(client.try_trigger("cpu", "some 100000 1000000"), "EINVAL", "{way:?}");
        assert_eq!(client.try_trigger("cpu", "some 100000 4000000"), "ok", "{way:?}");
    }
}

#[test]
fn lxcfs_has_triggers_with_enable_psi_poll_only() {
    let test = "lxcfs_has_triggers_with_enable_psi_poll_only";
    for (words, expected) in [
        (&["-p", "pid"][..], "EINVAL"),
        (&["-p", "pid", "--enable-psi-poll"], if per_cgroup() { "ok" } else { "EOPNOTSUPP" }),
    ] {
        let Some(daemon) = Daemon::start_as(test, "lxcfs", words) else { return };
        let cgroup = TestCgroup::new("pressure-lxcfs");
        let mut client = Client::start(&daemon, &[], &cgroup);
        if per_cgroup() {
            assert_eq!(client.try_trigger("cpu", TRIGGER), expected, "{words:?}");
        } else {
            assert_eq!(client.ask("open rw proc/pressure/cpu"), "EOPNOTSUPP");
        }
    }
}

#[test]
fn psi_trigger_then_close_survives() {
    let Some(daemon) = Daemon::start("psi_trigger_then_close_survives") else { return };
    if nothing_but_errors(&daemon, "psi_trigger_then_close_survives") {
        return;
    }
    let cgroup = TestCgroup::new("pressure-close");
    let mut client = Client::start(&daemon, &[], &cgroup);
    // Once, so that the descriptors that are kept are there.
    assert_eq!(client.try_trigger("cpu", TRIGGER), "ok");
    client.open_pressure("cpu");
    let mut before = daemon.count("fd");
    eventually("the first one is closed", || {
        let now = daemon.count("fd");
        std::mem::replace(&mut before, now) == now
    });
    for _ in 0..100 {
        assert_eq!(client.try_trigger("cpu", TRIGGER), "ok", "more than 64, one at a time");
    }
    eventually("all are freed", || daemon.count("fd") <= before);
    // The opener dies with its triggers.
    let mut other = Client::start(&daemon, &[], &cgroup);
    for text in different_triggers().take(10) {
        let fd = other.open_pressure("cpu");
        assert_eq!(other.write(&fd, &text), "ok");
    }
    assert!(daemon.count("fd") >= before + 10);
    drop(other);
    eventually("the dead one's are freed", || daemon.count("fd") <= before);
    assert_eq!(client.try_trigger("cpu", TRIGGER), "ok");
}

#[test]
fn hundreds_of_triggers_one_thread() {
    let Some(daemon) = Daemon::start("hundreds_of_triggers_one_thread") else { return };
    if nothing_but_errors(&daemon, "hundreds_of_triggers_one_thread") {
        return;
    }
    // A thread of the start ends after some seconds.
    let threads = daemon.count("task");
    let cgroups: Vec<_> =
        (0..5).map(|index| TestCgroup::new(&format!("pressure-many-{index}"))).collect();
    let mut clients: Vec<_> =
        cgroups.iter().map(|cgroup| Client::start(&daemon, &[], cgroup)).collect();
    let mut last = String::new();
    for client in &mut clients {
        for _ in 0..64 {
            last = client.open_pressure("memory");
            assert_eq!(client.write(&last, TRIGGER), "ok");
        }
    }
    assert!(daemon.count("task") <= threads, "320 triggers and not one thread more");
    for client in &mut clients {
        assert_eq!(client.try_trigger("io", TRIGGER), "ENOSPC", "the 65th");
    }
    let client = clients.last_mut().unwrap();
    client.ask(&format!("close {last}"));
    eventually("its place is free again", || client.try_trigger("io", TRIGGER) == "ok");
}
