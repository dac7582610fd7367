//! Servers that are killed, and those that come after them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use common::place::{Mountpoint, isolated};
use common::process::{Keeper, Process, handed_over, role, start, until, until_told_to_end};
use common::{ENTRIES, HELLO, Tree, request, words};
use fuse::{
    Ended, Fairness, Filesystem, InitFlags, Recovery, Serve, ServeHandle, Session, has_pending,
    unmount,
};

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
const KILLS: u32 = 40;

/// What a server does with its requests.
fn how(more: &[String]) -> Fairness {
    match more.first().map(String::as_str) {
        // Most reads are put off, for a moment.
        Some("lazily") => Fairness { burst: NonZeroU32::MIN, ..Fairness::default() },
        // One read per second: the others are put off for long.
        Some("slowly") => Fairness { per_second: Some(NonZeroU32::MIN), ..Fairness::default() },
        _ => Fairness::default(),
    }
}

#[test]
#[ignore = "the process that serves in the other tests"]
fn server() {
    let (session, journal, recovery, more) = handed_over();
    let mut tree = Tree::new();
    tree.lazy = more.first().is_some_and(|how| how == "lazily");
    let (journal, fairness) = (Some(Arc::new(journal)), how(&more));
    let serve = Serve { journal, recovery, fairness, ..Serve::with_threads(TWO) };
    let handle = session.serve(Arc::new(tree), serve).unwrap();
    assert_ne!(handle.wait(), Ended::Stopped);
}

#[test]
#[ignore = "the process that reads in the other tests"]
fn reader() {
    let at = role().remove(0);
    let (at, tree) = (Path::new(&at), Tree::new());
    let open = File::open(at.join("hello")).unwrap();
    until_told_to_end(|| {
        assert_eq!(fs::read(at.join("hello")).unwrap(), HELLO);
        assert!(fs::read(at.join("big")).unwrap() == tree.big());
        let names = fs::read_dir(at.join("many")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.count() as u64, ENTRIES);
        let mut text = [0; HELLO.len()];
        open.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(text, HELLO);
    });
}

fn reader_of(at: &Mountpoint) -> Process {
    start("reader", &[at.path().to_str().unwrap().to_owned()], Stdio::piped())
}

/// Kills the server again and again while it is read from, and lets the next one recover.
fn killed_servers_are_not_noticed(recovery: Recovery) {
    let at = Mountpoint::new();
    let keeper = Keeper::new(at.session());
    let mut server = keeper.server("server", Recovery::None, &["lazily".to_owned()]);
    let mut readers: Vec<_> = (0..5).map(|_| reader_of(&at)).collect();
    let (mut in_hand, mut parked) = (0, 0);
    for round in 0..KILLS {
        let before = keeper.glance().answered;
        until("a server answers", || keeper.glance().answered > before + 10);
        thread::sleep(Duration::from_micros(u64::from(round) * 997 % 5000));
        server.kill();
        let left = keeper.glance();
        in_hand += left.in_hand.iter().flatten().count();
        parked += left.parked;
        server = keeper.server("server", recovery, &["lazily".to_owned()]);
    }
    readers.iter_mut().for_each(|reader| drop(reader.0.stdin.take()));
    for reader in &mut readers {
        assert!(reader.end().success());
    }
    assert!(in_hand > 0, "all were killed while they did nothing");
    assert!(parked > 0, "nothing was put off when they were killed");
    server.kill();
    unmount(at.path()).unwrap();
}

#[test]
fn killed_servers_are_not_noticed_with_resend() {
    isolated("fuse::killed_servers_are_not_noticed_with_resend", || {
        killed_servers_are_not_noticed(Recovery::Resend);
    });
}

#[test]
fn killed_servers_are_not_noticed_with_a_journal() {
    isolated("fuse::killed_servers_are_not_noticed_with_a_journal", || {
        killed_servers_are_not_noticed(Recovery::Journal);
    });
}

#[test]
fn killed_servers_are_not_noticed_with_both() {
    isolated("fuse::killed_servers_are_not_noticed_with_both", || {
        killed_servers_are_not_noticed(Recovery::Both);
    });
}

