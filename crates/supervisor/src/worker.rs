//! One worker: its process, its channel, and how far it is.
//!
//! ```text
//! Starting ── Ready ──► Ready ── Go ──► Serving ── Stop ──► Stopping ── Stopped, exit ──► gone
//!    │                    │                │                    │
//!    └────────────────────┴── silence, garbage, out of turn ────┴──► Killed ── exit ──► gone
//!                             hung up ──► Closed ── exit, or killed after a while ──► gone
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::time::{Duration, Instant};

use control::{Channel, ChannelError, FromWorker, Hello, Holdings, Role, ToWorker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde_json::Value;

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
pub(crate) enum Phase {
    Starting {
        until: Instant,
    },
    Ready,
    Serving {
        since: Instant,
        confirmed: bool,
    },
    Stopping {
        since: Instant,
        until: Instant,
    },
    /// Its channel is closed: most likely it is dying.
    Closed {
        since: Option<Instant>,
        until: Instant,
    },
    Killed {
        since: Option<Instant>,
        until: Instant,
    },
}

/// A worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) phase: Phase,
    pub(crate) program: Rc<Program>,
    pub(crate) degraded: bool,
    /// It said that every request is answered.
    pub(crate) stopped: bool,
    /// It has said something since this was last set to `false`.
    pub(crate) heard: bool,
    /// Its end is no failure.
    pub(crate) dismissed: bool,
    /// Why it was killed.
    why: Option<String>,
    status: Option<ExitStatus>,
    child: Child,
    pidfd: OwnedFd,
    channel: Channel,
}

/// What is heard of a worker that concerns others.
#[derive(Debug)]
pub(crate) enum News {
    Attached(Vec<Role>),
    Report(Value),
}

impl Worker {
    /// Starts one and tells it what there is. Its descriptors are copies: it gets none of its own.
    ///
    /// # Errors
    /// A sentence about the program that cannot be started.
    pub(crate) fn start(
        program: &Rc<Program>,
        hello: Hello,
        holdings: &Holdings,
        now: Instant,
    ) -> Result<Self, String> {
        let (channel, stdin) = Channel::pair().map_err(|error| error.to_string())?;
        let child = program.spawn(stdin);
        let mut child = child.map_err(|error| format!("cannot be started: {error}"))?;
        let pidfd = pid(&child).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let Some(Ok(pidfd)) = pidfd else {
            let _ = child.kill(); // without a pidfd its end would not be noticed
            return Err("no pidfd of it can be had".to_owned());
        };
        let mut worker = Self {
            phase: Phase::Starting { until: now + STARTING_MAX },
            program: Rc::clone(program),
            degraded: hello.degraded.is_some(),
            stopped: false,
            heard: false,
            dismissed: false,
            why: None,
            status: None,
            child,
            pidfd,
            channel,
        };
        let sent =
            worker.channel.send_with(&ToWorker::Hello(hello), &holdings.descriptors_for_worker());
        if let Err(error) = sent {
            worker.lost_touch(&error, now);
        }
        Ok(worker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a message; kills the worker if it does not take it.
    pub(crate) fn tell(&mut self, message: &ToWorker, now: Instant) {
        if let Err(error) = self.channel.send(message) {
            self.lost_touch(&error, now);
        }
    }

    fn lost_touch(&mut self, error: &ChannelError, now: Instant) {
        match error {
            // Not killed yet: its status is to say whether somebody else has done so.
            ChannelError::Closed if self.is_silent() => {}
            ChannelError::Closed => {
                self.phase = Phase::Closed { since: self.serving_since(), until: now + DYING_MAX };
            }
            error => self.kill(&format!("cannot be talked to: {error}"), now),
        }
    }

    /// Lets it serve.
    pub(crate) fn go(&mut self, recover: bool, attach: Vec<Role>, now: Instant) {
        self.phase = Phase::Serving { since: now, confirmed: false };
        self.tell(&ToWorker::Go { recover, attach }, now);
    }

    /// Has it stop at a request boundary, within `limit`; at once if it does not serve.
    pub(crate) fn stop(&mut self, limit: Duration, now: Instant) {
        self.dismissed = true;
        match self.phase {
            Phase::Serving { since, .. } => {
                self.phase = Phase::Stopping { since, until: now + limit };
                self.tell(&ToWorker::Stop, now);
            }
            Phase::Starting { .. } | Phase::Ready => self.dismiss(now),
            Phase::Stopping { .. } | Phase::Closed { .. } | Phase::Killed { .. } => {}
        }
    }

    /// Kills it though it has done nothing wrong.
    pub(crate) fn dismiss(&mut self, now: Instant) {
        self.dismissed = true;
        self.kill("is not needed", now);
    }

    /// Kills it and all processes that it has made.
    pub(crate) fn kill(&mut self, why: &str, now: Instant) {
        if matches!(self.phase, Phase::Killed { .. }) {
            return;
        }
        if !self.dismissed {
            tracing::warn!(worker = self.pid(), "killing a worker: it {why}");
        }
        self.phase = Phase::Killed { since: self.serving_since(), until: now + DYING_MAX };
        self.why = Some(why.to_owned());
        self.kill_group();
    }

    /// Its process id is its own until it has been waited for, and so is the number of its group.
    fn kill_group(&mut self) {
        let _ = pid(&self.child).map(|pid| kill_process_group(pid, Signal::KILL));
        let _ = self.child.kill(); // in case that it has left its group
    }

    fn serving_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving { since, .. } | Phase::Stopping { since, .. } => Some(since),
            Phase::Closed { since, .. } | Phase::Killed { since, .. } => since,
            Phase::Starting { .. } | Phase::Ready => None,
        }
    }

