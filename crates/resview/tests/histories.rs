//! What containers see when the daemon dies and is started anew: counters and averages go on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use procfmt::loadavg::Loadavg;
use testkit::{need_command, oci};

/// A place for daemons that come and go, in a mount namespace of the test's thread.
struct Place {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Place {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("view")).unwrap();
        let mut place = Self { dir, daemon: None };
        place.start();
        place
    }

    fn view(&self) -> PathBuf {
        self.dir.path().join("view")
    }

    fn start(&mut self) {
        let mut command = Command::new(RESVIEW);
        command.args(["daemon", "--log", "warn", "--mountpoint"]).arg(self.view());
        command.arg("--runtime-dir").arg(self.dir.path().join("run")).stdin(Stdio::null());
        let daemon = self.daemon.insert(command.spawn().unwrap());
        let view = self.dir.path().join("view");
        eventually("the daemon mounts", || {
            assert!(daemon.try_wait().unwrap().is_none(), "the daemon has ended");
            is_complete(&view)
        });
    }

    /// SIGKILL for the supervisor and its worker: nothing is done at the end, and the dead mount
    /// stays until somebody removes it.
    fn kill(&mut self) {
        kill_daemon(&self.view());
        self.daemon.take().unwrap().wait().unwrap();
        umount2(&self.view(), MntFlags::MNT_DETACH).unwrap();
    }

    /// Where the daemon keeps what it knows.
    fn histories(&self) -> PathBuf {
        let mut entries = std::fs::read_dir(self.dir.path().join("run")).unwrap();
        let own = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "one directory for this mountpoint");
        own.join("histories")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.kill();
        }
    }
}

/// Reads a file of the daemon's view as a process of the container: of its pid namespace and in its
/// cgroups. So one container can be asked through the mounts of one daemon after the other.
fn read_as(container: &oci::Running, file: &Path) -> String {
    let cgroup = container.cgroup();
    let dirs = testkit::hierarchies().into_iter().map(|one| one.mount.join(&cgroup[1..]));
    let procs = dirs.filter(|dir| dir.exists()).map(|dir| dir.join("cgroup.procs"));
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"file=$1 pid=$2; shift 2
        for procs; do echo $$ >"$procs" || exit; done
        exec nsenter -t "$pid" -p cat "$file""#,
        "sh",
    ]);
    command.arg(file).arg(container.pid().to_string()).args(procs);
    stdout_of(&command.output().unwrap())
}

/// The counters of `/proc/stat`'s CPU rows by row and column, and both numbers of `/proc/uptime`.
fn counters(container: &oci::Running, view: &Path) -> Vec<(String, Vec<u64>)> {
    let stat = read_as(container, &view.join("proc/stat"));
    let uptime = read_as(container, &view.join("proc/uptime")).replace('.', "");
    let rows = stat.lines().filter(|line| line.starts_with("cpu")).map(str::to_owned);
    let rows = rows.chain([format!("uptime {uptime}")]);
    rows.map(|row| {
        let mut words = row.split_whitespace();
        let name = words.next().unwrap().to_owned();
        (name, words.map(|word| word.parse().unwrap()).collect())
    })
    .collect()
}

fn can_restart(test: &str) -> bool {
    can_run(test) && need_command(test, "runc") && need_command(test, "nsenter")
}

/// A container with a busy loop on CPU 0 and nothing on the others.
fn lopsided() -> oci::Running {
    oci::Container::new("runc", &["taskset", "-c", "0", "sh", "-c", "while :; do :; done"]).start()
}

#[test]
fn no_counter_goes_backwards_after_worker_restart() {
    let test = "no_counter_goes_backwards_after_worker_restart";
    if !can_restart(test) || !need_command(test, "taskset") {
        return;
    }
    let mut place = Place::new();
    let container = lopsided();
    let mut before = counters(&container, &place.view());
    let first = before.clone();
    for _ in 0..3 {
        for _ in 0..10 {
            let now = counters(&container, &place.view());
            compare(&before, &now);
            before = now;
            std::thread::sleep(Duration::from_millis(50));
        }
        // Between a reading and the next there is now a death, a time without a daemon, and a start.
        place.kill();
        std::thread::sleep(Duration::from_millis(200));
        place.start();
    }
    let last = counters(&container, &place.view());
    compare(&before, &last);
    // What was used between was booked all the same.
    let used = |rows: &[(String, Vec<u64>)]| rows[0].1[0] + rows[0].1[2];
    assert!(used(&last) > used(&first), "{first:?} {last:?}");
}

#[track_caller]
fn compare(before: &[(String, Vec<u64>)], now: &[(String, Vec<u64>)]) {
    assert_eq!(before.len(), now.len());
    for ((name, old), (_, new)) in before.iter().zip(now) {
        let fell = old.iter().zip(new).any(|(old, new)| new < old);
        assert!(!fell, "{name} went backwards:\n{before:?}\n{now:?}");
    }
}

#[test]
fn history_survives_restart() {
    let test = "history_survives_restart";
    if !can_restart(test) {
        return;
    }
    let mut place = Place::new();
    let container = lopsided();
    let load = |place: &Place| {
        let text = read_as(&container, &place.view().join("proc/loadavg"));
        Loadavg::parse(text.as_bytes()).unwrap()
    };
    // A loop of one minute's standing would show 0.63.
    let mut before = load(&place);
    eventually("the sampler sees the loop", || {
        before = load(&place);
        before.averages[0] >= 15
    });
    place.kill();
    place.start();
    let after = load(&place);
    // A daemon without a history would begin with what the container's age makes plausible, and
    // so would this one if it took the history of five seconds ago for the present.
    assert!(after.averages[2] >= before.averages[2], "{before:?} {after:?}");
    assert!(after.last_pid >= before.last_pid, "{before:?} {after:?}");
    assert!(place.histories().join("load-histories").exists());
}

#[test]
fn histories_of_another_boot_are_refused() {
    let test = "histories_of_another_boot_are_refused";
    if !can_restart(test) {
        return;
    }
    let mut place = Place::new();
    let container = lopsided();
    let before = counters(&container, &place.view());
    place.kill();
    let histories = place.histories();
    for file in ["cpu-accounts", "load-histories"] {
        let file = histories.join(file);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.windows(8).position(|word| word == b"boot_id ").unwrap() + 8;
        bytes[at] = b'x';
        std::fs::write(&file, bytes).unwrap();
    }
    place.start();
    // It serves all the same, from what the cgroup says.
    let now = counters(&container, &place.view());
    assert!(now[0].1.iter().sum::<u64>() > 0, "{before:?} {now:?}");
}
