//! Putting a mount where containers that are slaves of the place get it too.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};

/// `MOVE_MOUNT_BENEATH` of move_mount(2), Linux 6.5.
const BENEATH: MoveMountFlags = MoveMountFlags::from_bits_retain(0x200);

/// A mount that is nowhere yet.
#[derive(Debug)]
pub(super) struct Detached(OwnedFd);

/// Where to put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Over all that is mounted there.
    Top,
    /// Under the uppermost.
    Beneath,
}

impl Detached {
    /// A mount of what is at `path`, which shares nothing with the mount that it is taken from:
    /// else whatever is mounted over it would be mounted there too.
    pub(super) fn clone_of(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot clone the mount at {}", path.display());
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let clone = open_tree(CWD, path, flags).with_context(what)?;
        let itself = format!("/proc/self/fd/{}", clone.as_fd().as_raw_fd());
        mount_change(itself, MountPropagationFlags::PRIVATE).with_context(what)?;
        Ok(Self(clone))
    }

    /// Puts it at `path`, and wherever that is propagated to.
    pub(super) fn put(&self, path: &Path, position: Position) -> anyhow::Result<()> {
        let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        if position == Position::Beneath {
            flags |= BENEATH;
        }
        move_mount(&self.0, "", CWD, path, flags)
            .with_context(|| format!("cannot mount on {}", path.display()))
    }
}

/// Puts `mount` in the place of the uppermost one at `path`, without a moment in which what is
/// under that one shows. Kernels before 6.5 keep the old one, covered.
pub(super) fn exchange(mount: Detached, path: &Path) -> anyhow::Result<()> {
    if let Err(error) = mount.put(path, Position::Beneath) {
        tracing::debug!(error = format!("{error:#}"), "mounting on top instead");
        return mount.put(path, Position::Top);
    }
    unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .with_context(|| format!("cannot unmount what covers {}", path.display()))
}
