//! From request bytes to reply bytes, without a device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::num::NonZeroUsize;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use common::{HELLO, Tree, longs, quiet_panics, read_body, request, words};
use fuse::{Dispatcher, Errno, InFlight};
use proptest::prelude::*;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const READ: u32 = 15;
const WRITE: u32 = 16;
const INIT: u32 = 26;
const READDIR: u32 = 28;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const NOTIFY_REPLY: u32 = 41;
const BATCH_FORGET: u32 = 42;
const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// A reply taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    unique: u64,
    error: i32,
    body: Vec<u8>,
}

fn answer(bytes: &[u8]) -> Answer {
    let len = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(usize::try_from(len), Ok(bytes.len()), "the header says how long the reply is");
    let error = i32::from_ne_bytes(bytes[4..8].try_into().unwrap());
    assert!((-511..=0).contains(&error), "the kernel drops other errors: {error}");
    assert!(error == 0 || bytes.len() == 16, "an error has no body");
    let unique = u64::from_ne_bytes(bytes[8..16].try_into().unwrap());
    Answer { unique, error, body: bytes[16..].to_vec() }
}

fn handle(tree: &Tree, bytes: &[u8]) -> Option<Answer> {
    let in_flight = InFlight::new(ONE);
    Dispatcher::new(tree, &in_flight, 0).unwrap().handle(bytes).map(answer)
}

fn error(unique: u64, errno: Errno) -> Option<Answer> {
    Some(Answer { unique, error: -errno.raw_os_error(), body: Vec::new() })
}

#[test]
fn reply_sizes_are_what_the_kernel_takes() {
    let tree = Tree::new();
    let size = |opcode, body: &[u8]| {
        let answer = handle(&tree, &request(opcode, 2, 1, body)).unwrap();
        assert_eq!(answer.error, 0);
        answer.body.len()
    };
    assert_eq!(size(LOOKUP, b"hello\0"), 128);
    assert_eq!(size(GETATTR, &longs(&[0, 0])), 104);
    assert_eq!(size(14, &words(&[0, 0])), 16); // OPEN
    assert_eq!(size(17, &[]), 80); // STATFS
    assert_eq!(size(18, &longs(&[0, 0, 0])), 0); // RELEASE
    assert_eq!(size(27, &words(&[0, 0])), 16); // OPENDIR
    assert_eq!(size(29, &longs(&[0, 0, 0])), 0); // RELEASEDIR
    assert_eq!(size(DESTROY, &[]), 0);
}

#[test]
fn resend_bit_of_unique_comes_back() {
    let unique = 1 << 63 | 12;
    let read = request(READ, unique, 2, &read_body(2, 0, 5));
    let answer = handle(&Tree::new(), &read).unwrap();
    assert_eq!(answer, Answer { unique, error: 0, body: HELLO[..5].to_vec() });
}

#[test]
fn never_served_requests_are_refused() {
    let tree = Tree::new();
    let refused = |opcode| handle(&tree, &request(opcode, 4, 1, &[0; 128]));
    for opcode in [6, 8, 9, 10, 11, 12, 13, 35, 45, 51] {
        assert_eq!(refused(opcode), error(4, Errno::ACCESS), "opcode {opcode}");
    }
    assert_eq!(refused(4), error(4, Errno::PERM)); // SETATTR
    for opcode in [20, 21, 22, 23, 24, 30, 31, 37, 39, 43, 44, 46, 47, 50, 52, 53, 4096, u32::MAX] {
        assert_eq!(refused(opcode), error(4, Errno::NOSYS), "opcode {opcode}");
    }
    for defaulted in [25, 34, 40] {
        assert_eq!(refused(defaulted), error(4, Errno::NOSYS)); // FLUSH, ACCESS, POLL
    }
    let write = [longs(&[2, 0]), words(&[2, 0]), longs(&[0, 0]), b"hi".to_vec()].concat();
    assert_eq!(handle(&tree, &request(WRITE, 4, 2, &write)), error(4, Errno::ACCESS));
}

#[test]
fn panic_costs_its_own_request_only() {
    quiet_panics();
    let (tree, in_flight) = (Tree::new(), InFlight::new(ONE));
    let mut dispatcher = Dispatcher::new(&tree, &in_flight, 0).unwrap();
    let boom = request(READ, 6, 5, &read_body(5, 0, 5));
    assert_eq!(dispatcher.handle(&boom).map(answer), error(6, Errno::IO));
    let read = request(READ, 8, 2, &read_body(2, 0, 5));
    assert_eq!(answer(dispatcher.handle(&read).unwrap()).body, &HELLO[..5]);
}

