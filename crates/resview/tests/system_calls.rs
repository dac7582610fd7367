//! How many system calls a read through the shared tree takes, counted with strace(1).
//!
//! A program's open, read, read at the end and close are four requests, each of them one read(2) and
//! one write(2) of the worker. What it has to look up, about the caller or for the content, comes on
//! top at most once per millisecond. Traced, a single read takes longer than that: so looking up is
//! told apart by its calls, and everything else has to be within the eight.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/served.rs"]
mod served;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::client::PYTHON;
use common::{Running, can_run, eventually, worker_of};
use served::Served;
use testkit::{TestCgroup, figures, need_command};

const READS: usize = 400;
/// Of one read: the four requests, answered.
const CALLS: usize = 8;
/// Files of procfs and of cgroups are opened, read and closed, threads and namespaces looked at. Where that
/// takes long, as it does when it is traced, its CPU time is asked for.
const LOOKING_UP: [&str; 13] = [
    "openat",
    "close",
    "pread64",
    "preadv",
    "lseek",
    "getdents64",
    "readlinkat",
    "newfstatat",
    "fstat",
    "statx",
    "ioctl",
    "pidfd_open",
    "clock_gettime",
];

/// Reads the file so many times whenever it is told to. It stays one thread.
const READER: &str = "
import os, sys
def read():
    fd = os.open(sys.argv[1], os.O_RDONLY)
    while os.read(fd, 1 << 16): pass
    os.close(fd)
for line in sys.stdin:
    for _ in range(int(line)): read()
    print('read', flush=True)
";

/// The worker's threads that answer requests.
fn threads(worker: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap().flatten();
    let answers = |task: &Path| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("fuse-"))
    };
    let tasks = tasks.filter(|task| answers(&task.path()));
    tasks.map(|task| task.file_name().into_string().unwrap()).collect()
}

fn is_traced(worker: u32, thread: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{worker}/task/{thread}/status")).unwrap();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
}

/// The numbers of the worker's descriptors of `/dev/fuse`.
fn devices(worker: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten();
    let is_device = |path: &Path| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().ends_with("/fuse"))
    };
    let entries = entries.filter(|entry| is_device(&entry.path()));
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// How often each system call was made, by its name; with a `*` those that look something up.
fn count(log: &str, devices: &[String]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for line in log.lines() {
        // A thread's number, then a call, its beginning or its end.
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        let is_name =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name(name) {
            continue; // the end of a call that was counted, or a signal
        }
        let fd = rest.split([',', ')', ' ']).next().unwrap_or_default();
        let elsewhere = name == "read" && !devices.iter().any(|device| device == fd);
        let mark = if elsewhere || LOOKING_UP.contains(&name) { "*" } else { "" };
        *counts.entry(format!("{name}{mark}")).or_default() += 1;
    }
    counts
}

#[test]
fn a_read_of_the_shared_tree_takes_eight_system_calls() {
    let test = "a_read_of_the_shared_tree_takes_eight_system_calls";
    let commands = ["strace", "unshare", "nsenter", "python3"];
    if !can_run(test) || !commands.iter().all(|command| need_command(test, command)) {
        return;
    }
    let served = Served::start(&["--threads", "2"]);
    let cgroup = TestCgroup::new("system-calls");
    let mut reader = Command::new("nsenter");
    reader.args(["-t", &served.running.pid().to_string(), "-m"]);
    reader.args(["unshare", "--pid", "--fork", "--kill-child", PYTHON, "-c", READER]);
    reader.arg(served.mountpoint.join("proc/meminfo"));
    reader.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().unwrap();
    cgroup.add_pid(reader.id());
    let mut stdin = reader.stdin.take().unwrap();
    let mut stdout = std::io::BufReader::new(reader.stdout.take().unwrap());
    let mut read = |times: usize| {
        writeln!(stdin, "{times}").unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert_eq!(line, "read\n");
    };
    read(100); // until the threads wait in read(2)

    let worker = worker_of(served.running.pid());
    let (threads, devices) = (threads(worker), devices(worker));
    assert!(!threads.is_empty() && !devices.is_empty());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-s", "0", "-o"]).arg(log.path());
    strace.args(threads.iter().flat_map(|thread| ["-p", thread])).stderr(Stdio::null());
    let strace = Running::start(&mut strace);
    eventually("all threads are traced", || threads.iter().all(|one| is_traced(worker, one)));
    read(READS);
    strace.signal(rustix::process::Signal::INT);
    strace.end();
    drop(stdin);
    let _ = reader.wait();

    let counts = count(&std::fs::read_to_string(log.path()).unwrap(), &devices);
    let of = |looking_up: bool| {
        counts.iter().filter(|(name, _)| name.ends_with('*') == looking_up).map(|(_, n)| n).sum()
    };
    let (own, looking_up): (usize, usize) = (of(false), of(true));
    figures(test, &format!("{READS} reads: {own} calls and {looking_up} to look up; {counts:?}"));
    // Threads that meet in a lock may have to wait for each other once in a while.
    let most = READS * CALLS + READS / 4;
    assert!(own >= READS * CALLS, "not all was seen: {counts:?}");
    assert!(own <= most, "{own} calls for {READS} reads, more than {most}: {counts:?}");
}
