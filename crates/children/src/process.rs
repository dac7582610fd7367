//! A process that was started, and its process group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

/// A child. Its descriptor ([`AsFd`]) is readable when it has ended; it has to be
/// [reaped](Self::reap) then.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
}

impl Process {
    /// A child that leads a process group. One without a descriptor is killed: its end would not be
    /// noticed.
    pub(crate) fn new(mut child: Child) -> io::Result<Self> {
        match pid(&child).ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => Ok(Self { child, pidfd, status: None }),
            Err(errno) => {
                child.kill()?;
                child.wait()?;
                Err(errno.into())
            }
        }
    }

    /// Its process id, its own until it has been reaped.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it and all of its group.
    pub fn kill(&mut self) {
        let _ = pid(&self.child).map(|pid| kill_process_group(pid, Signal::KILL));
        let _ = self.child.kill(); // in case that it has left its group
    }

    /// Asks it to end: SIGTERM.
    pub fn ask_to_end(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM); // or it has ended already
    }

    /// Whether nothing of it runs any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        has_ended(self.pidfd.as_fd(), Duration::ZERO).unwrap_or(false)
    }

    /// Waits for it if it has ended, after having killed what it has left behind in its group; how
    /// it came to its end. `None` while it runs.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.has_ended() {
            self.kill(); // its group's number is not another's until it has been waited for
            self.status = self.child.try_wait().unwrap_or(Some(ExitStatus::default()));
        }
        self.status
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Whether a process, by its pidfd, has ended within `patience`.
///
/// # Errors
/// What poll(2) says.
pub fn has_ended(pidfd: BorrowedFd<'_>, patience: Duration) -> Result<bool, Errno> {
    let patience = Timespec::try_from(patience).unwrap_or_default();
    match poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}
