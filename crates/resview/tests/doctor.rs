//! `resview doctor`: it says what is broken, and never hangs with it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::process::{Command, Output};

use common::*;
use rustix::process::Signal;
use serde_json::Value;
use served::{Served, can_serve};

/// What one check has found, a line for each finding: `problem: …`.
fn found(output: &Output, check: &str) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|one| one["check"] == check).unwrap();
    let findings = check["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings.map(|one| format!("{}: {}", text(&one["outcome"]), text(&one["found"]))).collect()
}

#[test]
fn every_check_has_something_to_say_and_the_exit_code_agrees() {
    let output = Command::new(RESVIEW).args(["doctor", "--json"]).output().unwrap();
    let mut has_problem = false;
    for check in [
        "kernel",
        "fuse",
        "cgroups",
        "capabilities",
        "runtimes",
        "hooks",
        "mounts",
        "daemon",
        "limits",
        "security",
    ] {
        let found = found(&output, check);
        assert!(!found.is_empty(), "{check} says nothing");
        assert!(!found.iter().any(|found| found.contains("could not be checked")), "{found:?}");
        has_problem |= found.iter().any(|found| found.starts_with("problem"));
    }
    assert_eq!(output.status.code(), Some(i32::from(has_problem)), "{output:?}");
    // Meanwhile others may have mended something, or the contrary.
    let output = Command::new(RESVIEW).arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.contains("no problem was found"), output.status.success(), "{text}");
    assert_eq!(text.lines().any(|line| line.starts_with("PROBLEM")), !output.status.success());
}

#[test]
fn a_living_daemon_is_fine_and_a_dead_one_is_found() {
    if !can_serve("a_living_daemon_is_fine_and_a_dead_one_is_found") {
        return;
    }
    let daemon = Served::start(&[]);
    let witness = daemon.witness();
    let view = format!("fuse.resview answers, on {}", daemon.mountpoint.display());
    let living = daemon.run(witness.pid(), "doctor", &["--json"]);
    let found_living = found(&living, "daemon");
    assert_eq!(found_living.iter().filter(|one| one.starts_with("ok")).count(), 3, "{living:?}");
    assert!(found(&living, "mounts").iter().any(|one| one.contains(&view)), "{living:?}");
    kill_daemon(&daemon.mountpoint);
    let dead = daemon.run(witness.pid(), "doctor", &["--json"]);
    assert_eq!(dead.status.code(), Some(1));
    let view = format!("problem: fuse.resview is dead, on {}", daemon.mountpoint.display());
    assert!(found(&dead, "mounts").iter().any(|one| one.starts_with(&view)), "{dead:?}");
    let said = found(&dead, "daemon");
    assert!(said[0].starts_with("problem: a view is mounted on"), "{said:?}");
}

#[test]
fn a_view_that_hangs_is_found_and_waited_for_by_nobody() {
    if !can_serve("a_view_that_hangs_is_found_and_waited_for_by_nobody") {
        return;
    }
    let daemon = Served::start(&[]);
    let worker = worker_of(daemon.running.pid());
    let pid = |pid: u32| rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    for process in [daemon.running.pid(), worker] {
        rustix::process::kill_process(pid(process), Signal::STOP).unwrap();
    }
    let witness = daemon.witness();
    let hung = daemon.run(witness.pid(), "doctor", &["--json"]);
    assert_eq!(hung.status.code(), Some(1));
    let view = format!("problem: fuse.resview hangs, on {}", daemon.mountpoint.display());
    assert!(found(&hung, "mounts").iter().any(|one| one.starts_with(&view)), "{hung:?}");
}
