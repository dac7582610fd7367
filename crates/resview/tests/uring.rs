//! `resview daemon --transport io-uring`: the same view, what ends with its worker, and the device
//! where the kernel does not offer anything else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use served::{Served, can_serve};
use testkit::uring::Enabled;

/// Bounds a hang; nothing takes this long.
const HANG: Duration = Duration::from_secs(60);

/// A daemon that says of itself that it serves.
fn serving(options: &[&str]) -> Served {
    let daemon = Served::begin(options, |_, _| {});
    daemon.until("it serves", |status| status["supervisor"]["worker"]["serving"] == true);
    daemon
}

impl Served {
    fn ask(&self, subcommand: &str, words: &[&str]) -> Output {
        self.run(self.running.pid(), subcommand, words)
    }

    fn status(&self) -> Value {
        let output = self.ask("status", &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        report["daemon"].clone()
    }

    fn until(&self, what: &str, happened: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + HANG;
        loop {
            let status = self.status();
            if happened(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never: {what}: {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// By which way requests of the shared tree come, as `resview status` has it.
    fn transport(&self) -> String {
        let status = self.status();
        let connections = status["supervisor"]["connections"].as_array().unwrap().clone();
        let shared = connections.iter().find(|one| one["role"] == "shared").unwrap();
        shared["transport"].as_str().unwrap().to_owned()
    }

    fn worker(&self) -> u64 {
        self.status()["supervisor"]["worker"]["pid"].as_u64().unwrap()
    }
}

/// Every file of a view, without its digits: those change from one moment to the next.
fn texts(dir: &Path, below: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            texts(&path, &name, into);
        } else if kind.is_symlink() {
            into.insert(name, std::fs::read_link(path).unwrap().display().to_string());
        } else {
            // Not every file can be read by everybody; which those are is the same for both.
            let text = std::fs::read(&path).map_or_else(
                |error| format!("{:?}", error.kind()),
                |text| String::from_utf8_lossy(&text).into_owned(),
            );
            into.insert(name, words(&text));
        }
    }
}

/// The different words of a text that have no digits: tables may have a row more or less.
fn words(text: &str) -> String {
    let mut words: Vec<_> = text
        .split_whitespace()
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect();
    words.sort_unstable();
    words.dedup();
    words.join(" ")
}

#[test]
fn every_file_is_the_same_over_io_uring() {
    if !can_serve("every_file_is_the_same_over_io_uring") {
        return;
    }
    let enabled = Enabled::switch_on();
    let over = serving(&["--transport", "io-uring", "--log", "warn"]);
    let through = serving(&["--log", "warn"]);
    assert_eq!(over.transport() == "io-uring", enabled.is_offered());
    assert_eq!(through.transport(), "device", "nobody asked");
    let all = |daemon: &Served| {
        let mut all = BTreeMap::new();
        texts(&daemon.view(), Path::new(""), &mut all);
        all
    };
    let (ours, theirs) = (all(&over), all(&through));
    assert!(ours.contains_key(Path::new("proc/meminfo")), "{:?}", ours.keys());
    assert!(ours.keys().eq(theirs.keys()));
    for (file, text) in &ours {
        // How one's own tasks are called is in there.
        let changes = ["proc/slabinfo", "proc/interrupts"].map(Path::new).contains(&file.as_path());
        assert!(changes || text == &theirs[file], "{file:?}:\n{text}\n{}", theirs[file]);
    }
    let said = over.ask("status", &[]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.contains("over io_uring: not crash-safe"), enabled.is_offered(), "{said}");
}

/// With the device nobody notices; with io_uring there are errors, and then the device.
#[test]
fn a_worker_that_is_killed_leaves_no_reader_waiting() {
    if !can_serve("a_worker_that_is_killed_leaves_no_reader_waiting") {
        return;
    }
    let enabled = Enabled::switch_on();
    let daemon = serving(&["--transport", "io-uring", "--log", "error"]);
    let meminfo = daemon.view().join("proc/meminfo");
    let kept = std::fs::File::open(&meminfo).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    // Whatever comes, it comes back.
                    while !end.load(Ordering::Relaxed) {
                        let _ = std::fs::read(&meminfo);
                    }
                })
            })
            .collect();
        let worker = daemon.worker();
        let pid = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        daemon.until("the next serves", |status| {
            let next = &status["supervisor"]["worker"];
            next["serving"] == true && next["pid"] != worker
        });
        end.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + HANG;
        while !readers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            // A panic would wait for those that hang.
            if Instant::now() > deadline {
                eprintln!("readers hang: {}", daemon.status());
                std::process::abort();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(daemon.transport(), "device");
    let text = std::fs::read_to_string(&meminfo).unwrap();
    assert!(text.starts_with("MemTotal:"), "{text}");
    let old = std::os::unix::fs::FileExt::read_at(&kept, &mut [0; 16], 0);
    assert_eq!(old.is_err(), enabled.is_offered(), "{old:?}");
    let pressure = mounted(daemon.running.pid(), &daemon.mountpoint.join("proc/pressure"));
    assert_eq!(pressure.is_some(), Path::new("/proc/pressure/cpu").exists(), "{pressure:?}");
    // From now on it is crash-safe: what is open stays open.
    let kept = std::fs::File::open(&meminfo).unwrap();
    assert!(daemon.ask("upgrade", &[]).status.success());
    assert!(std::os::unix::fs::FileExt::read_at(&kept, &mut [0; 16], 0).is_ok());
}

#[test]
fn what_a_connection_over_io_uring_cannot_do_is_refused_and_it_goes_on() {
    if !can_serve("what_a_connection_over_io_uring_cannot_do_is_refused_and_it_goes_on") {
        return;
    }
    let enabled = Enabled::switch_on();
    let mut daemon = serving(&["--transport", "io-uring", "--log", "warn"]);
    let worker = daemon.worker();
    let upgrade = daemon.ask("upgrade", &[]);
    assert_eq!(upgrade.status.success(), !enabled.is_offered());
    if enabled.is_offered() {
        let said = String::from_utf8_lossy(&upgrade.stderr).into_owned();
        assert!(said.contains("served over io_uring"), "{said}");
        let second = daemon.ask("daemon", &["--log", "warn"]);
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains("nobody can take over"), "{said}");
        assert_eq!(daemon.worker(), worker, "it has gone on");
    }
    assert!(std::fs::read(daemon.view().join("proc/uptime")).is_ok());
    assert!(daemon.ask("stop", &[]).status.success());
    assert!(daemon.running.wait().success());
    let together = daemon.runtime_dir();
    let mut command = Command::new(RESVIEW);
    command.args(["daemon", "--transport", "io-uring", "--slots", "--mountpoint"]);
    let refused = command.arg(&daemon.mountpoint).arg("--runtime-dir").arg(together).output();
    let said = String::from_utf8_lossy(&refused.unwrap().stderr).into_owned();
    assert!(said.contains("does not go together with --slots"), "{said}");
}
