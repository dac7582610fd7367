//! The loop: wait, hear everybody, see who is where, go on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use control::{Holdings, Listener, Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::config::{Config, Ended};
use crate::crashes::Crashes;
use crate::desk::{Desk, Visitor};
use crate::ending::Ending;
use crate::error::Error;
use crate::guard::Guard;
use crate::program::Program;
use crate::signals::Signals;
use crate::start::{self, Origin, Start};
use crate::store::{self, Store};
use crate::succession::Trial;
use crate::watch::{self, Verdict, Watch};
use crate::worker::{News, Worker};

/// Everything there is. At most one worker serves, and one is next.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    pub(crate) holdings: Holdings,
    pub(crate) store: Option<Store>,
    pub(crate) desk: Desk,
    pub(crate) signals: Signals,
    pub(crate) guard: Option<Guard>,
    /// Held until the first worker serves.
    pub(crate) lock: Option<OwnedFd>,
    /// Who served before; `None` once a worker of ours has been let go.
    pub(crate) origin: Option<Origin>,
    /// What workers are started from.
    pub(crate) program: Rc<Program>,
    pub(crate) trial: Option<Trial>,
    pub(crate) serving: Option<Worker>,
    pub(crate) next: Option<Worker>,
    /// Those that will not touch a connection again, and have not ended.
    pub(crate) leaving: Vec<Worker>,
    /// When to start the next.
    pub(crate) start_at: Option<Instant>,
    /// There may be requests that a dead worker had in hand.
    pub(crate) recover: bool,
    /// The service manager knows that the worker serves, and so does who asked for it.
    pub(crate) announced: bool,
    pub(crate) crashes: Crashes,
    pub(crate) counts: Counts,
    /// Visitors that wait for the worker's report, and until when.
    pub(crate) asked: Vec<(Visitor, Instant)>,
    pub(crate) ending: Option<Ending>,
    watches: Vec<(Role, Watch)>,
    next_look: Instant,
}

/// Since the start of this supervisor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Workers that died, those killed among them.
    pub(crate) deaths: u64,
    /// Workers that were killed because they answered nothing.
    pub(crate) killed: u64,
    /// Programs that were replaced.
    pub(crate) upgrades: u64,
    /// Programs that were to be, and failed.
    pub(crate) rolled_back: u64,
    /// How the last of the dead came to its end.
    pub(crate) last_death: Option<String>,
}

impl Supervisor {
    pub(crate) fn new(config: Config, signals: Signals, start: Start) -> Result<Self, Error> {
        let Start { mut holdings, origin, stored, lock } = start;
        let listener = holdings
            .listener
            .try_clone()
            .map_err(|_| Error::System { what: "copy a descriptor", errno: Errno::MFILE })?;
        let guard =
            config.guard.clone().map(|guard| Guard::new(guard, &mut holdings)).transpose()?;
        let now = Instant::now();
        Ok(Self {
            store: store::is_managed().then(|| Store::fill(&holdings, stored)).transpose()?,
            desk: Desk::new(Listener::adopt(listener)),
            signals,
            guard,
            lock: Some(lock),
            origin: Some(origin),
            program: Rc::new(Program::new(config.worker.clone())),
            trial: None,
            serving: None,
            next: None,
            leaving: Vec::new(),
            start_at: Some(now),
            recover: false,
            announced: false,
            crashes: Crashes::default(),
            counts: Counts::default(),
            asked: Vec::new(),
            ending: None,
            watches: Vec::new(),
            next_look: now,
            config,
            holdings,
        })
    }

    /// Turns until the end.
    pub(crate) fn run(&mut self) -> Result<Ended, Error> {
        loop {
            if let Some(ended) = self.turn(Instant::now())? {
                return Ok(ended);
            }
            self.wait()?;
        }
    }

    /// Does everything that is to be done now, without waiting. Which end this
    /// is, if it is.
    fn turn(&mut self, now: Instant) -> Result<Option<Ended>, Error> {
        self.hear_signals(now);
        self.hear_workers(now);
        // Until then the socket's visitors are the predecessor's.
        if self.origin.is_none() {
            self.hear_visitors(now);
        }
        if now >= self.next_look {
            self.next_look = now + watch::interval(self.config.watchdog);
            self.look(now)?;
        }
        self.succeed(now)?;
        self.end(now)
    }

