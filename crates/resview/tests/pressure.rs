//! `/proc/pressure` of containers: whose it is, what is missing, and triggers, written and polled as
//! on the kernel's own files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::*;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Layout, TestCgroup, layout, need_command, skip};

/// Debian's own, which other users may execute as well.
const PYTHON: &str = "/usr/bin/python3";

/// Whether the kernel keeps pressure per cgroup here. On pure v1 it does not.
fn per_cgroup() -> bool {
    layout() != Layout::V1
}

/// Whether there is nothing to test: on pure v1. There, a container's files are missing, which is
/// checked instead.
fn nothing_but_errors(daemon: &Daemon, test: &str) -> bool {
    if !per_cgroup() {
        let cgroup = TestCgroup::new(test);
        assert_eq!(daemon.client(&cgroup).ask("open pressure/memory"), "EOPNOTSUPP");
    }
    !per_cgroup()
}

/// Whether the daemon, and a client started as usual, may have windows of any length.
fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap() & (1 << 24) != 0
}

/// A daemon in a mount namespace of the test's thread, and of what the test starts.
struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    /// `None`: it cannot run here, and that has been said.
    fn start(test: &str) -> Option<Self> {
        Self::start_as(test, "resview", &["daemon", "--log", "warn", "--mountpoint"])
    }

    fn start_as(test: &str, name: &str, words: &[&str]) -> Option<Self> {
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
        let program = dir.path().join(name);
        std::os::unix::fs::symlink(RESVIEW, &program).unwrap();
        std::fs::create_dir(dir.path().join("view")).unwrap();
        let mut command = Command::new(program);
        command.current_dir(dir.path()).args(words).arg("view").stdin(Stdio::null());
        command.arg("--runtime-dir").arg(dir.path().join("run"));
        let mut daemon = Self { child: command.spawn().unwrap(), dir };
        eventually("the daemon mounts", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon has ended");
            daemon.file("proc/pressure/cpu").exists()
        });
        Some(daemon)
    }

    fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("view").join(path)
    }

    /// How many entries a directory of the worker's `/proc/PID` has.
    fn count(&self, directory: &str) -> usize {
        let worker = worker_of(self.child.id());
        std::fs::read_dir(format!("/proc/{worker}/{directory}")).unwrap().count()
    }

    /// A process of the container `cgroup`.
    fn client(&self, cgroup: &TestCgroup) -> Client {
        self.client_by(&[], Some(cgroup))
    }

    /// A process that `prefix` starts. Without a cgroup it is the host's.
    fn client_by(&self, prefix: &[&str], cgroup: Option<&TestCgroup>) -> Client {
        let words = [prefix, &[PYTHON, "-I", "-c", CLIENT]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.file("proc"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let client = Client { child, stdin, stdout: BufReader::new(stdout) };
        match cgroup {
            Some(cgroup) => cgroup.add_pid(pid),
            None => testkit::hierarchies().iter().for_each(|hierarchy| {
                std::fs::write(hierarchy.mount.join("cgroup.procs"), pid.to_string()).unwrap();
            }),
        }
        client
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

/// Does what it is told in lines, and says what came of it: an errno's name where it failed.
const CLIENT: &str = r#"
import errno, os, select, sys

names = {"IN": 1, "PRI": 2, "OUT": 4, "ERR": 8}

def poll(fd, wanted, milliseconds):
    poll = select.poll()
    poll.register(fd, sum(names[name] for name in wanted.split("+")))
    ready = sum(events for _, events in poll.poll(milliseconds))
    return "+".join(name for name, bit in names.items() if ready & bit)

def epoll(fd):
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLPRI)
    return "PRI" if epoll.poll(60)[0][1] & select.EPOLLPRI else "?"

def do(what, *words):
    if what == "open":
        return os.open(words[0], os.O_RDWR)
    if what == "look":
        return os.open(words[0], os.O_RDONLY)
    fd = int(words[0])
    if what == "write":
        return os.write(fd, " ".join(words[1:]).encode())
    if what == "read":
        return os.pread(fd, 4096, 0).decode().replace("\n", ";")
    if what == "poll":
        return poll(fd, words[1], int(words[2]))
    if what == "epoll":
        return epoll(fd)
    if what == "close":
        return os.close(fd)

for line in sys.stdin:
    try:
        print(do(*line.split()), flush=True)
    except OSError as error:
        name = errno.errorcode[error.errno]
        print("EOPNOTSUPP" if name == "ENOTSUP" else name, flush=True)
"#;

/// A process that opens, writes and polls. Its working directory is the view's `proc`.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer()
    }

    /// Opens `pressure/name` to read and write; the descriptor's number.
    fn open(&mut self, name: &str) -> String {
        let fd = self.ask(&format!("open pressure/{name}"));
        assert!(fd.parse::<u32>().is_ok(), "{name}: {fd}");
        fd
    }

    /// What writing `text` to a newly opened file comes to: `ok`, or an errno.
    fn try_trigger(&mut self, name: &str, text: &str) -> String {
        let fd = self.open(name);
        let written = self.ask(&format!("write {fd} {text}"));
        self.ask(&format!("close {fd}"));
        if written == text.len().to_string() { "ok".to_owned() } else { written }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TRIGGER: &str = "some 1500000 2000000";

#[test]
fn io_pressure_is_own() {
    let Some(daemon) = Daemon::start("io_pressure_is_own") else { return };
    let cgroup = TestCgroup::new("pressure-own");
    let mut client = daemon.client(&cgroup);
    if !per_cgroup() {
        assert_eq!(client.ask("open pressure/io"), "EOPNOTSUPP");
        return;
    }
    for name in ["cpu", "memory", "io"] {
        let fd = client.open(name);
        eventually("a moment in which nothing changes", || {
            let own = || cgroup.read("unified", &format!("{name}.pressure")).replace('\n', ";");
            let (before, seen, after) = (own(), client.ask(&format!("read {fd}")), own());
            assert!(seen.starts_with("some avg10="), "{seen}");
            if before == after {
                assert_eq!(seen, before);
            }
            before == after
        });
    }
}

#[test]
fn the_files_are_those_of_the_host() {
    let Some(daemon) = Daemon::start("the_files_are_those_of_the_host") else { return };
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let directory = daemon.file("proc/pressure");
    assert_eq!(names(&directory), names(Path::new("/proc/pressure")));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&directory), mode(&directory.join("io"))), (0o555, 0o666));
    assert_eq!(mounted(daemon.child.id(), &directory).unwrap().0, "fuse.resview");
}

