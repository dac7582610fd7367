//! Why a file could not be read.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a file could not be read, with its path.
///
/// "Absent" and "gone" are no faults: kernels differ in what they have, and processes and cgroups
/// end. Callers decide what to show then; only `Failed` and `Mount` are worth a log line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such file, or it is switched off (ENOENT, EOPNOTSUPP).
    #[error("{}: no such file in this kernel or configuration", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// What the file told about has ended: a process (ESRCH) or a cgroup (ENODEV).
    #[error("{}: its process has ended or its cgroup was removed", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Failed {
        /// What was tried, as a verb: `open`, `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// The private mounts could not be made.
    #[error("cannot make a private mount of {fs_type}, which needs root and Linux 5.2: {source}")]
    Mount {
        /// `proc` or `sysfs`.
        fs_type: &'static str,
        /// Why not.
        source: Errno,
    },
}

impl Error {
    pub(crate) fn new(action: &'static str, path: PathBuf, source: Errno) -> Self {
        match source {
            Errno::NOENT | Errno::OPNOTSUPP => Self::Absent { path },
            Errno::NODEV | Errno::SRCH => Self::Gone { path },
            _ => Self::Failed { action, path, source },
        }
    }

    /// Whether there is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// Whether the process or cgroup that the file is about has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// The file, where it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Absent { path } | Self::Gone { path } | Self::Failed { path, .. } => Some(path),
            Self::Mount { .. } => None,
        }
    }

    /// The kernel's error number, as a reply to whoever asked for the file: ENOENT when absent,
    /// ENODEV when gone.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Absent { .. } => Errno::NOENT,
            Self::Gone { .. } => Errno::NODEV,
            Self::Failed { source, .. } | Self::Mount { source, .. } => *source,
        }
    }
}
