//! `resview explain`: what it prints is what the container reads, and says why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::process::{Command, Output};

use common::*;
use serde_json::Value;
use served::{Served, can_serve};
use testkit::TestCgroup;

/// A container that sleeps and spins, with a daemon's view.
struct Looked {
    daemon: Served,
    _container: Running,
    pid: u32,
}

impl Looked {
    /// `seconds` are a test's own, by which its container is found.
    fn start(seconds: u32, options: &[&str]) -> Self {
        let daemon = Served::start(options);
        let word = format!("{seconds}.{}", std::process::id());
        let script = format!("echo ready; while :; do :; done & exec sleep {word}");
        let mut command = daemon.command(daemon.running.pid(), "run");
        command.args(["-m", "64m", "--cpus", "0.3", "--", "sh", "-c", &script]);
        let mut container = Running::start(&mut command);
        container.wait_for("ready");
        let mut pid = None;
        eventually("the container sleeps", || {
            let found = processes_with(&word).into_iter().find(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|comm| comm == "sleep\n")
            });
            pid = found;
            found.is_some()
        });
        Self { daemon, _container: container, pid: pid.unwrap() }
    }

    /// What the container itself reads: by a process in its namespaces.
    fn read(&self, path: &str) -> String {
        let pid = self.pid.to_string();
        let output = Command::new("nsenter").args(["-t", &pid, "-p", "-m", "cat", path]).output();
        stdout_of(&output.unwrap())
    }

    fn explain(&self, words: &[&str]) -> Value {
        let pid = self.pid.to_string();
        let words = [&[pid.as_str()], words, &["--json"]].concat();
        let output = self.daemon.run(self.daemon.running.pid(), "explain", &words);
        serde_json::from_str(&stdout_of(&output)).unwrap()
    }

    /// The value that explain gives for a line.
    fn explained(&self, line: &str) -> Option<String> {
        let answer = &self.explain(&[line])["answers"][0];
        answer["container"].as_str().map(str::to_owned)
    }

    /// Holds what explain says of a line against what the container reads just before or after.
    #[track_caller]
    fn agrees(&self, line: &str, path: &str, of_text: impl Fn(&str) -> Option<String>) {
        eventually(line, || {
            let before = of_text(&self.read(path));
            let explained = self.explained(line);
            let after = of_text(&self.read(path));
            explained == before || explained == after
        });
    }

    /// The same of numbers that grow. A look in the middle of a throttled moment may book time to
    /// another column than the read that comes after it.
    #[track_caller]
    fn lies_between(&self, line: &str, path: &str, numbers: impl Fn(&str) -> Vec<f64>) {
        eventually(line, || {
            let before = numbers(&self.read(path));
            let text = self.explained(line).unwrap();
            let after = numbers(&self.read(path));
            let explained: Vec<f64> =
                text.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert!(!before.is_empty() && explained.len() == before.len(), "{line}: {text}");
            let mut ranges = before.iter().zip(&after).map(|(before, after)| *before..=*after);
            explained.iter().all(|value| ranges.next().is_some_and(|range| range.contains(value)))
        });
    }
}