#[test]
fn interrupted_request_is_answered_eintr_and_the_next_is_not() {
    let (tree, in_flight) = (Tree::new(), InFlight::new(ONE));
    let mut dispatcher = Dispatcher::new(&tree, &in_flight, 0).unwrap();
    let interrupt = request(INTERRUPT, 11, 0, &longs(&[10]));
    assert!(dispatcher.handle(&interrupt).is_none());
    let slow = request(READ, 10, 4, &read_body(4, 0, 5));
    assert_eq!(dispatcher.handle(&slow).map(answer), error(10, Errno::INTR));
    let read = request(READ, 12, 2, &read_body(2, 0, 5));
    assert_eq!(answer(dispatcher.handle(&read).unwrap()).error, 0);
}

#[test]
fn forgets_reach_the_file_system_and_take_no_reply() {
    let tree = Tree::new();
    assert_eq!(handle(&tree, &request(FORGET, 0, 2, &longs(&[3]))), None);
    let batch = [words(&[2, 0]), longs(&[2, 10, 3, 100])].concat();
    assert_eq!(handle(&tree, &request(BATCH_FORGET, 0, 0, &batch)), None);
    assert_eq!(handle(&tree, &request(NOTIFY_REPLY, 0, 1, &[0; 40])), None);
    assert_eq!(tree.forgotten.load(Ordering::SeqCst), 113);
}

/// Requests as the kernel sends them, one of each kind that has a body to spoil.
fn valid() -> Vec<Vec<u8>> {
    let write = [longs(&[2, 0]), words(&[2, 0]), longs(&[0, 0]), b"hi".to_vec()].concat();
    let make = |opcode, body: &[u8]| request(opcode, 20, 1, body);
    vec![
        make(LOOKUP, b"hello\0"),
        make(GETATTR, &longs(&[1, 2])),
        make(14, &words(&[0, 0])),
        make(READ, &read_body(2, 3, 4096)),
        make(WRITE, &write),
        make(18, &longs(&[2, 0, 0])),
        make(25, &longs(&[2, 0, 0])),
        make(27, &words(&[0, 0])),
        make(READDIR, &read_body(0, 0, 4096)),
        make(29, &longs(&[2, 0, 0])),
        make(34, &words(&[4, 0])),
        make(40, &longs(&[2, 0, 1])),
    ]
}

/// Requests that take no reply, which they do not get when spoilt either.
fn silent() -> Vec<Vec<u8>> {
    let batch = [words(&[2, 0]), longs(&[2, 1, 3, 1])].concat();
    let make = |opcode, body: &[u8]| request(opcode, 20, 1, body);
    vec![
        make(FORGET, &longs(&[1])),
        make(INTERRUPT, &longs(&[18])),
        make(BATCH_FORGET, &batch),
        make(NOTIFY_REPLY, &[0; 40]),
    ]
}

fn with_len(mut bytes: Vec<u8>, len: u32) -> Vec<u8> {
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes
}

#[test]
fn malformed_requests_are_answered_einval() {
    let mut malformed = Vec::new();
    for whole in valid() {
        // Bodies cut off anywhere, with a length that agrees: every strict prefix is refused.
        for end in (40..whole.len()).step_by(2) {
            let len = u32::try_from(end).unwrap();
            malformed.push(with_len(whole[..end].to_vec(), len));
        }
        // Cut off in the header, behind the number to answer to.
        malformed.push(whole[..16].to_vec());
        malformed.push(whole[..39].to_vec());
        // A length that does not agree.
        let len = u32::try_from(whole.len()).unwrap();
        for wrong in [0, 39, len - 1, len + 1, u32::MAX] {
            malformed.push(with_len(whole.clone(), wrong));
        }
    }
    for name in [&b"no end"[..], b"", b"\0", b"a/b\0", b"/\0", b"a\0b\0", b"a\0\0"] {
        malformed.push(request(LOOKUP, 20, 1, name));
    }
    for size in [(16 << 20) + 1, u32::MAX] {
        malformed.push(request(READ, 20, 2, &read_body(2, 0, size)));
        malformed.push(request(READDIR, 20, 1, &read_body(2, 0, size)));
    }
    malformed.push(request(INIT, 20, 0, &words(&[7, 45, 0, 0])));
    for size in [0, 1, 3, u32::MAX] {
        let write = [longs(&[2, 0]), words(&[size, 0]), longs(&[0, 0]), b"hi".to_vec()].concat();
        malformed.push(request(WRITE, 20, 2, &write));
    }
    assert!(malformed.len() >= 100, "{} are too few", malformed.len());
    let tree = Tree::new();
    for bytes in malformed {
        assert_eq!(handle(&tree, &bytes), error(20, Errno::INVAL), "{bytes:?}");
    }
}

