//! Why it cannot be told who is asking.

use rustix::io::Errno;

/// Why it cannot be told who is asking.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request's thread id is 0: the caller has none in the daemon's pid namespace.
    #[error(
        "the caller is outside of this daemon's pid namespace; run the daemon with the host's pid \
         namespace (hostPID: true, docker run --pid=host)"
    )]
    OutsidePidNamespace,
    /// The caller ended before the question was answered.
    #[error("thread {tid} has ended")]
    Ended {
        /// The caller.
        tid: u32,
    },
    /// The init of a pid namespace was not found anywhere.
    #[error(
        "found no init of the pid namespace {namespace} of thread {tid}; it may have ended, else \
         this daemon's procfs does not show it (is it mounted with hidepid?)"
    )]
    NoInit {
        /// The caller.
        tid: u32,
        /// The namespace's inode number, as in `pid:[4026531836]`.
        namespace: u64,
    },
    /// The process hangs in execve(2), and whoever looks at it would hang with it.
    #[error("process {pid} hangs in execve, and cannot be looked at until it goes on")]
    Stuck {
        /// The process.
        pid: u32,
    },
    /// A file of a process has another form than documented.
    #[error("{file}: not in the form that proc(5) documents; please report it")]
    Unexpected {
        /// The file.
        file: String,
    },
    /// The daemon must not run in this namespace; says what to change.
    #[error("{0}")]
    Namespace(String),
    /// A file of procfs could not be read.
    #[error(transparent)]
    Proc(#[from] hostfs::Error),
    /// A cgroup could not be read.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
}

impl Error {
    /// The error number for whoever asked.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::OutsidePidNamespace | Self::Namespace(_) => Errno::ACCESS,
            Self::Ended { .. } | Self::NoInit { .. } => Errno::SRCH,
            Self::Stuck { .. } => Errno::AGAIN,
            Self::Unexpected { .. } => Errno::IO,
            Self::Proc(error) => error.errno(),
            Self::Cgroup(error) => error.errno(),
        }
    }
}
