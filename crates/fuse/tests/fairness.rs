//! A reader with many threads waits for itself, not the others for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::place::{Mountpoint, isolated};
use common::process::{Waiting, role, start, until, until_told_to_end};
use fuse::{
    Attr, AttrReply, Context, Ended, Entry, Fairness, Fh, FileType, Filesystem, NodeId, OFlags,
    OpenFlags, OpenReply, Peek, ReadBuf, Result, Serve,
};

const TTL: Duration = Duration::from_secs(3600);
const GREEDY: u64 = 2;
const MODEST: u64 = 3;
const MANY: usize = 100;

/// Two files, a class of readers for each. Reads wait at a gate until it is opened.
#[derive(Default)]
struct Gated {
    /// Whether callers are known only once somebody has looked who they are.
    strangers: bool,
    opens: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
    /// The files read, in order.
    order: Mutex<Vec<u64>>,
}

fn attr(node: NodeId) -> Attr {
    let kind = if node == NodeId::ROOT { FileType::Directory } else { FileType::Regular };
    let mtime = Duration::ZERO;
    Attr { ino: node.0, size: 0, kind, mode: 0o755, nlink: 1, uid: 0, gid: 0, mtime }
}

impl Filesystem for Gated {
    fn class(&self, peek: &Peek) -> u64 {
        peek.fh.filter(|_| !self.strangers).map_or(0, |fh| fh.0)
    }

    fn class_of_stranger(&self, peek: &Peek) -> u64 {
        peek.fh.map_or(0, |fh| fh.0)
    }

    fn lookup(&self, _: &Context<'_>, _: NodeId, name: &OsStr) -> Result<Entry> {
        let node = NodeId(if name == "greedy" { GREEDY } else { MODEST });
        Ok(Entry { node, attr: attr(node), entry_ttl: TTL, attr_ttl: TTL })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> Result<AttrReply> {
        Ok(AttrReply { attr: attr(node), ttl: TTL })
    }

    fn open(&self, _: &Context<'_>, node: NodeId, _: OFlags) -> Result<OpenReply> {
        self.opens.fetch_add(1, Ordering::SeqCst);
        Ok(OpenReply { fh: Fh(node.0), flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
    }

    fn read(
        &self,
        _: &Context<'_>,
        _: NodeId,
        fh: Fh,
        _: u64,
        out: &mut ReadBuf<'_>,
    ) -> Result<()> {
        drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        self.order.lock().unwrap().push(fh.0);
        out.put(b"x");
        Ok(())
    }
}

#[test]
#[ignore = "the process that reads in the other test"]
fn client() {
    let arguments = role();
    let [path, threads] = &arguments[..] else { panic!("{arguments:?}") };
    let file = File::open(path).unwrap();
    until_told_to_end(|| std::thread::sleep(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        for _ in 0..threads.parse().unwrap() {
            scope.spawn(|| assert_eq!(file.read_at(&mut [0; 8], 0).unwrap(), 1));
        }
    });
}

/// The place of the modest reader's read among those of the greedy one's threads, which all came
/// before, and how many there were.
fn place_of_the_modest(fairness: Fairness, strangers: bool, quiet: bool) -> (usize, usize) {
    let tree = Gated { strangers, ..Gated::default() };
    let (at, tree) = (Mountpoint::new(), Arc::new(tree));
    let session = at.session();
    let how = Serve { fairness, ..Serve::with_threads(NonZeroUsize::MIN) };
    let serving = session.serve(Arc::clone(&tree) as Arc<dyn Filesystem>, how).unwrap();
    let mut before = 0;
    until("the thread waits in read(2), if it shall", || {
        let flags = rustix::fs::fcntl_getfl(session.device()).unwrap();
        let is_so = !quiet || !flags.contains(OFlags::NONBLOCK);
        if !is_so {
            drop(File::open(at.file("modest")).unwrap());
            before += 1;
        }
        is_so
    });
    let waiting = Waiting::of(at.path());
    let client = |file, threads: usize| {
        let path = at.file(file).to_str().unwrap().to_owned();
        start("client", &[path, threads.to_string()], Stdio::piped())
    };
    let (mut greedy, mut modest) = (client("greedy", MANY), client("modest", 1));
    until("both have opened", || tree.opens.load(Ordering::SeqCst) == before + 2);
    drop(greedy.0.stdin.take());
    until("all the threads wait", || waiting.count() == MANY);
    drop(modest.0.stdin.take());
    until("the modest one waits too", || waiting.count() == MANY + 1);
    *tree.open.lock().unwrap() = true;
    tree.opened.notify_all();
    assert!(greedy.end().success());
    assert!(modest.end().success());
    assert_eq!(serving.stop(), Ended::Stopped);
    let order = tree.order.lock().unwrap();
    (order.iter().position(|&fh| fh == MODEST).unwrap(), order.len())
}

#[test]
fn a_greedy_reader_does_not_delay_a_modest_one() {
    isolated("fuse::a_greedy_reader_does_not_delay_a_modest_one", || {
        assert_eq!(place_of_the_modest(Fairness::default(), false, false), (32, MANY + 1));
        let (place, all) = place_of_the_modest(Fairness::default(), false, true);
        assert!(place <= 32 && all == MANY + 1, "{place} of {all}");
        let never = Fairness { burst: NonZeroU32::MAX, ..Fairness::default() };
        assert_eq!(
            place_of_the_modest(never, false, true),
            (MANY, MANY + 1),
            "in the order of their coming"
        );
    });
}

#[test]
fn new_threads_do_not_escape_their_turn() {
    isolated("fuse::new_threads_do_not_escape_their_turn", || {
        // 32 are let pass unseen, and 32 more of their class.
        assert_eq!(place_of_the_modest(Fairness::default(), true, false), (64, MANY + 1));
        let (place, all) = place_of_the_modest(Fairness::default(), true, true);
        assert!(place <= 64 && all == MANY + 1, "{place} of {all}");
    });
}
