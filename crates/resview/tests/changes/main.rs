//! Limits that change, moves between cgroups and freezing, while the container's files are read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod content;
#[path = "../consumers/support.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use procfmt::cpulist::CpuSet;
use testkit::{Layout, TestCgroup, layout, need_command};

use crate::common::eventually;
use crate::content::{Facts, facts};
use crate::support::{Daemon, MIB, text};

const PYTHON: &str = "/usr/bin/python3";
/// How often everything is done.
const ROUNDS: usize = 4;
/// As long as that, a reader that gets nothing hangs. It bounds nothing else.
const HANG: Duration = Duration::from_secs(120);

/// The sizes of memory in KiB and the CPUs that the container has at one time or another.
const TOTALS: [u64; 3] = [64 << 10, 80 << 10, 96 << 10];
const CPUS: [&str; 3] = ["0", "0-1", "1"];

#[test]
fn reads_survive_resize_move_and_freeze() {
    let test = "reads_survive_resize_move_and_freeze";
    let programs = ["nsenter", "unshare", PYTHON];
    if !programs.iter().all(|program| need_command(test, program)) {
        return;
    }
    let Some(daemon) = Daemon::start(test, &["--log", "warn"]) else { return };
    let pod = TestCgroup::new(test);
    let (a, b) = (pod.child("a"), pod.child("b"));
    for (cgroup, mib, quota) in [(&a, 64, 100_000), (&b, 80, 100_000)] {
        cgroup.set_memory(mib * MIB);
        cgroup.set_cpuset("0-1");
        cgroup.set_quota(quota, 100_000);
    }
    let container = Container::start(&daemon, &a);
    for round in 0..ROUNDS {
        // Sometimes the next change comes while the files of the last one are being read, and
        // sometimes each file has been read both ways meanwhile.
        let enough = if round % 2 == 0 { 7 } else { container.frames_in_a_pass() };
        let reads = || container.wait_for(enough);
        a.set_memory(96 * MIB);
        reads();
        a.set_cpuset("1");
        reads();
        a.set_cpuset("0-1");
        a.set_quota(200_000, 100_000);
        reads();
        move_all(&a, &b);
        reads();
        a.set_memory(64 * MIB);
        freeze(&b);
        assert_eq!(container.mem_total(&daemon), 80 << 10, "a frozen container, from outside");
        thaw(&b);
        reads();
        move_all(&b, &a);
        reads();
        a.set_quota(100_000, 100_000);
        freeze(&a);
        assert_eq!(container.mem_total(&daemon), 64 << 10, "a frozen container, from outside");
        thaw(&a);
        reads();
    }
    let mut seen = Seen::default();
    for reader in container.end() {
        seen.totals.extend(&reader.totals);
        seen.cpus.extend(reader.cpus);
    }
    assert_eq!(seen.totals, TOTALS.into());
    assert_eq!(seen.cpus, CPUS.map(str::to_owned).into());
}

/// The files that are read.
fn files(daemon: &Daemon) -> Vec<String> {
    let proc = view::catalogue::PROC_FILES.iter().map(|file| format!("proc/{}", file.name));
    let pressure = ["cpu", "io", "memory", "irq"].map(|kind| format!("proc/pressure/{kind}"));
    let sys = ["cpu/online", "cpu/present", "node/online", "node/node0/meminfo"];
    let sys = sys.map(|file| format!("sys/devices/system/{file}"));
    let all = proc.chain(pressure).chain(sys);
    all.filter(|file| daemon.file(file).exists()).collect()
}

/// Two processes that read all files without end, in a pid namespace of their own.
struct Container {
    init: String,
    files: usize,
    readers: Vec<Reader>,
    child: Child,
    _dir: tempfile::TempDir,
}

/// What is at the other end of one of them.
struct Reader {
    frames: Arc<AtomicUsize>,
    checks: JoinHandle<Seen>,
}

/// What was set and was seen.
#[derive(Default)]
struct Seen {
    totals: BTreeSet<u64>,
    cpus: BTreeSet<String>,
}

impl Container {
    fn start(daemon: &Daemon, cgroup: &TestCgroup) -> Self {
        let files = files(daemon);
        let dir = tempfile::tempdir().unwrap();
        let (program, socket) = (dir.path().join("reader.py"), dir.path().join("socket"));
        std::fs::write(&program, include_str!("reader.py")).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "read go; exec unshare --pid --fork --kill-child \"$@\"", "sh"]);
        command.args([PYTHON, "-I"]).arg(&program).arg(&socket).arg(daemon.file("")).args(&files);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        cgroup.add_pid(child.id());
        child.stdin.as_ref().unwrap().write_all(b"go\n").unwrap();
        let readers = [(); 2].map(|()| {
            listener.set_nonblocking(true).unwrap();
            let mut connection = None;
            eventually("a reader connects", || {
                assert!(child.try_wait().unwrap().is_none(), "the readers have ended");
                connection = listener.accept().ok();
                connection.is_some()
            });
            Reader::new(connection.unwrap().0)
        });
        let pids = cgroup.read("memory", "cgroup.procs");
        let init = pids.lines().find(|pid| is_init(pid)).unwrap().to_owned();
        Self { init, files: files.len(), readers: readers.into(), child, _dir: dir }
    }

    fn frames_in_a_pass(&self) -> usize {
        2 * self.files
    }

    /// Waits until each reader has handed over so many files more.
    fn wait_for(&self, frames: usize) {
        for Reader { frames: count, checks } in &self.readers {
            let enough = count.load(Ordering::Relaxed) + frames;
            let begin = Instant::now();
            while count.load(Ordering::Relaxed) < enough {
                assert!(!checks.is_finished(), "a reader has stopped, see above");
                assert!(begin.elapsed() < HANG, "a reader hangs");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// What a process reads that enters the container from outside.
    fn mem_total(&self, daemon: &Daemon) -> u64 {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.init, "--pid", "cat"]).arg(daemon.file("proc/meminfo"));
        let output = enter.output().unwrap();
        let facts = facts("meminfo", text("nsenter", &output).as_bytes()).unwrap();
        facts.total.unwrap().0
    }

    fn end(mut self) -> Vec<Seen> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.readers.drain(..).map(|reader| reader.checks.join().unwrap()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A failed test leaves a frozen one perhaps; the cgroup's end thaws and kills it.
        let _ = self.child.kill();
    }
}