/// `cat` of a file, as a process that can be killed.
fn cat(at: &Mountpoint, file: &str) -> Process {
    Process(Command::new("cat").arg(at.file(file)).stdout(Stdio::piped()).spawn().unwrap())
}

/// Serves in this process, after one that was killed.
fn succeed(keeper: &Keeper, tree: &Arc<Tree>, recovery: Recovery) -> ServeHandle {
    let device = keeper.device.try_clone().unwrap();
    let session = Session::adopt(device, keeper.negotiated).unwrap();
    let journal = Some(Arc::new(keeper.journal_again()));
    let serve = Serve { journal, recovery, ..Serve::with_threads(TWO) };
    session.serve(Arc::clone(tree) as Arc<dyn Filesystem>, serve).unwrap()
}

#[test]
fn a_request_that_comes_again_is_known_by_its_number() {
    isolated("fuse::a_request_that_comes_again_is_known_by_its_number", || {
        for recovery in [Recovery::Resend, Recovery::Journal, Recovery::Both] {
            let at = Mountpoint::new();
            let keeper = Keeper::new(at.session());
            let mut server = keeper.server("server", Recovery::None, &[]);
            let mut reader = cat(&at, "slow");
            until("a read hangs", || keeper.reads_in_hand().len() == 1);
            let number = keeper.reads_in_hand().first().copied();
            server.kill();
            assert_eq!(keeper.reads_in_hand().first().copied(), number);

            let tree = Arc::new(Tree::new());
            let serving = succeed(&keeper, &tree, recovery);
            until("the read is back", || tree.slow_reads.load(Ordering::SeqCst) > 0);
            assert_eq!(Some(tree.slow_unique.load(Ordering::SeqCst)), number);
            // The reader gives up: its INTERRUPT finds the request that has come again.
            reader.0.kill().unwrap();
            assert_eq!(reader.end().signal(), Some(9));
            assert_eq!(tree.interrupted.load(Ordering::SeqCst), 1);
            assert_eq!(serving.stop(), Ended::Stopped);
            assert_eq!(keeper.glance().in_hand.iter().flatten().count(), 0);
        }
    });
}

