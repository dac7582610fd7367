//! The asking side.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::answer::Answer;
use crate::line::{self, LineError, LineReader};
use crate::request::Request;
use crate::stream::{Stream, left};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket, or there is none.
    #[error("no agent listens at {}: {errno}; is the daemon running? (resview daemon)", .path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What connect(2) said.
        errno: Errno,
    },
    /// The socket is not for this user.
    #[error("not allowed to talk to the agent at {}: {errno}; be root or in the socket's group", .path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
        /// What connect(2) said.
        errno: Errno,
    },
    /// The path is too long for a socket, or there are no descriptors left.
    #[error("cannot make a connection to {}: {errno}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
    /// The agent did not answer in time.
    #[error("the agent at {} did not answer within {waited:?}", .path.display())]
    Deadline {
        /// The socket.
        path: PathBuf,
        /// The deadline that it was given.
        waited: Duration,
    },
    /// The agent closed before the answer's last line.
    #[error("the agent at {} ended before its answer was complete", .path.display())]
    Incomplete {
        /// The socket.
        path: PathBuf,
    },
    /// What was said cannot be understood or sent.
    #[error("talking to the agent at {}", .path.display())]
    Line {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: LineError,
    },
}

/// A connection to the agent for one request.
#[derive(Debug)]
pub struct Client {
    lines: LineReader<Stream>,
    path: PathBuf,
    deadline: Duration,
    ended: bool,
}

impl Client {
    /// Connects to the socket at `path`. From now on everything together, the connecting, the
    /// request and the whole answer, may take as long as `deadline`.
    ///
    /// # Errors
    /// [`ClientError::Nobody`], [`ClientError::Denied`], [`ClientError::Connect`];
    /// [`ClientError::Deadline`] when so many wait already that the agent takes no more.
    pub fn connect(path: impl Into<PathBuf>, deadline: Duration) -> Result<Self, ClientError> {
        let (path, until) = (path.into(), Instant::now() + deadline);
        let socket = connected(&path, until).map_err(|errno| {
            let path = path.clone();
            match errno {
                Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => {
                    ClientError::Nobody { path, errno }
                }
                Errno::ACCESS | Errno::PERM => ClientError::Denied { path, errno },
                Errno::AGAIN | Errno::TIMEDOUT => ClientError::Deadline { path, waited: deadline },
                errno => ClientError::Connect { path, errno },
            }
        })?;
        let lines = LineReader::new(Stream::new(socket, until));
        Ok(Self { lines, path, deadline, ended: false })
    }

    /// Sends the request. The agent answers one in each connection.
    ///
    /// # Errors
    /// [`ClientError::Deadline`], [`ClientError::Line`].
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let sent = line::write(self.lines.get_mut(), request);
        match sent {
            // Who refuses a client may answer and close before it has read; the answer says why.
            Err(LineError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(|error| self.error(error)),
        }
    }

    /// The next line of the answer; `None` after its last one.
    ///
    /// # Errors
    /// [`ClientError::Deadline`], [`ClientError::Incomplete`], [`ClientError::Line`].
    pub fn next_answer(&mut self) -> Result<Option<Answer>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let line = self.lines.next_line().map_err(|error| self.error(error))?;
        let line = line.ok_or_else(|| ClientError::Incomplete { path: self.path.clone() })?;
        let answer = Answer::parse(&line).map_err(|error| self.error(error))?;
        self.ended = answer.is_last();
        Ok(Some(answer))
    }

    /// Asks, and waits for the whole answer; its last line is [`Answer::Done`] or
    /// [`Answer::Failure`].
    ///
    /// # Errors
    /// As [`Client::connect`], [`Client::send`] and [`Client::next_answer`].
    pub fn ask(
        path: impl Into<PathBuf>,
        request: &Request,
        deadline: Duration,
    ) -> Result<Vec<Answer>, ClientError> {
        let mut client = Self::connect(path, deadline)?;
        client.send(request)?;
        let mut answers = Vec::new();
        while let Some(answer) = client.next_answer()? {
            answers.push(answer);
        }
        Ok(answers)
    }

    fn error(&self, source: LineError) -> ClientError {
        use io::ErrorKind::{ConnectionReset, TimedOut, WouldBlock};
        let path = self.path.clone();
        match source {
            LineError::Io(error) if matches!(error.kind(), TimedOut | WouldBlock) => {
                ClientError::Deadline { path, waited: self.deadline }
            }
            LineError::Io(error) if error.kind() == ConnectionReset => {
                ClientError::Incomplete { path }
            }
            LineError::Cut => ClientError::Incomplete { path },
            source => ClientError::Line { path, source },
        }
    }
}

