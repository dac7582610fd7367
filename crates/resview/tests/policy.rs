//! What the operator decides about the view: policies of files, numbers of CPUs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "consumers/support.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use common::*;
use support::Daemon;
use testkit::{TestCgroup, skip};

#[test]
fn packed_cpus_have_no_gaps_in_any_file() {
    if !can_run("packed_cpus_have_no_gaps_in_any_file") {
        return;
    }
    let script = "cd /sys/devices/system/cpu; grep -c ^processor /proc/cpuinfo; \
        sed -n 's/^processor.*: //p' /proc/cpuinfo; grep -o '^cpu[0-9]*' /proc/stat | tail -n 1; \
        echo cpu[0-9]*; cat online possible offline; test ! -e cpu1 && echo one; \
        test -d cpu0/topology && echo topology";
    let options = ["--cpuset-cpus", "1", "--cpu-numbers", "packed"];
    let text = stdout_of(&run_sh(&options, script));
    // Threads run on CPU 1, so that arrays need room for it.
    assert_eq!(text, "1\n0\ncpu0\ncpu0\n0\n0-1\n1\none\ntopology\n");
    let text = stdout_of(&run_sh(
        &[&options[..], &["--cpu-possible", "visible"]].concat(),
        "cd /sys/devices/system/cpu; cat online possible offline",
    ));
    assert_eq!(text, "0\n0\n\n");
}

#[test]
fn an_override_holds_and_is_never_silent() {
    if !can_run("an_override_holds_and_is_never_silent") {
        return;
    }
    let options =
        ["-m", "50m", "--log", "info", "--file", "meminfo=host", "--file", "swaps=absent"];
    let output = run_sh(&options, "grep MemTotal /proc/meminfo");
    let host = std::fs::read_to_string("/proc/meminfo").unwrap();
    assert_eq!(stdout_of(&output).trim_end(), host.lines().next().unwrap());
    let log = stderr_of(&output);
    for words in ["meminfo is host for all containers", "swaps is absent for all containers"] {
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn unknown_files_are_refused_with_those_that_are_known() {
    for subcommand in ["run", "daemon"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_resview"));
        let output = command.args([subcommand, "--file", "memifno=host"]).output().unwrap();
        assert!(!output.status.success());
        let said = stderr_of(&output);
        assert!(said.contains("`memifno`") && said.contains("meminfo, stat"), "{said}");
    }
}

#[test]
fn files_lists_the_catalogue() {
    let files = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_resview"));
        stdout_of(&command.arg("files").args(arguments).output().unwrap())
    };
    let table = files(&[]);
    assert!(table.starts_with("FILE") && table.contains("\nsys/devices/system/cpu "), "{table}");
    let json: serde_json::Value = serde_json::from_str(&files(&["--json"])).unwrap();
    assert!(json.as_array().is_some_and(|files| files.len() >= 17), "{json}");
}

/// What `cat` says to a file, run by a process of the cgroup: its output, or `None` where it failed.
fn cat(cgroup: &TestCgroup, daemon: &Daemon, file: &str) -> Option<String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go; exec cat \"$1\"", "sh"]).arg(daemon.file(file));
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = shell.spawn().unwrap();
    cgroup.add_pid(child.id());
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_directory_of_sys_may_be_the_hosts_or_not_there() {
    let test = "a_directory_of_sys_may_be_the_hosts_or_not_there";
    let online = "sys/devices/system/cpu/online";
    let of_host = std::fs::read_to_string(format!("/{online}")).unwrap();
    for (policy, expected) in
        [("virtual", Some("1\n")), ("host", Some(of_host.as_str())), ("absent", None)]
    {
        // A daemon each in a thread each, because its mounts are the thread's.
        let seen = std::thread::scope(|scope| {
            let look = || {
                let option = format!("sys/devices/system/cpu={policy}");
                let daemon = Daemon::start(test, &["--file", &option])?;
                let cgroup = TestCgroup::new(&format!("policy-sys-{policy}"));
                cgroup.set_cpuset("1");
                let node = daemon.file("sys/devices/system/node");
                let rows = cat(&cgroup, &daemon, "proc/cpuinfo").unwrap();
                let rows = rows.lines().filter(|line| line.starts_with("processor")).count();
                assert_eq!(rows, 1, "{policy}: the other files are the container's still");
                let others = node.exists() == Path::new("/sys/devices/system/node").exists();
                assert!(others, "{policy}: {}", node.display());
                assert_eq!(daemon.file("sys/devices/system/cpu").exists(), policy != "absent");
                Some(cat(&cgroup, &daemon, online))
            };
            scope.spawn(look).join().unwrap()
        });
        let Some(seen) = seen else { return };
        assert_eq!(seen.as_deref(), expected, "{policy}");
    }
}

#[test]
fn pressure_may_be_the_hosts_or_not_there() {
    let test = "pressure_may_be_the_hosts_or_not_there";
    if !Path::new("/proc/pressure/cpu").exists() {
        skip(test, "needs a kernel that counts pressure (psi=1)");
        return;
    }
    let total = |text: &str| -> u64 {
        let total = text.lines().next().unwrap().rsplit("total=").next().unwrap();
        total.parse().unwrap()
    };
    for policy in ["host", "absent"] {
        let ran = std::thread::scope(|scope| {
            let look = || {
                let option = format!("pressure={policy}");
                let Some(daemon) = Daemon::start(test, &["--file", &option]) else { return false };
                let cgroup = TestCgroup::new(&format!("policy-pressure-{policy}"));
                let of_host = || total(&support::read(Path::new("/proc/pressure/cpu")));
                let before = of_host();
                let seen = cat(&cgroup, &daemon, "proc/pressure/cpu");
                if policy == "absent" {
                    assert!(!daemon.file("proc/pressure").exists());
                    assert_eq!(seen, None);
                } else {
                    let seen = total(&seen.unwrap());
                    assert!((before..=of_host()).contains(&seen), "{before} {seen}");
                }
                true
            };
            scope.spawn(look).join().unwrap()
        });
        if !ran {
            return;
        }
    }
}

#[test]
fn a_32_bit_caller_sees_the_same_cpus() {
    let test = "a_32_bit_caller_sees_the_same_cpus";
    if !can_run(test) || !testkit::need_command(test, "setarch") {
        return;
    }
    let script = "setarch linux32 sh -c 'uname -m; grep -c ^processor /proc/cpuinfo; \
        cat /sys/devices/system/cpu/online'";
    let text = stdout_of(&run_sh(&["--cpuset-cpus", "1"], script));
    let [machine, rows, online] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let uname = rustix::system::uname();
    assert_ne!(machine, uname.machine().to_str().unwrap(), "the personality is that of 32 bits");
    assert_eq!((rows, online), ("1", "1"));
}
