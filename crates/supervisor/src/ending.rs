//! How it ends.

use std::time::Instant;

use children::{Phase, Worker};
use control::{Answer, ToWorker, Visitor};
use inheritance::Former;

use crate::config::{Ended, Error};
use crate::supervisor::{Supervisor, after};

/// What is to happen before the end.
#[derive(Debug)]
pub(crate) struct Ending {
    how: How,
    /// Who wants to know.
    asker: Option<Visitor>,
    /// From when on there is no more patience.
    until: Instant,
    /// What went wrong on the way.
    failure: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
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
    pub(crate) fn asked(unmount: bool) -> Self {
        if unmount { Self::Unmount } else { Self::Keep }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Unmount => "the view is unmounted",
            Self::Unmounted => "somebody else has unmounted the view",
            Self::Keep => "the worker serves on",
            Self::HandOver => "another daemon takes over",
        }
    }
}

impl Supervisor {
    /// Begins to end, unless it has begun to already.
    pub(crate) fn begin_end(&mut self, how: How, asker: Option<Visitor>, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        tracing::info!("ending: {}", how.text());
        // First, so that nobody new waits for a worker that stops. What a predecessor serves stays.
        let unmounts = how == How::Unmount && !matches!(self.former, Some(Former::Living(_)));
        let failure = unmounts.then(|| inheritance::unmount(&self.holdings).err()).flatten();
        if how != How::Keep {
            self.dismiss_next(now);
        }
        if let Some(worker) = &mut self.serving {
            match how {
                // It may be dying at this moment: it is to give a sign of life.
                How::Keep => {
                    worker.heard = false;
                    worker.tell(&ToWorker::Status, now);
                }
                // There is nothing left that it could answer.
                How::Unmounted => worker.dismiss(now),
                How::Unmount | How::HandOver => worker.stop(self.config.watchdog, now),
            }
        }
        if how != How::HandOver {
            self.manager.stopping();
        }
        let until = after(now, self.config.watchdog * 2);
        self.ending = Some(Ending { how, asker, until, failure: failure.map(Error::from) });
    }

    /// Whether workers are replaced.
    pub(crate) fn goes_on(&self) -> bool {
        self.ending.as_ref().is_none_or(|ending| ending.how == How::Keep)
    }

    /// Goes on ending. Which end this is, if it is.
    ///
    /// # Errors
    /// This is the end, and something is still mounted.
    pub(crate) fn end(&mut self, now: Instant) -> Result<Option<Ended>, Error> {
        let Some(Ending { how, asker, until, .. }) = self.ending else { return Ok(None) };
        let lives = |worker: &Worker| worker.phase() == Phase::Serving && worker.heard;
        let done = match how {
            // Without one, nobody would hold the connections.
            How::Keep => self.serving.as_ref().is_some_and(lives) || now >= until,
            How::HandOver => self.serving.is_none(),
            How::Unmount | How::Unmounted => {
                self.serving.is_none() && (self.leaving.is_empty() || now >= until)
            }
        };
        if !done {
            return Ok(None);
        }
        let answer = match how {
            How::HandOver => {
                Answer::Released { clean: !self.recover, attached: self.holdings.roles(true) }
            }
            How::Keep => Answer::Ended,
            How::Unmount | How::Unmounted => {
                self.clean_up();
                Answer::Ended
            }
        };
        let told = self.tell(asker, &answer);
        let failure = self.ending.take().and_then(|ending| ending.failure);
        if how == How::HandOver && !told {
            tracing::warn!("the successor is gone; going on");
            self.start_at = Some(now);
            return Ok(None);
        }
        let stopped = how == How::Unmount && asker.is_some();
        let ended = if stopped { Ended::Stopped } else { Ended::Otherwise };
        failure.map_or(Ok(Some(ended)), Err)
    }

    /// Leaves nothing behind, but what is a predecessor's, who goes on.
    fn clean_up(&mut self) {
        if !matches!(self.former, Some(Former::Living(_))) {
            self.manager.forget_all(&self.holdings);
            self.home.clear();
        }
    }

    /// After a failure: a view that nobody has served yet goes, any other stays for the next start.
    pub(crate) fn give_up(&mut self) {
        self.dismiss_next(Instant::now());
        if matches!(self.former, Some(Former::Nobody)) {
            self.clean_up();
        }
    }
}
