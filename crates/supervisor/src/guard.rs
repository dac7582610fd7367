//! The guard, which notices when nobody holds the connections any more.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use control::Holdings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::config::CommandLine;
use crate::error::Error;
use crate::program::Program;

/// Between two starts.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Guard {
    program: Program,
    child: Option<Child>,
    /// Not started again before.
    pause_until: Option<Instant>,
}

impl Guard {
    /// Makes the pipe if there is none. The first [`look`](Self::look) starts the process.
    ///
    /// # Errors
    /// There is no pipe to be had.
    pub(crate) fn new(command: CommandLine, holdings: &mut Holdings) -> Result<Self, Error> {
        if holdings.guard.is_none() {
            let (_, writing) =
                pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"))?;
            holdings.guard = Some(writing);
        }
        Ok(Self { program: Program::new(command), child: None, pause_until: None })
    }

    /// Starts it if nobody has the pipe's end for reading.
    pub(crate) fn look(&mut self, holdings: &Holdings, now: Instant) {
        // Not waited for elsewhere. One that a predecessor has started is not our child.
        self.child.take_if(|child| !matches!(child.try_wait(), Ok(None)));
        let paused = self.pause_until.is_some_and(|until| now < until);
        match &holdings.guard {
            Some(writing) if !paused && !is_read(writing) => {
                self.pause_until = Some(now + PAUSE);
                self.start(writing);
            }
            _ => {}
        }
    }

    fn start(&mut self, writing: &OwnedFd) {
        let reading = std::fs::File::open(format!("/proc/self/fd/{}", writing.as_raw_fd()));
        match reading.and_then(|reading| self.program.spawn(reading.into())) {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                tracing::error!(%error, "cannot start the guard {}", self.program.path().display());
            }
        }
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

    use super::*;

    fn holdings() -> Holdings {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (keep, listener) = (null(), null());
        Holdings { connections: Vec::new(), keep, listener, guard: None, virtual_: true }
    }

    /// Writes its process id into `pid`, and makes `ended` when the pipe has ended.
    fn guard(dir: &Path, holdings: &mut Holdings) -> Guard {
        let script = "echo $$ > pid.new; mv pid.new pid; read line; touch ended";
        let script = format!("cd {}; {script}", dir.display());
        let arguments = vec!["-c".into(), script.into()];
        Guard::new(CommandLine { program: "/bin/sh".into(), arguments }, holdings).unwrap()
    }

    fn until(what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !happened() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn pipe_ends_when_nobody_holds_the_connections() {
        let dir = tempfile::tempdir().unwrap();
        let mut holdings = holdings();
        let mut guard = guard(dir.path(), &mut holdings);
        guard.look(&holdings, Instant::now());
        until("the guard runs", || dir.path().join("pid").exists());
        assert!(!dir.path().join("ended").exists());
        drop(holdings);
        until("the guard notices", || dir.path().join("ended").exists());
    }

    #[test]
    fn guard_that_ends_before_is_started_again_but_not_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut holdings = holdings();
        let mut guard = guard(dir.path(), &mut holdings);
        let now = Instant::now();
        guard.look(&holdings, now);
        until("the guard runs", || dir.path().join("pid").exists());
        let mut child = guard.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        guard.look(&holdings, now);
        assert!(guard.child.is_none());
        // What the first has started may hold the pipe a little longer.
        until("another guard", || {
            guard.look(&holdings, now + PAUSE);
            guard.child.is_some()
        });
        let first = guard.child.as_ref().unwrap().id();
        guard.look(&holdings, now + PAUSE * 2);
        assert_eq!(guard.child.as_ref().unwrap().id(), first, "it runs");
        drop(holdings);
        until("the guard ends", || guard.child.as_mut().unwrap().try_wait().unwrap().is_some());
    }
}