/// A connected socket. connect(2) itself waits while the listener's queue is full, as long as the
/// socket's send timeout says (`unix_stream_connect` of net/unix/af_unix.c), then says EAGAIN.
fn connected(path: &Path, until: Instant) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    loop {
        let left = left(until).map_err(|_| Errno::TIMEDOUT)?;
        set_socket_timeout(&socket, Timeout::Send, Some(left))?;
        match connect(&socket, &address) {
            Err(Errno::INTR) => {}
            result => return result.map(|()| UnixStream::from(socket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::request::Nothing;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(60);
    const STATUS: Request = Request::Status(Nothing {});

    /// An agent that does not read what it is asked, says `text`, and closes, or not.
    fn agent(text: &'static [u8], closes: bool) -> (tempfile::TempDir, PathBuf, JoinHandle<()>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::SOCKET);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = LineReader::new(stream.try_clone().unwrap());
            let _ = lines.next_line();
            stream.write_all(text).unwrap();
            if !closes {
                // Ends when the client does.
                let _ = lines.next_line();
            }
        });
        (dir, path, thread)
    }

    fn answer(text: &'static [u8], closes: bool, deadline: Duration) -> ClientError {
        let (_dir, path, thread) = agent(text, closes);
        let error = Client::ask(path, &STATUS, deadline).unwrap_err();
        thread.join().unwrap();
        error
    }

    #[test]
    fn an_agent_that_hangs_costs_no_more_than_the_deadline() {
        let error = answer(b"", false, SHORT);
        assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
        let error = answer(b"{\"version\":1,", false, SHORT);
        assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    }

    #[test]
    fn an_agent_that_ends_or_talks_nonsense_is_an_error() {
        let incomplete = |error: &ClientError| matches!(error, ClientError::Incomplete { .. });
        let error = answer(b"", true, LONG);
        assert!(incomplete(&error), "{error}");
        let error = answer(b"{\"version\":1,", true, LONG);
        assert!(incomplete(&error), "{error}");
        let error = answer(b"\x7fELF\0\n", true, LONG);
        assert!(matches!(error, ClientError::Line { .. }), "{error}");
        let error = answer(b"{\"version\":9,\"done\":true}\n", true, LONG);
        assert!(matches!(error, ClientError::Line { .. }), "{error}");
    }

    #[test]
    fn nobody_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent");
        let error = Client::connect(&path, LONG).unwrap_err();
        assert!(matches!(error, ClientError::Nobody { .. }), "{error}");
        drop(UnixListener::bind(&path).unwrap());
        let error = Client::connect(&path, LONG).unwrap_err();
        assert!(matches!(error, ClientError::Nobody { .. }), "{error}");
        let error = Client::connect("/".repeat(200), LONG).unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }

    #[test]
    fn a_full_queue_costs_no_more_than_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::SOCKET);
        let _listener = UnixListener::bind(&path).unwrap();
        let mut waiting = Vec::new();
        // The queue has a bound (net.core.somaxconn at most), so this ends.
        let error = loop {
            match Client::connect(&path, SHORT) {
                Ok(client) => waiting.push(client),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    }
}
