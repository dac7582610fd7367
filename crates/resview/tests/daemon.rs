//! `resview daemon`: readiness, the mountpoint, the end; and `resview run` beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::Duration;

use common::*;
use rustix::process::Signal;
use served::{Served, can_serve};

/// A daemon that has said that it is ready.
fn ready(options: &[&str]) -> Served {
    let mut told = None;
    let daemon = Served::begin(options, |command, dir| {
        let socket = dir.join("notify");
        told = Some(service_manager(&socket));
        command.env("NOTIFY_SOCKET", socket);
    });
    let told = told.unwrap();
    loop {
        let state = told.recv_timeout(Duration::from_secs(60)).unwrap();
        if state.lines().any(|line| line == "READY=1") {
            return daemon;
        }
    }
}

impl Served {
    /// Where its control socket is.
    fn own_runtime_dir(&self) -> PathBuf {
        let mut entries = std::fs::read_dir(self.runtime_dir()).unwrap().flatten();
        // There may be slots beside it.
        let own = entries.find(|entry| entry.path().join("control.lock").exists());
        own.unwrap().path()
    }

    fn is_mounted(&self) -> Option<(String, String)> {
        mounted(self.running.pid(), &self.mountpoint)
    }

    /// `resview run` in the mount namespace of a process.
    fn run_beside(&self, pid: u32, words: &[&str]) -> Output {
        self.run(pid, "run", &[&["--log", "info"], words].concat())
    }
}

/// Listens at `path`, which is for `NOTIFY_SOCKET`, and hands on what is said there. It listens to
/// the end, because the daemon waits for a service manager that does not.
fn service_manager(path: &Path) -> mpsc::Receiver<String> {
    let socket = UnixDatagram::bind(path).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut state = [0; 1024];
        while let Ok(length) = socket.recv(&mut state) {
            // The test may have heard enough.
            let _ = sender.send(String::from_utf8_lossy(&state[..length]).into_owned());
        }
    });
    receiver
}

#[test]
fn when_it_says_ready_the_view_is_mounted_and_answers() {
    if !can_serve("when_it_says_ready_the_view_is_mounted_and_answers") {
        return;
    }
    let daemon = ready(&["--threads", "2", "--log", "warn"]);
    let (fs_type, _) = daemon.is_mounted().unwrap();
    assert_eq!(fs_type, "fuse.resview");
    let meminfo = daemon.view().join("proc/meminfo");
    assert!(std::fs::read_to_string(meminfo).unwrap().starts_with("MemTotal:"));
    let pressure = mounted(daemon.running.pid(), &daemon.mountpoint.join("proc/pressure"));
    assert_eq!(pressure.is_some(), Path::new("/proc/pressure/cpu").exists(), "{pressure:?}");
}

#[test]
fn sigterm_and_sigint_unmount_and_exit_zero() {
    if !can_serve("sigterm_and_sigint_unmount_and_exit_zero") {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = ready(&["--slots"]);
        let witness = daemon.witness();
        assert!(mounted(witness.pid(), &daemon.mountpoint).is_some());
        let worker = worker_of(daemon.running.pid());
        daemon.running.signal(signal);
        assert_eq!(daemon.running.wait().code(), Some(0), "{signal:?}");
        assert_eq!(mounted(witness.pid(), &daemon.mountpoint), None, "{signal:?}");
        assert!(!Path::new(&format!("/proc/{worker}")).exists(), "{signal:?}: the worker is left");
        let socket = daemon.own_runtime_dir().join("control.sock");
        assert!(!socket.exists(), "{signal:?}: {} is left", socket.display());
        // The guard has something to do yet.
        let mountpoint = daemon.mountpoint.to_str().unwrap();
        eventually("the guard ends", || processes_with(mountpoint).is_empty());
    }
}

#[test]
fn an_open_file_does_not_keep_it_from_ending() {
    if !can_serve("an_open_file_does_not_keep_it_from_ending") {
        return;
    }
    let mut daemon = ready(&["--log", "error"]);
    let _open = std::fs::File::open(daemon.view().join("proc/meminfo")).unwrap();
    daemon.running.signal(Signal::TERM);
    assert_eq!(daemon.running.wait().code(), Some(0));
}

#[test]
fn unmounting_it_from_outside_ends_it() {
    if !can_serve("unmounting_it_from_outside_ends_it") {
        return;
    }
    let mut daemon = ready(&[]);
    let pid = daemon.running.pid().to_string();
    let mut umount = Command::new("nsenter");
    // The pressure files are mounted on the tree.
    umount.args(["-t", &pid, "-m", "umount", "-R"]).arg(&daemon.mountpoint);
    assert!(umount.status().unwrap().success());
    assert_eq!(daemon.running.wait().code(), Some(0));
    let mountpoint = daemon.mountpoint.to_str().unwrap();
    eventually("no process is left", || processes_with(mountpoint).is_empty());
}

