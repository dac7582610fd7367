//! Who serves next. A first start, a crash, an upgrade, a degraded worker and a take-over are all
//! the same step: the next worker is ready, whoever served is gone, the next is let go.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use children::{Phase, Program, Worker};
use control::{Answer, Hello, ToWorker, Visitor};
use inheritance::{Former, Transport};

use crate::config::Error;
use crate::crashes::{Crashes, SETTLED};
use crate::supervisor::{Supervisor, after};

/// A program that has not proved itself yet.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The one before, should this one fail.
    previous: Rc<Program>,
    /// Who wants to know.
    asker: Option<Visitor>,
    /// It has served, and that was said.
    pub(crate) done: bool,
    deaths: u32,
}

/// A new program may die so often before the one before is taken again.
const TRIES: u32 = 2;

/// More processes that were killed and do not end are not waited for.
const LEAVING_MAX: usize = 64;

impl Supervisor {
    /// Sees who is gone and who is ready, and goes on.
    pub(crate) fn succeed(&mut self, now: Instant) -> Result<(), Error> {
        let goes_on = self.goes_on();
        if self.next.is_none() && goes_on && self.start_at.is_some_and(|at| now >= at) {
            self.start(now);
        }
        let workers = self.serving.iter_mut().chain(&mut self.next).chain(&mut self.leaving);
        workers.for_each(|worker| worker.check_time(now));
        self.leaving.retain_mut(|worker| !worker.reap());
        self.leaving.truncate(LEAVING_MAX);
        let gone = |worker: &mut Worker| worker.is_gone(now);
        for worker in [self.serving.take_if(gone), self.next.take_if(gone)].into_iter().flatten() {
            self.lost(worker, now)?;
        }
        self.confirm(now);
        let is_ready = self.next.as_ref().is_some_and(|next| next.phase() == Phase::Ready);
        match &mut self.serving {
            Some(serving) if is_ready && goes_on => serving.stop(self.config.watchdog, now),
            None if is_ready && goes_on => self.go(now)?,
            _ => {}
        }
        Ok(())
    }

    /// Starts the next worker. While one serves, it is a normal one.
    fn start(&mut self, now: Instant) {
        self.start_at = None;
        let degraded = self.serving.is_none() && self.crashes.is_failing();
        let hello = Hello {
            estate: self.holdings.estate_for_worker(),
            recovery: self.config.recovery,
            degraded: degraded.then_some(self.config.when_failing),
        };
        self.next = Some(Worker::start(&self.program, hello, &self.holdings, now));
    }

    /// Lets the next one serve. Nobody else does any more, or will when this returns.
    fn go(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(former) = &self.former {
            let released = former.release(self.config.watchdog)?;
            self.recover = !released.clean;
            self.holdings.attached(&released.attached);
        }
        inheritance::put_in_place(&mut self.holdings)?;
        self.manager.keep(&self.holdings);
        self.former = None;
        let recover = std::mem::take(&mut self.recover);
        let Some(mut worker) = self.next.take() else { return Ok(()) };
        tracing::info!(worker = worker.pid(), recover, "a worker serves");
        // A release may have taken a while.
        let go = ToWorker::Go { recover, attach: self.holdings.roles(false) };
        worker.go(&go, Instant::now());
        self.home.note(worker.pid());
        self.serving = Some(worker);
        self.announced = false;
        self.watch_anew(now);
        self.schedule(now);
        Ok(())
    }

    /// When the next worker starts if nothing happens.
    fn schedule(&mut self, now: Instant) {
        self.start_at = match &self.serving {
            None => Some(after(now, self.crashes.delay())),
            Some(worker) if worker.degraded => Some(after(now, self.crashes.retry())),
            Some(_) => None,
        };
    }

    /// A worker is gone, whether it served or was to be next: from which program is the one after it,
    /// and when?
    fn lost(&mut self, mut worker: Worker, now: Instant) -> Result<(), Error> {
        worker.reap();
        let (why, served) = (worker.why(), worker.served(now));
        self.recover |= worker.is_unclean();
        if served.is_some() && self.goes_on() && inheritance::is_over_io_uring(&self.holdings) {
            self.fall_back()?;
        }
        match (served, &self.trial, &self.former) {
            _ if worker.is_dismissed() => {}
            (None, Some(Trial { done: false, .. }), _) => self.roll_back(&why),
            (None, _, Some(Former::Nobody | Former::Living(_))) => {
                return Err(Error::Worker { program: self.program.path().to_owned(), why });
            }
            _ => self.died(&worker, &why, served),
        }
        if !worker.is_dismissed() {
            self.schedule(now);
        }
        self.leaving.push(worker);
        Ok(())
    }

