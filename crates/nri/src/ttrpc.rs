//! Messages on a stream: requests and responses of ttrpc, the remote procedure calls of containerd.
//!
//! A message is a length and the number of the call, both `u32` with the highest byte first, a byte
//! for the kind, a byte of flags, and that many bytes.

use prost::Message;

use crate::error::Error;

/// The bytes before the data.
pub(crate) const HEADER: usize = 10;
/// The most data that ttrpc allows, in bytes.
pub(crate) const DATA_MAX: usize = 4 << 20;
/// gRPC's code for a method that is not known. The runtime then uses an older form.
pub(crate) const UNIMPLEMENTED: i32 = 12;

/// A buffer that was longer than this is not kept for the next message.
const KEPT: usize = 64 << 10;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// A request.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) payload: Vec<u8>,
    /// What the caller waits at most, in nanoseconds; 0 when it does not say.
    #[prost(int64, tag = "4")]
    pub(crate) timeout_nano: i64,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Response {
    /// None is success.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Status {
    /// gRPC's.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// What comes on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A call, with the number that the answer has to have.
    Request(u32, Request),
    /// The answer to the call of this number.
    Response(u32, Response),
    /// Of a kind that is not used here.
    Other,
}

/// Puts messages together from pieces of a stream. Holds one message and what came with its end.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    bytes: Vec<u8>,
    /// What was given out already.
    used: usize,
}

impl Assembler {
    /// Takes the next piece of the stream.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.used.min(self.bytes.len()));
        self.used = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The next message that is complete. To be called until there is none, after each piece.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Error> {
        let rest = self.bytes.get(self.used..).unwrap_or_default();
        let Some(&[a, b, c, d, e, f, g, h, kind, _flags]) = rest.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > DATA_MAX {
            return Err(Error::Garbage(format!("a message of {length} bytes")));
        }
        let Some(data) = rest.get(HEADER..HEADER + length) else { return Ok(None) };
        let call = u32::from_be_bytes([e, f, g, h]);
        let not_protobuf =
            |error| Error::Garbage(format!("a message that is no protobuf: {error}"));
        let message = match kind {
            REQUEST => Incoming::Request(call, Request::decode(data).map_err(not_protobuf)?),
            RESPONSE => Incoming::Response(call, Response::decode(data).map_err(not_protobuf)?),
            _ => Incoming::Other,
        };
        self.used += HEADER + length;
        Ok(Some(message))
    }
}

/// A request as bytes of a stream.
pub(crate) fn request(call: u32, request: &Request) -> Vec<u8> {
    encode(call, REQUEST, &request.encode_to_vec())
}

/// A response as bytes of a stream.
pub(crate) fn response(call: u32, response: &Response) -> Vec<u8> {
    encode(call, RESPONSE, &response.encode_to_vec())
}

fn encode(call: u32, kind: u8, data: &[u8]) -> Vec<u8> {
    // What is sent from here is short; a test's fake runtime sends up to `DATA_MAX`.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (length, call) = (length.to_be_bytes(), call.to_be_bytes());
    [&length[..], &call, &[kind, 0], data].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assemble<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Incoming>, Error> {
        let (mut assembler, mut messages) = (Assembler::default(), Vec::new());
        for piece in pieces {
            assembler.push(piece);
            while let Some(message) = assembler.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn an_empty_response_is_success() {
        let answer = response(5, &Response::default());
        assert_eq!(answer, b"\0\0\0\0\0\0\0\x05\x02\0");
        let messages = assemble([&answer[..]]).unwrap();
        assert_eq!(messages, [Incoming::Response(5, Response::default())]);
    }

    #[test]
    fn a_request_as_containerd_sends_it() {
        // Service "s", method "m", payload "p", timeout 1, metadata {key "k", value "v"}.
        let data = b"\x0a\x01s\x12\x01m\x1a\x01p\x20\x01\x2a\x06\x0a\x01k\x12\x01v";
        let bytes = [&b"\0\0\0\x13\0\0\0\x01\x01\0"[..], data].concat();
        let request = Request {
            service: "s".into(),
            method: "m".into(),
            payload: b"p".to_vec(),
            timeout_nano: 1,
        };
        assert_eq!(assemble([&bytes[..]]).unwrap(), [Incoming::Request(1, request)]);
    }

    #[test]
    fn messages_split_at_every_byte_are_the_same_messages() {
        let refusal = Status { code: 2, message: "no".into() };
        let first = Response { status: Some(refusal), payload: vec![1, 2, 3] };
        let bytes = [response(1, &first), encode(3, 3, b"data"), response(7, &Response::default())];
        let bytes = bytes.concat();
        let whole = assemble([&bytes[..]]).unwrap();
        assert_eq!(whole.len(), 3);
        for at in 0..=bytes.len() {
            let (before, after) = bytes.split_at(at);
            assert_eq!(assemble([before, after]).unwrap(), whole, "split at {at}");
        }
    }

    #[test]
    fn a_message_of_4_gib_is_refused_before_it_is_waited_for() {
        let refused = assemble([&b"\xff\xff\xff\xff\0\0\0\x01\x01\0"[..]]);
        assert!(matches!(refused, Err(Error::Garbage(_))));
        // The longest that is allowed is waited for.
        assert!(assemble([&b"\0\x40\0\0\0\0\0\x01\x01\0"[..]]).unwrap().is_empty());
        assert!(assemble([&b"\0\x40\0\x01\0\0\0\x01\x01\0"[..]]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_out_again(
            call: u32,
            service: String,
            method: String,
            payload: Vec<u8>,
            timeout_nano: i64,
            cut in 1_usize..200,
        ) {
            let sent = Request { service, method, payload, timeout_nano };
            let bytes = request(call, &sent);
            let messages = assemble(bytes.chunks(cut)).unwrap();
            prop_assert_eq!(messages, vec![Incoming::Request(call, sent)]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, cut in 1_usize..40) {
            let _ = assemble(bytes.chunks(cut));
        }

        #[test]
        fn arbitrary_data_never_panics(kind in 1_u8..4, data: Vec<u8>) {
            let _ = assemble([&encode(1, kind, &data)[..]]);
        }
    }
}