fn line(text: &str, start: &str) -> Option<String> {
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    Some(rest.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn explain_prints_what_the_container_reads() {
    if !can_serve("explain_prints_what_the_container_reads") {
        return;
    }
    let looked = Looked::start(31_415, &[]);
    for key in ["MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "AnonPages"] {
        let start = format!("{key}:");
        looked.agrees(&format!("meminfo:{key}"), "/proc/meminfo", |text| line(text, &start));
    }
    assert_eq!(looked.explained("meminfo:MemTotal").as_deref(), Some("65536 kB"));
    looked.agrees("vmstat:nr_anon_pages", "/proc/vmstat", |text| line(text, "nr_anon_pages "));
    looked.agrees("swaps:Size", "/proc/swaps", |text| {
        text.lines().nth(1)?.split_whitespace().nth(2).map(str::to_owned)
    });
    let processors = |text: &str| {
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("processor")?.split_once(": "));
        let numbers: Vec<_> = lines.map(|(_, number)| number.to_owned()).collect();
        (!numbers.is_empty()).then(|| numbers.join("; "))
    };
    looked.agrees("cpuinfo:CPUs", "/proc/cpuinfo", processors);
    let online = "/sys/devices/system/cpu/online";
    looked.agrees("sys/devices/system/cpu/online", online, |text| Some(text.trim().to_owned()));
    looked.lies_between("uptime:up", "/proc/uptime", |text| numbers(text)[..1].to_vec());
    looked.lies_between("stat:cpu", "/proc/stat", |text| {
        numbers(text.lines().next().unwrap().trim_start_matches("cpu"))
    });
    let disks = std::fs::read_to_string("/proc/diskstats").unwrap();
    for disk in disks.lines().filter_map(|line| line.split_whitespace().nth(2)) {
        looked.agrees(&format!("diskstats:{disk}"), "/proc/diskstats", |text| {
            let of_disk = |line: &&str| line.split_whitespace().nth(2) == Some(disk);
            let row = text.lines().find(of_disk)?;
            Some(row.split_whitespace().collect::<Vec<_>>().join(" "))
        });
    }
    // The load of a container that has run for a while is not that of one seen for the first time.
    eventually("there is a load", || numbers(&looked.read("/proc/loadavg"))[0] > 0.0);
    looked.agrees("loadavg:load", "/proc/loadavg", |text| {
        Some(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
    });
}

#[test]
fn explain_says_what_decided_and_how() {
    if !can_serve("explain_says_what_decided_and_how") {
        return;
    }
    let looked = Looked::start(27_182, &["--cpu-count", "cpuset"]);
    let answer = &looked.explain(&["meminfo:MemTotal"])["answers"][0];
    let file = answer["decided_by"].as_str().unwrap();
    assert!(file.ends_with("memory.limit_in_bytes") || file.ends_with("memory.max"), "{answer}");
    assert_eq!(answer["files"][0]["value"], "67108864", "{answer}");
    assert!(answer["formula"].as_str().unwrap().ends_with("65536 kB) = 65536 kB"), "{answer}");
    assert_eq!(answer["notes"], serde_json::json!([]), "the view is mounted, the daemon asked");
    // The daemon's own option, which this command was not told.
    let cpus = looked.explain(&["cpuinfo:CPUs"])["answers"][0].clone();
    assert!(cpus["formula"].as_str().unwrap().contains("the quota does not count"), "{cpus}");
    // All lines of a file have an answer.
    for file in ["meminfo", "vmstat", "stat", "schedstat", "cpuinfo", "zoneinfo", "diskstats"] {
        // Not every kernel has every one.
        if !std::path::Path::new("/proc").join(file).exists() {
            continue;
        }
        let all = looked.explain(&[file]);
        let answers = all["answers"].as_array().unwrap();
        let silent = answers.iter().filter(|one| {
            one["policy"] == "virtual" && one["made_from"].as_array().unwrap().is_empty()
        });
        assert_eq!(silent.count(), 0, "{all}");
    }
    let table = looked.explain(&[]);
    let memory = &table["quantities"][0];
    assert_eq!((&memory["quantity"], &memory["container"]), (&"memory".into(), &"64 MiB".into()));
    assert_eq!(memory["decided_by"], file);
}

/// `resview explain`, without a daemon.
fn explain(words: &[&str]) -> Output {
    Command::new(RESVIEW)
        .args(["explain", "--runtime-dir", "/nonexistent"])
        .args(words)
        .output()
        .unwrap()
}

#[test]
fn a_limit_of_a_parent_decides_and_is_named() {
    if !testkit::need_root("a_limit_of_a_parent_decides_and_is_named") {
        return;
    }
    let pod = TestCgroup::new("explain-pod");
    pod.set_memory(32 << 20);
    let app = pod.child("app");
    app.set_memory(48 << 20);
    let mut command = Command::new("sh");
    let mut running = Running::start(command.args(["-c", "echo ready; exec sleep 300"]));
    running.wait_for("ready");
    app.add_pid(running.pid());
    for selector in [app.name(), pod.name(), app.path("memory").to_str().unwrap().to_owned()] {
        let text = stdout_of(&explain(&[&selector, "meminfo:MemTotal"]));
        assert!(text.contains("container   32768 kB\n"), "{text}");
        let decided = line(&text, "  decided by").unwrap();
        assert!(decided.starts_with(pod.path("memory").to_str().unwrap()), "{text}");
        assert!(!decided.contains("/app/"), "{text}");
        assert!(text.contains("/app/memory."), "the other limit is shown: {text}");
        assert!(text.contains("no view is mounted over /proc/meminfo"), "{text}");
    }
}

#[test]
fn what_cannot_be_explained_is_a_sentence() {
    if !testkit::need_root("what_cannot_be_explained_is_a_sentence") {
        return;
    }
    let own = std::process::id().to_string();
    for (words, said) in [
        (&[own.as_str(), "kcore"][..], "no virtual file is called `kcore`"),
        (&[own.as_str(), "meminfo:Foo"], "has no line `Foo`"),
        (&["no-such-container"], "no running container has the name or id"),
        (&["/no/such/cgroup"], "no cgroup hierarchy has /no/such/cgroup"),
    ] {
        let output = explain(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        assert!(stderr_of(&output).contains(said), "{words:?}: {}", stderr_of(&output));
    }
}
