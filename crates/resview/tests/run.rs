//! `resview run`: limits, namespaces, exit codes, signals, and that nothing is left.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Stdio};

use common::*;
use rustix::process::Signal;
use testkit::{need_command, skip};

#[test]
fn the_commands_exit_code_is_passed_through() {
    if !can_run("the_commands_exit_code_is_passed_through") {
        return;
    }
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
        let output = run_sh(&[], script);
        assert_eq!(output.status.code(), Some(expected), "{script}: {output:?}");
    }
    assert_eq!(run(&["no-such-command"]).status.code(), Some(127));
    assert_eq!(run(&["/etc/passwd"]).status.code(), Some(126));
}

#[test]
fn values_that_mean_nothing_are_clear_errors() {
    for (words, said) in [
        (&["-m", "0"][..], "size of 0"),
        (&["-m", "lots"], "is no size"),
        (&["-m", "5"], "too little"),
        (&["--cpus", "-1"], "is no number of CPUs"),
        (&["--cpuset-cpus", "9-3"], "not a list of CPUs"),
        (&["-m", "50m", "--memory-swap", "10m"], "memory and swap together"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let output = run(&[words, &["--", "true"]].concat());
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        assert!(stderr_of(&output).contains(said), "{words:?}: {}", stderr_of(&output));
    }
}

#[test]
fn a_cpu_that_is_not_there_is_refused_with_those_that_are() {
    if !can_run("a_cpu_that_is_not_there_is_refused_with_those_that_are") {
        return;
    }
    let output = run(&["--cpuset-cpus", "9999", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr_of(&output).contains("no CPU 9999 to use here, only 0"), "{output:?}");
}

#[test]
fn the_container_sees_its_limits() {
    if !can_run("the_container_sees_its_limits") {
        return;
    }
    let script = "grep MemTotal /proc/meminfo; cat /sys/devices/system/cpu/online; \
                  grep -c ^cpu[0-9] /proc/stat; grep -c ^processor /proc/cpuinfo";
    let text = stdout_of(&run_sh(&["-m", "50m", "--cpus", "0.5"], script));
    assert_eq!(text, "MemTotal:          51200 kB\n0\n1\n1\n");
    let text = stdout_of(&run_sh(&["--cpuset-cpus", "1"], "cat /sys/devices/system/cpu/online"));
    assert_eq!(text, "1\n");
}

#[test]
fn free_and_nproc_agree_with_the_limits() {
    if !can_run("free_and_nproc_agree_with_the_limits")
        || !need_command("free_and_nproc_agree_with_the_limits", "free")
    {
        return;
    }
    let text = stdout_of(&run(&["-m", "50m", "--", "free", "-m"]));
    let total = text.lines().find(|line| line.starts_with("Mem:")).unwrap();
    assert_eq!(total.split_whitespace().nth(1), Some("50"), "{text}");
    assert_eq!(stdout_of(&run(&["--cpuset-cpus", "0", "nproc"])), "1\n");
}

#[test]
fn the_cgroup_limits_what_is_asked_for() {
    if !can_run("the_cgroup_limits_what_is_asked_for") {
        return;
    }
    let script = "cd /sys/fs/cgroup; for f in memory/memory.limit_in_bytes memory.max \
                  cpu/cpu.cfs_quota_us cpu,cpuacct/cpu.cfs_quota_us cpu.max \
                  cpuset/cpuset.cpus cpuset.cpus; do test -e $f && cat $f; done; true";
    let options = ["-m", "64m", "--cpus", "1.5", "--cpuset-cpus", "0"];
    let text = stdout_of(&run_sh(&options, script));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines == ["67108864", "150000", "0"] || lines == ["67108864", "150000 100000", "0"],
        "the container sees its own cgroup where the cgroups are: {text}"
    );
}

#[test]
fn the_command_is_pid_1s_child_and_the_first_of_its_host() {
    if !can_run("the_command_is_pid_1s_child_and_the_first_of_its_host") {
        return;
    }
    let script = "echo $$ $PPID; cat /proc/1/comm; cat /proc/sys/kernel/hostname; env | grep -c ^RESVIEW_RUN";
    let output = run_sh(&[], script);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 1\nresview\nresview\n0\n");
}

#[test]
fn namespaces_are_the_containers_own() {
    if !can_run("namespaces_are_the_containers_own") {
        return;
    }
    for name in ["pid", "mnt", "uts", "ipc", "cgroup", "time"] {
        let Ok(ours) = std::fs::read_link(format!("/proc/self/ns/{name}")) else {
            skip("namespaces_are_the_containers_own", &format!("no {name} namespaces here"));
            continue;
        };
        let theirs = stdout_of(&run(&["readlink", &format!("/proc/self/ns/{name}")]));
        assert_ne!(theirs.trim(), ours.to_str().unwrap());
        assert!(theirs.starts_with(name), "{theirs}");
    }
}

#[test]
fn clocks_start_with_the_container() {
    const TEST: &str = "clocks_start_with_the_container";
    if !can_run(TEST) || !need_command(TEST, "ps") {
        return;
    }
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        return skip(TEST, "needs a kernel with time namespaces");
    }
    let host: f64 = first_number(&std::fs::read_to_string("/proc/uptime").unwrap());
    let script = "cat /proc/uptime; ps -o etimes= -p 1; cat /proc/self/timens_offsets";
    let text = stdout_of(&run_sh(&[], script));
    let lines: Vec<&str> = text.lines().collect();
    // A machine that has just been booted for this test is not much older than the container.
    let young = host.min(60.0);
    assert!(first_number(lines[0]) < young, "uptime: {text}");
    assert!(first_number(lines[1]) < young, "age of pid 1: {text}");
    let seconds = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap();
    assert!(seconds(lines[2]) < 0 && seconds(lines[3]) < 0, "both clocks are set: {text}");
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn signals_reach_the_command_once() {
    if !can_run("signals_reach_the_command_once") {
        return;
    }
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("WINCH", Signal::WINCH),
        ("CONT", Signal::CONT),
    ] {
        let script = format!(
            "trap 'echo got {name}' {name}; trap 'exit 9' ALRM; echo ready; \
             while :; do sleep 0.05; done"
        );
        let mut running = Running::run_sh(&script);
        running.signal(signal);
        running.wait_for(&format!("got {name}"));
        running.signal(Signal::ALARM);
        let (status, rest) = running.end();
        assert_eq!((code(status), rest.as_str()), (9, ""), "{name}");
    }
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    if !can_run("a_signal_that_was_ignored_stays_ignored") {
        return;
    }
    let script = format!("trap '' HUP INT; exec {RESVIEW} run grep SigIgn /proc/self/status");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = stdout_of(&output);
    let mask = u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(mask & 0b11, 0b11, "{text}");
    let none = stdout_of(&run(&["grep", "SigBlk", "/proc/self/status"]));
    assert_eq!(none.trim(), "SigBlk:\t0000000000000000");
}

