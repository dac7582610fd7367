//! The agent's side of one connection.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;

use crate::answer::{Answer, Failure};
use crate::line::{self, LineError, LineReader};
use crate::request::{Request, RequestError};
use crate::stream::Stream;

/// Who asks, as the kernel says it (`SO_PEERCRED`, unix(7)): the process that connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its process, in the agent's pid namespace.
    pub pid: i32,
    /// Its effective user at that time, in the agent's user namespace.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// One connection: a request is read, answers are written, and dropping it closes.
#[derive(Debug)]
pub struct Conversation {
    lines: LineReader<Stream>,
    /// How long the other side may keep us waiting at each step.
    patience: Duration,
}

impl Conversation {
    /// Begins with an accepted connection. The client may take as long as `patience` for its whole
    /// request, and as long again to take each line of the answer.
    #[must_use]
    pub fn new(socket: UnixStream, patience: Duration) -> Self {
        let stream = Stream::new(socket, Instant::now() + patience);
        Self { lines: LineReader::new(stream), patience }
    }

    /// Who asks.
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn peer(&mut self) -> io::Result<Peer> {
        let peer = socket_peercred(self.lines.get_mut().socket())?;
        Ok(Peer {
            pid: peer.pid.as_raw_nonzero().get(),
            uid: peer.uid.as_raw(),
            gid: peer.gid.as_raw(),
        })
    }

    /// Reads the request. One that is none is refused in words before this returns.
    ///
    /// # Errors
    /// Why it is none; the client has been told, as far as it listens.
    pub fn request(&mut self) -> Result<Request, RequestError> {
        let request = match self.lines.next_line() {
            Ok(Some(line)) => Request::parse(&line),
            Ok(None) => Err(RequestError::Nothing),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = &request {
            // Whoever does not listen is told in vain.
            let _ = self.answer(&Answer::Failure(Failure::from(error)));
        }
        request
    }

    /// Writes one line of the answer.
    ///
    /// # Errors
    /// [`LineError::Io`] when the client is gone or does not take it in time;
    /// [`LineError::TooLong`], with nothing written.
    pub fn answer(&mut self, answer: &Answer) -> Result<(), LineError> {
        let until = Instant::now() + self.patience;
        let stream = self.lines.get_mut();
        stream.set_deadline(until);
        line::write(stream, answer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::answer::{Container, ContainerAnswer, Done, Outcome};
    use crate::client::Client;
    use crate::request::List;

    const LONG: Duration = Duration::from_secs(60);

    fn refusal(request: &[u8], patience: Duration) -> (RequestError, String) {
        let (mut client, server) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || Conversation::new(server, patience).request());
        // The server may refuse and close while this still writes.
        let _ = client.write_all(request);
        if patience == LONG {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut text = Vec::new();
        let _ = client.read_to_end(&mut text);
        (thread.join().unwrap().unwrap_err(), String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_client_and_the_agent_understand_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::SOCKET);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let container = Container { id: "4f2a".to_owned(), ..Container::default() };
        let line = Answer::Container(ContainerAnswer {
            container,
            outcome: Outcome::Listed,
            reason: None,
            files: Vec::new(),
            policy: None,
        });
        let answers = [line, Answer::Done(Done::new(1, 0))];
        let says = answers.clone();
        let agent = std::thread::spawn(move || {
            let mut conversation = Conversation::new(listener.accept().unwrap().0, LONG);
            let request = conversation.request().unwrap();
            for answer in &says {
                conversation.answer(answer).unwrap();
            }
            (request, conversation.peer().unwrap())
        });
        let request = Request::List(List { container: None });
        assert_eq!(Client::ask(&path, &request, LONG).unwrap(), answers);
        let (asked, peer) = agent.join().unwrap();
        assert_eq!(asked, request);
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        for (line, words) in [
            (&b"hello\n"[..], "not a JSON object"),
            (b"{\"version\":2,\"request\":\"status\"}\n", "version 2"),
            (b"{\"version\":1,\"request\":\"halt\"}\n", "no request"),
            (b"{\"version\":1,\"request\":\"attach\"}\n", "container"),
            (b"{\"version\":1", "middle of a line"),
            (b"", "before there was a request"),
        ] {
            let (error, told) = refusal(line, LONG);
            assert!(error.to_string().contains(words), "{error}");
            assert!(told.contains("\"error\"") && told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_client_that_sends_without_end_is_cut_off() {
        let (error, _) = refusal(&vec![b'x'; line::LINE_MAX + 2], LONG);
        assert!(matches!(error, RequestError::Line(LineError::TooLong)), "{error}");
    }

    #[test]
    fn a_client_that_says_nothing_does_not_keep_the_agent() {
        let (error, _) = refusal(b"{", Duration::from_millis(100));
        assert!(matches!(error, RequestError::Line(LineError::Io(_))), "{error}");
    }
}