    /// The worker of a connection over io_uring is gone, and the connection with it: the kernel has
    /// requests that no other worker can ever get. Without an abort their callers would wait for
    /// ever. From now on everything survives its worker.
    fn fall_back(&mut self) -> Result<(), Error> {
        tracing::error!(
            "the shared tree was served over io_uring and has ended with its worker; it is mounted \
             anew, and served through the device until the daemon is started again; containers that \
             have files of it bound get ENOTCONN there until `resview attach` or their own restart"
        );
        self.config.view.transport = Transport::Device;
        inheritance::renew(&self.config.view, &mut self.holdings, &mut self.manager)?;
        self.manager.keep(&self.holdings);
        Ok(())
    }

    fn died(&mut self, worker: &Worker, why: &str, served: Option<Duration>) {
        let program = worker.program.path().display();
        tracing::error!(worker = worker.pid(), %program, ?served, "a worker is dead: {why}");
        self.counts.deaths += 1;
        self.counts.killed += u64::from(worker.was_killed());
        self.counts.last_death = Some(why.to_owned());
        if let Some(served) = served.filter(|_| worker.was_killed_by_others()) {
            return self.crashes.killed(served);
        }
        let before = self.crashes.is_failing();
        self.crashes.died(worker.degraded, served.unwrap_or_default());
        if self.crashes.is_failing() && !before {
            tracing::error!("workers keep dying; degraded ones serve meanwhile");
            self.manager.status("Workers keep dying; a degraded one serves");
        }
        if let Some(trial) = &mut self.trial
            && Rc::ptr_eq(&worker.program, &self.program)
        {
            trial.deaths += 1;
            if trial.deaths >= TRIES {
                self.roll_back(&format!("dies: {why}"));
            }
        }
    }

    /// Says that the worker serves, and believes in it after a while.
    fn confirm(&mut self, now: Instant) {
        let Some(worker) = self.serving.as_ref().filter(|worker| worker.phase() == Phase::Serving)
        else {
            return;
        };
        let degraded = worker.degraded;
        let settled = !degraded && worker.served(now) >= Some(SETTLED);
        // Ready means all of the view. A mount that cannot be put in its place ends the worker.
        if !self.announced && self.holdings.roles(false).is_empty() {
            self.announced = true;
            self.home.settle();
            self.manager.ready(if degraded { "Serving, degraded" } else { "Serving" });
            self.passed();
        }
        if settled {
            self.crashes.settled();
            self.trial.take_if(|trial| trial.done);
        }
    }

    /// The program on trial serves.
    fn passed(&mut self) {
        let new = self.program.path().to_owned();
        let Some(trial) = self.trial.as_mut().filter(|trial| !trial.done) else { return };
        trial.done = true;
        let (old, asker) = (trial.previous.path().to_owned(), trial.asker.take());
        tracing::info!(old = %old.display(), new = %new.display(), "upgraded");
        self.counts.upgrades += 1;
        self.tell(asker, &Answer::Done { old, new });
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
        if self.former.is_some() || matches!(self.trial, Some(Trial { done: false, .. })) {
            return Err("a start or an upgrade is under way; try again when it is done");
        }
        if inheritance::is_over_io_uring(&self.holdings) {
            return Err("the view is served over io_uring, and ends with its worker; stop the \
                        daemon and start it again");
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
        let program = trial.previous.path().display();
        tracing::error!(%program, "back to the program before: the new one {why}");
        self.counts.rolled_back += 1;
        self.tell(trial.asker, &Answer::RolledBack { why: why.to_owned() });
        self.program = trial.previous;
        self.crashes = Crashes::default();
        self.manager.ready("The upgrade failed; the program before serves");
    }

    /// Gives up the one that is to be next.
    pub(crate) fn dismiss_next(&mut self, now: Instant) {
        if let Some(mut next) = self.next.take() {
            next.stop(self.config.watchdog, now);
            self.leaving.push(next);
        }
    }
}
