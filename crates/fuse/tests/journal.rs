//! The journal as the next server finds it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use common::{HELLO, Tree, longs, read_body, request};
use fuse::{
    Ended, Errno, Filesystem, InitFlags, Journal, JournalError, MAX_THREADS, Negotiated, Recovery,
    Serve, ServeError, ServeHandle, Session, glance,
};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};

// Where version 1 has what. A change of these is a new version.
const VERSION: u64 = 8;
const PARKED_USED: u64 = 16;
const THREADS: u64 = 4096;
const SLOT: u64 = 8192;
const PARKED: u64 = THREADS + 16 * SLOT;
const PLACE: u64 = 512;
const LENGTH: u64 = PARKED + 4096 * PLACE;

const READ: u32 = 15;
const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
const NEGOTIATED: Negotiated = Negotiated {
    major: 7,
    minor: 31,
    flags: InitFlags::empty(),
    offered: InitFlags::empty(),
    max_write: 4096,
};

fn put(journal: &Journal, offset: u64, bytes: &[u8]) {
    assert_eq!(rustix::io::pwrite(journal, bytes, offset), Ok(bytes.len()));
}

fn again(journal: &Journal) -> Result<Journal, JournalError> {
    Journal::adopt(journal.as_fd().try_clone_to_owned().unwrap())
}

fn read(unique: u64) -> Vec<u8> {
    request(READ, unique, 2, &read_body(2, 0, 5))
}

