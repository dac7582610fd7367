//! The program that workers are started from.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};

use crate::config::CommandLine;

/// What belongs to us and would mislead a child: it is not the service's main process.
const NOT_INHERITED: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A program that can be started again after its file was replaced or removed.
#[derive(Debug)]
pub(crate) struct Program {
    command: CommandLine,
    /// `O_PATH` of the file as it was; `None` where it could not be opened, which starting it will
    /// say.
    image: Option<OwnedFd>,
}

impl Program {
    pub(crate) fn new(command: CommandLine) -> Self {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let image = rustix::fs::open(&command.program, flags, Mode::empty()).ok();
        Self { command, image }
    }

    /// The same arguments for another program, or for what is at the same path by now.
    pub(crate) fn with_program(&self, program: Option<PathBuf>) -> Self {
        let mut command = self.command.clone();
        command.program = program.unwrap_or(command.program);
        Self::new(command)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.command.program
    }

    /// Starts it in a process group of its own, out of reach of the terminal's signals.
    pub(crate) fn spawn(&self, stdin: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(self.executable());
        command.arg0(&self.command.program).args(&self.command.arguments);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command.stdin(stdin).process_group(0).spawn()
    }

    /// The path, or the file that was there when its path leads elsewhere by now.
    fn executable(&self) -> PathBuf {
        match &self.image {
            Some(image) if !self.unchanged(image) => {
                format!("/proc/self/fd/{}", image.as_raw_fd()).into()
            }
            _ => self.command.program.clone(),
        }
    }

    fn unchanged(&self, image: &OwnedFd) -> bool {
        let (Ok(then), Ok(now)) =
            (rustix::fs::fstat(image), rustix::fs::stat(&self.command.program))
        else {
            return false;
        };
        (then.st_dev, then.st_ino) == (now.st_dev, now.st_ino)
    }
}