#[test]
fn nothing_is_left_after_the_end_or_a_signal() {
    if !can_run("nothing_is_left_after_the_end_or_a_signal") {
        return;
    }
    // On USR1 the command ends by itself.
    for (signal, expected) in [(Signal::USR1, 0), (Signal::TERM, 143), (Signal::INT, 130)] {
        let marker = format!("300.{:05}", std::process::id());
        let script = format!(
            "trap 'exit 0' USR1; sleep {marker} & echo ready; while :; do sleep 0.05; done"
        );
        let running = Running::run_sh(&script);
        let pid = running.pid();
        assert!(!cgroups_of(pid).is_empty());
        running.signal(signal);
        assert_eq!(code(running.end().0), expected);
        assert_eq!(cgroups_of(pid), Vec::<std::path::PathBuf>::new());
        assert_eq!(processes_with(&marker), Vec::<u32>::new());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("resview-run-{pid}")), "{mounts}");
    }
}

#[test]
fn subcgroups_that_the_command_made_are_removed() {
    if !can_run("subcgroups_that_the_command_made_are_removed") {
        return;
    }
    // Where the container has its own cgroup, that is, not in hierarchies of other controllers.
    let own = testkit::hierarchies()
        .into_iter()
        .filter(|one| one.v2 || one.controllers.iter().any(|name| name == "pids"));
    let dirs: Vec<String> = own.map(|one| format!("{}/a/b", one.mount.display())).collect();
    let script = format!(
        "mkdir -p {} && echo ready; while test ! -e /proc/1/none; do sleep 0.05; done",
        dirs.join(" ")
    );
    let running = Running::run_sh(&script);
    let pid = running.pid();
    let made = cgroups_of(pid).iter().filter(|dir| dir.join("a/b").is_dir()).count();
    assert_eq!(made, dirs.len(), "the command can make cgroups below its own");
    running.signal(Signal::TERM);
    running.end();
    assert!(cgroups_of(pid).is_empty());
}

