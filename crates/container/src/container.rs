//! A container: who stands for it, its clocks, its cgroups.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use cgroup::{CgroupPaths, Group};
use procfmt::units::Ticks;

/// Tells containers apart, a restarted one from its former self included. The same for the same
/// container after a restart of the daemon, so histories can be kept under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey(pub u64);

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why a process stands for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorKind {
    /// It is the init of the container's own pid namespace.
    Init,
    /// The pid namespace is shared, or the host's: it was the oldest process of the container's
    /// cgroup when the container was first seen, and may have ended since.
    Oldest,
}

/// The process that stands for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Why this one.
    pub kind: AnchorKind,
    /// Its process id, in the daemon's pid namespace.
    pub pid: u32,
    /// When it was started, in ticks of `1 / USER_HZ` seconds since boot: field 22 of
    /// `/proc/PID/stat`.
    pub start_time: Ticks,
    /// How far CLOCK_BOOTTIME is shifted for the container, in nanoseconds; `None` outside of a
    /// time namespace of its own. A container that was started at uptime u has about −u.
    pub boottime_offset: Option<i64>,
    /// The inode number of its pid namespace; `None` if that may not be read.
    pub pid_namespace: Option<u64>,
}

/// One container.
#[derive(Debug)]
pub struct Container {
    key: ContainerKey,
    anchor: Anchor,
    group: Arc<Group>,
}

impl Container {
    pub(crate) fn new(anchor: Anchor, group: Group) -> Result<Self, cgroup::Error> {
        let key = key(&anchor, &group)?;
        Ok(Self { key, anchor, group: Arc::new(group) })
    }

    /// Tells it from all others.
    #[must_use]
    pub fn key(&self) -> ContainerKey {
        self.key
    }

    /// The process that stands for it.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// Its cgroups.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Where its cgroups are.
    #[must_use]
    pub fn paths(&self) -> &CgroupPaths {
        self.group.paths()
    }
}

/// An init is told from later ones by its namespace and start, in whichever cgroup it is: a
/// container that is moved goes on with its histories. Without an init it is the cgroup, by its
/// path and the ids that tell it from later ones, because the oldest process may end before the
/// container does.
fn key(anchor: &Anchor, group: &Group) -> Result<ContainerKey, cgroup::Error> {
    let mut hash = Fnv::new();
    match anchor.kind {
        AnchorKind::Init => {
            hash.add(&anchor.pid.to_le_bytes());
            hash.add(&anchor.start_time.0.to_le_bytes());
            hash.add(&anchor.pid_namespace.unwrap_or(0).to_le_bytes());
        }
        AnchorKind::Oldest => {
            group.paths().iter().for_each(|path| hash.add(path.as_os_str().as_bytes()));
            group.ids()?.iter().for_each(|id| hash.add(&id.to_le_bytes()));
        }
    }
    Ok(ContainerKey(hash.0))
}

/// A number for a text, the same for the same text.
pub(crate) fn number(text: &[u8]) -> u32 {
    let mut hash = Fnv::new();
    hash.add(text);
    u32::try_from((hash.0 >> 32) ^ (hash.0 & u64::from(u32::MAX))).unwrap_or(0)
}

/// FNV-1a, 64 bits: the standard library's hash may change with the compiler, and the next daemon
/// has to find the last one's histories.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a part, and its length, so that parts cannot run into one another.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&bytes.len().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
