//! A process beside the workers, kept running.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::Process;
use crate::program::{CommandLine, Program};

/// Between two starts, at the least; twice as long after each start, …
const PAUSE: Duration = Duration::from_secs(1);

/// … but no longer than this: what starts without its helper meanwhile is served late …
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// … and as at first where the last start is so long ago.
const SETTLED: Duration = Duration::from_secs(120);

/// A process whose standard input is a pipe into which nothing is ever written. It is started when
/// nobody has the pipe's end for reading: so one that another process has started is taken for this
/// one, where the end for writing was handed on. It knows by the pipe's end that nobody is left who
/// keeps it.
#[derive(Debug)]
pub struct Helper {
    program: Program,
    writing: OwnedFd,
    child: Option<Process>,
    /// When it was started last, and how long to wait before the next start.
    started: Option<(Instant, Duration)>,
}

impl Helper {
    /// Not started yet: the first [`look`](Self::look) does. `writing`: a pipe's end.
    #[must_use]
    pub fn new(command: CommandLine, writing: OwnedFd) -> Self {
        Self { program: Program::new(command), writing, child: None, started: None }
    }

    /// Starts it if it does not run, but not at once again.
    pub fn look(&mut self, now: Instant) {
        self.child.take_if(|child| child.reap().is_some());
        let next = |(last, pause): (Instant, Duration)| {
            let wait = last.checked_add(pause).is_some_and(|until| now < until);
            let pause =
                if now.saturating_duration_since(last) < SETTLED { pause * 2 } else { PAUSE };
            (!wait).then_some(pause.min(PAUSE_MAX))
        };
        let Some(pause) = self.started.map_or(Some(PAUSE), next) else { return };
        if self.child.is_none() && !is_read(&self.writing) {
            self.started = Some((now, pause));
            self.start();
        }
    }

    fn start(&mut self) {
        let reading = File::open(format!("/proc/self/fd/{}", self.writing.as_raw_fd()));
        match reading.and_then(|reading| self.program.spawn(reading.into())) {
            Ok(child) => self.child = Some(child),
            Err(error) => tracing::error!(%error, "cannot start {}", self.program.path().display()),
        }
    }

    /// Whether it runs, wherever it was started.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.as_ref().is_none_or(|child| !child.has_ended()) && is_read(&self.writing)
    }

    /// Asks it to end, if it was started here.
    pub fn end(&self) {
        self.child.iter().for_each(Process::ask_to_end);
    }
}

/// The pipe's end. Waiting for nothing there, one hears when it has no reader any more: POLLERR.
impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.writing.as_fd()
    }
}

/// Whether somebody holds a pipe's end for reading.
fn is_read(writing: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(writing, PollFlags::empty())];
    let looked = poll(&mut fds, Some(&Timespec::default()));
    looked.is_err() || !fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    /// Writes its process id into `pid`, and makes `ended` when the pipe has ended.
    fn helper(dir: &Path) -> Helper {
        let script = "trap 'touch asked; exit' TERM; echo $$ > pid.new; mv pid.new pid; read line";
        let script = format!("cd {}; {script}; touch ended", dir.display());
        let arguments = vec!["-c".into(), script.into()];
        let (_, writing) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        Helper::new(CommandLine { program: "/bin/sh".into(), arguments }, writing)
    }

    fn until(what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !happened() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn pipe_ends_when_nobody_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut helper = helper(dir.path());
        helper.look(Instant::now());
        until("it runs", || dir.path().join("pid").exists());
        assert!(!dir.path().join("ended").exists());
        drop(helper);
        until("it notices", || dir.path().join("ended").exists());
    }

    #[test]
    fn helper_is_told_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut helper = helper(dir.path());
        helper.look(Instant::now());
        until("it runs", || dir.path().join("pid").exists());
        // A shell that is about to wait for its input hears a signal only once it has some.
        until("it hears", || {
            helper.end();
            dir.path().join("asked").exists()
        });
    }

    #[test]
    fn helper_that_ends_is_started_again_ever_later() {
        let dir = tempfile::tempdir().unwrap();
        let mut helper = helper(dir.path());
        let mut now = Instant::now();
        for pause in [0, 1, 2, 4, 5, 5].map(Duration::from_secs) {
            if let Some(early) = pause.checked_sub(Duration::from_millis(1)) {
                helper.look(now + early);
                assert!(helper.child.is_none(), "{pause:?} are not over");
            }
            now += pause;
            // What the one before has started may hold the pipe a little longer.
            until("it is started", || {
                helper.look(now);
                helper.child.is_some()
            });
            let child = helper.child.as_mut().unwrap();
            child.kill();
            until("it is dead", || child.reap().is_some());
            assert!(!helper.runs());
            helper.look(now);
            assert!(helper.child.is_none(), "not at once");
        }
    }

    #[test]
    fn helper_that_runs_elsewhere_is_not_started_a_second_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = helper(dir.path());
        first.look(Instant::now());
        until("it runs", || dir.path().join("pid").exists());
        let mut second = helper(dir.path());
        second.writing = first.writing.try_clone().unwrap();
        second.look(Instant::now());
        assert!(second.child.is_none());
        assert!(second.runs());
    }
}
