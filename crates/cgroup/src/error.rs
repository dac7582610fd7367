//! Why a cgroup could not be read.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a cgroup could not be read, with the file's path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cgroup was removed. The container has ended, or moved: ask again who is asking.
    #[error("{}: the cgroup was removed", path.display())]
    Gone {
        /// The cgroup or its file.
        path: PathBuf,
    },
    /// The file is not there: a controller that is not switched on, or a kernel without it.
    /// Only where there is no other way to answer; limits and usage do without.
    #[error("{}: this kernel or cgroup has no such file", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The kernel printed something else than what it is documented to.
    #[error("{}: expected {expected}, found {content:?}; please report it", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// The beginning of what is there.
        content: String,
    },
    /// A file could not be read for another reason.
    #[error(transparent)]
    Read(hostfs::Error),
    /// No usable cgroup mount.
    #[error(
        "found no cgroup file system among the mounts of this process; mount cgroup2 on \
         /sys/fs/cgroup, or give the daemon the host's /sys/fs/cgroup"
    )]
    NoHierarchy,
}

impl Error {
    /// For a file whose content has another form.
    pub(crate) fn unexpected(path: PathBuf, expected: &'static str, content: &[u8]) -> Self {
        // Enough to recognise the file by; lossy, because a message is text.
        const SHOWN: usize = 80;
        let shown = content.get(..SHOWN).unwrap_or(content);
        Self::Unexpected { path, expected, content: String::from_utf8_lossy(shown).into_owned() }
    }

    /// Whether the cgroup was removed.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// The file or cgroup, where it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Gone { path } | Self::Absent { path } | Self::Unexpected { path, .. } => {
                Some(path)
            }
            Self::Read(error) => error.path(),
            Self::NoHierarchy => None,
        }
    }

    /// The error number for whoever asked: ENODEV for a cgroup that was removed, as the kernel says
    /// it for an open file of one; EOPNOTSUPP for an absent file.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Gone { .. } => Errno::NODEV,
            Self::Absent { .. } => Errno::OPNOTSUPP,
            Self::Unexpected { .. } | Self::NoHierarchy => Errno::IO,
            Self::Read(error) => error.errno(),
        }
    }
}

impl From<hostfs::Error> for Error {
    fn from(error: hostfs::Error) -> Self {
        match error {
            hostfs::Error::Gone { path } => Self::Gone { path },
            hostfs::Error::Absent { path } => Self::Absent { path },
            error => Self::Read(error),
        }
    }
}