    /// Waits for a signal, a message, a death, or the time of the next thing to do.
    fn wait(&self) -> Result<(), Error> {
        let until = self.start_at.map_or(self.next_look, |start| start.min(self.next_look));
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let poll_in = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = self.sources().into_iter().map(poll_in).collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::System { what: "wait", errno }),
        }
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        let mut sources = vec![self.signals.as_fd()];
        if self.origin.is_none() {
            sources.extend(self.desk.sources());
        }
        let workers = self.serving.iter().chain(&self.next).chain(&self.leaving);
        sources.extend(workers.flat_map(Worker::sources));
        sources
    }

    fn hear_workers(&mut self, now: Instant) {
        let news = self.serving.as_mut().map(|worker| worker.listen(now)).unwrap_or_default();
        for news in news {
            match news {
                News::Attached(roles) => self.attached(&roles),
                News::Report(report) => self.report(&report),
            }
        }
        if let Some(next) = &mut self.next {
            next.listen(now); // it has nothing to say that concerns others
        }
    }

    /// Mounts are in their place.
    pub(crate) fn attached(&mut self, roles: &[Role]) {
        self.holdings.attached(roles);
        if let Some(store) = &self.store {
            store.update(&self.holdings);
        }
    }

    /// Looks whether the connections are there, and whether the worker answers.
    fn look(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(guard) = &mut self.guard {
            guard.look(&self.holdings, now);
        }
        if !self.goes_on() {
            return Ok(()); // a worker that stops has a deadline of its own
        }
        let (mut gone, mut spoilt, mut stuck) = (Vec::new(), Vec::new(), None);
        for held in &mut self.holdings.connections {
            let role = held.state.role;
            let Ok(pending) = fuse::has_pending(held.device.as_fd()) else {
                gone.push(role);
                continue;
            };
            let Ok(glance) = fuse::glance(held.journal.as_fd()) else {
                held.journal = start::new_journal()?;
                spoilt.extend(Holdings::names(role));
                stuck = Some(format!("has spoilt the journal of {}", role.name()));
                continue;
            };
            if let Some((_, watch)) = self.watches.iter_mut().find(|(of, _)| *of == role) {
                stuck = complaint(watch.look(&glance, pending), role).or(stuck);
            }
        }
        self.lose(&gone, now);
        self.store_anew(spoilt);
        match self.serving.as_mut().filter(|worker| worker.is_confirmed()) {
            Some(worker) => {
                if let Some(why) = stuck {
                    self.counts.killed += 1;
                    worker.kill(&why, now);
                }
            }
            // Its period begins when it serves: before, it may have hundreds of triggers to set.
            None => self.watch_anew(),
        }
        Ok(())
    }

    /// A new worker has its whole period.
    pub(crate) fn watch_anew(&mut self) {
        let roles = self.holdings.connections.iter().map(|held| held.state.role);
        self.watches = roles.map(|role| (role, Watch::default())).collect();
    }

    /// Somebody else has unmounted.
    fn lose(&mut self, gone: &[Role], now: Instant) {
        if gone.contains(&Role::Shared) {
            self.begin_end(Ending::unmounted(), now);
        } else if let Some(role) = gone.first() {
            tracing::warn!("the {} files were unmounted by somebody else", role.name());
            self.holdings.connections.retain(|held| held.state.role != *role);
            self.store_anew(Holdings::names(*role).into());
        }
    }

    /// Has the service manager keep what there is now, and not what it has by these names.
    fn store_anew(&self, names: Vec<String>) {
        if let Some(store) = self.store.as_ref().filter(|_| !names.is_empty()) {
            store::forget(names);
            store.update(&self.holdings);
            store.keep(&self.holdings);
        }
    }
}

/// What is wrong with a worker.
fn complaint(verdict: Verdict, role: Role) -> Option<String> {
    let role = role.name();
    match verdict {
        Verdict::Well => None,
        Verdict::Stuck { thread, unique } => {
            Some(format!("does not answer request {unique} of {role} in thread {thread}"))
        }
        Verdict::Idle => Some(format!("answers no request of {role}, and some wait")),
    }
}

/// The end of a period that begins now.
pub(crate) fn after(now: Instant, period: Duration) -> Instant {
    now.checked_add(period).unwrap_or(now)
}
