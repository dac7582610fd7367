//! Programs that serve a tree, started for the checks in a mount namespace of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take until its tree is there: it may run in a slow virtual machine.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    mountpoint: tempfile::TempDir,
    /// What it keeps from one start to the next.
    _runtime_dir: tempfile::TempDir,
}

impl Server {
    /// Our daemon, from this binary.
    ///
    /// # Errors
    /// When it does not start or does not mount.
    pub fn resview(binary: &Path) -> Result<Self> {
        let (mountpoint, runtime_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut command = Command::new(binary);
        command.args(["daemon", "--log", "warn", "--mountpoint"]).arg(mountpoint.path());
        command.arg("--runtime-dir").arg(runtime_dir.path());
        Self::start(command, mountpoint, runtime_dir)
    }

    /// LXCFS, or what has its name and options, with the load average switched on.
    ///
    /// # Errors
    /// When it does not start or does not mount.
    pub fn lxcfs(binary: &Path) -> Result<Self> {
        let (mountpoint, runtime_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut command = Command::new(binary);
        command.args(["-f", "-l", "-p"]).arg(runtime_dir.path().join("lxcfs.pid"));
        command.arg(mountpoint.path()).stdout(Stdio::null()).stderr(Stdio::null());
        Self::start(command, mountpoint, runtime_dir)
    }

    fn start(
        mut command: Command,
        mountpoint: tempfile::TempDir,
        runtime_dir: tempfile::TempDir,
    ) -> Result<Self> {
        let name = command.get_program().display().to_string();
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { child, mountpoint, _runtime_dir: runtime_dir };
        let begin = Instant::now();
        while !server.dir().join("proc/meminfo").exists() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} has ended: {status}");
            }
            if begin.elapsed() > PATIENCE {
                bail!("{name} has not mounted its tree within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
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
