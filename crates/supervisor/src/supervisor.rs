//! The loop: wait, hear everybody, see who is where, go on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use children::{Helper, Phase, Program, Worker};
use control::{Desk, FromWorker, Holdings, Listener, Role, Visitor};
use inheritance::{Former, Home, Inheritance, Manager};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;

use crate::config::{Config, Ended, Error};
use crate::crashes::Crashes;
use crate::ending::{Ending, How};
use crate::rest;
use crate::signals::Signals;
use crate::succession::Trial;
use crate::text::unmap_text;
use crate::watch::{self, Watch};

/// Everything there is. At most one worker serves, and one is next.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) config: Config,
    pub(crate) holdings: Holdings,
    pub(crate) manager: Manager,
    pub(crate) home: Home,
    pub(crate) desk: Desk,
    pub(crate) signals: Signals,
    /// Who served before; `None` once a worker of ours has been let go.
    pub(crate) former: Option<Former>,
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
    pub(crate) helpers: Vec<Helper>,
    pub(crate) watches: BTreeMap<Role, Watch>,
    pub(crate) next_look: Instant,
    has_rested: bool,
}

/// Since the start of this supervisor.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Workers that died, those killed among them.
    pub(crate) deaths: u64,
    /// Workers that the supervisor killed: they answered nothing, or talked nonsense.
    pub(crate) killed: u64,
    /// Programs that were replaced.
    pub(crate) upgrades: u64,
    /// Programs that were to be, and failed.
    pub(crate) rolled_back: u64,
    /// How the last of the dead came to its end.
    pub(crate) last_death: Option<String>,
}

impl Supervisor {
    pub(crate) fn new(
        config: Config,
        signals: Signals,
        Inheritance { mut holdings, former, manager, home }: Inheritance,
    ) -> Result<Self, Error> {
        let listener = holdings.listener.try_clone().map_err(Error::System)?;
        let helpers = config.helpers.iter().map(|helper| {
            let kept = if helper.outlives { &mut holdings.guard } else { &mut None };
            let (_, new) = pipe_with(PipeFlags::CLOEXEC)?;
            let pipe = kept.get_or_insert(new).try_clone()?;
            Ok(Helper::new(helper.command.clone(), pipe))
        });
        let helpers = helpers.collect::<io::Result<_>>().map_err(Error::System)?;
        let now = Instant::now();
        Ok(Self {
            desk: Desk::new(Listener::adopt(listener)),
            program: Rc::new(Program::new(config.worker.clone())),
            former: Some(former),
            start_at: Some(now),
            next_look: now,
            has_rested: false,
            trial: None,
            serving: None,
            next: None,
            leaving: Vec::new(),
            recover: false,
            announced: false,
            crashes: Crashes::default(),
            counts: Counts::default(),
            asked: Vec::new(),
            ending: None,
            watches: BTreeMap::new(),
            config,
            holdings,
            manager,
            home,
            signals,
            helpers,
        })
    }

    /// Turns until the end.
    pub(crate) fn run(mut self) -> Result<Ended, Error> {
        self.manager.keep(&self.holdings);
        let ended = self.turns();
        if ended.is_err() {
            self.give_up();
        }
        let helpers = self.helpers.iter().zip(&self.config.helpers);
        helpers.filter(|(_, told)| !told.outlives).for_each(|(helper, _)| helper.end());
        ended
    }

    fn turns(&mut self) -> Result<Ended, Error> {
        loop {
            if let Some(ended) = self.turn(Instant::now())? {
                return Ok(ended);
            }
            self.wait()?;
        }
    }

    /// Does everything that is to be done now, without waiting. Which end this is, if it is.
    fn turn(&mut self, now: Instant) -> Result<Option<Ended>, Error> {
        self.hear_signals(now);
        self.hear_workers(now);
        // Until then the socket's visitors are the predecessor's.
        if self.former.is_none() {
            self.hear_visitors(now);
        }
        if now >= self.next_look {
            self.next_look = after(now, watch::interval(self.config.watchdog));
            self.look(now)?;
        }
        self.succeed(now)?;
        let ended = self.end(now)?;
        self.manager.send_what_waits(&self.holdings);
        Ok(ended)
    }

