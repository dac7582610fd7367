//! Threads wait in read(2) while nothing but a request can come, and are got out of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::place::{Mountpoint, isolated};
use common::process::until;
use common::{HELLO, Tree};
use fuse::{Ended, Fairness, OFlags, Serve, ServeHandle, Session};
use rustix::fs::{fcntl_getfl, fcntl_setfl};

/// One at a time: threads of this process are looked at by their name.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(session: &Session, threads: usize, fairness: Fairness) -> ServeHandle {
    let how = Serve { fairness, ..Serve::with_threads(NonZeroUsize::new(threads).unwrap()) };
    session.serve(Arc::new(Tree::new()), how).unwrap()
}

fn waits(session: &Session) -> bool {
    !fcntl_getfl(session.device()).unwrap().contains(OFlags::NONBLOCK)
}

/// Asks for little, one after the other, until the threads wait in read(2).
fn until_quiet(at: &Mountpoint, session: &Session) {
    until("the threads wait in read(2)", || {
        assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
        waits(session)
    });
}

/// The read calls that threads which serve have made so far.
fn calls() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let serving = tasks.filter(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("fuse-"))
    });
    let of = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("syscr: ")?.trim().parse::<u64>().ok())
    };
    serving.filter_map(|task| of(fs::read_to_string(task.join("io")).ok()?)).sum()
}

#[test]
fn threads_that_wait_in_read_stop() {
    isolated("fuse::threads_that_wait_in_read_stop", || {
        let _alone = alone();
        let at = Mountpoint::new();
        let session = at.session();
        for threads in (1..=4).cycle().take(40) {
            let serving = serve(&session, threads, Fairness::default());
            until_quiet(&at, &session);
            assert_eq!(serving.stop(), Ended::Stopped);
            assert!(!waits(&session), "as one expects who does not know of this");
        }
        // From elsewhere, and while requests come.
        let serving = serve(&session, 2, Fairness::default());
        until_quiet(&at, &session);
        let stopper = serving.stopper();
        thread::scope(|scope| {
            let reader = scope.spawn(|| fs::read(at.file("hello")).unwrap());
            scope.spawn(move || stopper.stop());
            assert_eq!(serving.wait(), Ended::Stopped);
            let next = serve(&session, 2, Fairness::default());
            assert_eq!(reader.join().unwrap(), HELLO);
            until_quiet(&at, &session);
            fuse::unmount(at.path()).unwrap();
            assert_eq!(next.wait(), Ended::Unmounted);
        });
    });
}

#[test]
fn another_process_may_change_how_reads_wait() {
    isolated("fuse::another_process_may_change_how_reads_wait", || {
        let _alone = alone();
        let at = Mountpoint::new();
        let session = at.session();
        let serving = serve(&session, 2, Fairness::default());
        for _ in 0..3 {
            until_quiet(&at, &session);
            let flags = fcntl_getfl(session.device()).unwrap();
            fcntl_setfl(session.device(), flags | OFlags::NONBLOCK).unwrap();
            assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
            let before = calls();
            thread::sleep(Duration::from_millis(100));
            let made = calls() - before;
            assert!(made < 100, "{made} calls while nothing was asked for");
        }
        assert_eq!(serving.stop(), Ended::Stopped);
        // A server that was killed leaves it as it is; the next one begins as all do.
        let flags = fcntl_getfl(session.device()).unwrap();
        fcntl_setfl(session.device(), flags - OFlags::NONBLOCK).unwrap();
        let serving = serve(&session, 2, Fairness::default());
        assert!(!waits(&session));
        until_quiet(&at, &session);
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}

#[test]
fn what_is_put_off_is_answered_as_well() {
    isolated("fuse::what_is_put_off_is_answered_as_well", || {
        let _alone = alone();
        let at = Mountpoint::new();
        let session = at.session();
        // Reads of `hello` come faster than that.
        let fairness = Fairness { per_second: NonZeroU32::new(200), ..Fairness::default() };
        let serving = serve(&session, 3, fairness);
        until("the threads wait in read(2)", || {
            drop(File::open(at.file("hello")).unwrap()); // nobody's, and never put off
            waits(&session)
        });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(fs::read(at.file("hello")).unwrap(), HELLO);
                    }
                });
            }
        });
        assert_eq!(serving.stop(), Ended::Stopped);
    });
}
