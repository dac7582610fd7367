//! The control socket's visitors, as whoever listens there sees them: a supervisor, or a worker that
//! has none.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::channel::{Channel, ChannelError};
use crate::holdings::Holdings;
use crate::listener::Listener;
use crate::message::{Answer, Request};

/// Visitors at a time. One more takes the place of the longest here.
const VISITORS_MAX: usize = 8;

/// After a failure of accept4(2), the door stays closed for so long.
const CLOSED: Duration = Duration::from_secs(1);

/// Who asked: the answer may come much later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor(u64);

#[derive(Debug)]
struct Visit {
    visitor: Visitor,
    channel: Channel,
    /// It has been given the descriptors.
    knows: bool,
}

/// Who is here, of those that came to the control socket.
#[derive(Debug)]
pub struct Desk {
    listener: Listener,
    visits: Vec<Visit>,
    count: u64,
    closed_until: Option<Instant>,
}

impl Desk {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(listener: Listener) -> Self {
        Self { listener, visits: Vec::new(), count: 0, closed_until: None }
    }

    /// Lets at most one visitor in, and hears what they ask, without waiting. Those that talk
    /// nonsense, or want to have released what they have not taken over, are told so.
    pub fn requests(&mut self, now: Instant) -> Vec<(Visitor, Request)> {
        if self.closed_until.is_none_or(|until| now >= until) {
            self.closed_until = self.accept().then_some(now + CLOSED);
        }
        let mut requests = Vec::new();
        self.visits.retain_mut(|visit| match visit.channel.try_receive() {
            Ok(None) => true,
            Ok(Some(Request::Release)) if !visit.knows => visit.refuse("take over first"),
            Ok(Some(request)) => {
                requests.push((visit.visitor, request));
                true
            }
            Err(error @ (ChannelError::Garbage(_) | ChannelError::Protocol { .. })) => {
                visit.refuse(&error.to_string())
            }
            Err(_) => false,
        });
        requests
    }

    /// Whether accepting has failed: `EMFILE` and the like, which pass.
    fn accept(&mut self) -> bool {
        let Ok(visitor) = self.listener.accept() else { return true };
        if let Some(channel) = visitor {
            self.count = self.count.wrapping_add(1);
            if self.visits.len() >= VISITORS_MAX {
                self.visits.remove(0);
            }
            self.visits.push(Visit { visitor: Visitor(self.count), channel, knows: false });
        }
        false
    }

    /// Answers.
    ///
    /// # Errors
    /// See [`ChannelError`]; [`Closed`](ChannelError::Closed) where the visitor has gone.
    pub fn answer(&self, to: Visitor, answer: &Answer) -> Result<(), ChannelError> {
        let visit = self.visits.iter().find(|visit| visit.visitor == to);
        visit.map_or(Err(ChannelError::Closed), |visit| visit.channel.send(answer))
    }

    /// Says no.
    pub fn refuse(&self, to: Visitor, why: &str) {
        let visit = self.visits.iter().find(|visit| visit.visitor == to);
        visit.map(|visit| visit.refuse(why));
    }

    /// Gives a visitor copies of everything.
    pub fn hand_over(&mut self, to: Visitor, holdings: &Holdings, worker_pid: Option<u32>) {
        let answer = Answer::Estate { estate: holdings.estate(), worker_pid };
        if let Some(visit) = self.visits.iter_mut().find(|visit| visit.visitor == to) {
            let sent = visit.channel.send_with(&answer, &holdings.descriptors());
            visit.knows = sent.is_ok();
        }
    }

    /// What there will be something to read on.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.closed_until.is_none().then(|| self.listener.as_fd());
        self.visits.iter().map(|visit| visit.channel.as_fd()).chain(listener)
    }

    /// When to look without that, because nobody could be let in.
    #[must_use]
    pub fn retry_at(&self) -> Option<Instant> {
        self.closed_until
    }
}

impl Visit {
    /// Whether it could be told.
    fn refuse(&self, why: &str) -> bool {
        self.channel.send(&Answer::Refused { why: why.to_owned() }).is_ok()
    }
}
