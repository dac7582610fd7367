//! Called as `lxcfs`: options, pidfile, signals and exit codes are LXCFS's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Output, Stdio};

use common::*;
use rustix::process::Signal;
use testkit::{TestCgroup, need_command};

/// A directory with a link named `lxcfs`, a mountpoint and room for a pidfile.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(RESVIEW, dir.path().join("lxcfs")).unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `lxcfs` with these words, which ends by itself.
    fn call(&self, words: &[&str]) -> Output {
        Command::new(self.path("lxcfs")).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// `lxcfs` on our mountpoint, serving.
    fn start(&self, options: &[&str]) -> Lxcfs {
        let mut command = in_private_mounts(&self.path("lxcfs"));
        command.args(options).arg("-p").arg(self.path("lxcfs.pid")).arg(self.path("mnt"));
        command.arg("--runtime-dir").arg(self.path("run"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (pid, mountpoint) = (child.id(), self.path("mnt"));
        // Mounted, and the pidfile was written before. Readers wait for the first worker.
        eventually("lxcfs is mounted", || mounted(pid, &mountpoint).is_some());
        if Path::new("/proc/pressure").exists() {
            let pressure = mountpoint.join("proc/pressure");
            eventually("and its pressure files", || mounted(pid, &pressure).is_some());
        }
        Lxcfs { child, stderr, mountpoint }
    }
}

struct Lxcfs {
    child: std::process::Child,
    stderr: BufReader<ChildStderr>,
    mountpoint: PathBuf,
}

impl Lxcfs {
    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn wait_for(&mut self, words: &str) {
        let mut lines = self.stderr.by_ref().lines().map(|line| line.unwrap());
        assert!(lines.any(|line| line.contains(words)), "{words:?} was never said");
    }

    /// The exit code. No worker is left then.
    fn end(mut self) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        assert_eq!(processes_with(self.mountpoint.to_str().unwrap()), Vec::<u32>::new());
        code
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        kill_daemon(&self.mountpoint);
        let _ = self.child.wait();
    }
}

fn can_serve(test: &str) -> bool {
    can_run(test) && need_command(test, "unshare") && need_command(test, "nsenter")
}

#[test]
fn version_quoted_on_stderr() {
    let place = Place::new();
    for option in ["-v", "--version", "--vers"] {
        let output = place.call(&[option]);
        assert_eq!(output.status.code(), Some(0), "{option}");
        assert_eq!(output.stdout, b"");
        let said = stderr_of(&output);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "\"7.0.0\"");
        assert!(lines[1].starts_with("\"resview ") && lines.len() == 2, "{said}");
    }
}

#[test]
fn help_is_on_stderr_and_exits_one() {
    let place = Place::new();
    for option in ["-h", "--help"] {
        let output = place.call(&[option]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
        assert!(stderr_of(&output).contains("--enable-cfs"), "{output:?}");
    }
}

#[test]
fn unknown_option_exits_one() {
    let place = Place::new();
    for words in
        [&["--frobnicate", "/x"][..], &["-o", "frobnicate", "/x"], &["-d", "-f", "/x"], &[]]
    {
        assert_eq!(place.call(words).status.code(), Some(1), "{words:?}");
    }
}

#[test]
fn it_bears_lxcfs_name_and_keeps_a_pidfile() {
    if !can_serve("it_bears_lxcfs_name_and_keeps_a_pidfile") {
        return;
    }
    let place = Place::new();
    let lxcfs = place.start(&["-l", "--enable-cfs", "--enable-pidfd"]);
    let pid = lxcfs.child.id();
    let names = mounted(pid, &place.path("mnt")).unwrap();
    assert_eq!(names, ("fuse.lxcfs".to_owned(), "lxcfs".to_owned()));
    let pidfile = place.path("lxcfs.pid");
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap(), format!("{pid}\n"));
    assert_eq!(pidfile.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(std::fs::read_to_string(seen_by(pid, &place.path("mnt/proc/meminfo"))).is_ok());
    lxcfs.signal(Signal::TERM);
    assert_eq!(lxcfs.end(), Some(0));
    assert!(!pidfile.exists());
}

#[test]
fn sigterm_exits_zero() {
    if !can_serve("sigterm_exits_zero") {
        return;
    }
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let lxcfs = place.start(&[]);
        lxcfs.signal(signal);
        assert_eq!(lxcfs.end(), Some(0), "{signal:?}");
    }
}