    /// Waits for a signal, a message, a death, or the time of the next thing to do; where there is
    /// none, until something happens.
    fn wait(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let rests = self.rests(now);
        if rests && !self.has_rested {
            self.has_rested = true;
            unmap_text();
        }
        let start = self.start_at.filter(|_| self.next.is_none() && self.goes_on());
        let soon = start.map_or(self.next_look, |start| start.min(self.next_look));
        let until = if rests { after(now, rest::LONGEST) } else { soon };
        let timeout = Timespec::try_from(until.saturating_duration_since(now)).unwrap_or_default();
        let poll_in = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = self.sources().map(poll_in).collect();
        fds.extend(self.alarms().filter(|_| rests));
        let polled = poll(&mut fds, Some(&timeout));
        drop(fds);
        if rests {
            self.next_look = now;
        }
        match polled {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::System(errno.into())),
        }
    }

    fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let workers = self.serving.iter().chain(&self.next).chain(&self.leaving);
        let visitors = self.former.is_none().then(|| self.desk.sources());
        [self.signals.as_fd()]
            .into_iter()
            .chain(workers.flat_map(Worker::sources))
            .chain(visitors.into_iter().flatten())
    }

    fn hear_workers(&mut self, now: Instant) {
        // The next has nothing to say that concerns others.
        self.next.iter_mut().for_each(|next| drop(next.listen(now)));
        for news in self.serving.as_mut().map(|worker| worker.listen(now)).unwrap_or_default() {
            match news {
                FromWorker::Serving { attached } => {
                    self.holdings.attached(&attached);
                    self.manager.keep(&self.holdings);
                }
                FromWorker::StatusReport { report } => self.report(&report),
                _ => {}
            }
        }
    }

    /// Looks whether the helpers run, the connections are there, and the worker answers. See
    /// [`rest`] for when nobody does.
    fn look(&mut self, now: Instant) -> Result<(), Error> {
        if !self.goes_on() {
            return Ok(()); // a worker that stops has a deadline of its own
        }
        if self.former.is_none() {
            self.helpers.iter_mut().for_each(|helper| helper.look(now));
        }
        // Its period begins when it serves; before, a deadline of its own holds.
        let watched = self.serving.as_mut().filter(|worker| worker.phase() == Phase::Serving);
        if watched.is_none() {
            self.watches.clear();
        }
        let (mut gone, mut stuck) = (None, None);
        for held in &mut self.holdings.connections {
            let role = held.state.role;
            match (fuse::has_pending(held.device.as_fd()), fuse::glance(held.journal.as_fd())) {
                (Err(_), _) => gone = gone.or(Some(role)),
                (Ok(_), Err(_)) => {
                    held.journal = inheritance::new_journal()?;
                    self.manager.forget(Holdings::names(role));
                    stuck = Some(format!("has spoilt the journal of {}", role.name()));
                }
                (Ok(pending), Ok(glance)) => {
                    let why = self.watches.entry(role).or_default().look(&glance, pending);
                    stuck = why.map(|why| format!("{why} of {}", role.name())).or(stuck);
                }
            }
        }
        if let Some((worker, why)) = watched.zip(stuck) {
            worker.kill(&why, now);
        }
        if let Some(role) = gone {
            self.lose(role, now);
        }
        Ok(())
    }

    /// A new worker has its whole period.
    pub(crate) fn watch_anew(&mut self, now: Instant) {
        self.watches.clear();
        self.next_look = now;
    }

    /// Somebody else has unmounted.
    fn lose(&mut self, role: Role, now: Instant) {
        if role == Role::Shared {
            return self.begin_end(How::Unmounted, None, now);
        }
        tracing::warn!("the {} files were unmounted by somebody else", role.name());
        self.holdings.connections.retain(|held| held.state.role != role);
        self.manager.forget(Holdings::names(role));
        self.manager.keep(&self.holdings);
    }
}

/// The end of a period that begins now.
pub(crate) fn after(now: Instant, period: Duration) -> Instant {
    now.checked_add(period).unwrap_or(now)
}
