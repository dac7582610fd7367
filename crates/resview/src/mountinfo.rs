//! The mounts that this process sees, with paths to work with.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number, and that of the mount on which it lies.
    pub(crate) id: u64,
    parent: u64,
    /// What of the file system is mounted; `/` is all of it.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) mount_point: PathBuf,
    /// `cgroup2`, `fuse.lxcfs`, …
    pub(crate) fs_type: String,
    /// The device or whatever stands for it.
    pub(crate) source: String,
    /// Major and minor number of the file system, by which all its mounts are known.
    pub(crate) device: (u32, u32),
    /// Options of the file system; for `cgroup` its controllers are among them.
    pub(crate) super_options: Vec<String>,
}

/// The mounts of this process's mount namespace, in the order in which they were made.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub(crate) fn read() -> anyhow::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/self/mountinfo")
        .context("cannot read /proc/self/mountinfo; is /proc mounted?")?;
    Ok(parse(&text))
}

pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    procfmt::mountinfo::mounts(text).map(|mount| owned(&mount)).collect()
}

/// The mount that a look at `path` meets: of several at the same place, the one on which no other
/// lies. The order of the table says less: a mount may have been made long before it was put there.
pub(crate) fn at<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let here = || mounts.iter().filter(|mount| mount.mount_point == path);
    here().rev().find(|mount| here().all(|other| other.parent != mount.id))
}

fn owned(mount: &procfmt::mountinfo::Mount<'_>) -> Mount {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Mount {
        id: mount.id,
        parent: mount.parent,
        root: path(&mount.root),
        mount_point: path(&mount.mount_point),
        fs_type: text(mount.fs_type),
        source: text(&mount.source),
        device: (mount.major, mount.minor),
        super_options: mount.super_options.split(|&byte| byte == b',').map(text).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_made_earlier_may_lie_on_one_made_later() {
        let mounts =
            parse(b"41 42 0:3 / /x rw - proc proc rw\n42 31 0:4 / /x rw - fuse.lxcfs l rw\n");
        assert_eq!(at(&mounts, Path::new("/x")).unwrap().fs_type, "proc");
    }

    #[test]
    fn the_last_mount_at_a_place_is_the_one_seen() {
        let mounts = parse(
            b"41 31 0:38 / /mnt/x\\040y rw - fuse.lxcfs lxcfs rw,user_id=0\n\
              42 31 0:39 / /mnt/x\\040y rw - tmpfs none rw\n",
        );
        assert_eq!(at(&mounts, Path::new("/mnt/x y")).unwrap().fs_type, "tmpfs");
        assert_eq!(mounts[0].super_options, ["rw", "user_id=0"]);
        assert_eq!(at(&mounts, Path::new("/mnt")), None);
    }
}
