//! When there is nothing to watch, nobody looks: a machine on which nobody reads is not woken up
//! twice a second for a worker that has nothing to do.
//!
//! Whatever ends the rest is a descriptor's affair: a request that comes to a connection, the end of
//! a worker or a helper, a visitor, a signal. One request ends it for many looks, so who reads every
//! now and then wakes the supervisor no more often than before.

use std::time::{Duration, Instant};

use children::{Helper, Phase};
use rustix::event::{PollFd, PollFlags};

use crate::crashes::SETTLED;
use crate::supervisor::Supervisor;
use crate::watch::Watch;

/// There is a look all the same, should something have gone by unnoticed.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Whether nothing will have to be done before [a descriptor](Self::alarms) says so: nobody has a
    /// deadline, and nothing has been asked of the worker for a while.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        let is_settled = self.serving.as_ref().is_some_and(|worker| {
            worker.phase() == Phase::Serving && worker.served(now) >= Some(SETTLED)
        });
        let (starts, ends) = (self.next.is_some() || self.start_at.is_some(), &self.ending);
        let is_alone = self.former.is_none() && self.leaving.is_empty() && self.trial.is_none();
        let owes = !self.announced || !self.asked.is_empty() || self.desk.retry_at().is_some();
        let is_still = |role| self.watches.get(&role).is_some_and(Watch::is_still);
        // What comes over io_uring is seen in the journal only: no descriptor would say it.
        let is_told = !inheritance::is_over_io_uring(&self.holdings);
        is_settled
            && is_told
            && is_alone
            && !(starts || owes || ends.is_some())
            && self.manager.has_all(&self.holdings)
            && self.helpers.iter().all(Helper::runs)
            && self.holdings.connections.iter().all(|held| is_still(held.state.role))
    }

    /// What ends the rest, besides those that are always heard: a request, the end of a connection,
    /// the end of a helper.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = PollFd<'_>> {
        let connections = self.holdings.connections.iter();
        let devices = connections.map(|held| PollFd::new(&held.device, PollFlags::IN));
        // Of a pipe, the end of all readers is an error, which is always waited for.
        let helpers = self.helpers.iter().map(|helper| PollFd::new(helper, PollFlags::empty()));
        devices.chain(helpers)
    }
}