#[test]
fn what_a_dead_server_had_answered_stays_given() {
    isolated("fuse::what_a_dead_server_had_answered_stays_given", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let keeper = Keeper::new(at.session());
        let serving = succeed(&keeper, &tree, Recovery::None);
        let open = File::open(at.file("hello")).unwrap();
        assert_eq!(serving.stop(), Ended::Stopped);
        // As if it had died between its answer and the note that it has answered.
        let number = tree.open_unique.swap(0, Ordering::SeqCst);
        let request = request(14, number, 2, &words(&[0, 0]));
        rustix::io::pwrite(&keeper.journal, &request, 4096).unwrap();
        assert!(keeper.glance().in_hand.contains(&Some(number)));

        let serving = succeed(&keeper, &tree, Recovery::Journal);
        let mut text = [0; HELLO.len()];
        open.read_exact_at(&mut text, 0).unwrap();
        until("it is answered again", || !keeper.glance().in_hand.contains(&Some(number)));
        assert_eq!(tree.open_unique.load(Ordering::SeqCst), number);
        assert_eq!(tree.released.load(Ordering::SeqCst), 0, "the file is open");
        drop(open);
        until("it is closed", || tree.released.load(Ordering::SeqCst) == 1);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn what_was_put_off_survives_too() {
    isolated("fuse::what_was_put_off_survives_too", || {
        for recovery in [Recovery::Resend, Recovery::Journal, Recovery::Both] {
            let at = Mountpoint::new();
            let keeper = Keeper::new(at.session());
            let mut server = keeper.server("server", Recovery::None, &["slowly".to_owned()]);
            let readers: Vec<_> = (0..12).map(|_| cat(&at, "hello")).collect();
            until("reads are put off", || keeper.glance().parked >= 8);
            server.kill();
            let tree = Arc::new(Tree::new());
            let serving = succeed(&keeper, &tree, recovery);
            for mut reader in readers {
                assert!(reader.end().success());
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut reader.0.stdout.take().unwrap(), &mut text)
                    .unwrap();
                assert_eq!(text, HELLO);
            }
            assert_eq!(serving.stop(), Ended::Stopped);
            assert_eq!(keeper.glance().parked, 0);
        }
    });
}

/// Serves in this process, one read per second.
fn serve_slowly(keeper: &Keeper) -> ServeHandle {
    let device = keeper.device.try_clone().unwrap();
    let session = Session::adopt(device, keeper.negotiated).unwrap();
    let fairness = how(&["slowly".to_owned()]);
    let journal = Some(Arc::new(keeper.journal_again()));
    let serve = Serve { journal, fairness, ..Serve::with_threads(TWO) };
    session.serve(Arc::new(Tree::new()), serve).unwrap()
}

#[test]
fn stopping_answers_what_was_put_off() {
    isolated("fuse::stopping_answers_what_was_put_off", || {
        let at = Mountpoint::new();
        let keeper = Keeper::new(at.session());
        let serving = serve_slowly(&keeper);
        let readers: Vec<_> = (0..6).map(|_| cat(&at, "hello")).collect();
        until("reads are put off", || keeper.glance().parked >= 4);
        assert_eq!(serving.stop(), Ended::Stopped);
        assert_eq!(keeper.glance().parked, 0);
        let next = succeed(&keeper, &Arc::new(Tree::new()), Recovery::None);
        for mut reader in readers {
            assert!(reader.end().success());
        }
        assert_eq!(next.stop(), Ended::Stopped);
    });
}

#[test]
fn who_is_put_off_can_be_killed() {
    isolated("fuse::who_is_put_off_can_be_killed", || {
        let at = Mountpoint::new();
        let keeper = Keeper::new(at.session());
        let serving = serve_slowly(&keeper);
        // One read passes each second; the last would wait for a minute.
        let mut readers: Vec<_> = (0..60).map(|_| cat(&at, "hello")).collect();
        until("reads are put off", || keeper.glance().parked >= 20);
        for reader in &mut readers {
            reader.0.kill().unwrap();
        }
        let (sender, ends) = mpsc::channel();
        for mut reader in readers {
            sender.send(reader.end().signal()).unwrap();
        }
        drop(sender);
        assert!(ends.iter().filter(|signal| *signal == Some(9)).count() >= 10);
        until("nothing is put off", || keeper.glance().parked == 0);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn a_handler_that_hangs_does_not_hold_up_stopping() {
    isolated("fuse::a_handler_that_hangs_does_not_hold_up_stopping", || {
        let (at, tree) = (Mountpoint::new(), Arc::new(Tree::new()));
        let keeper = Keeper::new(at.session());
        let serving = succeed(&keeper, &tree, Recovery::None);
        let mut reader = cat(&at, "slow");
        until("a read hangs", || tree.slow_reads.load(Ordering::SeqCst) > 0);
        assert_eq!(serving.stop_within(Duration::from_millis(10)), None);
        let number = tree.slow_unique.load(Ordering::SeqCst);
        assert!(keeper.glance().in_hand.contains(&Some(number)), "what the next one recovers");
        // The threads of this process are stuck, so another reads the INTERRUPT.
        tree.let_go.store(true, Ordering::SeqCst);
        assert!(reader.end().success());
        until("the thread ends", || keeper.glance().in_hand.iter().flatten().count() == 0);
    });
}

#[test]
fn pending_requests_are_seen_from_outside() {
    isolated("fuse::pending_requests_are_seen_from_outside", || {
        let at = Mountpoint::new();
        let keeper = Keeper::new(at.session());
        assert!(!has_pending(keeper.device.as_fd()).unwrap());
        let mut reader = cat(&at, "hello");
        until("it waits", || has_pending(keeper.device.as_fd()).unwrap());
        let answered = keeper.glance().answered;
        let serving = succeed(&keeper, &Arc::new(Tree::new()), Recovery::None);
        assert!(reader.end().success());
        until("nothing waits", || !has_pending(keeper.device.as_fd()).unwrap());
        assert!(keeper.glance().answered > answered);
        assert_eq!(serving.stop(), Ended::Stopped);
        assert!(keeper.negotiated.offered.contains(InitFlags::ASYNC_READ));
        unmount(at.path()).unwrap();
        until("it is gone", || has_pending(keeper.device.as_fd()).is_err());
    });
}
