//! Who serves next: starts, hand-overs, deaths, upgrades and their way back.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use control::{Answer, Hello, Role};

use crate::crashes::{Crashes, SETTLED};
use crate::desk::Visitor;
use crate::error::Error;
use crate::mountpoint;
use crate::predecessor::Pids;
use crate::program::Program;
use crate::start::Origin;
use crate::store;
use crate::supervisor::{Supervisor, after};
use crate::worker::Worker;

/// A program that has not proved itself yet.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The one before, should this one fail.
    previous: Rc<Program>,
    /// Who wants to know.
    asker: Option<Visitor>,
    /// It has served, and that was said.
    done: bool,
    deaths: u32,
}

impl Trial {
    /// Whether the new program has served.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }
}

/// A new program may die so often before the one before is taken again.
const TRIES: u32 = 2;

/// More processes that were killed and do not end are not waited for.
const LEAVING_MAX: usize = 64;

impl Supervisor {
    /// Sees who is gone and who is ready, and goes on.
    pub(crate) fn succeed(&mut self, now: Instant) -> Result<(), Error> {
        self.leaving.retain_mut(|worker| {
            worker.hurry(now);
            !worker.reap()
        });
        self.leaving.truncate(LEAVING_MAX);
        if let Some(worker) = take_if_gone(&mut self.serving, now) {
            self.lost(worker, now);
        }
        if let Some(mut worker) = take_if_gone(&mut self.next, now) {
            worker.reap();
            let why = worker.why();
            let (degraded, dismissed) = (worker.degraded, worker.dismissed);
            self.leaving.push(worker);
            if !dismissed {
                self.failed(&why, degraded, now)?;
            }
        }
        self.confirm(now);
        if !self.goes_on() {
            return Ok(());
        }
        match (&mut self.serving, &self.next) {
            (Some(serving), Some(next)) if next.is_ready() => {
                serving.stop(self.config.watchdog, now);
            }
            (None, Some(next)) if next.is_ready() => self.go(now)?,
            (_, None) if self.start_at.is_some_and(|at| now >= at) => self.start(now)?,
            _ => {}
        }
        Ok(())
    }

    /// Starts the next worker. While one serves, it is a normal one.
    fn start(&mut self, now: Instant) -> Result<(), Error> {
        self.start_at = None;
        let degraded = self.serving.is_none() && self.crashes.next().degraded;
        let hello = Hello {
            estate: self.holdings.estate_for_worker(),
            recovery: self.config.recovery,
            degraded: degraded.then_some(self.config.when_failing),
        };
        match Worker::start(&self.program, hello, &self.holdings, now) {
            Ok(worker) => {
                tracing::debug!(worker = worker.pid(), degraded, "started a worker");
                self.next = Some(worker);
                Ok(())
            }
            Err(why) => self.failed(&why, degraded, now),
        }
    }

    /// Lets the next one serve. Nobody else does any more, or will when this returns.
    fn go(&mut self, now: Instant) -> Result<(), Error> {
        let Some(mut worker) = self.next.take() else { return Ok(()) };
        match self.origin.take() {
            Some(Origin::Predecessor(predecessor)) => {
                let (clean, attached) = predecessor.release(&self.config)?;
                self.recover = !clean;
                self.attached(&attached);
            }
            Some(Origin::Store) => self.recover = true,
            Some(Origin::New) | None => {}
        }
        self.attach()?;
        let attach = self.holdings.roles(false);
        tracing::info!(worker = worker.pid(), recover = self.recover, "a worker serves");
        worker.go(std::mem::take(&mut self.recover), attach, Instant::now());
        Pids::write(&self.config.runtime_dir, worker.pid());
        self.serving = Some(worker);
        self.announced = false;
        self.watch_anew();
        self.schedule(now);
        Ok(())
    }

    /// Puts the shared tree in its place. All others lie on it: that is for the worker to do.
    fn attach(&mut self) -> Result<(), Error> {
        let shared = self.holdings.connection(Role::Shared);
        let mount = shared.and_then(|held| Some((held.mount.as_ref()?, &held.state.mountpoint)));
        if let Some((mount, mountpoint)) = mount {
            // A supervisor may have died before it could write down that it had done so.
            if !mountpoint::is_attached(mount) {
                fuse::attach(mount.as_fd(), mountpoint)?;
            }
            self.attached(&[Role::Shared]);
        }
        Ok(())
    }

    /// When the next worker starts if nothing happens.
    fn schedule(&mut self, now: Instant) {
        self.start_at = match &self.serving {
            None => Some(after(now, self.crashes.next().after)),
            Some(worker) if worker.degraded => Some(after(now, self.crashes.retry())),
            Some(_) => None,
        };
    }

