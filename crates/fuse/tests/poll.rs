//! POLL, and waking those who wait.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::place::{Mountpoint, isolated};
use common::{longs, request, words};
use fuse::{
    Attr, AttrReply, Context, Dispatcher, Ended, Entry, Errno, Fh, FileType, Filesystem, InFlight,
    NodeId, OFlags, OpenFlags, OpenReply, Poll, PollFlags, PollHandle, ReadBuf, Result, Serve,
    unmount,
};
use rustix::event::{PollFd, poll};

const TTL: Duration = Duration::from_secs(3600);
const BELL: NodeId = NodeId(2);

/// One file, `bell`, which can be written to and polled: ready once after it was rung.
struct Belfry {
    rung: AtomicBool,
    polls: Mutex<Sender<Poll>>,
    written: Mutex<Vec<u8>>,
}

impl Belfry {
    fn new() -> (Arc<Self>, Receiver<Poll>) {
        let (sender, polls) = channel();
        let (rung, written) = (AtomicBool::new(false), Mutex::default());
        (Arc::new(Self { rung, polls: Mutex::new(sender), written }), polls)
    }
}

fn attr(node: NodeId) -> Attr {
    let kind = if node == BELL { FileType::Regular } else { FileType::Directory };
    let mtime = Duration::ZERO;
    Attr { ino: node.0, size: 0, kind, mode: 0o777, nlink: 1, uid: 0, gid: 0, mtime }
}

impl Filesystem for Belfry {
    fn lookup(&self, _: &Context<'_>, _: NodeId, name: &OsStr) -> Result<Entry> {
        if name != "bell" {
            return Err(Errno::NOENT);
        }
        Ok(Entry { node: BELL, attr: attr(BELL), entry_ttl: TTL, attr_ttl: TTL })
    }

    fn getattr(&self, _: &Context<'_>, node: NodeId, _: Option<Fh>) -> Result<AttrReply> {
        Ok(AttrReply { attr: attr(node), ttl: TTL })
    }

    fn open(&self, _: &Context<'_>, _: NodeId, _: OFlags) -> Result<OpenReply> {
        Ok(OpenReply { fh: Fh(7), flags: OpenFlags::DIRECT_IO | OpenFlags::NOFLUSH })
    }

    fn read(&self, _: &Context<'_>, _: NodeId, _: Fh, _: u64, _: &mut ReadBuf<'_>) -> Result<()> {
        Ok(())
    }

    fn write(&self, _: &Context<'_>, _: NodeId, _: Fh, _: u64, data: &[u8]) -> Result<u32> {
        self.written.lock().unwrap().extend_from_slice(data);
        u32::try_from(data.len()).map_err(|_| Errno::FBIG)
    }

    fn poll(&self, _: &Context<'_>, _: NodeId, _: Fh, poll: Poll) -> Result<PollFlags> {
        let rung = self.rung.swap(false, Ordering::SeqCst);
        self.polls.lock().unwrap().send(poll).unwrap();
        Ok(if rung { PollFlags::OUT | PollFlags::PRI } else { PollFlags::OUT })
    }
}

#[test]
fn the_handle_comes_with_a_poll_only_if_somebody_waits() {
    let (belfry, polls) = Belfry::new();
    let in_flight = InFlight::new(NonZeroUsize::MIN);
    let mut dispatcher = Dispatcher::new(&*belfry, &in_flight, 0).unwrap();
    // Events above the 16 bits of poll(2) are epoll's own, such as EPOLLET.
    for (flags, notify) in [(0, None), (1, Some(PollHandle(99)))] {
        let body = [longs(&[7, 99]), words(&[flags, 1 << 31 | 3])].concat();
        let reply = dispatcher.handle(&request(40, 2, 2, &body)).unwrap();
        assert_eq!(reply[16..], words(&[4, 0]));
        let events = PollFlags::IN | PollFlags::PRI;
        assert_eq!(polls.recv(), Ok(Poll { events, notify }));
    }
}

#[test]
fn a_poller_waits_in_the_kernel_until_it_is_woken() {
    isolated("fuse::a_poller_waits_in_the_kernel_until_it_is_woken", || {
        let (at, (belfry, polls)) = (Mountpoint::new(), Belfry::new());
        let session = at.session();
        let notifier = session.notifier();
        let served = Arc::clone(&belfry) as Arc<dyn Filesystem>;
        // One thread: a poller that waits does not occupy it.
        let serving = session.serve(served, Serve::with_threads(NonZeroUsize::MIN)).unwrap();
        let bell = File::options().read(true).write(true).open(at.file("bell")).unwrap();
        assert_eq!(rustix::io::write(&bell, b"ding"), Ok(4));
        assert_eq!(*belfry.written.lock().unwrap(), b"ding");

        let waiting = thread::spawn(move || {
            let mut fds = [PollFd::new(&bell, PollFlags::PRI)];
            poll(&mut fds, None).unwrap();
            (fds[0].revents(), bell)
        });
        let handle = polls.recv().unwrap().notify.unwrap();
        // Woken for nothing, it asks and goes on waiting.
        notifier.wake(handle).unwrap();
        assert_eq!(polls.recv().unwrap().notify, Some(handle));
        belfry.rung.store(true, Ordering::SeqCst);
        notifier.wake(handle).unwrap();
        let (ready, bell) = waiting.join().unwrap();
        assert_eq!(ready, PollFlags::PRI);

        drop(bell);
        notifier.wake(handle).unwrap(); // nobody is there any more
        unmount(at.path()).unwrap();
        assert_eq!(serving.wait(), Ended::Unmounted);
        notifier.wake(handle).unwrap(); // nor is anything mounted
    });
}
