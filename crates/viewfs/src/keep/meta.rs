//! What is written down of an open file beside its content.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use container::{Anchor, AnchorKind, Container, ContainerKey, Identity};
use fuse::{FileType, NodeId};
use procfmt::units::Ticks;
use serde::{Deserialize, Serialize};

/// An open file or directory, as the next worker has to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The handle's number.
    pub(crate) fh: u64,
    /// The node's number.
    pub(crate) node: u64,
    /// Whose content it is; `None`: the host's.
    pub(crate) owner: Option<Owner>,
    /// The number of the request that opened it; 0: not known.
    pub(crate) opened_by: u64,
    /// When, by `CLOCK_MONOTONIC` in microseconds.
    pub(crate) opened_at: u64,
    /// The number of the read that the present content was made for; 0: it is OPEN's.
    pub(crate) refreshed_by: u64,
    /// Whether the content may serve as the last good one once the file is closed.
    pub(crate) is_good: bool,
    /// What it is, and what only that has.
    pub(crate) what: What,
}

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// A file of the shared tree.
    File {
        /// The text is that for 32-bit programs.
        is_linux32: bool,
    },
    /// A directory of the shared tree; the content is a [`Listing`].
    Directory,
    /// A pressure file.
    Pressure {
        /// Whether its opener may have triggers with windows of any length.
        is_privileged: bool,
        /// Its trigger, once it has one.
        trigger: Option<KeptTrigger>,
        /// The kernel's name for whoever polls it, once somebody has.
        waiter: Option<u64>,
    },
    /// The content of a file that the kernel keeps: no handle, but what it was told last of the
    /// file.
    Snapshot {
        /// Its time of last change, in nanoseconds since the epoch.
        mtime: u64,
    },
}

/// A trigger of a pressure file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptTrigger {
    /// All tasks held up at once, not any.
    pub(crate) is_full: bool,
    /// Microseconds.
    pub(crate) threshold: u32,
    /// Microseconds.
    pub(crate) window: u32,
    /// The number of the write.
    pub(crate) written_by: u64,
}

/// A container, as it can be found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) key: u64,
    pub(crate) has_init: bool,
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    pub(crate) boottime_offset: Option<i64>,
    pub(crate) pid_namespace: Option<u64>,
    pub(crate) cgroups: Vec<Vec<u8>>,
}

impl Owner {
    pub(crate) fn of(container: &Container) -> Self {
        let Identity { key, anchor, cgroups } = container.identity();
        Self {
            key: key.0,
            has_init: anchor.kind == AnchorKind::Init,
            pid: anchor.pid,
            start_time: anchor.start_time.0,
            boottime_offset: anchor.boottime_offset,
            pid_namespace: anchor.pid_namespace,
            cgroups: cgroups.into_iter().map(|path| path.into_os_string().into_vec()).collect(),
        }
    }

    /// Of a container that nobody has.
    #[cfg(test)]
    pub(crate) fn made_up(key: u64) -> Self {
        Self {
            key,
            has_init: true,
            pid: 20,
            start_time: key,
            boottime_offset: None,
            pid_namespace: Some(100),
            cgroups: Vec::new(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        let kind = if self.has_init { AnchorKind::Init } else { AnchorKind::Oldest };
        let path = |path: &Vec<u8>| OsString::from_vec(path.clone()).into();
        Identity {
            key: ContainerKey(self.key),
            anchor: Anchor {
                kind,
                pid: self.pid,
                start_time: Ticks(self.start_time),
                boottime_offset: self.boottime_offset,
                pid_namespace: self.pid_namespace,
            },
            cgroups: self.cgroups.iter().map(path).collect(),
        }
    }
}

/// The content of a directory's record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing(Vec<(u64, Kind, Vec<u8>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Directory,
    Regular,
    Symlink,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) node: NodeId,
    pub(crate) kind: FileType,
    pub(crate) name: OsString,
}

/// Entries to the content of a record.
pub(crate) fn listing_to_bytes(entries: &[Listed]) -> Vec<u8> {
    let entry = |entry: &Listed| {
        let kind = match entry.kind {
            FileType::Directory => Kind::Directory,
            FileType::Regular => Kind::Regular,
            FileType::Symlink => Kind::Symlink,
        };
        (entry.node.0, kind, entry.name.as_bytes().to_vec())
    };
    let listing = Listing(entries.iter().map(entry).collect());
    // Nothing of this can fail to be written down.
    postcard::to_stdvec(&listing).unwrap_or_default()
}

/// The entries again; `None` for what is no listing.
pub(crate) fn listing_of(bytes: &[u8]) -> Option<Vec<Listed>> {
    let Listing(entries) = postcard::from_bytes(bytes).ok()?;
    let entry = |(node, kind, name)| {
        let kind = match kind {
            Kind::Directory => FileType::Directory,
            Kind::Regular => FileType::Regular,
            Kind::Symlink => FileType::Symlink,
        };
        Listed { node: NodeId(node), kind, name: OsString::from_vec(name) }
    };
    Some(entries.into_iter().map(entry).collect())
}