    /// The one that served is gone.
    fn lost(&mut self, mut worker: Worker, now: Instant) {
        self.recover = !worker.stopped;
        worker.reap();
        if !worker.dismissed && worker.was_killed_by_others() {
            let (why, served) = (worker.why(), worker.served(now));
            tracing::warn!(worker = worker.pid(), ?served, "a worker was killed: {why}");
            self.counts.deaths += 1;
            self.counts.last_death = Some(why);
            self.crashes.killed(served);
            self.schedule(now);
        } else if !worker.dismissed {
            let (why, served) = (worker.why(), worker.served(now));
            tracing::error!(worker = worker.pid(), ?served, "a worker is dead: {why}");
            self.died(&why, worker.degraded, served);
            if let Some(trial) = &mut self.trial
                && Rc::ptr_eq(&worker.program, &self.program)
            {
                trial.deaths += 1;
                if trial.deaths >= TRIES {
                    self.roll_back(&format!("it dies: {why}"));
                }
            }
            self.schedule(now);
        }
        self.leaving.push(worker);
    }

    /// One that was to be next is gone.
    fn failed(&mut self, why: &str, degraded: bool, now: Instant) -> Result<(), Error> {
        let program = self.program.path();
        tracing::error!("a worker does not come up from {}: {why}", program.display());
        if self.trial.as_ref().is_some_and(|trial| !trial.done) {
            self.roll_back(why);
        } else if matches!(self.origin, Some(Origin::New | Origin::Predecessor(_))) {
            let program = program.to_owned();
            return Err(Error::Worker { program, why: why.to_owned() });
        } else {
            self.died(why, degraded, Duration::ZERO);
        }
        self.schedule(now);
        Ok(())
    }

    fn died(&mut self, why: &str, degraded: bool, served: Duration) {
        self.counts.deaths += 1;
        self.counts.last_death = Some(why.to_owned());
        let before = self.crashes.next().degraded;
        self.crashes.died(degraded, served);
        if self.crashes.next().degraded && !before {
            let deaths = self.crashes.count();
            tracing::error!(deaths, "workers keep dying; degraded ones serve meanwhile");
            store::status("Workers keep dying; a degraded one serves");
        }
    }

    /// Says that the worker serves, and believes in it after a while.
    fn confirm(&mut self, now: Instant) {
        let Some(worker) = self.serving.as_ref().filter(|worker| worker.is_confirmed()) else {
            return;
        };
        let degraded = worker.degraded;
        let settled = !degraded && worker.served(now) >= SETTLED;
        // Ready means all of the view. A mount that cannot be put in its place ends the worker.
        if !self.announced && self.holdings.roles(false).is_empty() {
            self.announced = true;
            self.lock = None;
            store::ready(if degraded { "Serving, degraded" } else { "Serving" });
            let path = self.program.path().to_owned();
            if let Some(trial) = self.trial.as_mut().filter(|trial| !trial.done) {
                trial.done = true;
                self.counts.upgrades += 1;
                let old = trial.previous.path().to_owned();
                tracing::info!(old = %old.display(), new = %path.display(), "upgraded");
                if let Some(asker) = trial.asker.take() {
                    self.desk.answer(asker, &Answer::Done { old, new: path });
                }
            }
        }
        if settled {
            self.crashes.settled();
            self.trial.take_if(|trial| trial.done);
        }
    }

    /// Starts a worker of another program, or of what is at the program's path by now; the one that
    /// serves goes on until it is ready.
    ///
    /// # Errors
    /// A sentence: this is not the moment.
    pub(crate) fn upgrade(
        &mut self,
        program: Option<PathBuf>,
        asker: Option<Visitor>,
        now: Instant,
    ) -> Result<(), &'static str> {
        if self.ending.is_some() {
            return Err("the daemon is ending");
        }
        if self.origin.is_some() || self.trial.as_ref().is_some_and(|trial| !trial.done) {
            return Err("a start or an upgrade is under way; try again when it is done");
        }
        self.dismiss_next(now);
        let new = Rc::new(self.program.with_program(program));
        tracing::info!(program = %new.path().display(), "upgrading");
        let previous = std::mem::replace(&mut self.program, new);
        self.trial = Some(Trial { previous, asker, done: false, deaths: 0 });
        self.crashes = Crashes::default();
        self.start_at = Some(now);
        Ok(())
    }

    /// Takes the program before.
    fn roll_back(&mut self, why: &str) {
        let Some(trial) = self.trial.take() else { return };
        self.counts.rolled_back += 1;
        tracing::error!(program = %trial.previous.path().display(), "back to the program before");
        self.program = trial.previous;
        self.crashes = Crashes::default();
        if let Some(asker) = trial.asker {
            self.desk.answer(asker, &Answer::RolledBack { why: why.to_owned() });
        }
        store::ready("The upgrade failed; the program before serves");
    }

    /// Gives up the one that is to be next.
    pub(crate) fn dismiss_next(&mut self, now: Instant) {
        if let Some(mut next) = self.next.take() {
            next.stop(self.config.watchdog, now);
            self.leaving.push(next);
        }
    }
}

fn take_if_gone(worker: &mut Option<Worker>, now: Instant) -> Option<Worker> {
    worker.as_mut()?.check_time(now);
    worker.take_if(|worker| worker.is_gone(now))
}
