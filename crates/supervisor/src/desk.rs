//! The control socket's visitors.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use control::{Answer, Channel, ChannelError, Holdings, Listener, Request};

/// Visitors at a time. One more takes the place of the longest here.
const VISITORS_MAX: usize = 8;

/// Who asked: the answer may come much later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visitor(u64);

#[derive(Debug)]
struct Visit {
    visitor: Visitor,
    channel: Channel,
    /// It has been given the descriptors.
    knows: bool,
}

#[derive(Debug)]
pub(crate) struct Desk {
    listener: Listener,
    visits: Vec<Visit>,
    count: u64,
    /// After a failure of accept4(2), the door stays closed until then.
    closed_until: Option<Instant>,
}

impl Desk {
    pub(crate) fn new(listener: Listener) -> Self {
        Self { listener, visits: Vec::new(), count: 0, closed_until: None }
    }

    /// Lets visitors in, and hears what they ask. `retry` is when to try again if nobody can be let
    /// in.
    pub(crate) fn requests(&mut self, now: Instant, retry: Instant) -> Vec<(Visitor, Request)> {
        if self.closed_until.is_none_or(|until| now >= until) {
            self.closed_until = self.accept().then_some(retry);
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

    /// Whether accepting has failed.
    fn accept(&mut self) -> bool {
        match self.listener.accept() {
            Ok(Some(channel)) => {
                self.count = self.count.wrapping_add(1);
                if self.visits.len() >= VISITORS_MAX {
                    self.visits.remove(0);
                }
                let visitor = Visitor(self.count);
                self.visits.push(Visit { visitor, channel, knows: false });
                false
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "cannot let anybody in at the control socket");
                true
            }
        }
    }

    /// Answers; whether the visitor was still there to take it.
    pub(crate) fn answer(&mut self, to: Visitor, answer: &Answer) -> bool {
        let visit = self.visits.iter().find(|visit| visit.visitor == to);
        visit.is_some_and(|visit| visit.channel.send(answer).is_ok())
    }

    /// Gives a visitor copies of everything.
    pub(crate) fn hand_over(&mut self, to: Visitor, holdings: &Holdings, worker_pid: Option<u32>) {
        let answer = Answer::Estate { estate: holdings.estate(), worker_pid };
        if let Some(visit) = self.visits.iter_mut().find(|visit| visit.visitor == to) {
            let sent = visit.channel.send_with(&answer, &holdings.descriptors());
            visit.knows = sent.is_ok();
        }
    }

    /// What makes the loop turn.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = self.closed_until.is_none().then(|| self.listener.as_fd());
        self.visits.iter().map(|visit| visit.channel.as_fd()).chain(listener)
    }
}

impl Visit {
    /// Whether it could be told.
    fn refuse(&self, why: &str) -> bool {
        self.channel.send(&Answer::Refused { why: why.to_owned() }).is_ok()
    }
}
