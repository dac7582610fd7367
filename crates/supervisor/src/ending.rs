//! How it ends.

use std::time::Instant;

use control::{Answer, Role, ToWorker, socket_path};
use rustix::io::Errno;

use crate::config::{Ended, OnStop};
use crate::desk::Visitor;
use crate::error::Error;
use crate::predecessor::Pids;
use crate::start::Origin;
use crate::store;
use crate::supervisor::{Supervisor, after};
use crate::worker::Worker;

/// What is to happen before the end.
#[derive(Debug)]
pub(crate) struct Ending {
    how: How,
    /// Who wants to know.
    asker: Option<Visitor>,
    /// From when on there is no more patience.
    until: Option<Instant>,
    /// What went wrong on the way.
    failure: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The worker stops, everything is unmounted.
    Unmount,
    /// Somebody else has unmounted: the worker stops.
    Unmounted,
    /// The worker serves on.
    Keep,
    /// The worker stops, the asker serves.
    HandOver,
}

impl How {
    fn text(self) -> &'static str {
        match self {
            Self::Unmount => "the view is unmounted",
            Self::Unmounted => "somebody else has unmounted the view",
            Self::Keep => "the worker serves on",
            Self::HandOver => "another daemon takes over",
        }
    }
}

impl Ending {
    fn new(how: How, asker: Option<Visitor>) -> Self {
        Self { how, asker, until: None, failure: None }
    }

    pub(crate) fn unmounted() -> Self {
        Self::new(How::Unmounted, None)
    }

    pub(crate) fn as_configured(on_stop: OnStop) -> Self {
        Self::asked_for(on_stop == OnStop::Unmount, None)
    }

    pub(crate) fn asked_for(unmount: bool, asker: Option<Visitor>) -> Self {
        Self::new(if unmount { How::Unmount } else { How::Keep }, asker)
    }

    pub(crate) fn hand_over(to: Visitor) -> Self {
        Self::new(How::HandOver, Some(to))
    }
}

impl Supervisor {
    /// Begins to end, unless it has begun to already.
    pub(crate) fn begin_end(&mut self, mut ending: Ending, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        tracing::info!("ending: {}", ending.how.text());
        ending.until = Some(after(now, self.config.watchdog * 2));
        if ending.how == How::Unmount {
            // Detached first, so that nobody new waits for a worker that stops.
            ending.failure = self.unmount().err();
        }
        if ending.how != How::Keep {
            self.dismiss_next(now);
        }
        if let Some(worker) = &mut self.serving {
            match ending.how {
                // It may be dying at this moment: it is to give a sign of life.
                How::Keep => {
                    worker.heard = false;
                    worker.tell(&ToWorker::Status, now);
                }
                // There is nothing left that it could answer.
                How::Unmounted => worker.dismiss(now),
                _ => worker.stop(self.config.watchdog, now),
            }
        }
        if ending.how != How::HandOver {
            store::stopping();
        }
        self.ending = Some(ending);
    }

    /// Whether workers are replaced.
    pub(crate) fn goes_on(&self) -> bool {
        self.ending.as_ref().is_none_or(|ending| ending.how == How::Keep)
    }

    /// Takes the shared tree out of sight, and with it what is mounted on it.
    fn unmount(&self) -> Result<(), Error> {
        let shared = self.holdings.connection(Role::Shared);
        let others = matches!(self.origin, Some(Origin::Predecessor(_)));
        match shared.filter(|held| held.state.attached && !others) {
            Some(held) => match fuse::unmount(&held.state.mountpoint) {
                Err(error) if error.errno == Errno::INVAL => Ok(()), // somebody else has
                result => Ok(result?),
            },
            None => Ok(()),
        }
    }

    /// Goes on ending. Which end this is, if it is.
    ///
    /// # Errors
    /// This is the end, and something is still mounted.
    pub(crate) fn end(&mut self, now: Instant) -> Result<Option<Ended>, Error> {
        let Some(ending) = &mut self.ending else { return Ok(None) };
        let late = ending.until.is_none_or(|until| now >= until);
        let lives = |worker: &Worker| worker.is_confirmed() && worker.heard;
        let done = match ending.how {
            // Without one, nobody would hold the connections.
            How::Keep => self.serving.as_ref().is_some_and(lives) || late,
            How::HandOver => self.serving.is_none(),
            How::Unmount | How::Unmounted => {
                self.serving.is_none() && (self.leaving.is_empty() || late)
            }
        };
        if !done {
            return Ok(None);
        }
        let (how, asker, failure) = (ending.how, ending.asker, ending.failure.take());
        match how {
            How::HandOver => return Ok(self.release(asker, now).then_some(Ended::Otherwise)),
            How::Keep => {}
            How::Unmount | How::Unmounted => self.clean_up(),
        }
        if let Some(asker) = asker {
            self.desk.answer(asker, &Answer::Ended);
        }
        let stopped = how == How::Unmount && asker.is_some();
        let ended = if stopped { Ended::Stopped } else { Ended::Otherwise };
        failure.map_or(Ok(Some(ended)), Err)
    }

    /// Tells the successor that it may serve. If that is gone, this goes on.
    fn release(&mut self, asker: Option<Visitor>, now: Instant) -> bool {
        let attached = self.holdings.roles(true);
        let answer = Answer::Released { clean: !self.recover, attached };
        if asker.is_some_and(|asker| self.desk.answer(asker, &answer)) {
            return true;
        }
        tracing::warn!("the successor is gone; going on");
        self.ending = None;
        self.start_at = Some(now);
        false
    }

    /// Leaves nothing behind.
    fn clean_up(&mut self) {
        if matches!(self.origin, Some(Origin::Predecessor(_))) {
            return; // all of it is the predecessor's, who goes on
        }
        if let Some(store) = &self.store {
            store.empty(&self.holdings);
        }
        let _ = std::fs::remove_file(socket_path(&self.config.runtime_dir));
        Pids::remove(&self.config.runtime_dir);
    }

    /// After a failure: a view that nobody has served yet goes, any other stays for the next start.
    pub(crate) fn give_up(&mut self) {
        self.dismiss_next(Instant::now());
        if matches!(self.origin, Some(Origin::New)) {
            self.clean_up();
        }
    }
}
