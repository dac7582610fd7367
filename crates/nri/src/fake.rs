//! A container runtime to test plugins against: the runtime's side of the protocol, without any
//! container.
//!
//! It frames like the Go side, which cuts long messages after 4096 bytes. Whatever it waits for is
//! waited for a minute and is an error then.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;

use crate::frame::{self, Demux};
use crate::messages::{
    ConfigureRequest, ConfigureResponse, Container, ContainerRequest, PodSandbox,
    RegisterPluginRequest, StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use crate::ttrpc::{self, Assembler, Incoming, Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(60);

/// How events reach the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By a method each: containerd from 2.3.
    Rpc,
    /// By `StateChange`: containerd up to 2.2, CRI-O.
    StateChange,
}

/// The runtime's socket.
#[derive(Debug)]
pub struct Runtime {
    listener: UnixListener,
}

impl Runtime {
    /// Starts to listen at `path`. What is there is removed first, as runtimes do when they start.
    ///
    /// # Errors
    /// When there can be no socket at `path`.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// The next plugin that connects.
    ///
    /// # Errors
    /// When none comes for a minute.
    pub fn accept(&self) -> io::Result<Connection> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Connection::over(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a plugin answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// gRPC's status code; 0 is success.
    pub code: i32,
    /// The message.
    pub payload: Vec<u8>,
}

/// A connection to one plugin. It is closed when dropped.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    demux: Demux,
    plugin_stream: Assembler,
    runtime_stream: Assembler,
    received: Vec<(u32, Incoming)>,
    last_call: u32,
}

impl Connection {
    /// The runtime's end of a socket pair.
    ///
    /// # Errors
    /// When that is no socket.
    pub fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            demux: Demux::default(),
            plugin_stream: Assembler::default(),
            runtime_stream: Assembler::default(),
            received: Vec::new(),
            // Odd and rising, as with any client of ttrpc.
            last_call: u32::MAX,
        })
    }

    /// Everything up to the listing, as containerd does it. Returns the events that the plugin
    /// wants, a bit each.
    ///
    /// # Errors
    /// When the plugin does something else.
    pub fn register(&mut self) -> io::Result<i32> {
        let (call, _, _) = self.registration()?;
        self.accept_registration(call)?;
        self.configure(Duration::from_secs(2))
    }

    /// Waits for the plugin to register: the number of its call, its name and its index.
    ///
    /// # Errors
    /// When it does something else.
    pub fn registration(&mut self) -> io::Result<(u32, String, String)> {
        let incoming = self.wait(|stream, incoming| {
            stream == frame::RUNTIME && matches!(incoming, Incoming::Request(..))
        })?;
        let Incoming::Request(call, request) = incoming else { return Err(unexpected("")) };
        let known = request.service == "nri.pkg.api.v1alpha1.Runtime";
        if !known || request.method != "RegisterPlugin" {
            return Err(unexpected(&format!("{}/{}", request.service, request.method)));
        }
        let registration: RegisterPluginRequest = decode(&request.payload)?;
        Ok((call, registration.plugin_name, registration.plugin_idx))
    }

    /// Answers the plugin's call to register.
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn accept_registration(&mut self, call: u32) -> io::Result<()> {
        self.write(&like_go(frame::RUNTIME, &ttrpc::response(call, &Response::default())))
    }

    /// Refuses the plugin's call to register.
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn refuse_registration(&mut self, call: u32, code: i32, message: &str) -> io::Result<()> {
        let status = Some(Status { code, message: message.to_owned() });
        let response = Response { status, payload: Vec::new() };
        self.write(&like_go(frame::RUNTIME, &ttrpc::response(call, &response)))
    }

    /// Configures the plugin, granting it this long for each request. Returns the events that it
    /// wants.
    ///
    /// # Errors
    /// When the plugin refuses, or is gone.
    pub fn configure(&mut self, request_timeout: Duration) -> io::Result<i32> {
        let configuration = ConfigureRequest {
            runtime_name: "fake".to_owned(),
            runtime_version: "1.0".to_owned(),
            request_timeout: i64::try_from(request_timeout.as_millis()).unwrap_or(i64::MAX),
        };
        let answer = self.call("Configure", &configuration.encode_to_vec())?;
        let response: ConfigureResponse = decode(&succeeded(answer)?.payload)?;
        Ok(response.events)
    }

    /// Tells the plugin all that there is, in one message.
    ///
    /// # Errors
    /// When the plugin refuses, or is gone.
    pub fn synchronize(&mut self, pods: &[PodSandbox], containers: &[Container]) -> io::Result<()> {
        self.synchronize_part(pods, containers, false).map(|_| ())
    }

    /// Tells the plugin a part of what there is. Returns whether it expects more.
    ///
    /// # Errors
    /// When the plugin refuses, or is gone.
    pub fn synchronize_part(
        &mut self,
        pods: &[PodSandbox],
        containers: &[Container],
        more: bool,
    ) -> io::Result<bool> {
        let part =
            SynchronizeRequest { pods: pods.to_vec(), containers: containers.to_vec(), more };
        let answer = self.call("Synchronize", &part.encode_to_vec())?;
        let response: SynchronizeResponse = decode(&succeeded(answer)?.payload)?;
        Ok(response.more)
    }

    /// A container is about to start. Returns when the plugin lets it.
    ///
    /// # Errors
    /// When the plugin refuses, or is gone.
    pub fn start_container(
        &mut self,
        form: Form,
        pod: &PodSandbox,
        container: &Container,
    ) -> io::Result<()> {
        self.event(form, "StartContainer", 6, pod, container)
    }

    /// A container is about to be stopped. This has the same form with all runtimes.
    ///
    /// # Errors
    /// When the plugin refuses, or is gone.
    pub fn stop_container(&mut self, pod: &PodSandbox, container: &Container) -> io::Result<()> {
        self.event(Form::Rpc, "StopContainer", 10, pod, container)
    }

    /// A container is gone.
    ///
    /// # Errors
    /// When the plugin refuses, or is gone.
    pub fn remove_container(
        &mut self,
        form: Form,
        pod: &PodSandbox,
        container: &Container,
    ) -> io::Result<()> {
        self.event(form, "RemoveContainer", 11, pod, container)
    }

    fn event(
        &mut self,
        form: Form,
        method: &str,
        event: i32,
        pod: &PodSandbox,
        container: &Container,
    ) -> io::Result<()> {
        let (pod, container) = (Some(pod.clone()), Some(container.clone()));
        let answer = match form {
            Form::Rpc => self.call(method, &ContainerRequest { pod, container }.encode_to_vec()),
            Form::StateChange => {
                let change = StateChangeEvent { event, pod, container };
                self.call("StateChange", &change.encode_to_vec())
            }
        };
        succeeded(answer?).map(|_| ())
    }

    /// Calls a method of the plugin with these bytes as its message, and waits for the answer.
    ///
    /// # Errors
    /// When the plugin is gone, or says something that is no answer.
    pub fn call(&mut self, method: &str, payload: &[u8]) -> io::Result<Answer> {
        let call = self.begin(method, payload)?;
        self.answer(call)
    }

    /// Calls a method and returns the number of the call.
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn begin(&mut self, method: &str, payload: &[u8]) -> io::Result<u32> {
        self.begin_of("nri.pkg.api.v1alpha1.Plugin", method, payload, Duration::ZERO)
    }

    /// Calls a method of any service, saying how long the answer is waited for (zero: not saying).
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn begin_of(
        &mut self,
        service: &str,
        method: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> io::Result<u32> {
        self.last_call = self.last_call.wrapping_add(2);
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: payload.to_vec(),
            timeout_nano: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        };
        self.write(&like_go(frame::PLUGIN, &ttrpc::request(self.last_call, &request)))?;
        Ok(self.last_call)
    }

    /// The answer to a call.
    ///
    /// # Errors
    /// When the plugin is gone, or says something that is no answer.
    pub fn answer(&mut self, call: u32) -> io::Result<Answer> {
        let incoming = self.wait(|stream, incoming| {
            stream == frame::PLUGIN && matches!(incoming, Incoming::Response(to, _) if *to == call)
        })?;
        let Incoming::Response(_, response) = incoming else { return Err(unexpected("")) };
        let code = response.status.map(|status| status.code).unwrap_or_default();
        Ok(Answer { code, payload: response.payload })
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// When the plugin is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits for the plugin to close the connection.
    ///
    /// # Errors
    /// When it does not.
    pub fn closed(&mut self) -> io::Result<()> {
        match self.wait(|_, _| false) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Err(unexpected("")),
        }
    }

    /// The first message that is wanted, among those that came and those that come.
    fn wait(&mut self, wanted: impl Fn(u32, &Incoming) -> bool) -> io::Result<Incoming> {
        let mut buffer = [0; 4096];
        loop {
            let found = self.received.iter().position(|(stream, message)| wanted(*stream, message));
            if let Some(at) = found {
                return Ok(self.received.swap_remove(at).1);
            }
            let length = self.stream.read(&mut buffer)?;
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.take(buffer.get(..length).unwrap_or_default())?;
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((stream, piece)) = self.demux.next(&mut bytes).map_err(io::Error::other)? {
            let assembler = match stream {
                frame::PLUGIN => &mut self.plugin_stream,
                frame::RUNTIME => &mut self.runtime_stream,
                other => return Err(unexpected(&format!("stream {other}"))),
            };
            assembler.push(piece);
            while let Some(message) = assembler.next().map_err(io::Error::other)? {
                self.received.push((stream, message));
            }
        }
        Ok(())
    }
}

