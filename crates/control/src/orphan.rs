//! A worker whose supervisor is dead. It serves on, and answers on the control socket, so that the
//! next supervisor finds it there.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::channel::ChannelError;
use crate::desk::{Desk, Visitor};
use crate::holdings::Holdings;
use crate::listener::Listener;
use crate::message::{Answer, Request};

/// Somebody wants to serve instead.
#[derive(Debug)]
pub struct Successor {
    desk: Desk,
    visitor: Visitor,
}

impl Successor {
    /// Says that this worker serves no more. `clean`: every request that it had read is answered.
    ///
    /// # Errors
    /// See [`ChannelError`]. There is nothing to be done about it but to exit: the successor sees
    /// the end of this process and finds the rest.
    pub fn released(self, clean: bool, holdings: &Holdings) -> Result<(), ChannelError> {
        let attached = holdings.roles(true);
        self.desk.answer(self.visitor, &Answer::Released { clean, attached })
    }
}

/// Answers until somebody takes over: then stop serving, call [`Successor::released`] and exit.
/// `status` is the worker's own report, and asked for each time. Other requests are refused.
///
/// # Errors
/// What poll(2) says. `holdings.listener` is of no use then; the worker serves on all the same.
pub fn answer(holdings: &Holdings, mut status: impl FnMut() -> Value) -> Result<Successor, Errno> {
    let listener = holdings.listener.try_clone().map_err(|_| Errno::MFILE)?;
    let mut desk = Desk::new(Listener::adopt(listener));
    loop {
        wait(&desk)?;
        for (visitor, request) in desk.requests(Instant::now()) {
            match request {
                Request::Release => return Ok(Successor { desk, visitor }),
                Request::TakeOver => desk.hand_over(visitor, holdings, Some(std::process::id())),
                Request::Status => {
                    let report = json!({ "worker": status() });
                    // One that has gone meanwhile is let go at the next request.
                    let _ = desk.answer(visitor, &Answer::Report { report });
                }
                Request::Upgrade { .. } | Request::Stop { .. } => {
                    desk.refuse(visitor, "the supervisor is dead; start the daemon again");
                }
            }
        }
    }
}

/// Waits for a connection or for a request on one.
fn wait(desk: &Desk) -> Result<(), Errno> {
    let poll_in = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds: Vec<_> = desk.sources().map(poll_in).collect();
    let left = desk.retry_at().map(|at| at.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use super::*;
    use crate::client::{Client, ClientError};
    use crate::listener::socket_path;

    const HANG: Duration = Duration::from_secs(60);

    #[test]
    fn orphan_reports_how_it_is_now_and_lets_go_only_when_somebody_has_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&socket_path(dir.path())).unwrap().into();
        let keep = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let holdings =
            Holdings { connections: Vec::new(), keep, listener, guard: None, virtual_: true };
        let orphan = std::thread::spawn(move || {
            let mut asked = 0;
            let report = || {
                asked += 1;
                json!({ "asked": asked })
            };
            answer(&holdings, report).unwrap().released(true, &holdings)
        });
        let client = Client::connect(dir.path()).unwrap();
        for asked in [1, 2] {
            assert_eq!(client.status(HANG).unwrap(), json!({ "worker": { "asked": asked } }));
        }
        let refused = client.ask(&Request::Stop { unmount: true }, HANG).unwrap_err();
        assert!(refused.to_string().contains("the supervisor is dead"), "{refused}");
        let refused = Client::connect(dir.path()).unwrap().release(HANG).unwrap_err();
        assert!(matches!(refused, ClientError::Refused(_)), "{refused}");
        assert_eq!(client.take_over(HANG).unwrap().worker_pid, Some(std::process::id()));
        assert_eq!(client.release(HANG).unwrap(), (true, Vec::new()));
        orphan.join().unwrap().unwrap();
    }
}
