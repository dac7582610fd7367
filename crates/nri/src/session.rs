//! One connection to a runtime, from registration to its end.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;

use crate::calls::{Call, Calls};
use crate::config::Config;
use crate::error::Error;
use crate::frame::{self, Demux};
use crate::handle::Handle;
use crate::lanes::Lanes;
use crate::messages::RegisterPluginRequest;
use crate::plugin::Plugin;
use crate::reply::{Reply, Writer};
use crate::ttrpc::{Assembler, Incoming, Request, Response};

/// How long a runtime may be silent before it has told all that it has. It accepts plugins one at
/// a time, and gives one that says nothing 5 s by default: several may be before us.
const REGISTRATION: Duration = Duration::from_secs(30);
/// The number of our only call.
const REGISTER: u32 = 1;
/// How many calls may wait for their answer. A runtime makes one at a time.
const UNANSWERED: usize = 1024;
/// How often to look whether events that were dropped can be asked for again.
const OVERRUN_LOOK: Duration = Duration::from_secs(1);

/// A connection.
pub(crate) struct Session<'a, P> {
    stream: UnixStream,
    writer: Arc<Writer>,
    calls: Calls<'a, P>,
    lanes: &'a Lanes,
    plugin_stream: Assembler,
    runtime_stream: Assembler,
    /// Answers that wait for a method of the plugin.
    unanswered: VecDeque<Arc<Reply>>,
    heard: Instant,
}

impl<'a, P: Plugin> Session<'a, P> {
    pub(crate) fn new(
        stream: UnixStream,
        config: &'a Config,
        plugin: &'a Arc<P>,
        handle: &'a Handle,
        lanes: &'a Lanes,
    ) -> Result<Self, Error> {
        let writer = Arc::new(Writer::new(&stream)?);
        Ok(Self {
            stream,
            writer,
            calls: Calls::new(config, plugin, handle, lanes),
            lanes,
            plugin_stream: Assembler::default(),
            runtime_stream: Assembler::default(),
            unanswered: VecDeque::new(),
            heard: Instant::now(),
        })
    }

    /// Registers the plugin and serves it until the connection ends.
    pub(crate) fn run(&mut self, config: &Config) -> Error {
        let registration = RegisterPluginRequest {
            plugin_name: config.name.clone(),
            plugin_idx: config.index.clone(),
        };
        // Whatever the runtime asks before it answers is read below, in any order.
        self.writer.request(
            REGISTER,
            &Request {
                service: "nri.pkg.api.v1alpha1.Runtime".to_owned(),
                method: "RegisterPlugin".to_owned(),
                payload: registration.encode_to_vec(),
                timeout_nano: 0,
            },
        );
        match self.serve() {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// When this connection had told all that its runtime has.
    pub(crate) fn synchronized(&self) -> Option<Instant> {
        self.calls.synchronized()
    }

    fn serve(&mut self) -> Result<std::convert::Infallible, Error> {
        let mut demux = Demux::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let wait = self.keep_time()?;
            self.stream.set_read_timeout(wait)?;
            let mut bytes = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Error::Closed),
                Ok(length) => buffer.get(..length).unwrap_or_default(),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                        continue;
                    }
                    _ => return Err(error.into()),
                },
            };
            self.heard = Instant::now();
            while let Some((stream, piece)) = demux.next(&mut bytes)? {
                self.take(stream, piece)?;
            }
        }
    }

    /// Answers what is due, and says how long to wait for the next message: none is for ever.
    fn keep_time(&mut self) -> Result<Option<Duration>, Error> {
        let now = Instant::now();
        self.unanswered.retain(|reply| {
            // One that is given late counts where the method ends.
            !reply.is_given() && (reply.due > now || !reply.ok())
        });
        let mut next = self.unanswered.iter().map(|reply| reply.due).min();
        let mut until = |time| next = Some(next.map_or(time, |next: Instant| next.min(time)));
        if self.calls.synchronized().is_none() {
            let end = self.heard + REGISTRATION;
            if end <= now {
                return Err(Error::Unregistered { seconds: REGISTRATION.as_secs() });
            }
            until(end);
        }
        if self.calls.dropped() > 0 {
            if self.lanes.is_idle() {
                return Err(Error::Overrun { dropped: self.calls.dropped() });
            }
            until(now + OVERRUN_LOOK);
        }
        // Zero would mean for ever.
        let least = Duration::from_millis(1);
        Ok(next.map(|next| next.saturating_duration_since(now).max(least)))
    }

    fn take(&mut self, stream: u32, piece: &[u8]) -> Result<(), Error> {
        match stream {
            frame::PLUGIN => {
                self.plugin_stream.push(piece);
                while let Some(message) = self.plugin_stream.next()? {
                    if let Incoming::Request(call, request) = message {
                        self.answer(call, &request);
                    }
                }
            }
            frame::RUNTIME => {
                self.runtime_stream.push(piece);
                while let Some(message) = self.runtime_stream.next()? {
                    if let Incoming::Response(REGISTER, response) = message {
                        registered(response)?;
                    }
                }
            }
            // Nobody's.
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, call: u32, request: &Request) {
        let due = self.heard + self.calls.patience(request.timeout_nano);
        let reply = Arc::new(Reply::new(&self.writer, call, due));
        match self.calls.take(request, &reply) {
            Call::Answered => {}
            Call::Waits if self.unanswered.len() < UNANSWERED => self.unanswered.push_back(reply),
            Call::Waits => {
                reply.ok();
            }
        }
    }
}

fn registered(response: Response) -> Result<(), Error> {
    match response.status {
        Some(status) if status.code != 0 => {
            Err(Error::Refused { code: status.code, message: status.message })
        }
        _ => Ok(()),
    }
}