#[test]
fn malformed_requests_without_reply_stay_without() {
    let tree = Tree::new();
    for whole in silent() {
        for end in 40..whole.len() {
            let len = u32::try_from(end).unwrap();
            assert_eq!(handle(&tree, &with_len(whole[..end].to_vec(), len)), None);
        }
        assert_eq!(handle(&tree, &with_len(whole, 7)), None);
    }
    assert_eq!(handle(&tree, &[0; 15]), None); // the number did not arrive
    let huge = [words(&[u32::MAX, 0]), longs(&[2, 1])].concat();
    assert_eq!(handle(&tree, &request(BATCH_FORGET, 0, 0, &huge)), None);
    assert_eq!(tree.forgotten.load(Ordering::SeqCst), 0);
}

#[test]
fn read_beyond_the_end_is_empty() {
    let tree = Tree::new();
    let end = u64::try_from(HELLO.len()).unwrap();
    for offset in [end, end + 1, u64::MAX] {
        let read = request(READ, 22, 2, &read_body(2, offset, 4096));
        assert_eq!(handle(&tree, &read).unwrap().body, b"");
    }
}

/// What holds for any bytes at all: at most one well-formed reply, to the number asked by.
fn check(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
    static TREE: LazyLock<Tree> = LazyLock::new(Tree::new);
    if let Some(answer) = handle(&TREE, bytes) {
        prop_assert_eq!(&answer.unique.to_ne_bytes()[..], &bytes[8..16]);
        prop_assert!(answer.body.len() <= 16 << 20);
    }
    Ok(())
}

/// No reads of `/slow`, which would last, nor of `/boom`.
fn harmless(bytes: &mut [u8]) {
    if let Some(fh @ (4 | 5)) = bytes.get_mut(40) {
        *fh = 3;
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        harmless(&mut bytes);
        check(&bytes)?;
    }

    #[test]
    fn any_body_is_survived(
        opcode in 0_u32..60,
        unique: u64,
        node in 0_u64..8,
        mut body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Some(fh @ (4 | 5)) = body.first_mut() {
            *fh = 3;
        }
        check(&request(opcode, unique, node, &body))?;
    }

    #[test]
    fn spoilt_requests_are_survived(
        which in 0_usize..16,
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..20),
        mend in any::<bool>(),
    ) {
        let mut all = valid();
        all.extend(silent());
        let mut bytes = all.swap_remove(which);
        for (index, byte) in spoils {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(tail);
        if mend && bytes.len() >= 4 {
            let len = u32::try_from(bytes.len()).unwrap();
            bytes = with_len(bytes, len);
        }
        harmless(&mut bytes);
        check(&bytes)?;
    }
}

#[test]
fn what_an_interrupted_caller_never_got_is_given_back() {
    let tree = Tree::new();
    let in_flight = InFlight::new(ONE);
    let mut dispatcher = Dispatcher::new(&tree, &in_flight, 0).unwrap();
    dispatcher.handle(&request(14, 1, 2, &words(&[0, 0]))).unwrap(); // OPEN
    dispatcher.take_back();
    dispatcher.take_back();
    assert_eq!(tree.released.load(Ordering::Relaxed), 1, "released once");
    dispatcher.handle(&request(LOOKUP, 2, 1, b"hello\0")).unwrap();
    dispatcher.take_back();
    assert_eq!(tree.forgotten.load(Ordering::Relaxed), 1);
    dispatcher.handle(&request(LOOKUP, 3, 1, b"hello\0")).unwrap();
    dispatcher.handle(&request(GETATTR, 4, 1, &longs(&[0, 0]))).unwrap();
    dispatcher.take_back();
    assert_eq!(tree.forgotten.load(Ordering::Relaxed), 1, "an earlier reply was delivered");
}
