//! Tasks that hang in the kernel with the locks that it takes for their files in procfs.

use std::ffi::OsStr;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use fuse::{
    Attr, AttrReply, Connection, Context, Entry, Features, Fh, FileType, Filesystem, MountOptions,
    NodeId, OFlags, OpenFlags, OpenReply, ReadBuf, Serve, ServeHandle,
};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::process::Signal;
use testkit::TestCgroup;

use crate::clients::{Client, can_have_clients};
use crate::common::eventually;
use crate::support::{Daemon, kill};

const TTL: Duration = Duration::from_secs(3600);

/// A file system whose only file can be opened, and closed when the gate is opened.
#[derive(Default)]
struct NeverClosed {
    closing: AtomicUsize,
    may_close: Mutex<bool>,
    told: Condvar,
}

fn attr(node: NodeId) -> Attr {
    let kind = if node == NodeId::ROOT { FileType::Directory } else { FileType::Regular };
    Attr { ino: node.0, size: 0, kind, mode: 0o755, nlink: 1, uid: 0, gid: 0, mtime: TTL }
}

impl Filesystem for NeverClosed {
    fn lookup(&self, _: &Context<'_>, _: NodeId, _: &OsStr) -> fuse::Result<Entry> {
        let node = NodeId(2);
        Ok(Entry { node, attr: attr(node), entry_ttl: TTL, attr_ttl: TTL })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> fuse::Result<AttrReply> {
        Ok(AttrReply { attr: attr(node), ttl: TTL })
    }

    fn open(&self, _: &Context<'_>, _: NodeId, _: OFlags) -> fuse::Result<OpenReply> {
        Ok(OpenReply { fh: Fh(1), flags: OpenFlags::DIRECT_IO })
    }

    fn flush(&self, _: &Context<'_>, _: NodeId, _: Fh) -> fuse::Result<()> {
        self.closing.fetch_add(1, Ordering::SeqCst);
        drop(self.told.wait_while(self.may_close.lock().unwrap(), |may| !*may).unwrap());
        Ok(())
    }

    fn read(
        &self,
        _: &Context<'_>,
        _: NodeId,
        _: Fh,
        _: u64,
        _: &mut ReadBuf<'_>,
    ) -> fuse::Result<()> {
        Ok(())
    }
}

/// Whoever closes a file there hangs until this is dropped; nobody is to look at such a process
/// meanwhile but through its `status`.
struct Trap {
    tree: Arc<NeverClosed>,
    file: PathBuf,
    _serving: ServeHandle,
}

impl Trap {
    fn new(namespace: u32, directory: PathBuf) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let mounts = File::open(format!("/proc/{namespace}/ns/mnt")).unwrap();
        let file = directory.join("file");
        let mount = move || {
            unshare(CloneFlags::CLONE_FS).unwrap();
            setns(mounts, CloneFlags::CLONE_NEWNS).unwrap();
            let connection = Connection::mount(&MountOptions {
                mountpoint: directory,
                subtype: "trap".to_owned(),
                source: "trap".to_owned(),
                allow_other: true,
                default_permissions: false,
                read_only: false,
            });
            connection.unwrap().init(&Features::default()).unwrap()
        };
        let session = std::thread::spawn(mount).join().unwrap();
        let tree = Arc::new(NeverClosed::default());
        let threads = Serve::with_threads(NonZeroUsize::new(6).unwrap());
        let serving = session.serve(Arc::clone(&tree) as Arc<dyn Filesystem>, threads).unwrap();
        Self { tree, file, _serving: serving }
    }

    fn caught(&self) -> usize {
        self.tree.closing.load(Ordering::SeqCst)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        *self.tree.may_close.lock().unwrap() = true;
        self.tree.told.notify_all();
    }
}

/// The init of a pid namespace, with a client as its child. As soon as there is a file `go`, it
/// hangs in the middle of an execve, and so does another child of it; that one with a signal that
/// is to end it, so that it counts as blocked.
const INIT: &str = r#"
import os, signal, sys, time
# The words of the client come last, and its program is the last of them.
trap, go, *_, program = sys.argv[1:]

