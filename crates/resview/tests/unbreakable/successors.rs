//! Upgrades in place, and daemons that follow daemons.

use std::path::Path;

use rustix::process::Signal;

use crate::common::{RESVIEW, eventually, in_private_mounts, stderr_of};
use crate::support::{Daemon, LONG, assert_container_good, assert_good, can_serve, faulty, kill};

const UPGRADES: usize = 20;

#[test]
fn twenty_upgrades_between_two_builds_are_not_noticed() {
    if !can_serve("twenty_upgrades_between_two_builds_are_not_noticed") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let container = daemon.container();
    let reader = daemon.host_reader();
    let builds = [faulty(), RESVIEW.into()];
    for program in builds.iter().cycle().take(UPGRADES) {
        let before = daemon.worker();
        let output = daemon.command(&["upgrade", program.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        assert_ne!(daemon.worker(), before);
    }
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
}

#[test]
fn an_upgrade_that_does_not_come_up_is_rolled_back() {
    if !can_serve("an_upgrade_that_does_not_come_up_is_rolled_back") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let reader = daemon.host_reader();
    let worker = daemon.worker();
    for program in ["/bin/false", "/bin/true", "/etc/passwd"] {
        let output = daemon.command(&["upgrade", program]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr_of(&output).contains("the old worker goes on"), "{output:?}");
    }
    assert_eq!(daemon.worker(), worker);
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
}

#[test]
fn a_second_start_takes_over() {
    if !can_serve("a_second_start_takes_over") {
        return;
    }
    let mut daemon = Daemon::start(&["--log", "error"]);
    let container = daemon.container();
    let reader = daemon.host_reader();
    for _ in 0..5 {
        let worker = daemon.worker();
        daemon.start_again(&["--log", "error"]);
        eventually("the next daemon serves", || {
            daemon.worker().is_some() && daemon.worker() != worker
        });
    }
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
}

#[test]
fn a_killed_supervisor_is_followed_by_the_next_start() {
    if !can_serve("a_killed_supervisor_is_followed_by_the_next_start") {
        return;
    }
    let mut daemon = Daemon::start(&["--log", "error"]);
    let container = daemon.container();
    let reader = daemon.host_reader();
    for _ in 0..5 {
        let worker = daemon.worker().unwrap();
        daemon.running.signal(Signal::KILL);
        assert!(reader.wait_round(LONG), "the worker serves on");
        daemon.start_again(&["--log", "error"]);
        eventually("another worker serves", || daemon.worker().is_some_and(|pid| pid != worker));
    }
    assert!(reader.wait_round(LONG), "the readers go on");
    assert_good(&reader.stop(LONG));
    assert_container_good(&container.end());
}

#[test]
fn two_daemons_on_one_mountpoint_are_refused() {
    if !can_serve("two_daemons_on_one_mountpoint_are_refused") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let mut second = std::process::Command::new("nsenter");
    second.args(["-t", &daemon.witness().to_string(), "-m", RESVIEW, "daemon", "--mountpoint"]);
    second.arg(&daemon.mountpoint).arg("--runtime-dir").arg(daemon.path("other"));
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("is in use: a living view"), "{output:?}");
    assert!(daemon.worker().is_some(), "the first is not disturbed");
}

#[test]
fn a_dead_view_is_replaced_by_the_next_start() {
    if !can_serve("a_dead_view_is_replaced_by_the_next_start") {
        return;
    }
    let mut daemon = Daemon::start(&["--log", "error"]);
    let worker = daemon.worker().unwrap();
    daemon.running.signal(Signal::KILL);
    kill(worker, Signal::KILL);
    let meminfo = crate::common::seen_by(daemon.witness(), &daemon.mountpoint);
    let meminfo = meminfo.join("proc/meminfo");
    eventually("the view is dead", || std::fs::read(&meminfo).is_err());
    daemon.start_again(&["--log", "error"]);
    assert!(std::fs::read_to_string(&meminfo).unwrap().starts_with("MemTotal:"));
}

#[test]
fn what_cannot_be_had_is_said_and_not_waited_for() {
    if !can_serve("what_cannot_be_had_is_said_and_not_waited_for") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mountpoint = dir.path().join("view");
    std::fs::create_dir(&mountpoint).unwrap();
    let daemon = |before: &str| {
        let line = format!(
            "{before} && exec {RESVIEW} daemon --log error --mountpoint {} --runtime-dir {}",
            mountpoint.display(),
            dir.path().join("run").display()
        );
        let mut command = in_private_mounts(Path::new("sh"));
        command.args(["-c", &line]).output().unwrap()
    };
    for (before, said) in
        [("mount -t tmpfs none /dev", "/dev/fuse"), ("umount -R /sys/fs/cgroup", "cgroup")]
    {
        let output = daemon(before);
        assert_eq!(output.status.code(), Some(1), "{before}: {output:?}");
        assert!(stderr_of(&output).contains(said), "{before}: {output:?}");
    }
}
