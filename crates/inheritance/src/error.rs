//! Why there is nothing to hold.

use std::path::PathBuf;

use control::{ClientError, IncompleteError, ListenError};
use rustix::io::Errno;

/// Why there is nothing to hold. What another process serves is served on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime directory cannot be used.
    #[error("cannot use the runtime directory {}", .path.display())]
    RuntimeDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two start at once.
    #[error("another start is under way for {}; try again when it is done", .0.display())]
    Busy(PathBuf),
    /// [`View::before_mount`](crate::View::before_mount) says so.
    #[error("{0}")]
    Mountpoint(String),
    /// Somebody else's living view.
    #[error(
        "{} is in use: a living view is mounted there, and nothing listens on {}; stop the daemon \
         that serves it, or give this one its runtime directory",
        .mountpoint.display(), .socket.display()
    )]
    InUse {
        /// Where.
        mountpoint: PathBuf,
        /// The control socket that should be its.
        socket: PathBuf,
    },
    /// Another mountpoint.
    #[error(
        "the daemon of this runtime directory serves {}, not {}; use one runtime directory for each \
         mountpoint", .theirs.display(), .ours.display()
    )]
    OtherMountpoint {
        /// Of the running one.
        theirs: PathBuf,
        /// Of the configuration.
        ours: PathBuf,
    },
    /// Somebody serves who does not answer.
    #[error(
        "process {pid} has the view and does not answer; end it with `kill -9 {pid}` and start \
         again ({lost})"
    )]
    Silent {
        /// A supervisor, or a worker that has none.
        pid: u32,
        /// What its end costs.
        lost: &'static str,
    },
    /// The running one cannot be taken over.
    #[error("a daemon runs and cannot be taken over")]
    TakeOver(#[from] ClientError),
    /// The service manager's store is of no use.
    #[error("what the service manager kept cannot be used: {0}")]
    Store(String),
    /// A descriptor is missing.
    #[error("what was handed over cannot be used")]
    Incomplete(#[from] IncompleteError),
    /// Cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Cannot mount.
    #[error(transparent)]
    Mount(#[from] fuse::MountError),
    /// Cannot answer the kernel's INIT.
    #[error(transparent)]
    Init(#[from] fuse::InitError),
    /// Cannot unmount.
    #[error(transparent)]
    Unmount(#[from] fuse::UnmountError),
    /// Somebody has unmounted the view of a daemon that runs.
    #[error(
        "the daemon that runs serves a view that somebody has unmounted from {}, and that containers \
         may still have; end it with `resview stop`, and start again", .0.display()
    )]
    NotMounted(PathBuf),
    /// The one that runs serves over io_uring.
    #[error(
        "the view on {} is served over io_uring, so that nobody can take over from the daemon that \
         runs; end it with `resview stop`, and start again", .0.display()
    )]
    OverIoUring(PathBuf),
    /// A system call that should not fail.
    #[error("cannot {what}: {errno}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system call said.
        errno: Errno,
    },
}

impl Error {
    /// For `map_err`.
    pub(crate) fn system(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { what, errno }
    }

    pub(crate) fn io(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::System { what, errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) }
    }
}
