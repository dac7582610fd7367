//! Containers of tests, by both runtimes, on whatever layout this machine has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use testkit::oci::Container;
use testkit::{need_command, need_root};

fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn a_container_runs_confined(test: &str, runtime: &str) {
    if !need_root(test) || !need_command(test, runtime) {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "1.00 2.00\n").unwrap();
    let script = "cat /proc/uptime; cat /proc/self/cgroup /proc/1/comm; free -m; nproc; grep ^Cpus_allowed_list /proc/self/status";
    let output = Container::new(runtime, &["sh", "-c", script])
        .mount(file.path(), "/proc/uptime")
        .memory(256 << 20)
        .quota(50_000, 100_000)
        .cpuset("0")
        .run();
    let text = text(&output);
    assert!(text.starts_with("1.00 2.00\n"), "{text}");
    assert!(text.contains("\nMem:"), "{text}");
    assert!(text.contains("Cpus_allowed_list:\t0\n"), "{text}");
}

#[test]
fn a_container_of_runc_runs_confined() {
    a_container_runs_confined("a_container_of_runc_runs_confined", "runc");
}

#[test]
fn a_container_of_crun_runs_confined() {
    a_container_runs_confined("a_container_of_crun_runs_confined", "crun");
}

fn a_container_goes_on_until_dropped(test: &str, runtime: &str) {
    if !need_root(test) || !need_command(test, runtime) {
        return;
    }
    let container = Container::new(runtime, &["sleep", "600"]).memory(64 << 20).start();
    assert_eq!(text(&container.exec(&["cat", "/proc/1/comm"])), "sleep\n");
    let comm = format!("/proc/{}/comm", container.pid());
    assert_eq!(std::fs::read_to_string(&comm).unwrap(), "sleep\n");
    let membership = std::fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(membership.contains(&container.cgroup()), "{membership}");
    drop(container);
    assert!(std::fs::metadata(&comm).is_err(), "{comm} is left");
}

#[test]
fn a_container_of_runc_goes_on_until_dropped() {
    a_container_goes_on_until_dropped("a_container_of_runc_goes_on_until_dropped", "runc");
}

#[test]
fn a_container_of_crun_goes_on_until_dropped() {
    a_container_goes_on_until_dropped("a_container_of_crun_goes_on_until_dropped", "crun");
}

#[test]
fn a_container_sees_the_mounts_beside_which_it_starts() {
    let test = "a_container_sees_the_mounts_beside_which_it_starts";
    if !need_root(test) || !need_command(test, "runc") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs tmpfs \"$1\" && echo 7.00 8.00 >\"$1/uptime\" && echo ready && exec sleep 600";
    let mut other = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = Container::new("runc", &["cat", "/proc/uptime"])
        .beside(other.id())
        .mount(&dir.path().join("uptime"), "/proc/uptime")
        .run();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(text(&output), "7.00 8.00\n");
}