/// Bytes of a stream as the Go side frames them: 4096, and the rest whatever its length.
fn like_go(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let (first, rest) = bytes.split_at(bytes.len().min(4096));
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for piece in [first, rest] {
        if !piece.is_empty() {
            out.extend_from_slice(&stream.to_be_bytes());
            out.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(piece);
        }
    }
    out
}

fn decode<M: Message + Default>(bytes: &[u8]) -> io::Result<M> {
    M::decode(bytes).map_err(io::Error::other)
}

fn succeeded(answer: Answer) -> io::Result<Answer> {
    if answer.code == 0 { Ok(answer) } else { Err(unexpected(&format!("code {}", answer.code))) }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("the plugin does what no runtime expects: {what}"))
}

/// Takes bytes apart as a plugin would that is sent them, in pieces of `cut` bytes, and every
/// message as each that it may be. Returns how many messages there were before the first nonsense.
///
/// For fuzzing: there is nothing that may panic here, or need memory beyond the input's.
#[must_use]
pub fn take_apart(bytes: &[u8], cut: usize) -> usize {
    let (mut demux, mut assembler, mut messages) = (Demux::default(), Assembler::default(), 0);
    for mut chunk in bytes.chunks(cut.max(1)) {
        loop {
            match demux.next(&mut chunk) {
                Ok(Some((_, piece))) => assembler.push(piece),
                Ok(None) => break,
                Err(_) => return messages,
            }
            loop {
                match assembler.next() {
                    Ok(None) => break,
                    Err(_) => return messages,
                    Ok(Some(incoming)) => {
                        messages += 1;
                        if let Incoming::Request(_, request) = incoming {
                            let payload = request.payload.as_slice();
                            let _ = SynchronizeRequest::decode(payload);
                            let _ = StateChangeEvent::decode(payload);
                            let _ = ContainerRequest::decode(payload);
                            let _ = ConfigureRequest::decode(payload);
                        }
                    }
                }
            }
        }
    }
    messages
}
