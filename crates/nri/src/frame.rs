//! Several byte streams over one: the multiplexer below ttrpc.
//!
//! A frame is the number of a stream and a length, both `u32` with the highest byte first, and that
//! many bytes of the stream. Where a frame ends says nothing about messages: the Go side sends the
//! first 4096 bytes of a long message as one frame and the rest as another.

use crate::error::Error;
use crate::ttrpc;

/// The stream on which the runtime calls us.
pub(crate) const PLUGIN: u32 = 1;
/// The stream on which we call the runtime.
pub(crate) const RUNTIME: u32 = 2;

const HEADER: usize = 8;
/// The longest frame that is taken: a whole message of ttrpc.
const PAYLOAD_MAX: usize = ttrpc::HEADER + ttrpc::DATA_MAX;
/// The longest that is sent, with its header. The Go side reads frames into a buffer of 4096 bytes,
/// and closes the connection when one does not fit.
const SENT_MAX: usize = 4096;

/// Takes a byte stream apart, wherever it is cut. Keeps no more than a header.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    header: [u8; HEADER],
    /// How much of the header is there.
    have: usize,
    /// What is still to come of the frame whose header is complete.
    left: usize,
}

impl Demux {
    /// The next piece of a stream in `bytes`, which is moved behind it; none when `bytes` is used up.
    pub(crate) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<(u32, &'a [u8])>, Error> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                *bytes = rest;
                self.left = self.left.saturating_sub(piece.len());
                return Ok(Some((self.stream(), piece)));
            }
            self.read_header(bytes)?;
        }
        Ok(None)
    }

    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<(), Error> {
        if self.have == HEADER {
            self.have = 0;
        }
        for (to, from) in self.header.iter_mut().skip(self.have).zip(bytes.iter()) {
            *to = *from;
        }
        let (_, rest) = bytes.split_at(bytes.len().min(HEADER - self.have));
        self.have += bytes.len() - rest.len();
        *bytes = rest;
        if self.have == HEADER {
            let [_, _, _, _, length @ ..] = self.header;
            self.left = u32::from_be_bytes(length) as usize;
            if self.left > PAYLOAD_MAX {
                return Err(Error::Garbage(format!("a frame of {} bytes", self.left)));
            }
        }
        Ok(())
    }

    fn stream(&self) -> u32 {
        let [stream @ .., _, _, _, _] = self.header;
        u32::from_be_bytes(stream)
    }
}

/// `bytes` as frames of a stream.
pub(crate) fn encode(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let payload = SENT_MAX - HEADER;
    let mut out = Vec::with_capacity(bytes.len() + (bytes.len() / payload + 1) * HEADER);
    for piece in bytes.chunks(payload) {
        // A chunk is far below 4 GiB.
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is in `chunks`, the pieces of each stream joined where they follow each other.
    fn demux<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(u32, Vec<u8>)>, Error> {
        let (mut demux, mut all) = (Demux::default(), Vec::<(u32, Vec<u8>)>::new());
        for mut chunk in chunks {
            while let Some((stream, piece)) = demux.next(&mut chunk)? {
                match all.last_mut() {
                    Some((last, bytes)) if *last == stream => bytes.extend_from_slice(piece),
                    _ => all.push((stream, piece.to_vec())),
                }
            }
        }
        Ok(all)
    }

    #[test]
    fn a_frame_is_stream_length_and_bytes() {
        assert_eq!(encode(2, b"abc"), b"\0\0\0\x02\0\0\0\x03abc");
        assert!(encode(1, b"").is_empty());
    }

    #[test]
    fn frames_split_at_every_byte_are_the_same_frames() {
        let bytes =
            [encode(PLUGIN, b"first"), encode(77, b"skipped"), b"\0\0\0\x02\0\0\0\0".to_vec()]
                .concat();
        let whole = demux([&bytes[..]]).unwrap();
        assert_eq!(whole, [(PLUGIN, b"first".to_vec()), (77, b"skipped".to_vec())]);
        for at in 0..=bytes.len() {
            let (before, after) = bytes.split_at(at);
            assert_eq!(demux([before, after]).unwrap(), whole, "split at {at}");
        }
        assert_eq!(demux(bytes.chunks(1)).unwrap(), whole);
    }

    #[test]
    fn longer_frames_than_the_go_side_can_read_are_never_sent() {
        for (length, frames) in [(4087, 1), (4088, 1), (4089, 2), (4095, 2), (4097, 2), (8486, 3)] {
            let message = vec![7; length];
            let bytes = encode(PLUGIN, &message);
            assert_eq!(demux([&bytes[..]]).unwrap(), [(PLUGIN, message)]);
            let mut rest = &bytes[..];
            let mut lengths = Vec::new();
            while let [_, _, _, _, a, b, c, d, ..] = rest {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                lengths.push(HEADER + length);
                rest = &rest[HEADER + length..];
            }
            assert!(lengths.iter().all(|length| *length <= 4096), "{lengths:?}");
            assert_eq!(lengths.len(), frames, "{length} bytes");
        }
    }

    #[test]
    fn a_frame_of_4_gib_is_refused_before_anything_is_kept() {
        let refused = demux([&b"\0\0\0\x01\xff\xff\xff\xff"[..]]);
        assert!(matches!(refused, Err(Error::Garbage(_))));
        let longest = u32::try_from(PAYLOAD_MAX).unwrap();
        let bytes = [&PLUGIN.to_be_bytes()[..], &longest.to_be_bytes(), b"x"].concat();
        assert_eq!(demux([&bytes[..]]).unwrap(), [(PLUGIN, b"x".to_vec())]);
        let longer = [&PLUGIN.to_be_bytes()[..], &(longest + 1).to_be_bytes()].concat();
        assert!(demux([&longer[..]]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_framed_comes_out_again(
            messages in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 1..9000)), 0..5),
            cut in 1_usize..6000,
        ) {
            let bytes: Vec<u8> =
                messages.iter().flat_map(|(stream, bytes)| encode(*stream, bytes)).collect();
            let mut joined = Vec::<(u32, Vec<u8>)>::new();
            for (stream, bytes) in messages {
                match joined.last_mut() {
                    Some((last, before)) if *last == stream => before.extend(bytes),
                    _ => joined.push((stream, bytes)),
                }
            }
            prop_assert_eq!(demux(bytes.chunks(cut)).unwrap(), joined);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, cut in 1_usize..40) {
            let _ = demux(bytes.chunks(cut));
        }
    }
}
