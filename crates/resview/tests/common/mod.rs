//! Starting the program, and looking at what it leaves.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod client;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The program under test.
pub const RESVIEW: &str = env!("CARGO_BIN_EXE_resview");

/// `resview run` with these words after it, run to its end.
pub fn run(words: &[&str]) -> Output {
    Command::new(RESVIEW).arg("run").args(words).stdin(Stdio::null()).output().unwrap()
}

/// `resview run … sh -c script`, run to its end.
pub fn run_sh(options: &[&str], script: &str) -> Output {
    run(&[options, &["--", "sh", "-c", script]].concat())
}

/// What a run printed, if it went well.
#[track_caller]
pub fn stdout_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that runs until told otherwise, killed when the test ends.
pub struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts `command` and keeps its standard output for [`wait_for`](Self::wait_for).
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    /// `resview run`, with a shell script that says `ready` when it is.
    pub fn run_sh(script: &str) -> Self {
        let mut running =
            Self::start(Command::new(RESVIEW).args(["run", "--", "sh", "-c", script]));
        running.wait_for("ready");
        running
    }

    /// Reads standard output up to a line.
    #[track_caller]
    pub fn wait_for(&mut self, line: &str) {
        let mut seen = Vec::new();
        for printed in self.stdout.as_mut().unwrap().lines() {
            let printed = printed.unwrap();
            if printed.trim() == line {
                return;
            }
            seen.push(printed);
        }
        panic!("{line:?} was never printed, but {seen:?}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid_of(self.pid()), signal).unwrap();
    }

    /// Waits for the end: how it ended and what was left of standard output.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap(), text)
    }

    /// Waits for the end, whoever may have the other end of standard output still.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit code, or 128 + n for signal n, as a shell shows it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits until `condition` holds. Gives up after what is long on any machine.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never: {what}");
}

/// The cgroups of the `resview run` with this pid that exist.
pub fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    let name = format!("resview-run-{pid}");
    let mounts = testkit::hierarchies().into_iter().map(|hierarchy| hierarchy.mount.join(&name));
    mounts.filter(|dir| dir.exists()).collect()
}

/// The processes whose command line has `word` as one of its words.
pub fn processes_with(word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|&byte| byte == 0).any(|one| one == word.as_bytes())
    })
    .collect()
}

/// Whether all of a daemon's view is there: its first worker answers, and has put the pressure files
/// in their place, where the kernel has them.
pub fn is_complete(view: &Path) -> bool {
    let pressure = view.join("proc/pressure");
    view.join("proc/meminfo").exists() && (!pressure.exists() || pressure.join("cpu").exists())
}

/// The worker of a daemon's main process, as soon as there is one.
#[track_caller]
pub fn worker_of(supervisor: u32) -> u32 {
    let parent = format!("PPid:\t{supervisor}");
    let mut worker = None;
    eventually("there is a worker", || {
        worker = processes_with("__worker").into_iter().find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line == parent)
        });
        worker.is_some()
    });
    worker.unwrap()
}

/// SIGKILL for all processes of the daemon that was started for `mountpoint`. As long as one of them
/// is left, another may follow.
#[track_caller]
pub fn kill_daemon(mountpoint: &Path) {
    eventually("no process of the daemon is left", || {
        let left = processes_with(mountpoint.to_str().unwrap());
        for pid in &left {
            // It may have ended meanwhile.
            let _ = kill_process(pid_of(*pid), Signal::KILL);
        }
        left.is_empty()
    });
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// A command in a mount namespace of its own, whose mounts end with it.
pub fn in_private_mounts(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private"]).arg(program);
    command
}

/// A path as the process `pid` sees it.
pub fn seen_by(pid: u32, path: &Path) -> PathBuf {
    Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap())
}

/// Type and source of what the process `pid` has mounted at `path`.
pub fn mounted(pid: u32, path: &Path) -> Option<(String, String)> {
    let text = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    let path = path.as_os_str().as_encoded_bytes();
    let mount = procfmt::mountinfo::mounts(&text).filter(|one| *one.mount_point == *path).last()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(mount.fs_type), text(&mount.source)))
}

/// Whether this test can run a container here; says so where it cannot.
pub fn can_run(test: &str) -> bool {
    testkit::need_root(test) && testkit::need_fuse(test)
}