#[test]
fn second_daemon_keeps_pidfile() {
    if !can_serve("second_daemon_keeps_pidfile") {
        return;
    }
    let place = Place::new();
    let first = place.start(&[]);
    std::fs::create_dir(place.path("other")).unwrap();
    let pid = first.child.id();
    let worker = worker_of(pid);
    let [pidfile, run] = ["lxcfs.pid", "run"].map(|name| place.path(name));
    let options = ["-p", pidfile.to_str().unwrap(), "--runtime-dir", run.to_str().unwrap()];
    // Nor does it take over from the first, which has the same runtime directory.
    for mountpoint in ["other", "mnt"] {
        let mountpoint = place.path(mountpoint);
        let output = place.call(&[&options[..], &[mountpoint.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = stderr_of(&output);
        assert!(said.contains(&format!("already running as process {pid}")), "{said}");
    }
    assert_eq!(worker_of(pid), worker, "the first goes on");
    let kept = std::fs::read_to_string(pidfile).unwrap();
    assert_eq!(kept, format!("{pid}\n"));
}

#[test]
fn the_runtime_dir_is_where_the_pidfile_goes() {
    if !can_serve("the_runtime_dir_is_where_the_pidfile_goes") {
        return;
    }
    let place = Place::new();
    let run = place.path("run");
    let mut command = in_private_mounts(&place.path("lxcfs"));
    command.arg("--runtime-dir").arg(&run).arg(place.path("mnt"));
    let running = Running::start(&mut command);
    // TERM at this moment, when the first worker is just about to put the pressure files in place.
    eventually("lxcfs is mounted", || mounted(running.pid(), &place.path("mnt")).is_some());
    assert!(run.join("lxcfs.pid").exists());
    running.signal(Signal::TERM);
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn usr1_loses_nothing_and_usr2_switches_in_lxcfs_words() {
    let test = "usr1_loses_nothing_and_usr2_switches_in_lxcfs_words";
    if !can_serve(test) {
        return;
    }
    let place = Place::new();
    let mut lxcfs = place.start(&[]);
    let cgroup = TestCgroup::new(test);
    cgroup.set_memory(50 << 20);
    let pid = lxcfs.child.id();
    let meminfo = seen_by(pid, &place.path("mnt/proc/meminfo"));
    let total = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read go; exec grep MemTotal \"$1\"", "sh"]).arg(&meminfo);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cgroup.add_pid(child.id());
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        stdout_of(&child.wait_with_output().unwrap())
    };
    let own = "MemTotal:          51200 kB\n";
    assert_eq!(total(), own);

    let (first, open) = (worker_of(pid), std::fs::File::open(&meminfo).unwrap());
    lxcfs.signal(Signal::USR1);
    lxcfs.wait_for("upgraded");
    assert_ne!(worker_of(pid), first, "another worker serves");
    assert!(std::io::read_to_string(open).unwrap().starts_with("MemTotal:"));
    assert_eq!(total(), own);

    lxcfs.signal(Signal::USR2);
    lxcfs.wait_for("Switched into non-virtualization mode");
    let host = std::fs::read_to_string("/proc/meminfo").unwrap();
    let host = format!("{}\n", host.lines().next().unwrap());
    // The words are the supervisor's, and the worker hears of it at the same time.
    eventually("the host's content", || total() == host);
    // What workers are told holds for the next one too.
    lxcfs.signal(Signal::USR1);
    lxcfs.wait_for("upgraded");
    assert_eq!(total(), host);
    lxcfs.signal(Signal::USR2);
    lxcfs.wait_for("Switched into virtualization mode");
    eventually("the container's content", || total() == own);
    lxcfs.signal(Signal::TERM);
    assert_eq!(lxcfs.end(), Some(0));
}

#[test]
fn options_without_effect_are_said_once() {
    if !can_serve("options_without_effect_are_said_once") {
        return;
    }
    let place = Place::new();
    let mut lxcfs = place.start(&["-f", "-s", "--enable-cgroup", "-o", "nonempty,allow_other"]);
    lxcfs.wait_for(
        "without effect here: --foreground, -s, --enable-cgroup, -o nonempty, -o allow_other",
    );
}

#[test]
fn unmounting_it_from_outside_exits_zero() {
    if !can_serve("unmounting_it_from_outside_exits_zero") {
        return;
    }
    let place = Place::new();
    let lxcfs = place.start(&[]);
    let pid = lxcfs.child.id().to_string();
    let mut umount = Command::new("nsenter");
    umount.args(["-t", &pid, "-m", "umount", "-R"]).arg(place.path("mnt"));
    assert!(umount.status().unwrap().success());
    assert_eq!(lxcfs.end(), Some(0));
    assert!(!place.path("lxcfs.pid").exists());
}

#[test]
fn it_lists_the_files_of_lxcfs_and_no_others_unless_told_to() {
    if !can_serve("it_lists_the_files_of_lxcfs_and_no_others_unless_told_to") {
        return;
    }
    let place = Place::new();
    let listed = |options: &[&str]| {
        let lxcfs = place.start(options);
        let proc = seen_by(lxcfs.child.id(), &place.path("mnt/proc"));
        let names = std::fs::read_dir(&proc).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name != "pressure");
        names.sort();
        let sys = seen_by(lxcfs.child.id(), &place.path("mnt/sys"));
        for directory in ["block", "class"] {
            assert_eq!(sys.join(directory).exists(), !options.is_empty(), "{directory}");
        }
        let has_vmstat = proc.join("vmstat").exists();
        lxcfs.signal(Signal::TERM);
        assert_eq!(lxcfs.end(), Some(0));
        (names, has_vmstat)
    };
    let lxcfs_has =
        ["cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"];
    let (names, has_vmstat) = listed(&[]);
    assert_eq!((names, has_vmstat), (lxcfs_has.map(str::to_owned).into(), false));
    let (names, has_vmstat) = listed(&["-o", "resview.files=all"]);
    assert!(has_vmstat && names.contains(&"softirqs".to_owned()), "{names:?}");
}

#[test]
fn a_directory_with_files_in_it_will_do() {
    if !can_serve("a_directory_with_files_in_it_will_do") {
        return;
    }
    let place = Place::new();
    std::fs::write(place.path("mnt/file"), "").unwrap();
    let lxcfs = place.start(&[]);
    lxcfs.signal(Signal::TERM);
    assert_eq!(lxcfs.end(), Some(0));
}

#[test]
fn a_setup_that_fails_exits_one_and_says_why() {
    let place = Place::new();
    let missing = place.path("missing");
    let [pidfile, run] = ["p", "run"].map(|name| place.path(name));
    let options = ["-p", pidfile.to_str().unwrap(), "--runtime-dir", run.to_str().unwrap()];
    let output = place.call(&[&options[..], &[missing.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains("does not exist"), "{output:?}");
    assert!(!pidfile.exists(), "no pidfile is left");
}
