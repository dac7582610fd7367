//! Who serves already: a supervisor, or a worker without one. Found on the control socket.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use children::has_ended;
use control::{ChannelError, Client, ClientError, Holdings, Role};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::connections;
use crate::error::Error;
use crate::view::View;

/// How long a predecessor has for each answer beyond the watchdog's period.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a predecessor that is about to end may be asked.
const TRIES: u32 = 200;

/// Between two questions.
const RETRY: Duration = Duration::from_millis(10);

/// Who served before.
#[derive(Debug)]
pub enum Former {
    /// Nobody, and nothing is mounted yet.
    Nobody,
    /// Somebody who is dead.
    Dead,
    /// Somebody who still does.
    Living(Predecessor),
}

/// What is known when nobody serves any more.
#[derive(Debug)]
pub struct Released {
    /// Every request that had been read is answered.
    pub clean: bool,
    /// The mounts that are in their place.
    pub attached: Vec<Role>,
}

impl Former {
    /// Has whoever served stop. Waits, for at most as long as its worker may take: nothing else is
    /// to be done meanwhile. One that does not stop is killed: there is nothing that only it has.
    ///
    /// # Errors
    /// It may still be serving.
    pub fn release(&self, watchdog: Duration) -> Result<Released, Error> {
        match self {
            Self::Nobody => Ok(Released { clean: true, attached: Vec::new() }),
            Self::Dead => Ok(Released { clean: false, attached: Vec::new() }),
            Self::Living(predecessor) => predecessor.release(watchdog),
        }
    }
}

/// Somebody who answers on the control socket.
#[derive(Debug)]
pub struct Predecessor {
    client: Client,
    runtime_dir: PathBuf,
    /// The worker that serves.
    worker: Option<OwnedFd>,
}

/// Whoever answers on the control socket, and what it has. One that does not answer is killed if
/// everything can be had without it (`stored`).
///
/// # Errors
/// It does not answer, or not as it should.
pub(crate) fn find(view: &View, stored: bool) -> Result<Option<(Holdings, Predecessor)>, Error> {
    for _ in 0..TRIES {
        let answer = match Client::connect(&view.runtime_dir) {
            Err(ClientError::Nobody { errno: Errno::NOENT | Errno::CONNREFUSED, .. }) => {
                return Ok(None);
            }
            Err(error) => Err(error),
            Ok(client) => client.take_over(PATIENCE).map(|found| (client, found)),
        };
        match answer {
            // Somebody has unmounted, and it ends.
            Ok((_, found)) if !found.holdings.connections.iter().any(connections::lives) => {
                std::thread::sleep(RETRY);
            }
            Ok((client, found)) => {
                let worker = found.worker_pid.and_then(open);
                let runtime_dir = view.runtime_dir.clone();
                return Ok(Some((found.holdings, Predecessor { client, runtime_dir, worker })));
            }
            // It is dying at this moment: the socket lives a little longer.
            Err(error) if is(&error, &ChannelError::Closed) => {
                std::thread::sleep(RETRY);
            }
            Err(error) if is_silent(&error) => {
                Pids::read(&view.runtime_dir).end_silent(stored, error)?
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Busy(view.runtime_dir.clone()))
}

fn is(error: &ClientError, kind: &ChannelError) -> bool {
    let ClientError::Channel { source, .. } = error else { return false };
    std::mem::discriminant(source) == std::mem::discriminant(kind)
}

/// Somebody has the socket open and does not look at it. With many that wait it takes no more.
fn is_silent(error: &ClientError) -> bool {
    matches!(error, ClientError::Nobody { errno: Errno::AGAIN, .. })
        || is(error, &ChannelError::Silence(PATIENCE))
}

impl Predecessor {
    fn release(&self, watchdog: Duration) -> Result<Released, Error> {
        match self.client.release(watchdog + PATIENCE) {
            Ok((clean, attached)) => return Ok(Released { clean, attached }),
            Err(error) if is(&error, &ChannelError::Closed) => {
                tracing::warn!("the predecessor died while it handed over");
            }
            Err(error) if is_silent(&error) => {
                tracing::warn!("the predecessor does not hand over; killing it");
                // First who would replace the worker.
                let supervisor = Pids::read(&self.runtime_dir).supervisor.and_then(Process::open);
                supervisor.as_ref().map_or(Ok(()), kill)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.worker.as_ref().map_or(Ok(()), kill)?;
        Ok(Released { clean: false, attached: Vec::new() })
    }
}

/// Kills a process, and waits for its end.
fn kill(pidfd: &OwnedFd) -> Result<(), Error> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(Error::System { what: "kill the predecessor", errno }),
    }
    let ended = has_ended(pidfd.as_fd(), PATIENCE);
    ended.map(drop).map_err(Error::system("wait for the predecessor's end"))
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Who serves, written down in the runtime directory: one that does not answer cannot be asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pids {
    supervisor: Option<Process>,
    worker: Option<Process>,
}

/// A process that is not mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    /// Clock ticks since boot; field 22 of `/proc/PID/stat`.
    started: u64,
}

impl Pids {
    fn path(runtime_dir: &Path) -> PathBuf {
        runtime_dir.join("pids")
    }

    /// Nobody if nothing can be read.
    fn read(runtime_dir: &Path) -> Self {
        let text = fs::read(Self::path(runtime_dir)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Of this supervisor and its worker. Without it, only a hang costs more.
    pub(crate) fn write(runtime_dir: &Path, worker: u32) {
        let pids =
            Self { supervisor: Process::of(std::process::id()), worker: Process::of(worker) };
        let text = serde_json::to_vec(&pids).unwrap_or_default();
        if let Err(error) = fs::write(Self::path(runtime_dir), text) {
            tracing::warn!(%error, "cannot write down who serves");
        }
    }

    pub(crate) fn remove(runtime_dir: &Path) {
        let _ = fs::remove_file(Self::path(runtime_dir));
    }

    /// Kills a worker that has no supervisor and does not answer, if it holds nothing that we could
    /// not have without it.
    fn end_silent(self, stored: bool, error: ClientError) -> Result<(), Error> {
        let alive = |process: Option<Process>| Some((process?, process?.open()?));
        match (alive(self.supervisor), alive(self.worker)) {
            (Some((Process { pid, .. }, _)), _) => {
                Err(Error::Silent { pid, lost: "nothing is lost: its worker serves on without it" })
            }
            (None, Some((Process { pid, .. }, pidfd))) if stored => {
                tracing::warn!(worker = pid, "killing a worker without a supervisor: no answer");
                kill(&pidfd)
            }
            (None, Some((Process { pid, .. }, _))) => Err(Error::Silent {
                pid,
                lost: "only it holds the view: files that containers have open or bound end with it",
            }),
            (None, None) => Err(error.into()),
        }
    }
}

impl Process {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may have spaces in it; after it comes field 3.
        let (_, fields) = stat.rsplit_once(')')?;
        Some(Self { pid, started: fields.split_whitespace().nth(22 - 3)?.parse().ok()? })
    }

    /// If it is alive.
    fn open(self) -> Option<OwnedFd> {
        let pidfd = open(self.pid)?;
        let lives = !has_ended(pidfd.as_fd(), Duration::ZERO).ok()?;
        (lives && Self::of(self.pid) == Some(self)).then_some(pidfd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_not_mistaken_for_a_later_one_of_the_same_number() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.open().is_some());
        assert!(Process { started: own.started + 1, ..own }.open().is_none());
    }
}