def hang():
    os.open(trap, os.O_RDONLY)
    os.execv("/bin/sleep", ["sleep", "3600"])

if os.fork() == 0:
    exec(program)
    os._exit(0)
while not os.path.exists(go):
    time.sleep(0.01)
if os.fork() == 0:
    signal.alarm(1)
    hang()
hang()
"#;

fn start(daemon: &Daemon, trap: &Path, go: &Path, cgroup: &TestCgroup) -> Client {
    let (trap, go) = (trap.to_str().unwrap(), go.to_str().unwrap());
    let unshare = ["unshare", "--pid", "--fork", "--kill-child=KILL", "/usr/bin/python3", "-I"];
    let words = [&unshare[..], &["-c", INIT, trap, go]].concat();
    Client::start(daemon, &words, cgroup)
}

/// Has a client read all files, each of which has content.
fn read_all(client: &mut Client) {
    for file in client.ask("list proc").split_whitespace().filter(|&name| name != "pressure") {
        let seen = client.ask(&format!("cat proc/{file}"));
        assert!(seen.len() > 5, "{file}: {seen}");
    }
    assert_eq!(client.ask("cat sys/devices/system/cpu/online").chars().next(), Some('0'));
}

#[track_caller]
fn has_memory(client: &mut Client, mib: u64) {
    let seen = client.ask("cat proc/meminfo");
    assert!(seen.starts_with(&format!("MemTotal: {:>14} kB;", mib << 10)), "{seen}");
}

fn load(client: &mut Client) -> f64 {
    let seen = client.ask("cat proc/loadavg");
    seen.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_task_stuck_in_exec_hangs_no_read() {
    if !can_have_clients("a_task_stuck_in_exec_hangs_no_read") {
        return;
    }
    let daemon = Daemon::start(&["--log", "error", "--watchdog", "1s"]);
    let cgroups = ["stuck-known", "stuck-new", "stuck-other"].map(TestCgroup::new);
    let [known, new, other] = &cgroups;
    for (cgroup, mib) in [(known, 64), (new, 48), (other, 32)] {
        cgroup.set_memory(mib << 20);
    }
    let trap = Trap::new(daemon.witness(), daemon.path("trap"));
    let [go, go_new] = ["go", "go-new"].map(|name| daemon.path(name));
    let mut other = Client::start(&daemon, &[], other);
    // One whose init is known before it hangs, and one whose init hangs before anything is read.
    let mut known = start(&daemon, &trap.file, &go, known);
    let open = known.open("r", "proc/meminfo");
    has_memory(&mut known, 64);
    let before = known.ask(&format!("read {open}"));
    let mut new = start(&daemon, &trap.file, &go_new, new);
    std::fs::write(go, "").unwrap();
    std::fs::write(go_new, "").unwrap();
    eventually("all four hang", || trap.caught() == 4);

    let worker = daemon.worker().unwrap();
    let mut look = |known: &mut Client| {
        for (client, mib) in [(known, 64), (&mut new, 48), (&mut other, 32)] {
            read_all(client);
            has_memory(client, mib);
        }
    };
    look(&mut known);
    // Samples are seconds apart: many of the watchdog's periods pass as well.
    eventually("the load counts what hangs", || load(&mut known) > 0.1);
    look(&mut known);
    assert_eq!(daemon.worker(), Some(worker), "the worker lives");

    // A worker that has known none of them, and has to find again whose the open file is.
    kill(worker, Signal::KILL);
    eventually("another serves", || daemon.worker().is_some_and(|pid| pid != worker));
    let worker = daemon.worker().unwrap();
    look(&mut known);
    let after = known.ask(&format!("read {open}"));
    assert_eq!(after.split(';').next(), before.split(';').next());
    eventually("the load counts what hangs", || load(&mut known) > 0.1);
    look(&mut known);
    assert_eq!(daemon.worker(), Some(worker), "it lives as well");
}
