//! A supervisor with a worker, in a mount namespace of their own, and readers.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod reader;
pub(crate) mod worker;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use control::{Answer, Client, Request};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Bounds a hang; nothing takes this long.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Runs `test` where its mounts are nobody else's.
pub(crate) fn isolated(name: &str, test: impl FnOnce() + Send + 'static) {
    if !testkit::need_root(name) || !testkit::need_fuse(name) {
        return;
    }
    // A thread of its own: libtest may run tests on threads that it uses again.
    let outcome = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        test();
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Waits for something that must happen.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !happened() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Directories, programs and everything that is started for one test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        fs::write(dir.path().join("pids"), "").unwrap();
        let place = Self { dir };
        place.program("worker", "");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn mountpoint(&self) -> PathBuf {
        self.path("mnt")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.mountpoint().join(name)
    }

    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// A worker program of that name, which behaves so; see [`worker::main`].
    pub(crate) fn program(&self, name: &str, behaviour: &str) -> PathBuf {
        let path = self.path(name);
        copy(&std::env::current_exe().unwrap(), &path);
        fs::write(path.with_extension("behaviour"), behaviour).unwrap();
        path
    }

    /// The command line of a supervisor, not started yet.
    pub(crate) fn command(&self, options: &[&str]) -> Command {
        self.command_of(&self.runtime_dir(), options)
    }

    /// The same with another runtime directory.
    pub(crate) fn command_of(&self, runtime_dir: &Path, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resview-supervisor"));
        command.arg("--mountpoint").arg(self.mountpoint());
        command.arg("--runtime-dir").arg(runtime_dir);
        command.args(["--watchdog", "1s"]).args(options).arg("--").arg(self.path("worker"));
        command.args(worker::ARGUMENTS).env(worker::PLACE, self.dir.path());
        command
    }

    /// Starts a supervisor and waits until it serves.
    pub(crate) fn start(&self, options: &[&str]) -> Supervisor {
        let supervisor = Supervisor::spawn(self.command(options));
        let pid = supervisor.pid();
        until("the supervisor serves", || {
            self.try_status().is_some_and(|report| {
                report["supervisor"]["pid"] == pid
                    && report["supervisor"]["worker"]["serving"] == true
            })
        });
        supervisor
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.runtime_dir()).unwrap()
    }

    pub(crate) fn try_status(&self) -> Option<Value> {
        Client::connect(&self.runtime_dir()).ok()?.status(HANG).ok()
    }

    /// The supervisor's own part of the report.
    pub(crate) fn status(&self) -> Value {
        self.client().status(HANG).unwrap()["supervisor"].clone()
    }

    pub(crate) fn worker_pid(&self) -> u32 {
        let mut pid = None;
        until("a worker serves", || {
            let worker = self.status()["worker"].clone();
            pid = (worker["serving"] == true).then(|| worker["pid"].as_u64()).flatten();
            pid.is_some()
        });
        u32::try_from(pid.unwrap()).unwrap()
    }

    pub(crate) fn upgrade(&self, program: &Path) -> Answer {
        let request = Request::Upgrade { program: Some(program.to_owned()) };
        self.client().ask(&request, HANG).unwrap()
    }

    pub(crate) fn stop(&self, unmount: bool) {
        assert_eq!(self.client().ask(&Request::Stop { unmount }, HANG).unwrap(), Answer::Ended);
    }

    /// How many mounts there are on the mountpoint, as this thread's namespace has them.
    pub(crate) fn mounts(&self) -> usize {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let path = self.mountpoint();
        mounts.lines().filter(|line| line.split(' ').nth(1) == path.to_str()).count()
    }

    /// Whether a process that belongs to this test is alive.
    pub(crate) fn is_alive(&self, pid: u32) -> bool {
        is_ours(pid, self.dir.path())
    }

    /// Workers of this test that are alive.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let pids = fs::read_to_string(self.path("pids")).unwrap_or_default();
        let pids = pids.lines().filter_map(|line| line.parse().ok());
        pids.filter(|pid| is_ours(*pid, self.dir.path())).collect()
    }
}

/// Copies a program. Not in this process: children that other tests start at the same moment would
/// hold the copy open for writing, and it could not be started.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--remove-destination").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// Whether a process is alive and was started for the test in that directory.
fn is_ours(pid: u32, dir: &Path) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let ours = format!("{}={}", worker::PLACE, dir.display());
    environment.split(|&byte| byte == 0).any(|variable| variable == ours.as_bytes())
}

impl Drop for Place {
    fn drop(&mut self) {
        for _ in 0..3 {
            let workers = self.workers();
            workers.iter().for_each(|&pid| kill(pid, Signal::KILL));
            if workers.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = unmount(self.mountpoint(), UnmountFlags::DETACH);
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

/// Whether no thread of a process runs any more, after SIGSTOP.
pub(crate) fn has_stopped(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let stat = |task: fs::DirEntry| fs::read_to_string(task.path().join("stat"));
    tasks.flatten().all(|task| stat(task).is_ok_and(|stat| stat.contains(") T ")))
}

/// A supervisor's process, killed when dropped.
pub(crate) struct Supervisor(Child);

impl Supervisor {
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the supervisor ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a supervisor that is expected to fail; what it says.
pub(crate) fn refusal(mut command: Command) -> String {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!child.wait().unwrap().success(), "{text}");
    text
}
