//! `resview daemon`: readiness, the mountpoint, the end; and `resview run` beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::*;
use rustix::process::Signal;
use testkit::need_command;

/// A daemon in a mount namespace of its own that has said that it is ready.
struct Daemon {
    running: Running,
    mountpoint: PathBuf,
    /// What is listening at `NOTIFY_SOCKET`.
    _socket: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Daemon {
    fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mountpoint = dir.path().join("view");
        std::fs::create_dir(&mountpoint).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let mut command = in_private_mounts(Path::new(RESVIEW));
        command.arg("daemon").arg("--mountpoint").arg(&mountpoint).args(options);
        command.arg("--runtime-dir").arg(dir.path().join("run"));
        command.env("NOTIFY_SOCKET", dir.path().join("notify")).stderr(Stdio::inherit());
        let running = Running::start(&mut command);
        socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let mut state = [0; 64];
        let length = socket.recv(&mut state).unwrap();
        assert_eq!(state[..length].trim_ascii(), b"READY=1");
        Self { running, mountpoint, _socket: socket, _dir: dir }
    }

    fn is_mounted(&self) -> Option<(String, String)> {
        mounted(self.running.pid(), &self.mountpoint)
    }

    /// `resview run` in the daemon's mount namespace.
    fn run(&self, words: &[&str]) -> std::process::Output {
        let pid = self.running.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", RESVIEW, "run", "--log", "info", "--mountpoint"]);
        command.arg(&self.mountpoint).args(words).stdin(Stdio::null()).output().unwrap()
    }
}

fn can_serve(test: &str) -> bool {
    can_run(test) && need_command(test, "unshare") && need_command(test, "nsenter")
}

#[test]
fn when_it_says_ready_the_view_is_mounted_and_answers() {
    if !can_serve("when_it_says_ready_the_view_is_mounted_and_answers") {
        return;
    }
    let daemon = Daemon::start(&["--threads", "2", "--log", "warn"]);
    let (fs_type, _) = daemon.is_mounted().unwrap();
    assert_eq!(fs_type, "fuse.resview");
    let meminfo = seen_by(daemon.running.pid(), &daemon.mountpoint).join("proc/meminfo");
    assert!(std::fs::read_to_string(meminfo).unwrap().starts_with("MemTotal:"));
}

#[test]
fn sigterm_and_sigint_unmount_and_exit_zero() {
    if !can_serve("sigterm_and_sigint_unmount_and_exit_zero") {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(&[]);
        // A process that outlives the daemon in its mount namespace sees whether the mount goes.
        let pid = daemon.running.pid().to_string();
        let mut witness = Command::new("nsenter")
            .args(["-t", &pid, "-m", "sh", "-c", "echo ready; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = witness.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert!(mounted(witness.id(), &daemon.mountpoint).is_some());
        daemon.running.signal(signal);
        let (status, _) = daemon.running.end();
        let left = mounted(witness.id(), &daemon.mountpoint);
        witness.kill().unwrap();
        witness.wait().unwrap();
        assert_eq!((status.code(), left), (Some(0), None), "{signal:?}");
    }
}

#[test]
fn an_open_file_does_not_keep_it_from_ending() {
    if !can_serve("an_open_file_does_not_keep_it_from_ending") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error"]);
    let root = seen_by(daemon.running.pid(), &daemon.mountpoint);
    let _open = std::fs::File::open(root.join("proc/meminfo")).unwrap();
    daemon.running.signal(Signal::TERM);
    assert_eq!(daemon.running.end().0.code(), Some(0));
}

#[test]
fn unmounting_it_from_outside_ends_it() {
    if !can_serve("unmounting_it_from_outside_ends_it") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let pid = daemon.running.pid().to_string();
    let mut umount = Command::new("nsenter");
    // The pressure files are mounted on the tree.
    umount.args(["-t", &pid, "-m", "umount", "-R"]).arg(&daemon.mountpoint);
    assert!(umount.status().unwrap().success());
    assert_eq!(daemon.running.end().0.code(), Some(0));
}

#[test]
fn a_mountpoint_in_use_is_refused_with_what_is_there() {
    if !can_serve("a_mountpoint_in_use_is_refused_with_what_is_there") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let pid = daemon.running.pid().to_string();
    let mut second = Command::new("nsenter");
    second.args(["-t", &pid, "-m", RESVIEW, "daemon", "--mountpoint"]).arg(&daemon.mountpoint);
    let output = second.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr_of(&output);
    assert!(said.contains("is in use: fuse.resview from \"resview\""), "{said}");
    assert!(daemon.is_mounted().is_some(), "the first is not disturbed");
}

#[test]
fn what_is_no_empty_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "").unwrap();
    let file = dir.path().join("precious");
    let missing = dir.path().join("missing");
    for (path, said) in [
        (dir.path(), "is not empty: a mount would hide what is in it (precious)"),
        (&file, "is not a directory"),
        (&missing, "does not exist"),
    ] {
        let mut command = Command::new(RESVIEW);
        let output = command.arg("daemon").arg("--mountpoint").arg(path).output().unwrap();
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
    let daemon = Daemon::start(&["--cpu-count", "cpuset", "--log", "error"]);
    let script = "grep MemTotal /proc/meminfo; cat /sys/devices/system/cpu/online";
    let output = daemon.run(&["-m", "50m", "--cpus", "0.5", "--", "sh", "-c", script]);
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
    // The shell keeps the mount namespace when the daemon in it is killed.
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "{RESVIEW} daemon --mountpoint {0} --log error & daemon=$!; \
         until grep -q {0} /proc/self/mountinfo; do sleep 0.05; done; \
         cat {0}/proc/meminfo >/dev/null; kill -9 $daemon; wait $daemon; \
         {RESVIEW} run --mountpoint {0} -m 50m -- grep MemTotal /proc/meminfo",
        dir.path().display()
    );
    let mut command = in_private_mounts(Path::new("sh"));
    let output = command.args(["-c", &script]).output().unwrap();
    assert_eq!(stdout_of(&output), "MemTotal:          51200 kB\n", "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("does not answer"), "{}", stderr_of(&output));
}
