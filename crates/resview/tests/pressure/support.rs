//! A daemon, in a mount namespace of the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{TestCgroup, need_command, skip};

use crate::common::client::{Client, PYTHON, View, per_cgroup};
use crate::common::{RESVIEW, can_run, eventually, worker_of};

/// Whether there is nothing to test: on pure v1. There, a container's files are missing, which is
/// checked instead.
pub(crate) fn nothing_but_errors(daemon: &Daemon, test: &str) -> bool {
    if !per_cgroup() {
        let cgroup = TestCgroup::new(test);
        let mut client = Client::start(daemon, &[], &cgroup);
        assert_eq!(client.ask("open rw proc/pressure/memory"), "EOPNOTSUPP");
    }
    !per_cgroup()
}

/// A daemon in a mount namespace of the test's thread, and of what the test starts.
pub(crate) struct Daemon {
    child: Child,
    mountpoint: PathBuf,
    _dir: tempfile::TempDir,
}

impl Daemon {
    /// `None`: it cannot run here, and that has been said.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_as(test, "resview", &["daemon", "--log", "warn", "--mountpoint"])
    }

    pub(crate) fn start_as(test: &str, name: &str, words: &[&str]) -> Option<Self> {
        if !can_run(test) || !need_command(test, PYTHON) || !need_command(test, "setpriv") {
            return None;
        }
        if !Path::new("/proc/pressure/cpu").exists() {
            skip(test, "needs a kernel that counts pressure (psi=1)");
            return None;
        }
        // Nothing of the test shall be seen on the machine's own mounts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let (program, mountpoint) = (dir.path().join(name), dir.path().join("view"));
        std::os::unix::fs::symlink(RESVIEW, &program).unwrap();
        std::fs::create_dir(&mountpoint).unwrap();
        let mut command = Command::new(program);
        command.current_dir(dir.path()).args(words).arg("view").stdin(Stdio::null());
        command.arg("--runtime-dir").arg(dir.path().join("run"));
        let mut daemon = Self { child: command.spawn().unwrap(), mountpoint, _dir: dir };
        eventually("the daemon mounts", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon has ended");
            daemon.file("proc/pressure/cpu").exists()
        });
        Some(daemon)
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.mountpoint.join(path)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn worker(&self) -> u32 {
        worker_of(self.pid())
    }

    /// How many entries a directory of the worker's `/proc/PID` has.
    pub(crate) fn count(&self, directory: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{directory}", self.worker())).unwrap().count()
    }
}

impl View for Daemon {
    fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    fn command(&self) -> Command {
        Command::new("env")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the daemon ended with {status}");
        }
    }
}