#[test]
fn a_caller_of_the_host_gets_the_hosts_own() {
    let Some(daemon) = Daemon::start("a_caller_of_the_host_gets_the_hosts_own") else { return };
    let mut client = daemon.client_by(&[], None);
    let fd = client.open("cpu");
    eventually("a moment in which nothing changes", || {
        let own = || std::fs::read_to_string("/proc/pressure/cpu").unwrap().replace('\n', ";");
        let (before, seen, after) = (own(), client.ask(&format!("read {fd}")), own());
        before == after && seen == before
    });
    // The kernel drops the last byte of what is written to the host's own file, which would make
    // this window too short.
    assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), TRIGGER.len().to_string());
    assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), "EBUSY");
}

#[test]
fn missing_pressure_is_an_error() {
    let Some(daemon) = Daemon::start("missing_pressure_is_an_error") else { return };
    let cgroup = TestCgroup::new("pressure-missing");
    let mut client = daemon.client(&cgroup);
    if !per_cgroup() {
        for name in ["cpu", "memory", "io"] {
            assert_eq!(client.ask(&format!("open pressure/{name}")), "EOPNOTSUPP");
        }
        return;
    }
    let fd = client.open("cpu");
    cgroup.write("unified", "cgroup.pressure", "0");
    assert_eq!(client.ask("open pressure/cpu"), "EOPNOTSUPP");
    assert_eq!(client.ask(&format!("read {fd}")), "ENODEV");
    assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), "ENODEV");
    cgroup.write("unified", "cgroup.pressure", "1");
    client.open("cpu");
    assert_eq!(client.ask("open pressure/none"), "ENOENT");
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let Some(daemon) = Daemon::start("what_the_kernel_refuses_is_refused") else { return };
    if nothing_but_errors(&daemon, "what_the_kernel_refuses_is_refused") {
        return;
    }
    let cgroup = TestCgroup::new("pressure-refused");
    let mut client = daemon.client(&cgroup);
    for text in [
        "some",
        "most 100000 2000000",
        "some 0 2000000",
        "some 2000001 2000000",
        "some 100000 0",
        "some 100000 12000000",
        "some 100000 4294967296",
    ] {
        assert_eq!(client.try_trigger("memory", text), "EINVAL", "{text}");
    }
    for text in ["some 100000 2000000", "full 2000000 2000000", "some 1 10000000"] {
        for name in ["cpu", "memory", "io"] {
            assert_eq!(client.try_trigger(name, text), "ok", "{name}: {text}");
        }
    }
    let fd = client.open("cpu");
    assert_eq!(client.ask(&format!("poll {fd} IN+PRI 60000")), "IN+PRI+ERR", "no trigger");
    assert_eq!(client.ask(&format!("write {fd} some 0 2000000")), "EINVAL");
    assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), TRIGGER.len().to_string());
    assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), "EBUSY");
    assert_eq!(client.ask(&format!("poll {fd} IN+OUT 0")), "IN+OUT");
}

