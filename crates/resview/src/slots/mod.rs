//! Slots: the last line of defence, for when no process of ours is left.
//!
//! A slot is a file or directory below `<runtime dir>/slots`, laid out as the tree is, on which the
//! view's own is mounted. The mounts are shared, and a container that binds a slot as `rslave` gets
//! what happens to it: once the view is dead the host's file is mounted over it ([`guard`]), and
//! the next daemon puts the new view there ([`Slots::lay`]). Nobody enters the container for that.

mod guard;
mod place;

use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

pub(crate) use self::guard::main as guard;
use self::place::{Detached, Position};
use crate::mountinfo::{self, Mount};
use crate::mountpoint::is_view;

/// Directories of the tree whose entries have a slot each.
const PARENTS: [&str; 3] = ["proc", "sys", "sys/devices/system"];

/// All slots of one daemon.
#[derive(Debug)]
pub(crate) struct Slots {
    dir: PathBuf,
}

/// One slot: its path below the slots' directory and, with `/` before it, on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    path: PathBuf,
    is_dir: bool,
}

/// What containers see through a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A view, which may be dead.
    View,
    /// The host's file, for want of a view.
    Host,
}

impl Slots {
    /// The slots in `dir`, which has to exist for [`lay`](Self::lay).
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Mounts every file of the view at `view` on its slot, over whatever is left there of an
    /// earlier one. What shows this view already is left alone.
    ///
    /// # Errors
    /// The directory cannot be made, or a mount fails; slots that were laid stay.
    pub(crate) fn lay(&self, view: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let mounts = mountinfo::read()?;
        if mountinfo::at(&mounts, &self.dir).is_none() {
            self.mount_base()?;
        }
        for slot in slots_of(view)? {
            self.lay_one(&slot, view, &mounts)
                .with_context(|| format!("cannot lay the slot {}", slot.path.display()))?;
        }
        Ok(())
    }

    /// A file system of their own, shared with whoever binds from it.
    fn mount_base(&self) -> anyhow::Result<()> {
        let what = || format!("cannot mount a tmpfs for slots on {}", self.dir.display());
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let data = c"mode=0755,size=1m";
        mount("resview-slots", &self.dir, "tmpfs", flags, Some(data)).with_context(what)?;
        mount_change(&self.dir, MountPropagationFlags::SHARED).with_context(what)
    }

    fn lay_one(&self, slot: &Slot, view: &Path, mounts: &[Mount]) -> anyhow::Result<()> {
        let target = self.dir.join(&slot.path);
        let source = view.join(&slot.path);
        match mountinfo::at(mounts, &target) {
            None => {
                make_mountpoint(&target, slot.is_dir)?;
                Detached::clone_of(&source)?.put(&target, Position::Top)
            }
            Some(top) if is_view(top) && is_same(top, mounts, &source) => Ok(()),
            Some(top) if is_view(top) => Detached::clone_of(&source)?.put(&target, Position::Top),
            // Between taking the host's file away and putting the view there, containers would
            // meet the dead one.
            Some(_) => place::exchange(Detached::clone_of(&source)?, &target),
        }
    }

    /// Which slots there are and what each shows, told from the mount table: nothing is touched
    /// that might hang.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub(crate) fn shown(&self) -> anyhow::Result<Vec<(PathBuf, Shown)>> {
        let mounts = mountinfo::read()?;
        let mut paths: Vec<_> = mounts.iter().map(|mount| &mount.mount_point).collect();
        paths.retain(|path| path.starts_with(&self.dir) && **path != self.dir);
        paths.sort_unstable();
        paths.dedup();
        let shown = |path: &PathBuf| {
            let top = mountinfo::at(&mounts, path)?;
            let shown = if is_view(top) { Shown::View } else { Shown::Host };
            Some((path.strip_prefix(&self.dir).ok()?.to_owned(), shown))
        };
        Ok(paths.into_iter().filter_map(shown).collect())
    }
}

/// Everything in the view that has a slot.
fn slots_of(view: &Path) -> anyhow::Result<Vec<Slot>> {
    let mut slots = Vec::new();
    for parent in PARENTS {
        let dir = view.join(parent);
        let Ok(entries) = dir.read_dir() else { continue };
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
            let path = Path::new(parent).join(entry.file_name());
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !PARENTS.iter().any(|parent| Path::new(parent).starts_with(&path)) {
                slots.push(Slot { path, is_dir });
            }
        }
    }
    Ok(slots)
}

/// Whether `top` is of the same connection as the mount in which `source` lies.
fn is_same(top: &Mount, mounts: &[Mount], source: &Path) -> bool {
    let around = mounts.iter().filter(|mount| source.starts_with(&mount.mount_point));
    let of_source = around.max_by_key(|mount| mount.mount_point.as_os_str().len());
    of_source.is_some_and(|mount| mount.device == top.device)
}

fn make_mountpoint(path: &Path, is_dir: bool) -> anyhow::Result<()> {
    let dir = if is_dir { Some(path) } else { path.parent() };
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir)?;
    }
    if !is_dir {
        std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_an_earlier_view_is_told_from_one_of_this() {
        let mounts = mountinfo::parse(
            b"1 0 0:1 / / rw - ext4 disk rw\n\
              2 1 0:9 / /view rw - fuse.resview resview rw\n\
              3 2 0:8 / /view/proc/pressure rw - fuse.resview resview rw\n\
              4 1 0:7 /proc/stat /slots/proc/stat rw - fuse.resview resview rw\n\
              5 1 0:9 /proc/meminfo /slots/proc/meminfo rw - fuse.resview resview rw\n\
              6 1 0:9 /proc/pressure /slots/proc/pressure rw - fuse.resview resview rw\n",
        );
        let same = |file: &str| {
            let top = mountinfo::at(&mounts, &Path::new("/slots").join(file)).unwrap();
            is_same(top, &mounts, &Path::new("/view").join(file))
        };
        assert!(same("proc/meminfo"));
        assert!(!same("proc/stat"), "the device of an earlier view");
        assert!(!same("proc/pressure"), "mounted before the pressure files were in their place");
    }

    #[test]
    fn a_mountpoint_is_made_as_what_is_mounted_on_it_and_may_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let [file, directory] = ["proc/meminfo", "sys/class/block"].map(|one| dir.path().join(one));
        for _ in 0..2 {
            make_mountpoint(&file, false).unwrap();
            make_mountpoint(&directory, true).unwrap();
        }
        assert!(file.is_file() && directory.is_dir());
    }
}