#[test]
fn a_mountpoint_in_use_is_refused_with_what_is_there() {
    if !can_serve("a_mountpoint_in_use_is_refused_with_what_is_there") {
        return;
    }
    let daemon = ready(&[]);
    let (pid, worker) = (daemon.running.pid(), worker_of(daemon.running.pid()));
    let mut second = Command::new("nsenter");
    second.args(["-t", &pid.to_string(), "-m", RESVIEW, "daemon", "--mountpoint"]);
    // With the same one it would take over.
    second
        .arg(&daemon.mountpoint)
        .arg("--runtime-dir")
        .arg(daemon.runtime_dir().with_file_name("another"));
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr_of(&output);
    assert!(said.contains("is in use: a living view is mounted there"), "{said}");
    assert!(daemon.is_mounted().is_some(), "the first is not disturbed");
    assert_eq!(worker_of(pid), worker, "nor is its worker");
}

#[test]
fn a_mountpoint_of_another_file_system_is_refused_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(RESVIEW);
    command.args(["daemon", "--mountpoint", "/proc", "--runtime-dir"]).arg(dir.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr_of(&output);
    assert!(said.contains("/proc is in use: proc from \"proc\""), "{said}");
}

#[test]
fn a_second_start_takes_over_and_the_first_ends() {
    if !can_serve("a_second_start_takes_over_and_the_first_ends") {
        return;
    }
    let mut daemon = ready(&[]);
    let witness = daemon.witness();
    let meminfo = seen_by(witness.pid(), &daemon.mountpoint).join("proc/meminfo");
    let open = std::fs::File::open(&meminfo).unwrap();
    let second = Running::start(&mut daemon.command(witness.pid(), "daemon"));
    assert_eq!(daemon.running.wait().code(), Some(0));
    worker_of(second.pid());
    for text in [std::io::read_to_string(open).unwrap(), std::fs::read_to_string(meminfo).unwrap()]
    {
        assert!(text.starts_with("MemTotal:"), "{text}");
    }
    daemon.running = second;
    daemon.running.signal(Signal::TERM);
    assert_eq!(daemon.running.wait().code(), Some(0));
    assert_eq!(mounted(witness.pid(), &daemon.mountpoint), None);
}

#[test]
fn stop_ends_a_daemon_and_what_a_killed_one_has_left() {
    if !can_serve("stop_ends_a_daemon_and_what_a_killed_one_has_left") {
        return;
    }
    for kill_first in [false, true] {
        let mut daemon = ready(&["--slots"]);
        let witness = daemon.witness();
        if kill_first {
            daemon.running.signal(Signal::KILL);
            daemon.running.wait();
        }
        let output = daemon.run(witness.pid(), "stop", &[]);
        assert!(output.status.success(), "{}", stderr_of(&output));
        assert_eq!(mounted(witness.pid(), &daemon.mountpoint), None);
        assert!(!daemon.own_runtime_dir().join("control.sock").exists());
        let mountpoint = daemon.mountpoint.to_str().unwrap();
        eventually("no process is left", || processes_with(mountpoint).is_empty());
        if !kill_first {
            // So the service manager knows that it is not to start it again.
            assert_eq!(daemon.running.wait().code(), Some(10));
        }
    }
}

#[test]
fn what_is_no_empty_directory_is_refused() {
    let [dir, run] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("precious"), "").unwrap();
    let file = dir.path().join("precious");
    let missing = dir.path().join("missing");
    for (path, said) in [
        (dir.path(), "is not empty: a mount would hide what is in it (precious)"),
        (&file, "is not a directory"),
        (&missing, "does not exist"),
    ] {
        let mut command = Command::new(RESVIEW);
        command.arg("daemon").arg("--mountpoint").arg(path);
        let output = command.arg("--runtime-dir").arg(run.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr_of(&output).contains(said), "{}", stderr_of(&output));
    }
    assert!(!missing.exists(), "a mistyped directory is not made");
}

#[test]
fn usage_errors_are_not_mistaken_for_failures() {
    for words in
        [&["daemon", "--cpu-count", "all"][..], &["daemon", "--threads", "0"], &["no-such"]]
    {
        let output = Command::new(RESVIEW).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    let output = Command::new(RESVIEW).args(["daemon", "--log", "loud"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("log level"), "{}", stderr_of(&output));
}

#[test]
fn a_run_uses_a_living_daemons_view() {
    if !can_serve("a_run_uses_a_living_daemons_view") {
        return;
    }
    let daemon = ready(&["--cpu-count", "cpuset", "--log", "error"]);
    let script = "grep MemTotal /proc/meminfo; cat /sys/devices/system/cpu/online";
    let options = ["-m", "50m", "--cpus", "0.5", "--", "sh", "-c", script];
    let output = daemon.run_beside(daemon.running.pid(), &options);
    let text = stdout_of(&output);
    assert!(stderr_of(&output).contains("using the daemon's view"), "{}", stderr_of(&output));
    let host = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(text, format!("MemTotal:          51200 kB\n{host}"), "the daemon's policy holds");
}

#[test]
fn a_run_does_without_a_dead_daemon() {
    if !can_serve("a_run_does_without_a_dead_daemon") {
        return;
    }
    let daemon = ready(&["--log", "error"]);
    let witness = daemon.witness();
    kill_daemon(&daemon.mountpoint);
    assert!(mounted(witness.pid(), &daemon.mountpoint).is_some(), "nobody is there to unmount it");
    let words = ["-m", "50m", "--", "grep", "MemTotal", "/proc/meminfo"];
    let output = daemon.run_beside(witness.pid(), &words);
    assert_eq!(stdout_of(&output), "MemTotal:          51200 kB\n", "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("does not answer"), "{}", stderr_of(&output));
}
