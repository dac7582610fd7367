//! One worker: its process, its channel, and how far it is.
//!
//! ```text
//! Starting ─ Ready ─► Ready ─ Go ─► Going ─ Serving ─► Serving ─ Stop ─► Stopping ─ Stopped ─► gone
//!    │                  │             │                   │                 │
//!    └──────────────────┴──── silence, garbage, out of turn ────────────────┴─► Killed ─ exit ─► gone
//!                             hung up ─► Closed ─ exit, or killed after a while ─► gone
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use control::{Channel, ChannelError, FromWorker, Hello, Holdings, ToWorker};
use rustix::process::Signal;

use crate::process::Process;
use crate::program::Program;

/// How long a worker may take to get ready, and to serve after it was told to.
const STARTING_MAX: Duration = Duration::from_secs(10);

/// How long the kernel may take to end a process that was killed. After that nothing of it will run
/// in user space again, and it is not waited for: one of its threads sits in a system call that does
/// not end.
const DYING_MAX: Duration = Duration::from_secs(1);

/// Messages taken at a time. One that sends without end does not keep us from the others.
const MESSAGES_MAX: usize = 16;

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was started, and has not said yet that it is ready.
    Starting,
    /// It waits for the word.
    Ready,
    /// It was let go, and has not said yet that it serves.
    Going,
    /// It answers.
    Serving,
    /// It was told to stop.
    Stopping,
    /// Its channel is closed: most likely it is dying.
    Closed,
    /// It was killed, or could not be started.
    Killed,
}

/// A worker process.
#[derive(Debug)]
pub struct Worker {
    phase: Phase,
    /// How long it may be in that phase.
    until: Option<Instant>,
    /// When it was let go.
    since: Option<Instant>,
    /// What it was started from.
    pub program: Rc<Program>,
    /// Whether it computes nothing.
    pub degraded: bool,
    /// It has said something since this was last set to `false`.
    pub heard: bool,
    /// It said that every request is answered.
    stopped: bool,
    /// Its end is no failure.
    dismissed: bool,
    /// Why it was killed.
    why: Option<String>,
    status: Option<ExitStatus>,
    /// What could not be started has neither.
    process: Option<Process>,
    channel: Option<Channel>,
}

impl Worker {
    /// Starts one and tells it what there is. Its descriptors are copies: it gets none of its own. If
    /// it cannot be started, it is as one that was killed for that.
    #[must_use]
    pub fn start(program: &Rc<Program>, hello: Hello, holdings: &Holdings, now: Instant) -> Self {
        let mut worker = Self {
            phase: Phase::Starting,
            until: None,
            since: None,
            program: Rc::clone(program),
            degraded: hello.degraded.is_some(),
            heard: false,
            stopped: false,
            dismissed: false,
            why: None,
            status: None,
            process: None,
            channel: None,
        };
        if let Err(error) = worker.spawn() {
            worker.phase = Phase::Killed;
            worker.why = Some(format!("cannot be started: {error}"));
            return worker;
        }
        worker.enter(Phase::Starting, Some(STARTING_MAX), now);
        let hello = ToWorker::Hello(hello);
        let descriptors = holdings.descriptors_for_worker();
        worker.send(|channel| channel.send_with(&hello, &descriptors), now);
        worker
    }

    fn spawn(&mut self) -> std::io::Result<()> {
        let (channel, stdin) = Channel::pair().map_err(std::io::Error::other)?;
        self.process = Some(self.program.spawn(stdin)?);
        self.channel = Some(channel);
        Ok(())
    }

