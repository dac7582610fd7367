//! A supervisor that has nothing to watch sleeps, and sees all that it is there for.

use std::fs;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::common::{Place, isolated, kill, until};
use crate::text;

#[test]
fn supervisor_at_rest_is_not_woken_up_and_misses_nothing() {
    isolated("supervisor_at_rest_is_not_woken_up_and_misses_nothing", || {
        let place = Place::new();
        let mut supervisor = place.start(&[]);
        let worker = place.worker_pid();
        wait_for_rest(supervisor.pid());
        kill(worker, Signal::STOP);
        until("all its threads have stopped", || crate::common::has_stopped(worker));
        assert_ne!(text(place.file("who")), worker.to_string(), "one that hangs is replaced");
        wait_for_rest(supervisor.pid());
        unmount(place.mountpoint(), UnmountFlags::DETACH).unwrap();
        supervisor.end();
    });
}

/// A look comes four times a second. On a machine that is busy it may be late; then what is tested
/// is less, and nothing fails.
fn wait_for_rest(pid: u32) {
    until("it rests", || {
        let before = sleeps(pid);
        std::thread::sleep(Duration::from_secs(1));
        sleeps(pid) == before
    });
}

/// How often a process has gone to sleep.
fn sleeps(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"));
    line.unwrap().to_owned()
}