    /// For how long it has served.
    pub(crate) fn served(&self, now: Instant) -> Duration {
        self.serving_since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether it said that it serves.
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(self.phase, Phase::Serving { confirmed: true, .. })
    }

    /// Kills one that has stopped and takes too long to end.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Stopping { until, .. } if now >= until) {
            self.kill("has stopped and does not end", now);
        }
    }

    /// Reads what it says, and kills it if that makes no sense.
    pub(crate) fn listen(&mut self, now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        for _ in 0..MESSAGES_MAX {
            if self.is_silent() {
                break;
            }
            match self.channel.try_receive() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    self.heard = true;
                    news.extend(self.hear(message, now));
                }
                Err(ChannelError::Closed) if self.stopped => break,
                Err(error) => self.lost_touch(&error, now),
            }
        }
        news
    }

    fn hear(&mut self, message: FromWorker, now: Instant) -> Option<News> {
        match (self.phase, message) {
            (Phase::Starting { .. }, FromWorker::Ready) => self.phase = Phase::Ready,
            (_, FromWorker::Failed { why }) => {
                self.kill(&format!("says: {}", first_line(&why)), now);
            }
            (Phase::Serving { since, .. }, FromWorker::Serving { attached }) => {
                self.phase = Phase::Serving { since, confirmed: true };
                return Some(News::Attached(attached));
            }
            (Phase::Stopping { .. }, FromWorker::Stopped) => self.stopped = true,
            (_, FromWorker::StatusReport { report }) => return Some(News::Report(report)),
            // The watch finds out for itself. The rest may cross what it was just told.
            (_, FromWorker::Unmounted { .. })
            | (Phase::Stopping { .. }, FromWorker::Serving { .. }) => {}
            (phase, message) => self.kill(&format!("says {message:?} when it is {phase:?}"), now),
        }
        None
    }

    /// Kills it if it has taken too long.
    pub(crate) fn check_time(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting { until } if now >= until => self.kill("does not get ready", now),
            Phase::Serving { since, confirmed: false } if now >= since + STARTING_MAX => {
                self.kill("does not begin to serve", now);
            }
            Phase::Stopping { until, .. } if now >= until && !self.stopped => {
                self.kill("does not stop", now);
            }
            Phase::Closed { until, .. } if now >= until => self.kill("has hung up", now),
            _ => {}
        }
    }

    /// Whether nothing of it will touch a connection again.
    pub(crate) fn is_gone(&mut self, now: Instant) -> bool {
        if self.stopped || self.has_ended() {
            return true;
        }
        matches!(self.phase, Phase::Killed { until, .. } if now >= until)
    }

    fn has_ended(&self) -> bool {
        has_ended(self.pidfd.as_fd(), Duration::ZERO).unwrap_or(false)
    }

    /// Waits for it if it has ended, after having killed what it has left behind. Whether nothing
    /// is left to be waited for.
    pub(crate) fn reap(&mut self) -> bool {
        if self.status.is_none() && self.has_ended() {
            self.kill_group();
            self.status = self.child.try_wait().unwrap_or(Some(ExitStatus::default()));
        }
        self.status.is_some()
    }

    /// Whether it was killed by a signal that only others send: an operator, the kernel that is out
    /// of memory. That is no failure of its own.
    pub(crate) fn was_killed_by_others(&self) -> bool {
        let signal = self.status.and_then(|status| status.signal());
        let of_others = [Signal::KILL.as_raw(), Signal::TERM.as_raw()];
        self.why.is_none() && signal.is_some_and(|signal| of_others.contains(&signal))
    }

    /// Whether nothing is heard of it any more.
    fn is_silent(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. } | Phase::Killed { .. })
    }

    /// How it came to its end.
    pub(crate) fn why(&self) -> String {
        match (&self.why, self.status) {
            (Some(why), _) => why.clone(),
            (None, Some(status)) => format!("ended: {status}"),
            (None, None) => "stopped".to_owned(),
        }
    }

    /// What makes the loop turn.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let silent = self.stopped || self.is_silent();
        let channel = (!silent).then(|| self.channel.as_fd());
        [self.pidfd.as_fd()].into_iter().chain(channel)
    }
}

/// A worker's sentence goes to the log and to clients.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Whether a process has ended within `patience`.
///
/// # Errors
/// What poll(2) says.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>, patience: Duration) -> Result<bool, Errno> {
    let patience = Timespec::try_from(patience).unwrap_or_default();
    match poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}