#[test]
fn psi_trigger_then_close_survives() {
    let Some(daemon) = Daemon::start("psi_trigger_then_close_survives") else { return };
    if nothing_but_errors(&daemon, "psi_trigger_then_close_survives") {
        return;
    }
    let cgroup = TestCgroup::new("pressure-close");
    let mut client = daemon.client(&cgroup);
    // Once, so that the descriptors that are kept are there.
    assert_eq!(client.try_trigger("cpu", TRIGGER), "ok");
    client.open("cpu");
    let mut before = daemon.count("fd");
    eventually("the first one is closed", || {
        let now = daemon.count("fd");
        std::mem::replace(&mut before, now) == now
    });
    for _ in 0..100 {
        assert_eq!(client.try_trigger("cpu", TRIGGER), "ok", "more than 64, one at a time");
    }
    eventually("all are freed", || daemon.count("fd") <= before);
    // The opener dies with its triggers.
    let mut other = daemon.client(&cgroup);
    for _ in 0..10 {
        let fd = other.open("cpu");
        other.ask(&format!("write {fd} {TRIGGER}"));
    }
    assert!(daemon.count("fd") >= before + 10);
    drop(other);
    eventually("the dead one's are freed", || daemon.count("fd") <= before);
    assert_eq!(client.try_trigger("cpu", TRIGGER), "ok");
}

#[test]
fn psi_window_not_forced_to_2s() {
    let Some(daemon) = Daemon::start("psi_window_not_forced_to_2s") else { return };
    if nothing_but_errors(&daemon, "psi_window_not_forced_to_2s") {
        return;
    }
    let cgroup = TestCgroup::new("pressure-window");
    let mut client = daemon.client(&cgroup);
    // Without the capability the kernel refuses the daemon, and the daemon the client.
    let expected = if has_sys_resource() { "ok" } else { "EINVAL" };
    for text in ["some 100000 1000000", "some 100000 1500000"] {
        assert_eq!(client.try_trigger("memory", text), expected, "{text}");
    }
    assert_eq!(client.try_trigger("memory", "some 100000 2000000"), "ok");
}

#[test]
fn psi_unprivileged_window_rule() {
    let Some(daemon) = Daemon::start("psi_unprivileged_window_rule") else { return };
    if nothing_but_errors(&daemon, "psi_unprivileged_window_rule") {
        return;
    }
    let without = "-sys_resource";
    let ways: [&[&str]; 3] = [
        &["setpriv", "--inh-caps", without, "--bounding-set", without],
        &["setpriv", "--reuid", "65534", "--clear-groups"],
        &["unshare", "--user", "--map-root-user"],
    ];
    for way in ways {
        let cgroup = TestCgroup::new("pressure-unprivileged");
        let mut client = daemon.client_by(way, Some(&cgroup));
        assert_eq!(client.try_trigger("cpu", "some 100000 1000000"), "EINVAL", "{way:?}");
        assert_eq!(client.try_trigger("cpu", "some 100000 4000000"), "ok", "{way:?}");
    }
}

#[test]
fn hundreds_of_triggers_one_thread() {
    let Some(daemon) = Daemon::start("hundreds_of_triggers_one_thread") else { return };
    if nothing_but_errors(&daemon, "hundreds_of_triggers_one_thread") {
        return;
    }
    let threads = daemon.count("task");
    let cgroups: Vec<_> =
        (0..5).map(|index| TestCgroup::new(&format!("pressure-many-{index}"))).collect();
    let mut clients: Vec<_> = cgroups.iter().map(|cgroup| daemon.client(cgroup)).collect();
    let mut last = String::new();
    for client in &mut clients {
        for _ in 0..64 {
            last = client.open("memory");
            assert_eq!(client.ask(&format!("write {last} {TRIGGER}")), TRIGGER.len().to_string());
        }
    }
    assert_eq!(daemon.count("task"), threads, "320 triggers and not one thread more");
    for client in &mut clients {
        assert_eq!(client.try_trigger("io", TRIGGER), "ENOSPC", "the 65th");
    }
    let client = clients.last_mut().unwrap();
    client.ask(&format!("close {last}"));
    eventually("its place is free again", || client.try_trigger("io", TRIGGER) == "ok");
}

#[test]
fn poll_elsewhere_is_enosys() {
    let Some(daemon) = Daemon::start("poll_elsewhere_is_enosys") else { return };
    let mut client = daemon.client_by(&[], None);
    assert_eq!(client.ask("open uptime"), "EACCES");
    // The kernel's own answer for a file that is not polled: never PRI, never ERR.
    let fd = client.ask("look uptime");
    assert_eq!(client.ask(&format!("poll {fd} IN+PRI+OUT 60000")), "IN+OUT");
    // On the other connection POLL is asked all the same.
    let fd = client.open("cpu");
    assert_eq!(client.ask(&format!("poll {fd} PRI 60000")), "PRI+ERR");
}

