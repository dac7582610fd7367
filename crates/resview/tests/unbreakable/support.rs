//! A daemon to be ill-treated, and containers that read meanwhile.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use control::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::reader::{Reader, Report, Wanted};

use crate::common::{RESVIEW, Running, can_run, eventually, in_private_mounts, seen_by};

/// How long a read may take at the end of a test before it counts as hung.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What a container of the tests is limited to.
pub(crate) const LIMIT_KIB: u64 = 64 << 10;

pub(crate) fn can_serve(test: &str) -> bool {
    can_run(test) && ["unshare", "nsenter"].iter().all(|name| testkit::need_command(test, name))
}

/// A build of the program that misbehaves when it is told to.
pub(crate) fn faulty() -> PathBuf {
    example("faulty")
}

/// A daemon in a mount namespace of its own.
pub(crate) struct Daemon {
    pub(crate) running: Running,
    pub(crate) mountpoint: PathBuf,
    /// Keeps the mount namespace when the daemon is gone.
    witness: Running,
    dir: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_program(Path::new(RESVIEW), options)
    }

    pub(crate) fn start_program(program: &Path, options: &[&str]) -> Self {
        Self::start_prepared(program, options, |_, _| {})
    }

    /// `prepare` is called before anything of the daemon runs: with a process in its mount
    /// namespace, and its directory.
    pub(crate) fn start_after(options: &[&str], prepare: impl FnOnce(u32, &Path)) -> Self {
        Self::start_prepared(Path::new(RESVIEW), options, prepare)
    }

    fn start_prepared(program: &Path, options: &[&str], prepare: impl FnOnce(u32, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mountpoint = dir.path().join("view");
        std::fs::create_dir(&mountpoint).unwrap();
        let mut witness = in_private_mounts(Path::new("sh"));
        witness.args(["-c", "echo ready; exec sleep 3600"]);
        let mut witness = Running::start(&mut witness);
        witness.wait_for("ready");
        prepare(witness.pid(), dir.path());
        let running = start_in(witness.pid(), program, dir.path(), options);
        let daemon = Self { running, mountpoint, witness, dir };
        eventually("the daemon serves", || daemon.worker().is_some());
        daemon
    }

    /// Starts it anew, as a service manager would.
    pub(crate) fn start_again(&mut self, options: &[&str]) {
        let program = Path::new(RESVIEW);
        self.running = start_in(self.witness.pid(), program, self.dir.path(), options);
        eventually("the daemon serves", || self.worker().is_some());
    }

    /// Starts it anew, with its messages in a file.
    pub(crate) fn start_again_logging(&mut self, options: &[&str]) -> PathBuf {
        let log = self.path("log");
        let worker = self.worker();
        let mut command = daemon_in(self.witness.pid(), Path::new(RESVIEW), self.dir.path());
        command.args(options).stderr(std::fs::File::create(&log).unwrap());
        self.running = Running::start(&mut command);
        eventually("the daemon serves", || self.worker().is_some_and(|pid| Some(pid) != worker));
        log
    }

    /// A path in the daemon's runtime directory or beside it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Tells workers of [`faulty`] what to do.
    pub(crate) fn order(&self, what: &str) {
        // At once, as they look all the time.
        std::fs::write(self.path("new"), what).unwrap();
        std::fs::rename(self.path("new"), self.path("orders")).unwrap();
    }

    /// A subcommand about this daemon, in its mount namespace.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        let mut command = in_mounts_of(self.witness.pid());
        command.arg(RESVIEW).args(words).arg("--mountpoint").arg(&self.mountpoint);
        command.arg("--runtime-dir").arg(self.path("run")).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// What the daemon says of itself.
    pub(crate) fn status(&self) -> Option<Value> {
        // The one directory in the runtime directory that is named after the mountpoint.
        let entries = std::fs::read_dir(self.path("run")).ok()?.flatten();
        let mut dirs = entries.filter(|entry| entry.path().join("control.sock").exists());
        Client::connect(&dirs.next()?.path()).ok()?.status(Duration::from_secs(5)).ok()
    }

    /// The worker's pid, if it answers.
    pub(crate) fn worker(&self) -> Option<u32> {
        u32::try_from(self.status()?["worker"]["pid"].as_u64()?).ok()
    }

    /// Starts a container that reads all files until it is told to stop.
    pub(crate) fn container(&self) -> Container {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = self.path(&format!("container-{number}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("phase"), "all").unwrap();
        let mut command = in_mounts_of(self.witness.pid());
        command.arg(RESVIEW).args(["run", "-m", "64m", "--mountpoint"]).arg(&self.mountpoint);
        command
            .arg("--")
            .arg(example("reader"))
            .arg("--phase")
            .arg(dir.join("phase"))
            .arg("--report")
            .arg(&dir);
        command.args(["--mem-total-kib", &LIMIT_KIB.to_string()]);
        command.args(["/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/loadavg"]);
        command.args(["/proc/cpuinfo", "/proc/swaps", "/proc/diskstats", "/proc/vmstat"]);
        command.args(["/sys/devices/system/cpu/online", "/sys/devices/system/cpu/present"]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let container = Container { child, dir };
        eventually("the container reads", || container.dir.join("all.begun").exists());
        container
    }

    /// Readers outside of containers, over the daemon's own tree.
    pub(crate) fn host_reader(&self) -> Reader {
        let root = seen_by(self.witness.pid(), &self.mountpoint);
        // A cgroup need not have pressure files; others test them.
        let proc = std::fs::read_dir(root.join("proc")).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = proc.filter(|path| !path.ends_with("pressure")).collect();
        paths.push(root.join("sys"));
        Reader::start(&Wanted { paths, mem_total_kib: None }).unwrap()
    }

    pub(crate) fn witness(&self) -> u32 {
        self.witness.pid()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A worker may be left without its supervisor.
        let worker = self.worker();
        self.command(&["stop"]);
        if let Some(pid) = worker {
            kill(pid, Signal::KILL);
        }
    }
}

/// A container in which two threads read.
pub(crate) struct Container {
    child: Child,
    dir: PathBuf,
}

impl Container {
    /// Ends it: what the readers met, as JSON.
    pub(crate) fn end(mut self) -> Value {
        std::fs::write(self.dir.join("phase"), "end").unwrap();
        self.child.wait().unwrap();
        let text = std::fs::read(self.dir.join("all.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_in(namespace: u32, program: &Path, dir: &Path, options: &[&str]) -> Running {
    let mut command = daemon_in(namespace, program, dir);
    command.args(options).stderr(Stdio::inherit());
    Running::start(&mut command)
}

fn daemon_in(namespace: u32, program: &Path, dir: &Path) -> Command {
    let mut command = in_mounts_of(namespace);
    command.arg(program).arg("daemon").arg("--mountpoint").arg(dir.join("view"));
    command.arg("--runtime-dir").arg(dir.join("run")).env("RESVIEW_FAULT", dir);
    command
}

/// A command in the mount namespace of a process.
pub(crate) fn in_mounts_of(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.to_string(), "-m"]);
    command
}

/// A program that cargo builds along with the tests of this crate.
pub(crate) fn example(name: &str) -> PathBuf {
    let path = Path::new(RESVIEW).with_file_name("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build -p resview --examples", path.display());
    path
}

/// Sends a signal to a process that may have ended.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = kill_process(pid, signal);
}

#[track_caller]
pub(crate) fn assert_good(report: &Report) {
    let value = serde_json::from_str(&report.json()).unwrap();
    tell("the host", &value);
    assert!(report.is_good(), "{report:#?}");
}

#[track_caller]
pub(crate) fn assert_container_good(report: &Value) {
    tell("a container", report);
    assert_eq!(report["good"], true, "{report:#}");
}

/// For the summary: what the readers of this test, whose thread bears its name, have met.
fn tell(who: &str, report: &Value) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default().rsplit("::").next().unwrap_or_default();
    let number = |key: &str| report[key].as_u64().unwrap_or_default();
    let (reads, kept) = (number("reads"), number("kept_reads"));
    let (errors, longest) = (number("errors"), number("longest_ms"));
    testkit::figures(
        test,
        &format!(
            "{who}: {reads} reads and {kept} of open files, {errors} errors, longest {longest} ms"
        ),
    );
}
