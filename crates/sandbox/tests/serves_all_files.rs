//! A worker in the sandbox: every file of the view is read through a real mount from within a
//! container, triggers are set, and the mount ends when it is unmounted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use common::*;
use container::registry::{Id, Registration, Target, Writer};
use fuse::{Connection, Features, Filesystem, Journal, MountOptions, Serve, ServeHandle, Session};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use sandbox::{Sandbox, enter, settle};
use testkit::{Layout, TestCgroup, layout, need_command, need_fuse, need_root};
use view::policy::Policy;
use viewfs::{ContainerTree, Contents, Keep, PressureTree, SharedTree, Upkeep};

/// Where a child finds its mount points.
const DIR: &str = "RESVIEW_SANDBOX_DIR";
/// Neither root nor anybody.
const OTHER_USER: u32 = 61_234;
/// A container of root's, and one of the other user's.
const ROOTFUL: &[&str] = &["unshare", "--fork", "--pid", "--kill-child"];
const ROOTLESS: &[&str] = &[
    "setpriv",
    "--reuid",
    "61234",
    "--clear-groups",
    "unshare",
    "--user",
    "--fork",
    "--pid",
    "--kill-child",
];

fn main() -> ExitCode {
    run(&[("a_container_reads_every_file", a_container_reads_every_file)], &[("serve", serve)])
}

/// A worker: opens, gives up, starts, serves.
fn serve() {
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let run = dir.join("run");
    let upkeep = Upkeep {
        histories: Some(run.join("histories")),
        registrations: Some(dir.join("registrations")),
        ..Upkeep::default()
    };
    let opened = Contents::of_this_host(Policy::default(), &upkeep).unwrap();
    let keep = Arc::new(Keep::create().unwrap());
    let usual = Features::default();
    let shared = session(&dir.join("view"), &usual);
    let containers = session(&dir.join("containers"), &Features::page_cached());
    let pressure = opened.has_pressure().then(|| session(&dir.join("pressure"), &usual));
    let sandbox = Sandbox {
        writable: vec![run.clone()],
        triggers: true,
        memory: Some(512 << 20),
        ..Sandbox::default()
    };
    let report = enter(&sandbox).unwrap();

    let contents = Arc::new(opened.start().unwrap());
    settle(&sandbox).unwrap();
    assert!(fs::write(run.join("more"), "").is_err(), "nothing is made any more");
    let tree = SharedTree::new(Arc::clone(&contents), Arc::clone(&keep));
    let shared = serving(shared, Arc::new(tree));
    let tree = ContainerTree::new(Arc::clone(&contents), Arc::clone(&keep));
    let containers = serving(containers, Arc::new(tree));
    let pressure = pressure.map(|(session, journal)| {
        let tree = PressureTree::start(contents, Some(session.notifier()), keep).unwrap();
        serving((session, journal), Arc::new(tree))
    });
    println!("ready {report}");
    let ends =
        [Some(shared), Some(containers), pressure].into_iter().flatten().map(ServeHandle::wait);
    assert!(ends.into_iter().all(|end| matches!(end, fuse::Ended::Unmounted)));
    println!("unmounted");
}

fn session(mountpoint: &Path, features: &Features) -> (Session, Journal) {
    let options = MountOptions {
        mountpoint: mountpoint.to_owned(),
        subtype: "resview".to_owned(),
        source: "resview-test".to_owned(),
        allow_other: true,
        default_permissions: true,
        read_only: false,
    };
    let session = Connection::mount(&options).unwrap().init(features).unwrap();
    (session, Journal::create().unwrap())
}

fn serving((session, journal): (Session, Journal), tree: Arc<dyn Filesystem>) -> ServeHandle {
    let threads = NonZeroUsize::MIN.saturating_add(2);
    let how = Serve { journal: Some(Arc::new(journal)), ..Serve::with_threads(threads) };
    session.serve(tree, how).unwrap()
}

/// A worker, in the mount namespace of the calling thread.
struct Worker {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    dir: tempfile::TempDir,
}

