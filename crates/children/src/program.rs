//! A program to start processes from.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};

use crate::process::Process;

/// A program and its arguments, without `argv[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// An absolute path.
    pub program: PathBuf,
    /// The arguments.
    pub arguments: Vec<OsString>,
}

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
pub struct Program {
    command: CommandLine,
    /// `O_PATH` of the file as it was; `None` where it could not be opened, which starting it will
    /// say.
    image: Option<OwnedFd>,
}

impl Program {
    /// The program as it is now; one that is not there fails when it is started.
    #[must_use]
    pub fn new(command: CommandLine) -> Self {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let image = rustix::fs::open(&command.program, flags, Mode::empty()).ok();
        Self { command, image }
    }

    /// The same arguments for another program, or for what is at the same path by now.
    #[must_use]
    pub fn with_program(&self, program: Option<PathBuf>) -> Self {
        let mut command = self.command.clone();
        command.program = program.unwrap_or(command.program);
        Self::new(command)
    }

    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.command.program
    }

    /// Starts it in a process group of its own, out of reach of the terminal's signals.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, stdin: OwnedFd) -> io::Result<Process> {
        let mut command = Command::new(self.executable());
        command.arg0(&self.command.program).args(&self.command.arguments);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        Process::new(command.stdin(stdin).process_group(0).spawn()?)
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