#[test]
fn a_journal_of_another_version_is_refused_by_both_numbers() {
    let journal = Journal::create().unwrap();
    put(&journal, VERSION, &7_u32.to_ne_bytes());
    let error = again(&journal).unwrap_err();
    assert!(matches!(error, JournalError::Version { found: 7, ours: 1 }), "{error}");
    let text = error.to_string();
    assert!(text.contains("version 7") && text.contains("version 1"), "{text}");
    assert_eq!(glance(journal.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn what_is_no_journal_is_refused() {
    let memfd = |flags, len, content: &[u8]| {
        let memfd = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::io::write(&memfd, content).unwrap();
        rustix::fs::ftruncate(&memfd, len).unwrap();
        memfd
    };
    let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let head = [&b"RVJOURNL"[..], &1_u32.to_ne_bytes()].concat();
    let refused = |memfd: OwnedFd| {
        let refused = matches!(Journal::adopt(memfd), Err(JournalError::NotAJournal { .. }));
        assert!(refused);
    };
    refused(memfd(sealable, 0, b""));
    refused(memfd(sealable, LENGTH, b"something else"));
    // One that can be cut off would be a SIGBUS some day.
    refused(memfd(sealable, LENGTH, &head));
    let short = memfd(sealable, LENGTH - 1, &head);
    rustix::fs::fcntl_add_seals(&short, SealFlags::SHRINK).unwrap();
    refused(short);
    let right = memfd(sealable, LENGTH, &head);
    rustix::fs::fcntl_add_seals(&right, SealFlags::SHRINK).unwrap();
    assert!(Journal::adopt(right).is_ok());
    let file: OwnedFd = std::fs::File::open("/dev/zero").unwrap().into();
    assert!(glance(file.as_fd()).is_err());
    refused(file);
}

#[test]
fn a_glance_tells_what_each_thread_does() {
    let journal = Journal::create().unwrap();
    assert_eq!(glance(journal.as_fd()).unwrap(), fuse::Glance::default());
    put(&journal, THREADS + 3 * SLOT, &read(1 << 63 | 44));
    put(&journal, THREADS + 15 * SLOT, &read(46));
    let seen = glance(journal.as_fd()).unwrap();
    let mut expected = [None; MAX_THREADS];
    (expected[3], expected[15]) = (Some(44), Some(46));
    assert_eq!(seen.in_hand, expected);
}

/// A device that takes replies and has no requests, and where the replies come out.
fn device() -> (OwnedFd, OwnedFd) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

fn serve(
    device: OwnedFd,
    tree: &Arc<Tree>,
    journal: &Arc<Journal>,
    recovery: Recovery,
) -> Result<ServeHandle, ServeError> {
    let session = Session::adopt(device, NEGOTIATED).unwrap();
    let journal = Some(Arc::clone(journal));
    let how = Serve { journal, recovery, ..Serve::with_threads(TWO) };
    session.serve(Arc::clone(tree) as Arc<dyn Filesystem>, how)
}

fn next_reply(replies: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 1 << 20];
    let len = rustix::io::read(replies, &mut bytes).ok()?;
    (len > 0).then(|| bytes[..len].to_vec())
}

/// What a server that recovers from this journal answers, until it stops.
fn recovered(journal: &Arc<Journal>) -> Vec<Vec<u8>> {
    static TREE: LazyLock<Arc<Tree>> = LazyLock::new(|| Arc::new(Tree::new()));
    let (device, replies) = device();
    let serving = serve(device, &TREE, journal, Recovery::Journal).unwrap();
    assert_eq!(serving.stop(), Ended::Stopped);
    std::iter::from_fn(|| next_reply(&replies)).collect()
}

#[test]
fn what_is_in_the_journal_is_answered_by_any_number_of_threads() {
    let journal = Arc::new(Journal::create().unwrap());
    // More threads had a request than the next server has; one was put off; one was just taken up.
    for (slot, unique) in [(0, 10), (1, 12), (2, 14), (9, 1 << 63 | 16)] {
        put(&journal, THREADS + slot * SLOT, &read(unique));
    }
    put(&journal, PARKED_USED, &3_u32.to_ne_bytes());
    put(&journal, PARKED, &read(18));
    put(&journal, PARKED + 2 * PLACE, &read(12));
    let mut replies = recovered(&journal);
    replies.sort_by_key(|reply| u64::from_ne_bytes(reply[8..16].try_into().unwrap()));
    let expected: Vec<_> = [10, 12, 14, 18, 1 << 63 | 16]
        .map(|unique| [&longs(&[21, unique])[..], &HELLO[..5]].concat())
        .into();
    assert_eq!(replies, expected);
    let seen = glance(journal.as_fd()).unwrap();
    assert_eq!((seen.answered, seen.in_hand, seen.parked), (5, [None; MAX_THREADS], 0));
    assert!(recovered(&journal).is_empty(), "answered once");
}

#[test]
fn starting_anew_forgets_the_journal() {
    let journal = Arc::new(Journal::create().unwrap());
    put(&journal, THREADS, &read(10));
    put(&journal, PARKED_USED, &1_u32.to_ne_bytes());
    put(&journal, PARKED, &read(12));
    let (device, replies) = device();
    let serving = serve(device, &Arc::new(Tree::new()), &journal, Recovery::None).unwrap();
    assert_eq!(serving.stop(), Ended::Stopped);
    assert_eq!(next_reply(&replies), None);
    assert_eq!(glance(journal.as_fd()).unwrap(), fuse::Glance::default());
}

#[test]
fn where_the_kernel_does_not_send_again_the_journal_has_it() {
    let (journal, tree) = (Arc::new(Journal::create().unwrap()), Arc::new(Tree::new()));
    put(&journal, THREADS, &read(10));
    // Like an older kernel, the end of a pipe that is read from takes no message.
    let (device, _keeps_it_open) = std::io::pipe().unwrap();
    let device = OwnedFd::from(device);
    let refused = serve(device.try_clone().unwrap(), &tree, &journal, Recovery::Resend);
    assert!(matches!(refused, Err(ServeError::Resend { errno: Errno::BADF })));
    assert_eq!(tree.reads.load(Ordering::SeqCst), 0);
    let serving = serve(device, &tree, &journal, Recovery::Both).unwrap();
    assert_eq!(serving.stop(), Ended::Stopped);
    assert_eq!(tree.reads.load(Ordering::SeqCst), 1);
}

#[test]
fn a_journal_serves_one_session_at_a_time() {
    let (journal, tree) = (Arc::new(Journal::create().unwrap()), Arc::new(Tree::new()));
    let ((one, _one), (two, _two)) = (device(), device());
    let serving = serve(one, &tree, &journal, Recovery::None).unwrap();
    let refused = serve(two.try_clone().unwrap(), &tree, &journal, Recovery::None);
    assert!(matches!(refused, Err(ServeError::JournalInUse)));
    assert_eq!(serving.stop(), Ended::Stopped);
    assert_eq!(serve(two, &tree, &journal, Recovery::None).unwrap().stop(), Ended::Stopped);
}

#[test]
fn what_the_journal_has_no_room_for_is_refused() {
    let tree = Arc::new(Tree::new());
    let threads = NonZeroUsize::new(MAX_THREADS + 1).unwrap();
    let session = Session::adopt(device().0, NEGOTIATED).unwrap();
    let refused = session.serve(Arc::clone(&tree) as _, Serve::with_threads(threads));
    assert!(matches!(refused, Err(ServeError::Threads { .. })));
    let large = Negotiated { max_write: 8113, ..NEGOTIATED };
    let session = Session::adopt(device().0, large).unwrap();
    let refused = session.serve(tree, Serve::with_threads(TWO));
    assert!(matches!(refused, Err(ServeError::RequestSize { size: 8193 })));
}

/// A request of which the length need not be right. Never a read of `/slow` or `/boom`.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..100);
    (0_u32..60, 1_u64..1 << 40, 0_u64..8, body, prop::option::of(any::<u32>())).prop_map(
        |(opcode, unique, node, mut body, length)| {
            if let Some(fh @ (4 | 5)) = body.first_mut() {
                *fh = 3;
            }
            let mut bytes = request(opcode, unique, node, &body);
            if let Some(length) = length {
                bytes[..4].copy_from_slice(&(length >> (length % 32)).to_ne_bytes());
            }
            bytes
        },
    )
}

fn unique(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[8..16].try_into().unwrap())
}

