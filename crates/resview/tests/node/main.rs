//! `resview node` on a host without systemd: a real container of runc as the pod, with the rights and
//! mounts that the DaemonSet gives it, and a container that reads meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod host;

use serde_json::{Value, json};

use common::{RESVIEW, eventually, stdout_of};
use host::{Host, Pod, can_run};

/// Some rounds over all files.
const ROUNDS: u64 = 2;

#[test]
fn pod_that_is_killed_is_not_noticed() {
    if !can_run("pod_that_is_killed_is_not_noticed") {
        return;
    }
    let host = Host::start("killed");
    let pod = host.pod(&host.program(), &[]);
    pod.says("version 0.1.0 serves");
    let daemon = host.daemon().unwrap();
    host.lives_outside_of(&pod, &daemon);
    let reader = host.reader();
    for _ in 0..3 {
        let pod = host.pod(&host.program(), &[]);
        pod.says("serves");
        pod.kill();
        reader.reads_on(ROUNDS);
    }
    pod.kill();
    reader.reads_on(ROUNDS);
    let now = host.daemon().unwrap();
    assert_eq!(host::pids(&now), host::pids(&daemon), "nothing has happened on the host");
    reader.end();
}

#[test]
fn newer_pod_upgrades_in_place() {
    if !can_run("newer_pod_upgrades_in_place") {
        return;
    }
    let host = Host::start("upgraded");
    let pod = host.pod(&host.program(), &[]);
    pod.says("serves");
    let first = host.daemon().unwrap();
    let reader = host.reader();
    pod.kill();
    // Another build of the same version: a newer one is a matter of the test under systemd.
    let other = host.other_program();
    let pod = host.pod(&other, &[]);
    pod.says("serves");
    let second = host.daemon().unwrap();
    assert_ne!(second["supervisor"]["pid"], first["supervisor"]["pid"]);
    assert_ne!(second["worker"]["pid"], first["worker"]["pid"]);
    host.has_installed(&other);
    host.lives_outside_of(&pod, &second);
    reader.reads_on(ROUNDS);
    pod.kill();
    // A program that works, told something that it does not: the one before goes on.
    let pod = host.pod(&host.program(), &["--", "--no-such-option"]);
    pod.says("does not come up");
    pod.kill();
    host.has_installed(&other);
    let third = host.daemon().unwrap();
    assert_eq!(third["supervisor"]["pid"], second["supervisor"]["pid"]);
    reader.reads_on(ROUNDS);
    // The same with nothing but other options.
    let pod = host.pod(&other, &["--", "--no-such-option"]);
    pod.says("does not come up");
    pod.kill();
    reader.reads_on(ROUNDS);
    // The next good one gets through.
    let pod = host.pod(&host.program(), &["--", "--watchdog", "3s"]);
    pod.says("serves");
    host.has_installed(&host.program());
    assert_eq!(host.daemon().unwrap()["supervisor"]["watchdog_ms"], 3000);
    reader.reads_on(ROUNDS);
    reader.end();
    drop(pod);
}

#[test]
fn what_is_missing_is_put_back() {
    if !can_run("what_is_missing_is_put_back") {
        return;
    }
    let host = Host::start("missing");
    let pod = host.pod(&host.program(), &["--policy", "/config/policy.json"]);
    pod.says("serves");
    let policy = || std::fs::read_to_string(host.path("/etc/resview/policy.json")).unwrap();
    assert_eq!(policy(), host::POLICY);
    host.write_policy(r#"{"version":1,"default":"off"}"#);
    pod.brings_about("the policy follows", || policy().contains("off"));
    host.write_policy("no policy");
    pod.says("the one before holds");
    assert!(policy().contains("off"));
    host.write_policy(host::POLICY);
    pod.brings_about("the policy follows", || policy() == host::POLICY);

    let before = host.daemon().unwrap();
    std::fs::remove_file(host.path("/opt/resview/resview")).unwrap();
    pod.brings_about("the program is there, and another daemon", || {
        host.is_another_than(&before) && host.path("/opt/resview/resview").exists()
    });

    let before = host.daemon().unwrap();
    host.kill_daemon(&before);
    pod.brings_about("another daemon is there", || host.is_another_than(&before));
    host.lives_outside_of(&pod, &host.daemon().unwrap());
}

#[test]
fn what_others_have_installed_is_left_alone() {
    if !can_run("what_others_have_installed_is_left_alone") {
        return;
    }
    let host = Host::start("others");
    let mut daemon = host.command(&[RESVIEW, "daemon", "--log", "error"]).spawn().unwrap();
    eventually("it serves", || host.daemon().is_some_and(|it| host::serves(&it)));
    let pod = host.pod(&host.program(), &[]);
    pod.says("another installation's");
    pod.kill();
    let pod = host.pod(&host.program(), &["--uninstall"]);
    pod.says("is left alone");
    assert!(!host.path("/opt/resview/resview").exists());
    assert!(host::serves(&host.daemon().unwrap()));
    stdout_of(&host.command(&[RESVIEW, "stop"]).output().unwrap());
    daemon.wait().unwrap();
}

#[test]
fn newer_installation_is_left_alone() {
    if !can_run("newer_installation_is_left_alone") {
        return;
    }
    let host = Host::start("newer");
    let pod = host.pod(&host.program(), &[]);
    pod.says("serves");
    pod.kill();
    let before = host.daemon().unwrap();
    let newer = host.path("/opt/resview/resview");
    host.install("/opt/resview/resview", "#!/bin/sh\necho resview 999.0\n");
    let pod = host.pod(&host.program(), &[]);
    pod.says("version 999.0 is installed, which is newer");
    assert_eq!(host.daemon().unwrap()["supervisor"]["pid"], before["supervisor"]["pid"]);
    assert!(std::fs::read_to_string(&newer).unwrap().contains("999.0"));
    pod.kill();
    let pod = host.pod(&host.program(), &["--downgrade"]);
    pod.says("version 0.1.0 serves");
    host.has_installed(&host.program());
}

#[test]
fn nothing_is_left_when_it_is_taken_away() {
    if !can_run("nothing_is_left_when_it_is_taken_away") {
        return;
    }
    let host = Host::start("gone");
    let pod = host.pod(&host.program(), &["--policy", "/config/policy.json"]);
    pod.says("serves");
    pod.kill();
    let pod = host.pod(&host.program(), &["--uninstall"]);
    assert!(pod.end(), "{}", pod.log());
    pod.says("nothing of it is left");
    for path in [
        "/opt/resview/resview",
        "/etc/resview/policy.json",
        "/var/lib/resview",
        "/run/resview/resview.sock",
    ] {
        assert!(!host.path(path).exists(), "{path}");
    }
    assert_eq!(host.daemon(), None);
    let mounts = std::fs::read_to_string(host.path("/proc/1/mounts")).unwrap();
    assert!(!mounts.contains("resview-slots") && !mounts.contains("fuse.resview"), "{mounts}");
    // Once more, with nothing to do.
    let pod = host.pod(&host.program(), &["--uninstall"]);
    assert!(pod.end(), "{}", pod.log());
}

#[test]
fn pod_with_process_ids_of_its_own_is_refused() {
    if !can_run("pod_with_process_ids_of_its_own_is_refused") {
        return;
    }
    let host = Host::start("pid");
    let pod = Pod::with(&host, &host.program(), &[], |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({ "type": "pid" }));
        config["mounts"][0] = json!({ "destination": "/proc", "type": "proc", "source": "proc" });
    });
    pod.says("hostPID: true");
    assert_eq!(host.daemon(), None);
}
