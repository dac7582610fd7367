//! Programs that serve a tree, started for the checks in a mount namespace of their own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, Signal, kill_process};
use testkit::TestCgroup;

use crate::container::fresh;
use crate::tree::lists;

/// How long a server may take until its tree is there: it may run in a slow virtual machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it prints, below its runtime directory.
const LOG: &str = "conformance.log";

/// Gives the calling thread, and what it starts from now on, mounts of its own.
///
/// # Errors
/// Without root.
pub fn private_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace: needs root")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .context("cannot make the mounts private")
}

/// Unmounts every cgroup2, so that a hybrid machine looks like one with cgroup v1 alone. The calling
/// thread must be in [`private_mounts`].
///
/// # Errors
/// When nothing is left, as on pure cgroup v2, or when a mount stays.
pub fn hide_cgroup2() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let of = |kind: &'static str| {
        let rows = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        rows.filter_map(move |row| (row.get(2) == Some(&kind)).then(|| row.get(1).copied())?)
    };
    ensure!(of("cgroup").next().is_some(), "this machine has no cgroup v1");
    for point in of("cgroup2") {
        umount(point).with_context(|| format!("cannot unmount {point}"))?;
    }
    Ok(())
}

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    mountpoint: tempfile::TempDir,
    /// What it keeps from one start to the next.
    runtime_dir: tempfile::TempDir,
    /// Dropped last: it ends what is still in it.
    cgroup: TestCgroup,
}

impl Server {
    /// Our daemon, from this binary, with these further options.
    ///
    /// # Errors
    /// When it does not start or does not mount.
    pub fn resview(binary: &Path, options: &[&str]) -> Result<Self> {
        let (mountpoint, runtime_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut command = Command::new(binary);
        command.args(["daemon", "--log", "warn", "--mountpoint"]).arg(mountpoint.path());
        command.arg("--runtime-dir").arg(runtime_dir.path()).args(options);
        Self::start(&command, mountpoint, runtime_dir)
    }

    /// LXCFS, or what has its name and options, with the load average switched on.
    ///
    /// # Errors
    /// When it does not start or does not mount.
    pub fn lxcfs(binary: &Path, options: &[&str]) -> Result<Self> {
        let (mountpoint, runtime_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut command = Command::new(binary);
        command.args(["-f", "-l", "-p"]).arg(runtime_dir.path().join("lxcfs.pid"));
        command.args(options).arg(mountpoint.path());
        Self::start(&command, mountpoint, runtime_dir)
    }

    /// Starts it in a cgroup of its own, as a service manager does: LXCFS decides by its own cgroup
    /// what the kernel can do, and a root cgroup has no limits.
    fn start(
        command: &Command,
        mountpoint: tempfile::TempDir,
        runtime_dir: tempfile::TempDir,
    ) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let log = File::create(runtime_dir.path().join(LOG)).context("cannot make a log")?;
        let mut shell = Command::new("sh");
        shell.args(["-c", "read go && exec \"$@\" </dev/null", "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = shell.spawn().with_context(|| format!("cannot start {name}"))?;
        let go = child.stdin.take();
        let cgroup = TestCgroup::new(&fresh("server"));
        cgroup.add_pid(child.id());
        let mut server = Self { child, mountpoint, runtime_dir, cgroup };
        go.context("a child without a pipe")?.write_all(b"go\n")?;
        server.wait()?;
        Ok(server)
    }

    /// Waits until the tree is mounted.
    fn wait(&mut self) -> Result<()> {
        let begin = Instant::now();
        // Ours mounts the pressure files when it serves all else.
        let pressure = self.dir().join("proc/pressure");
        let is_complete = || !pressure.exists() || pressure.join("cpu").exists();
        while !lists(&self.dir(), "proc/meminfo") || !is_complete() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended with {status}: {}", self.last_words());
            }
            // LXCFS 7 goes on after it has failed, with a tree that answers nothing else.
            let listed = std::fs::read_dir(self.dir().join("proc"));
            if listed.is_err_and(|error| error.raw_os_error() == Some(nix::libc::EIO)) {
                bail!("its tree cannot be listed: {}", self.last_words());
            }
            if begin.elapsed() > PATIENCE {
                bail!("no tree within {} s: {}", PATIENCE.as_secs(), self.last_words());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The last line that it has printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read(self.runtime_dir.path().join(LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        text.lines().last().unwrap_or("it has printed nothing").to_owned()
    }

    /// What it keeps from one start to the next.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        self.runtime_dir.path()
    }

    /// The CPU time that all its processes have used, in nanoseconds (`cpuacct.usage`, or
    /// `usage_usec` of `cpu.stat`).
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        if testkit::layout() == testkit::Layout::V2 {
            let stat = self.cgroup.read("cpu", "cpu.stat");
            let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
            usage.and_then(|usec| usec.parse::<u64>().ok()).unwrap_or_default() * 1000
        } else {
            self.cgroup.read("cpuacct", "cpuacct.usage").trim().parse().unwrap_or_default()
        }
    }

    /// All its processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let list = self.cgroup.read("memory", "cgroup.procs");
        list.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The memory that is charged to all its processes, that of the kernel for their open files
    /// included, in bytes (`memory.usage_in_bytes`, or `memory.current`).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let is_v2 = testkit::layout() == testkit::Layout::V2;
        let file = if is_v2 { "memory.current" } else { "memory.usage_in_bytes" };
        self.cgroup.read("memory", file).trim().parse().unwrap_or_default()
    }

    /// Where its tree is mounted.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.mountpoint.path().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        // LXCFS leaves its mount when it is killed; the temporary directory cannot go before.
        let _ = nix::mount::umount2(self.mountpoint.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