    /// Its process id; 0 if it could not be started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn enter(&mut self, phase: Phase, limit: Option<Duration>, now: Instant) {
        self.phase = phase;
        self.until = limit.and_then(|limit| now.checked_add(limit));
    }

    /// Sends a message; kills the worker if it does not take it.
    pub fn tell(&mut self, message: &ToWorker, now: Instant) {
        self.send(|channel| channel.send(message), now);
    }

    fn send(&mut self, send: impl FnOnce(&Channel) -> Result<(), ChannelError>, now: Instant) {
        self.mind(self.channel.as_ref().map_or(Ok(()), send), now);
    }

    fn mind(&mut self, sent: Result<(), ChannelError>, now: Instant) {
        match sent {
            Ok(()) => {}
            // Not killed yet: its status is to say whether somebody else has done so.
            Err(ChannelError::Closed) if self.is_silent() => {}
            Err(ChannelError::Closed) => self.enter(Phase::Closed, Some(DYING_MAX), now),
            Err(error) => self.kill(&format!("cannot be talked to: {error}"), now),
        }
    }

    /// Lets it serve.
    pub fn go(&mut self, message: &ToWorker, now: Instant) {
        self.since = Some(now);
        self.enter(Phase::Going, Some(STARTING_MAX), now);
        self.tell(message, now);
    }

    /// Has it stop at a request boundary, within `limit`; at once if it does not serve.
    pub fn stop(&mut self, limit: Duration, now: Instant) {
        self.dismissed = true;
        match self.phase {
            Phase::Going | Phase::Serving => {
                self.enter(Phase::Stopping, Some(limit), now);
                self.tell(&ToWorker::Stop, now);
            }
            Phase::Starting | Phase::Ready => self.dismiss(now),
            Phase::Stopping | Phase::Closed | Phase::Killed => {}
        }
    }

    /// Kills it though it has done nothing wrong.
    pub fn dismiss(&mut self, now: Instant) {
        self.dismissed = true;
        self.kill("is not needed", now);
    }

    /// Kills it and all processes that it has made.
    pub fn kill(&mut self, why: &str, now: Instant) {
        if self.phase == Phase::Killed {
            return;
        }
        if !self.dismissed {
            tracing::warn!(worker = self.pid(), "killing a worker: it {why}");
        }
        self.enter(Phase::Killed, Some(DYING_MAX), now);
        self.why = Some(why.to_owned());
        self.process.iter_mut().for_each(Process::kill);
    }

    /// For how long it has served. `None`: it was never let go.
    #[must_use]
    pub fn served(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }

    /// Reads what it says, and kills it if that makes no sense. What concerns others is given back.
    pub fn listen(&mut self, now: Instant) -> Vec<FromWorker> {
        let mut news = Vec::new();
        for _ in 0..MESSAGES_MAX {
            if self.is_silent() {
                break;
            }
            let Some(channel) = &self.channel else { break };
            match channel.try_receive() {
                Ok(None) => break,
                Ok(Some(message)) => news.extend(self.hear(message, now)),
                Err(ChannelError::Closed) if self.stopped => break,
                Err(error) => self.mind(Err(error), now),
            }
        }
        news
    }

    fn hear(&mut self, message: FromWorker, now: Instant) -> Option<FromWorker> {
        self.heard = true;
        match (self.phase, message) {
            (Phase::Starting, FromWorker::Ready) => self.enter(Phase::Ready, None, now),
            (Phase::Going | Phase::Serving, message @ FromWorker::Serving { .. }) => {
                self.enter(Phase::Serving, None, now);
                return Some(message);
            }
            (Phase::Stopping, FromWorker::Stopped) => self.stopped = true,
            (_, FromWorker::Failed { why }) => {
                self.kill(&format!("says: {}", first_line(&why)), now);
            }
            (_, message @ FromWorker::StatusReport { .. }) => return Some(message),
            // The watch finds out for itself. The rest may cross what it was just told.
            (_, FromWorker::Unmounted { .. }) | (Phase::Stopping, FromWorker::Serving { .. }) => {}
            (phase, message) => self.kill(&format!("says {message:?} when it is {phase:?}"), now),
        }
        None
    }

    /// Kills it if it has taken too long.
    pub fn check_time(&mut self, now: Instant) {
        let why = match self.phase {
            Phase::Starting => "does not get ready",
            Phase::Going => "does not begin to serve",
            Phase::Stopping if self.stopped => "has stopped and does not end",
            Phase::Stopping => "does not stop",
            Phase::Closed => "has hung up",
            Phase::Ready | Phase::Serving | Phase::Killed => return,
        };
        if self.is_late(now) {
            self.kill(why, now);
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether nothing of it will touch a connection again.
    #[must_use]
    pub fn is_gone(&self, now: Instant) -> bool {
        let is_dead = self.phase == Phase::Killed && self.is_late(now);
        self.stopped || is_dead || self.process.as_ref().is_none_or(Process::has_ended)
    }

    /// Waits for it if it has ended. Whether nothing is left to be waited for.
    pub fn reap(&mut self) -> bool {
        self.status = self.process.as_mut().and_then(Process::reap);
        self.status.is_some() || self.process.is_none()
    }

    /// Whether its end is no failure: it was told to stop, or was not needed.
    #[must_use]
    pub fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Whether it was let go and may have requests in hand that it has not answered.
    #[must_use]
    pub fn is_unclean(&self) -> bool {
        self.since.is_some() && !self.stopped
    }

    /// Whether it was started, and killed by the supervisor.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.why.is_some() && self.process.is_some()
    }

    /// Whether it was killed by a signal that only others send: an operator, the kernel that is out
    /// of memory. That is no failure of its own.
    #[must_use]
    pub fn was_killed_by_others(&self) -> bool {
        let signal = self.status.and_then(|status| status.signal());
        let of_others = [Signal::KILL.as_raw(), Signal::TERM.as_raw()];
        self.why.is_none() && signal.is_some_and(|signal| of_others.contains(&signal))
    }

    /// Whether nothing is heard of it any more.
    fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Killed)
    }

    /// How it came to its end.
    #[must_use]
    pub fn why(&self) -> String {
        match (&self.why, self.status) {
            (Some(why), _) => why.clone(),
            (None, Some(status)) => format!("ended: {status}"),
            (None, None) => "stopped".to_owned(),
        }
    }

    /// What makes the loop turn.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let silent = self.stopped || self.is_silent();
        let channel = self.channel.as_ref().filter(|_| !silent).map(AsFd::as_fd);
        self.process.as_ref().map(AsFd::as_fd).into_iter().chain(channel)
    }
}

/// A worker's sentence goes to the log and to clients.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}