/// Whether a process is the first of a pid namespace below ours.
fn is_init(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Vec<_> = pids.split_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}

impl Reader {
    fn new(connection: UnixStream) -> Self {
        connection.set_nonblocking(false).unwrap();
        connection.set_read_timeout(Some(HANG)).unwrap();
        let frames = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&frames);
        let checks = std::thread::spawn(move || {
            let mut connection = BufReader::new(connection);
            let mut seen = Seen::default();
            let mut last = BTreeMap::new();
            while let Some((name, way, text)) = frame(&mut connection) {
                let facts = facts(&name, &text).and_then(|facts| grown(&name, facts, &mut last));
                let facts = facts.unwrap_or_else(|what| {
                    panic!("{name}, {way}: {what}\n{}", String::from_utf8_lossy(&text))
                });
                seen.add(&name, facts);
                count.fetch_add(1, Ordering::Relaxed);
            }
            seen
        });
        Self { frames, checks }
    }
}

/// The next file that a reader has read; `None`: it has ended.
fn frame(connection: &mut impl BufRead) -> Option<(String, String, Vec<u8>)> {
    let mut head = String::new();
    connection.read_line(&mut head).unwrap();
    // The end may come in the middle.
    let head = head.strip_suffix('\n')?;
    let [name, way, result, length] = head.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{head:?}");
    };
    let mut text = Vec::new();
    let length: u64 = length.parse().unwrap();
    connection.take(length).read_to_end(&mut text).unwrap();
    if layout() == Layout::V1 && name.starts_with("proc/pressure/") {
        assert_eq!(result, "ENOTSUP", "{name}, {way}: not kept on v1");
        text = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n".to_vec();
    } else {
        assert_eq!(result, "ok", "{name}, {way}");
        if u64::try_from(text.len()).unwrap() < length {
            return None;
        }
    }
    Some((name.to_owned(), way.to_owned(), text))
}

/// No counter may be less than this reader has seen it before.
///
/// Those of vmstat and diskstats are not among them: they are the cgroup's, which changes.
fn grown(
    name: &str,
    facts: Facts,
    last: &mut BTreeMap<(String, String), u64>,
) -> Result<Facts, String> {
    for (counter, &value) in &facts.counters {
        let before = last.insert((name.to_owned(), counter.clone()), value).unwrap_or(0);
        if value < before {
            return Err(format!("{counter} fell from {before} to {value}"));
        }
    }
    Ok(facts)
}

impl Seen {
    /// Notes what was seen, which must be what was set at one time or another.
    fn add(&mut self, name: &str, facts: Facts) {
        if let Some(total) = facts.total {
            assert!(TOTALS.contains(&total.0), "{name}: {total:?}");
            self.totals.insert(total.0);
        }
        if let Some(cpus) = facts.cpus {
            let cpus = list(&cpus);
            assert!(CPUS.contains(&cpus.as_str()), "{name}: CPUs {cpus}");
            self.cpus.insert(cpus);
        }
    }
}

fn list(cpus: &CpuSet) -> String {
    let mut list = Vec::new();
    cpus.write_list(&mut list);
    String::from_utf8(list).unwrap()
}

fn move_all(from: &TestCgroup, to: &TestCgroup) {
    for pid in from.read("memory", "cgroup.procs").lines() {
        to.add_pid(pid.parse().unwrap());
    }
    assert_eq!(from.read("memory", "cgroup.procs"), "");
}

fn freeze(cgroup: &TestCgroup) {
    if layout() == Layout::V2 {
        cgroup.write("unified", "cgroup.freeze", "1");
        let events = || cgroup.read("unified", "cgroup.events");
        eventually("the container freezes", || events().contains("frozen 1"));
    } else {
        cgroup.write("freezer", "freezer.state", "FROZEN");
        let state = || cgroup.read("freezer", "freezer.state");
        eventually("the container freezes", || state().trim() == "FROZEN");
    }
}

fn thaw(cgroup: &TestCgroup) {
    if layout() == Layout::V2 {
        cgroup.write("unified", "cgroup.freeze", "0");
    } else {
        cgroup.write("freezer", "freezer.state", "THAWED");
    }
}