proptest! {
    /// Whatever is found, the answers are well-formed, and to what was found.
    #[test]
    fn a_damaged_journal_is_survived(
        slots in prop::collection::vec((0_u64..16, record()), 0..5),
        parked in prop::collection::vec((0_u64..20, record()), 0..5),
        used: u32,
        noise in prop::collection::vec((THREADS..PARKED + 20 * PLACE, any::<u64>()), 0..4),
    ) {
        let journal = Arc::new(Journal::create().unwrap());
        for (at, number) in noise {
            // Length and opcode of what is not a request.
            put(&journal, at / PLACE * PLACE, &number.to_ne_bytes());
        }
        put(&journal, PARKED_USED, &(used % 30).to_ne_bytes());
        for (slot, bytes) in &slots {
            put(&journal, THREADS + slot * SLOT, bytes);
        }
        for (place, bytes) in &parked {
            put(&journal, PARKED + place * PLACE, bytes);
        }
        // A record of noise has the number 0, or what was left of another record.
        let known = |reply: &[u8]| {
            let mut records = slots.iter().chain(&parked);
            unique(reply) == 0 || records.any(|(_, bytes)| unique(bytes) == unique(reply))
        };
        for reply in recovered(&journal) {
            let len = u32::try_from(reply.len()).unwrap();
            prop_assert_eq!(&reply[..4], &len.to_ne_bytes()[..]);
            prop_assert!(known(&reply), "{:?}", reply);
        }
        let left = glance(journal.as_fd()).unwrap();
        prop_assert_eq!((left.in_hand, left.parked), ([None; MAX_THREADS], 0));
    }

    #[test]
    fn a_head_of_any_bytes_is_survived(
        right in 0_usize..=12,
        tail in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let head = [&b"RVJOURNL"[..], &1_u32.to_ne_bytes()].concat();
        let spoilt = [&head[..right], &tail[..]].concat();
        let journal = Journal::create().unwrap();
        put(&journal, 0, &spoilt);
        let ours = spoilt.iter().zip(&head).all(|(is, right)| is == right);
        prop_assert_eq!(again(&journal).is_ok(), ours);
        prop_assert_eq!(glance(journal.as_fd()).is_ok(), ours);
    }
}
