//! A worker whose supervisor is dead. It serves on, and answers on the control socket, so that the
//! next supervisor finds it there.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::channel::{Channel, ChannelError};
use crate::holdings::Holdings;
use crate::listener::accept;
use crate::message::{Answer, Request};

/// Connections at a time. The rest wait in the backlog.
const CONNECTIONS_MAX: usize = 8;

/// Somebody wants to serve instead.
#[derive(Debug)]
pub struct Successor(Channel);

impl Successor {
    /// Says that this worker serves no more. `clean`: every request that it had read is answered.
    ///
    /// # Errors
    /// See [`ChannelError`]. There is nothing to be done about it but to exit: the successor sees
    /// the end of this process and finds the rest.
    pub fn released(self, clean: bool, holdings: &Holdings) -> Result<(), ChannelError> {
        self.0.send(&Answer::Released { clean, attached: holdings.roles(true) })
    }
}

/// Answers until somebody takes over: then stop serving, call [`Successor::released`] and exit.
/// `status` is the worker's own report. Other requests are refused.
///
/// # Errors
/// What poll(2) says. `holdings.listener` is of no use then; the worker serves on all the same.
pub fn answer(holdings: &Holdings, mut status: impl FnMut() -> Value) -> Result<Successor, Errno> {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        wait(holdings, &connections)?;
        if connections.len() < CONNECTIONS_MAX {
            // EMFILE and the like pass; the connection waits in the backlog.
            if let Ok(Some(channel)) = accept(rustix::fd::AsFd::as_fd(&holdings.listener)) {
                connections.push(Connection { channel, knows: false });
            }
        }
        let mut index = 0;
        while let Some(connection) = connections.get_mut(index) {
            match connection.turn(holdings, &mut status) {
                Turn::Stays => index += 1,
                Turn::Ends => drop(connections.swap_remove(index)),
                Turn::TakesOver => return Ok(Successor(connections.swap_remove(index).channel)),
            }
        }
    }
}

struct Connection {
    channel: Channel,
    /// It has been given the descriptors.
    knows: bool,
}

enum Turn {
    Stays,
    Ends,
    TakesOver,
}

impl Connection {
    fn turn(&mut self, holdings: &Holdings, status: &mut impl FnMut() -> Value) -> Turn {
        let sent = match self.channel.try_receive() {
            Ok(None) => return Turn::Stays,
            Ok(Some(Request::Release)) if self.knows => return Turn::TakesOver,
            Ok(Some(Request::TakeOver)) => {
                self.knows = true;
                let worker_pid = Some(std::process::id());
                let answer = Answer::Estate { estate: holdings.estate(), worker_pid };
                self.channel.send_with(&answer, &holdings.descriptors())
            }
            Ok(Some(Request::Status)) => {
                let report = json!({ "worker": status() });
                self.channel.send(&Answer::Report { report })
            }
            Ok(Some(_)) => self.refuse("the supervisor is dead; start the daemon again"),
            Err(error @ (ChannelError::Garbage(_) | ChannelError::Protocol { .. })) => {
                self.refuse(&error.to_string())
            }
            Err(error) => Err(error),
        };
        if sent.is_ok() { Turn::Stays } else { Turn::Ends }
    }

    fn refuse(&self, why: &str) -> Result<(), ChannelError> {
        self.channel.send(&Answer::Refused { why: why.to_owned() })
    }
}

/// Waits for a connection or for a request on one.
fn wait(holdings: &Holdings, connections: &[Connection]) -> Result<(), Errno> {
    let mut fds: Vec<_> = connections
        .iter()
        .map(|connection| PollFd::new(&connection.channel, PollFlags::IN))
        .collect();
    if connections.len() < CONNECTIONS_MAX {
        fds.push(PollFd::new(&holdings.listener, PollFlags::IN));
    }
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
