//! A daemon of a test's own, and the three ways into a container.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::oci;

use crate::common::{RESVIEW, can_run, eventually, is_complete, run_sh};

pub(crate) const MIB: u64 = 1 << 20;

/// The files of `/proc` that LXCFS's users mount.
const PROC_FILES: [&str; 7] =
    ["cpuinfo", "meminfo", "stat", "uptime", "swaps", "diskstats", "loadavg"];

/// A daemon in a mount namespace of the test's thread, and of what the test starts.
pub(crate) struct Daemon {
    child: Child,
    mountpoint: tempfile::TempDir,
    _runtime_dir: tempfile::TempDir,
}

impl Daemon {
    /// `None`: it cannot run here, and that has been said.
    pub(crate) fn start(test: &str, options: &[&str]) -> Option<Self> {
        if !can_run(test) {
            return None;
        }
        // Nothing of the test shall be seen on the machine's own mounts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();

        let mountpoint = tempfile::tempdir().unwrap();
        let runtime_dir = tempfile::tempdir().unwrap();
        let child = Command::new(RESVIEW)
            .args(["daemon", "--mountpoint"])
            .arg(mountpoint.path())
            .arg("--runtime-dir")
            .arg(runtime_dir.path())
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, mountpoint, _runtime_dir: runtime_dir };
        eventually("the daemon mounts", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon has ended");
            is_complete(daemon.mountpoint.path())
        });
        Some(daemon)
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.mountpoint.path().join(path)
    }

    /// A container with the mounts that `docker run -v` is given for LXCFS.
    pub(crate) fn container(&self, runtime: &str, args: &[&str]) -> oci::Container {
        let container = oci::Container::new(runtime, args);
        let container = PROC_FILES.iter().fold(container, |container, name| {
            container.mount(&self.file(&format!("proc/{name}")), &format!("/proc/{name}"))
        });
        let cpu_and_node = ["sys/devices/system/cpu", "sys/devices/system/node"].into_iter();
        cpu_and_node
            .chain(["sys/block", "sys/class/block"])
            .filter(|directory| self.file(directory).exists())
            .fold(container, |container, directory| {
                container.mount(&self.file(directory), &format!("/{directory}"))
            })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the daemon ended with {status}");
        }
    }
}

/// The ways in which a test gets a container of 50 MiB with one CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Run,
    Oci(&'static str),
}

/// The way is known, the container limited: runs `script` in each and hands over what it printed.
///
/// The script must succeed and print nothing on standard error.
pub(crate) fn in_every_container(test: &str, script: &str, check: impl Fn(Way, &str)) {
    let Some(daemon) = Daemon::start(test, &[]) else { return };
    for way in [Way::Run, Way::Oci("runc"), Way::Oci("crun")] {
        let output = match way {
            Way::Run => run_sh(&["-m", "50m", "--cpus", "1", "--cpuset-cpus", "0"], script),
            Way::Oci(runtime) => {
                if !testkit::need_command(test, runtime) {
                    continue;
                }
                let container = daemon.container(runtime, &["sh", "-c", script]);
                container.memory(50 * MIB).quota(100_000, 100_000).cpuset("0").run()
            }
        };
        check(way, &text(way, &output));
    }
}

pub(crate) fn text(way: impl std::fmt::Debug, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{way:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// The value of a line `key=value`.
pub(crate) fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no {key}= in:\n{text}"))
}

pub(crate) fn number(text: &str, key: &str) -> f64 {
    let value = value(text, key);
    value.trim().parse().unwrap_or_else(|_| panic!("{key}={value} is no number"))
}

/// A process that keeps one CPU of the host busy until it is dropped.
pub(crate) struct BusyHost(Child);

impl BusyHost {
    pub(crate) fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for BusyHost {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
