//! The messages.

use std::path::PathBuf;

use fuse::Negotiated;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which tree a FUSE connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The tree that containers share.
    Shared,
    /// The pressure files, mounted on `proc/pressure` of the shared tree.
    Pressure,
    /// The container tree: a directory for each registered container.
    Containers,
}

impl Role {
    /// As in JSON and in names of descriptors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Pressure => "pressure",
            Self::Containers => "containers",
        }
    }

    /// Whose tree its mountpoint lies in. `None`: nobody's of ours, so that a supervisor may walk
    /// there, and puts the mount in its place itself. Else a worker has it done while it serves.
    #[must_use]
    pub fn lies_in(self) -> Option<Self> {
        match self {
            Self::Shared | Self::Containers => None,
            Self::Pressure => Some(Self::Shared),
        }
    }
}

/// One FUSE connection, but for its descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// Which tree.
    pub role: Role,
    /// Where it is mounted, or is to be.
    pub mountpoint: PathBuf,
    /// What was agreed with the kernel at INIT.
    pub negotiated: Negotiated,
    /// Whether the mount is in its place. Until then, its descriptor is handed on.
    pub attached: bool,
}

/// What a supervisor leaves to the next, and tells each worker; the descriptors that belong to it
/// are in [`Holdings`](crate::Holdings).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estate {
    /// The connections, the shared tree's first.
    pub connections: Vec<ConnectionState>,
    /// Whether containers get their own content; if not, the host's.
    #[serde(rename = "virtual")]
    pub virtual_: bool,
}

/// What becomes of requests that a dead worker had read and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// The kernel sends them again: `FUSE_NOTIFY_RESEND`, Linux 6.9.
    Resend,
    /// The next worker finds them in the journal.
    Journal,
    /// The kernel sends them again; where it cannot, they are in the journal.
    Both,
}

impl From<Recovery> for fuse::Recovery {
    fn from(recovery: Recovery) -> Self {
        match recovery {
            Recovery::Resend => Self::Resend,
            Recovery::Journal => Self::Journal,
            Recovery::Both => Self::Both,
        }
    }
}

/// Where a worker gets content from while normal ones keep dying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Degraded {
    /// The last good content of that container and file, else the host's.
    Last,
    /// The host's.
    Host,
}

/// The first message to a worker. All of [`Holdings`](crate::Holdings) comes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What there is to serve.
    pub estate: Estate,
    /// How to find lost requests if [`ToWorker::Go`] says that there may be some.
    pub recovery: Recovery,
    /// Whether to compute nothing, because workers that do keep dying.
    pub degraded: Option<Degraded>,
}

/// From the supervisor to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Adopt what comes with this, prepare, say [`FromWorker::Ready`], and serve nothing yet.
    Hello(Hello),
    /// Serve. The worker before this one is gone.
    Go {
        /// It did not end by itself: there may be requests that it had read and not answered.
        recover: bool,
        /// Mounts of the holdings that are to be put in their place now.
        attach: Vec<Role>,
    },
    /// Answer what has been read, read no more, say [`FromWorker::Stopped`] and exit.
    Stop,
    /// Switch between the containers' content and the host's.
    SetVirtual {
        /// The containers'.
        on: bool,
    },
    /// Send a [`FromWorker::StatusReport`].
    Status,
}

/// From a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// Everything is open; nothing is served yet.
    Ready,
    /// It cannot serve, and exits.
    Failed {
        /// A sentence for the administrator.
        why: String,
    },
    /// Requests are being answered.
    Serving {
        /// Mounts that are in their place now. May come again when there are more of them.
        attached: Vec<Role>,
    },
    /// Every request that was read has been answered. It exits.
    Stopped,
    /// A mount is gone: unmounted by somebody else, or its connection aborted.
    Unmounted {
        /// Which.
        role: Role,
    },
    /// What the worker says of itself.
    StatusReport {
        /// For programs and people; only `resview status` knows the fields.
        report: Value,
    },
}

/// What is asked on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// How are you? [`Answer::Report`].
    Status,
    /// Replace the worker by one of another program: [`Answer::Done`] or [`Answer::RolledBack`].
    Upgrade {
        /// The program; none: the one at the present worker's path.
        program: Option<PathBuf>,
    },
    /// End: [`Answer::Ended`].
    Stop {
        /// Unmount everything. Else the worker goes on, and the next supervisor finds it.
        unmount: bool,
    },
    /// Hand over a copy of everything: [`Answer::Estate`]. Nothing changes until `Release`.
    TakeOver,
    /// Stop the worker and end without unmounting: [`Answer::Released`]. Only after `TakeOver`.
    Release,
}

/// What is answered on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Status`].
    Report {
        /// `supervisor`: of a supervisor; absent from an orphaned worker. `worker`: as the worker
        /// says; null if it does not answer.
        report: Value,
    },
    /// The new program serves.
    Done {
        /// The program before.
        old: PathBuf,
        /// The program now.
        new: PathBuf,
    },
    /// The new program failed; the old one serves.
    RolledBack {
        /// A sentence.
        why: String,
    },
    /// It ends now; what was asked to be unmounted is.
    Ended,
    /// To [`Request::TakeOver`]; the descriptors of [`Holdings`](crate::Holdings) come with it.
    Estate {
        /// What they are.
        estate: Estate,
        /// The worker that serves at the moment.
        worker_pid: Option<u32>,
    },
    /// Nobody serves any more; the successor may.
    Released {
        /// Every request that was read has been answered.
        clean: bool,
        /// The mounts that are in their place.
        attached: Vec<Role>,
    },
    /// No.
    Refused {
        /// A sentence.
        why: String,
    },
}