/// Two busy loops that may use a fifth of one CPU.
fn squeeze(cgroup: &TestCgroup) -> Vec<Running> {
    cgroup.set_cpuset("0");
    cgroup.set_quota(20_000, 100_000);
    let busy = || {
        let mut command = Command::new("sh");
        let running = Running::start(command.args(["-c", "read go; while :; do :; done"]));
        cgroup.add_pid(running.pid());
        running
    };
    vec![busy(), busy()]
}

#[test]
fn a_trigger_fires_under_real_pressure_and_only_there() {
    let Some(daemon) = Daemon::start("a_trigger_fires_under_real_pressure_and_only_there") else {
        return;
    };
    if nothing_but_errors(&daemon, "a_trigger_fires_under_real_pressure_and_only_there") {
        return;
    }
    let (idle, squeezed) = (TestCgroup::new("pressure-idle"), TestCgroup::new("pressure-busy"));
    let (mut waiting, mut bystander) = (daemon.client(&squeezed), daemon.client(&idle));
    let (fd, other) = (waiting.open("cpu"), bystander.open("cpu"));
    for (client, fd) in [(&mut waiting, &fd), (&mut bystander, &other)] {
        assert_eq!(client.ask(&format!("write {fd} {TRIGGER}")), TRIGGER.len().to_string());
    }
    assert_eq!(waiting.ask(&format!("poll {fd} PRI 0")), "");
    // It waits before there is any pressure, so it has to be woken.
    waiting.tell(&format!("poll {fd} PRI 120000"));
    let _loops = squeeze(&squeezed);
    assert_eq!(waiting.answer(), "PRI");
    assert_eq!(waiting.ask(&format!("epoll {fd}")), "PRI", "and again, by epoll");
    assert_eq!(bystander.ask(&format!("poll {other} PRI 0")), "");
    assert!(waiting.ask(&format!("read {fd}")).starts_with("some avg10="));
}

#[test]
fn a_poller_is_told_that_its_cgroup_is_gone() {
    let Some(daemon) = Daemon::start("a_poller_is_told_that_its_cgroup_is_gone") else { return };
    if nothing_but_errors(&daemon, "a_poller_is_told_that_its_cgroup_is_gone") {
        return;
    }
    let (first, second) = (TestCgroup::new("pressure-gone"), TestCgroup::new("pressure-next"));
    let mut client = daemon.client(&first);
    let fd = client.open("memory");
    client.ask(&format!("write {fd} {TRIGGER}"));
    client.tell(&format!("poll {fd} PRI 120000"));
    second.add_pid(client.child.id());
    drop(first);
    assert_eq!(client.answer(), "PRI+ERR");
    assert_eq!(client.ask(&format!("read {fd}")), "ENODEV");
}

#[test]
fn a_poller_does_not_keep_the_daemon_from_ending() {
    let test = "a_poller_does_not_keep_the_daemon_from_ending";
    let Some(daemon) = Daemon::start(test) else { return };
    let mut client = daemon.client_by(&[], None);
    let fd = client.open("memory");
    assert_eq!(client.ask(&format!("write {fd} some 2000000 2000000")), "20");
    assert_eq!(client.ask(&format!("poll {fd} PRI 0")), "");
    client.tell(&format!("poll {fd} PRI 120000"));
    drop(daemon); // asserts that it exits with 0
    assert_eq!(client.answer(), "ERR");
}

#[test]
fn lxcfs_has_triggers_with_enable_psi_poll_only() {
    let test = "lxcfs_has_triggers_with_enable_psi_poll_only";
    for (words, expected) in [
        (&["-p", "pid"][..], "EINVAL"),
        (&["-p", "pid", "--enable-psi-poll"], if per_cgroup() { "ok" } else { "EOPNOTSUPP" }),
    ] {
        let Some(daemon) = Daemon::start_as(test, "lxcfs", words) else { return };
        let cgroup = TestCgroup::new("pressure-lxcfs");
        let mut client = daemon.client(&cgroup);
        if per_cgroup() {
            assert_eq!(client.try_trigger("cpu", TRIGGER), expected, "{words:?}");
        } else {
            assert_eq!(client.ask("open pressure/cpu"), "EOPNOTSUPP");
        }
    }
}

#[test]
fn a_run_has_its_own_pressure() {
    if !can_run("a_run_has_its_own_pressure") {
        return;
    }
    let script =
        "grep -c ' /proc/pressure ' /proc/self/mountinfo; cat /proc/pressure/io 2>&1; true";
    let text = stdout_of(&run_sh(&[], script));
    let (binds, content) = text.split_once('\n').unwrap();
    assert_eq!(binds, "1", "{text}");
    let expected = if per_cgroup() { "some avg10=0.00" } else { "not supported" };
    assert!(content.contains(expected), "{text}");
}
