//! What is to be mounted.

use std::path::{Path, PathBuf};

use children::CommandLine;
use control::Role;

/// Whether a directory is fit to be mounted on; if not, a sentence.
pub type MountpointCheck = fn(&Path) -> Result<(), String>;

/// How requests come to a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Through `/dev/fuse`. A connection outlives its workers.
    #[default]
    Device,
    /// Through rings of io_uring(7), for the shared tree and where the kernel offers it: else through
    /// the device. Such a connection has one worker and ends with it; see [`fuse::Rings`].
    IoUring,
}

/// One connection. How it is put in its place goes by the [role](Role::lies_in).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which tree.
    pub role: Role,
    /// Where it is mounted, by an absolute path; UTF-8.
    pub mountpoint: PathBuf,
    /// Whether the directory is made if it is missing.
    pub make: bool,
}

/// A view: what is mounted, and what belongs to it.
#[derive(Clone, Debug)]
pub struct View {
    /// The connections, the shared tree's first: on an existing, empty directory.
    pub connections: Vec<Wanted>,
    /// Where the control socket is; made if it is missing, mode 0700.
    pub runtime_dir: PathBuf,
    /// How requests come to a worker.
    pub transport: Transport,
    /// Makes the file system type `fuse.<subtype>`.
    pub subtype: String,
    /// Started with the mountpoint as its last argument where a view is mounted there that nobody
    /// answers for on the control socket: exit code 0 says that it answers reads.
    /// [`probe`](crate::probe) does that.
    pub probe: CommandLine,
    /// Asked about each mountpoint that lies in nobody's tree, before something is mounted there
    /// afresh and when no view is left there: whether the directory is fit. The sentence it gives
    /// otherwise ends the start.
    pub before_mount: Option<MountpointCheck>,
}

impl View {
    /// The shared tree on `mountpoint`, and, if asked for, the pressure files in it.
    #[must_use]
    pub fn usual(mountpoint: &Path, pressure: bool) -> Vec<Wanted> {
        let wanted = |role, mountpoint| Wanted { role, mountpoint, make: false };
        let shared = wanted(Role::Shared, mountpoint.to_owned());
        let in_it = mountpoint.join("proc/pressure");
        let pressure = pressure.then_some(wanted(Role::Pressure, in_it));
        [shared].into_iter().chain(pressure).collect()
    }

    /// The shared tree's mountpoint.
    pub(crate) fn mountpoint(&self) -> PathBuf {
        let shared = self.connections.iter().find(|wanted| wanted.role == Role::Shared);
        shared.map(|wanted| wanted.mountpoint.clone()).unwrap_or_default()
    }
}
