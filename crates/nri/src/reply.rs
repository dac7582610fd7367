//! What goes back to the runtime.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;

use crate::frame;
use crate::ttrpc::{self, Request, Response, Status};

/// How long a runtime that does not read is waited for. It has closed the connection by then, or
/// is about to.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// The sending side of a connection, for several threads.
#[derive(Debug)]
pub(crate) struct Writer {
    stream: Mutex<UnixStream>,
}

impl Writer {
    pub(crate) fn new(stream: &UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Self { stream: Mutex::new(stream.try_clone()?) })
    }

    pub(crate) fn request(&self, call: u32, request: &Request) {
        self.send(&frame::encode(frame::RUNTIME, &ttrpc::request(call, request)));
    }

    pub(crate) fn response(&self, call: u32, response: &Response) {
        self.send(&frame::encode(frame::PLUGIN, &ttrpc::response(call, response)));
    }

    fn send(&self, bytes: &[u8]) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = stream.write_all(bytes) {
            tracing::debug!(%error, "cannot answer the runtime");
            // A frame may be half written. This wakes who reads, and makes it connect anew.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The answer to one call, given once.
#[derive(Debug)]
pub(crate) struct Reply {
    writer: Arc<Writer>,
    call: u32,
    pub(crate) due: Instant,
    given: AtomicBool,
}

impl Reply {
    pub(crate) fn new(writer: &Arc<Writer>, call: u32, due: Instant) -> Self {
        Self { writer: Arc::clone(writer), call, due, given: AtomicBool::new(false) }
    }

    /// Says that all is well, unless that was said before. True: this was the first time.
    pub(crate) fn ok(&self) -> bool {
        self.with(&())
    }

    /// Says that all is well, with this message.
    pub(crate) fn with(&self, message: &impl Message) -> bool {
        self.give(&Response { status: None, payload: message.encode_to_vec() })
    }

    /// Says that there is no such method: the only status other than success that does no harm.
    pub(crate) fn unimplemented(&self, method: &str) -> bool {
        let message = format!("{method} is not implemented");
        let status = Some(Status { code: ttrpc::UNIMPLEMENTED, message });
        self.give(&Response { status, payload: Vec::new() })
    }

    pub(crate) fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    fn give(&self, response: &Response) -> bool {
        let first = !self.given.swap(true, Ordering::AcqRel);
        if first {
            self.writer.response(self.call, response);
        }
        first
    }
}
