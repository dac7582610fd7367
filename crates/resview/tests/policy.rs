//! What the operator decides about the view: policies of files, numbers of CPUs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;

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
