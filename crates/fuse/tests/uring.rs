//! Requests over io_uring. Where the kernel does not offer it, what happens instead.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::place::{Mountpoint, isolated};
use common::process::{Keeper, Process, Waiting, handed_over, until};
use common::{ENTRIES, HELLO, Tree};
use fuse::{Connection, Ended, Features, InitFlags, Recovery, Rings, Serve, ServeHandle, Session};
use testkit::uring::Enabled;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// A connection that asks for io_uring, while that is switched on where there is a switch.
fn session(at: &Mountpoint) -> Session {
    let connection = Connection::mount(&at.options()).unwrap();
    connection.init(&Features::default().over_io_uring()).unwrap()
}

/// Serves over io_uring if that was agreed, as a daemon does.
fn serve(session: &Session, tree: &Arc<Tree>) -> ServeHandle {
    let (tree, how) = (Arc::clone(tree), Serve::with_threads(TWO));
    match session.negotiated().is_over_io_uring() {
        true => {
            let rings = Rings::new(session.negotiated()).unwrap();
            session.serve_over(rings, tree, how).unwrap()
        }
        false => session.serve(tree, how).unwrap(),
    }
}

/// Whether what was agreed is what this kernel has to offer.
fn agreed(session: &Session, enabled: &Enabled) {
    assert_eq!(session.negotiated().is_over_io_uring(), enabled.is_offered());
    let offered = session.negotiated().offered.contains(InitFlags::OVER_IO_URING);
    assert_eq!(offered, enabled.is_offered());
}

fn reads_everything(at: &Mountpoint, tree: &Tree) {
    assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
    assert!(fs::read(at.file("big")).unwrap() == tree.big());
    let names = fs::read_dir(at.file("many")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count() as u64, ENTRIES);
    assert!(fs::metadata(at.file("nothing-of-that-name")).is_err());
}

#[test]
fn many_readers_get_what_there_is() {
    isolated("fuse::uring::many_readers_get_what_there_is", || {
        let enabled = Enabled::switch_on();
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = session(&at);
        agreed(&session, &enabled);
        let serving = serve(&session, &tree);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| reads_everything(&at, &tree)));
            }
        });
        let open = File::open(at.file("hello")).unwrap();
        let mut text = [0; HELLO.len()];
        open.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(text, HELLO);
        let before = tree.released.load(Ordering::SeqCst);
        drop(open);
        until("it is closed", || tree.released.load(Ordering::SeqCst) > before);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn without_being_asked_for_it_is_never_agreed_to() {
    isolated("fuse::uring::without_being_asked_for_it_is_never_agreed_to", || {
        let enabled = Enabled::switch_on();
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = at.session();
        let offered = session.negotiated().offered.contains(InitFlags::OVER_IO_URING);
        assert_eq!(offered, enabled.is_offered());
        assert!(!session.negotiated().is_over_io_uring());
        let serving = session.serve(Arc::clone(&tree) as _, Serve::with_threads(TWO)).unwrap();
        reads_everything(&at, &tree);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn a_reader_that_gives_up_is_let_go() {
    isolated("fuse::uring::a_reader_that_gives_up_is_let_go", || {
        let enabled = Enabled::switch_on();
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = session(&at);
        agreed(&session, &enabled);
        let serving = serve(&session, &tree);
        let mut reader = cat(&at, "slow");
        until("a read hangs", || tree.slow_reads.load(Ordering::SeqCst) > 0);
        reader.0.kill().unwrap();
        assert_eq!(reader.end().signal(), Some(9));
        assert_eq!(tree.interrupted.load(Ordering::SeqCst), 1);
        reads_everything(&at, &tree);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn unmounting_ends_the_service() {
    isolated("fuse::uring::unmounting_ends_the_service", || {
        let enabled = Enabled::switch_on();
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let session = session(&at);
        agreed(&session, &enabled);
        let serving = serve(&session, &tree);
        reads_everything(&at, &tree);
        fuse::unmount(at.path()).unwrap();
        assert_eq!(serving.wait(), Ended::Unmounted);
    });
}

/// `cat` of a file, as a process that can be killed.
fn cat(at: &Mountpoint, file: &str) -> Process {
    Process(Command::new("cat").arg(at.file(file)).stdout(Stdio::piped()).spawn().unwrap())
}

#[test]
#[ignore = "the process that serves in the other tests"]
fn server() {
    let (session, _, _, _) = handed_over();
    let ended = serve(&session, &Arc::new(Tree::new())).wait();
    assert_ne!(ended, Ended::Stopped);
}

/// What a daemon does about a dead worker: nobody is left waiting.
#[test]
fn a_dead_server_leaves_readers_that_only_an_abort_lets_go() {
    isolated("fuse::uring::a_dead_server_leaves_readers_that_only_an_abort_lets_go", || {
        let enabled = Enabled::switch_on();
        let at = Mountpoint::new();
        let session = session(&at);
        agreed(&session, &enabled);
        let keeper = Keeper::new(session);
        let mut server = keeper.server("server", Recovery::None, &[]);
        // Before the one that hangs: it has its whole queue wait.
        reads_everything(&at, &Tree::new());
        let waiting = Waiting::of(at.path());
        let mut reader = cat(&at, "slow");
        until("a read hangs", || waiting.count() > 0);
        server.kill();
        // With the device it could be answered by another; with rings nobody can have it again.
        assert!(
            reader.0.try_wait().unwrap().is_none(),
            "it waits as long as there is a descriptor"
        );
        let mut late = cat(&at, "hello");
        fuse::abort(at.path()).unwrap();
        for reader in [&mut reader, &mut late] {
            assert_eq!(reader.end().code(), Some(1), "an error, and not for ever");
        }
        assert!(fuse::has_pending(std::os::fd::AsFd::as_fd(&keeper.device)).is_err());
    });
}