impl Worker {
    fn start() -> Self {
        // Nothing of the test shall be seen on the machine's own mounts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), open_to_all).unwrap();
        for name in ["view", "pressure", "containers", "run"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let run = dir.path().join("run");
        mount(Some("run"), &run, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let mut command = child("serve");
        let mut child = command.env(DIR, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut worker = Self { child, stdout, dir };
        let line = worker.line();
        assert!(line.starts_with("ready ") && line.contains("seccomp refuses"), "{line:?}");
        worker
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs a shell script in `cgroup`, by `how`. Returns what it printed.
    fn run(&self, how: &[&str], cgroup: &TestCgroup, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-c", "read go; exec \"$@\"", "sh"]).args(how).args(["sh", "-c", script]);
        command.current_dir(self.dir.path());
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cgroup.add_pid(shell.id());
        shell.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let output = shell.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn unmount(&self) {
        for name in ["pressure", "containers", "view"] {
            // Not there without pressure, and not a second time.
            let _ = umount2(&self.path(name), MntFlags::MNT_DETACH);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.unmount();
        let _ = umount2(&self.path("run"), MntFlags::MNT_DETACH);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_container_reads_every_file() {
    let test = "a_container_reads_every_file";
    let commands = ["setpriv", "unshare", "find"];
    if !need_root(test) || !need_fuse(test) || !commands.iter().all(|name| need_command(test, name))
    {
        return;
    }
    let mut worker = Worker::start();
    let cgroup = TestCgroup::new("sandbox");
    cgroup.set_memory(64 << 20);
    for how in [ROOTFUL, ROOTLESS] {
        let meminfo = worker.run(how, &cgroup, "head -n 1 view/proc/meminfo");
        assert_eq!(meminfo, "MemTotal:          65536 kB\n", "the container's own, {how:?}");
    }
    register(&worker, &cgroup);
    let meminfo = fs::read_to_string(worker.path("containers/web/proc/meminfo")).unwrap();
    assert!(meminfo.starts_with("MemTotal:          65536 kB\n"), "{meminfo}");
    for top in ["view", "containers/web"] {
        all_files(&worker, &cgroup, top);
    }
    triggers(&worker, &cgroup);
    assert!(worker.child.try_wait().unwrap().is_none(), "the worker has ended");

    // Nobody holds the mounts: not the worker, though it has a mount namespace of its own.
    worker.unmount();
    assert_eq!(worker.line(), "unmounted\n");
    assert!(worker.child.wait().unwrap().success());
    assert!(worker.path("run/histories").read_dir().unwrap().count() > 0, "histories are kept");
}

/// The worker has its directory open, and no way that leads there.
fn register(worker: &Worker, cgroup: &TestCgroup) {
    let writer = Writer::open(worker.path("registrations")).unwrap();
    let target = Target::Cgroup { path: cgroup.name(), instance: None };
    writer.put(&Registration::new(Id::new("web").unwrap(), target)).unwrap();
}

fn all_files(worker: &Worker, cgroup: &TestCgroup, top: &str) {
    let files = worker.run(ROOTFUL, cgroup, &format!("find {top} -type f"));
    assert!(files.lines().count() > 50, "{files}");
    let script = format!("cat $(find {top} -type f) 2>&1 >/dev/null || true");
    for failed in worker.run(ROOTFUL, cgroup, &script).lines() {
        // Some files of sysfs are never readable.
        let name = failed.strip_prefix("cat: ").and_then(|rest| rest.strip_prefix(top));
        let name = name.and_then(|rest| rest.split(':').next());
        let name = name.unwrap_or_else(|| panic!("{failed}"));
        assert!(fs::read(name).is_err(), "not so on the host: {failed}");
    }
}

/// Triggers, also where the cgroup was handed to another user.
fn triggers(worker: &Worker, cgroup: &TestCgroup) {
    if !Path::new("/proc/pressure/memory").exists() {
        return;
    }
    let set = "( exec 3<>pressure/memory && printf 'some 100000 2000000' >&3 && echo set ) \
               2>/dev/null || echo no";
    if layout() == Layout::V1 {
        // There is no pressure per cgroup.
        return assert_eq!(worker.run(ROOTFUL, cgroup, set), "no\n");
    }
    assert_eq!(worker.run(ROOTFUL, cgroup, set), "set\n");
    let file = cgroup.path("unified").join("memory.pressure");
    chown(&file, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(worker.run(ROOTFUL, cgroup, set), "set\n", "the cgroup was handed to its user");
    assert_eq!(worker.run(ROOTLESS, cgroup, "head -c 4 pressure/memory"), "some");
}