#[test]
fn sigkill_leaves_no_process_and_the_next_start_removes_the_cgroups() {
    if !can_run("sigkill_leaves_no_process_and_the_next_start_removes_the_cgroups") {
        return;
    }
    let marker = format!("301.{:05}", std::process::id());
    let running = Running::run_sh(&format!("echo ready; sleep {marker}; true"));
    let pid = running.pid();
    eventually("the command runs", || processes_with(&marker).len() == 1);
    running.signal(Signal::KILL);
    drop(running);
    eventually("the command is gone", || processes_with(&marker).is_empty());
    // A run of another test may be at it just now and hold the lock.
    eventually("the next start removes the cgroups", || {
        assert!(run(&["true"]).status.success());
        cgroups_of(pid).is_empty()
    });
}

#[test]
fn orphans_are_reaped() {
    const TEST: &str = "orphans_are_reaped";
    if !can_run(TEST) || !need_command(TEST, "ps") {
        return;
    }
    // The orphan's parent ends at once; the orphan says when it ends itself.
    let script =
        "(sh -c 'exec 3>&-; sleep 0.1' 3>&1 &); sleep 0.5; ps -e -o stat= | grep -c ^Z; true";
    assert_eq!(stdout_of(&run_sh(&[], script)), "0\n");
}

#[test]
fn mounts_of_the_command_stay_in_the_container() {
    if !can_run("mounts_of_the_command_stay_in_the_container") {
        return;
    }
    let script = "mount -t tmpfs resview-leak /mnt && grep -c resview-leak /proc/self/mountinfo";
    assert_eq!(stdout_of(&run_sh(&[], script)), "1\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("resview-leak"), "{mounts}");
    // What held the view while it was bound is gone as well.
    let inside = stdout_of(&run(&["cat", "/proc/self/mountinfo"]));
    assert!(!inside.contains(" - tmpfs resview "), "{inside}");
}

#[test]
fn without_a_command_there_is_one_table() {
    if !can_run("without_a_command_there_is_one_table") {
        return;
    }
    let text = stdout_of(&run(&["-m", "50m", "--cpuset-cpus", "0"]));
    let row = |quantity: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{quantity}  ")));
        line.unwrap_or_else(|| panic!("no {quantity:?} in {text}")).to_owned()
    };
    assert!(row("QUANTITY").contains("CONTAINER"));
    assert!(row("memory").contains("50 MiB") && row("memory").contains("/memory."), "{text}");
    assert!(row("CPUs").contains("cpuset."), "{text}");
    assert!(row("CPU quota").ends_with("no limit is set"), "{text}");
    for quantity in ["memory available", "swap", "CPU count policy", "load average", "uptime"] {
        row(quantity);
    }
}

#[test]
fn a_quota_that_decides_the_cpu_count_is_named() {
    if !can_run("a_quota_that_decides_the_cpu_count_is_named") {
        return;
    }
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return skip("a_quota_that_decides_the_cpu_count_is_named", "needs two CPUs");
    }
    let text = stdout_of(&run(&["--cpus", "1"]));
    let line = text.lines().find(|line| line.starts_with("CPUs ")).unwrap();
    assert!(line.contains("/cpu.cfs_quota_us") || line.contains("/cpu.max"), "{text}");
}

#[test]
fn ctrl_c_reaches_the_command_once_and_the_terminal_comes_back() {
    const TEST: &str = "ctrl_c_reaches_the_command_once_and_the_terminal_comes_back";
    if !can_run(TEST) || !need_command(TEST, "script") {
        return;
    }
    let inside = "trap \"echo interrupted\" INT; trap \"exit 5\" USR1; echo ready; \
                  until test -e /proc/none; do sleep 0.1; done";
    let line = format!("{RESVIEW} run -- sh -c '{inside}'; echo back $?");
    let mut script = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = script.stdin.take().unwrap();
    let screen = script.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(screen));
    let mut until = |words: &str| {
        let seen = lines.by_ref().map(|line| line.unwrap()).find(|line| line.contains(words));
        seen.unwrap_or_else(|| panic!("{words:?} never came"))
    };
    until("ready");
    std::io::Write::write_all(&mut keyboard, b"\x03").unwrap();
    until("interrupted");
    let command = processes_with(inside);
    for pid in command.into_iter().filter(|pid| is_a_shell(*pid)) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::USR1).unwrap();
    }
    assert!(until("back").contains("back 5"));
    script.wait().unwrap();
}

/// The command itself, not the stages that have its words on their command lines too.
fn is_a_shell(pid: u32) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.starts_with(b"sh\0-c\0trap")
}
