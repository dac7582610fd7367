//! Any bytes from a container runtime are messages or a reason to connect anew; and where the stream
//! is cut makes no difference.
//!
//! Run: `cargo +nightly fuzz run nri_messages` in the repository's root.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nri::fake::take_apart;

/// Even first byte: the rest as it is. Odd: the second byte is the kind of message and the rest its
/// data, in a frame whose lengths agree, since blind luck seldom gets that far.
fn stream(input: &[u8]) -> Vec<u8> {
    match input {
        [kind, message_kind, data @ ..] if kind % 2 == 1 => {
            let length = |extra: usize| u32::try_from(data.len() + extra).unwrap_or(u32::MAX);
            let frame = [1_u32.to_be_bytes(), length(10).to_be_bytes()].concat();
            let message = [length(0).to_be_bytes(), 1_u32.to_be_bytes()].concat();
            [&frame[..], &message, &[*message_kind, 0], data].concat()
        }
        [_, rest @ ..] => rest.to_vec(),
        [] => Vec::new(),
    }
}

fuzz_target!(|input: &[u8]| {
    let bytes = stream(input);
    let whole = take_apart(&bytes, bytes.len());
    for cut in [1, 7, 4096] {
        assert_eq!(take_apart(&bytes, cut), whole, "cut every {cut} bytes");
    }
});
