//! A mount namespace with next to nothing in it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use crate::{Error, Files, Report, Sandbox, errno};

/// Where the standard library looks for its program, to name functions in backtraces.
const PROC: &str = "/proc";

/// What stays at its path.
struct Kept {
    path: PathBuf,
    mount: OwnedFd,
    is_writable: bool,
}

/// Leaves the machine's file tree for an empty, read-only one.
pub(crate) fn leave(sandbox: &Sandbox, report: &mut Report) -> Result<(), Error> {
    step("make a mount namespace", || unshare(CloneFlags::CLONE_NEWNS).map_err(errno))?;
    // What happens to mounts here concerns nobody else, and the other way round.
    step("make its mounts private", || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
    })?;
    let kept = keep(sandbox, report)?;
    let root = step("make an empty root", || fresh("tmpfs", &[("mode", "0755"), ("size", "64k")]))?;
    step("mount it", || attach(&root, Path::new("/")))?;
    for one in &kept {
        let failed = |source| Error::Path { path: one.path.clone(), source };
        attach_below(&root, one).map_err(failed)?;
    }
    step("enter it", || fchdir(&root))?;
    match pivot_root(".", ".") {
        Ok(()) => step("leave the old root", || unmount(".", UnmountFlags::DETACH))?,
        // The root is an initramfs, which cannot be left.
        Err(Errno::INVAL) => {
            step("enter it", || rustix::process::chroot("."))?;
            report.weaker.push("the machine's root is an initramfs and stays mounted".to_owned());
        }
        Err(source) => return Err(Error::Files { what: "change the root", source }),
    }
    for one in kept.iter().filter(|one| !one.is_writable) {
        read_only(&one.path).map_err(|source| Error::Path { path: one.path.clone(), source })?;
    }
    step("make it read-only", || read_only(Path::new("/")))?;
    report.files = Files { writable: paths(&kept, true), readable: paths(&kept, false) };
    Ok(())
}

fn step<T>(what: &'static str, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Error> {
    call().map_err(|source| Error::Files { what, source })
}

fn paths(kept: &[Kept], is_writable: bool) -> Vec<PathBuf> {
    kept.iter().filter(|one| one.is_writable == is_writable).map(|one| one.path.clone()).collect()
}

/// Takes hold of what stays, as long as its path leads there. Of the readable ones nothing depends
/// on whether they are there.
fn keep(sandbox: &Sandbox, report: &mut Report) -> Result<Vec<Kept>, Error> {
    let mut kept = Vec::new();
    for (paths, is_writable) in [(&sandbox.writable, true), (&sandbox.readable, false)] {
        for path in paths {
            match clone(path) {
                Ok(mount) => kept.push(Kept { path: path.clone(), mount, is_writable }),
                Err(source) if is_writable => {
                    return Err(Error::Path { path: path.clone(), source });
                }
                Err(error) => {
                    report.weaker.push(format!("{} cannot be kept: {error}", path.display()));
                }
            }
        }
    }
    // Not the machine's own: whatever lies on that may be dead, or hang.
    match fresh("proc", &[]) {
        Ok(mount) => kept.push(Kept { path: PROC.into(), mount, is_writable: false }),
        Err(error) => report.weaker.push(format!("backtraces without names: {PROC}: {error}")),
    }
    Ok(kept)
}

fn clone(path: &Path) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// A new mount, attached nowhere.
fn fresh(fs_type: &str, options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let context = fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn attach(mount: impl AsFd, at: &Path) -> Result<(), Errno> {
    move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches what is kept below the new root, which gets the directories on the way.
fn attach_below(root: &OwnedFd, kept: &Kept) -> Result<(), Errno> {
    let is_dir = FileType::from_raw_mode(fstat(&kept.mount)?.st_mode) == FileType::Directory;
    let names = kept.path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    let Some((last, above)) = names.split_last() else { return Err(Errno::INVAL) };
    let open_dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, ".", open_dir, Mode::empty())?;
    for name in above {
        make_dir(&at, name)?;
        at = openat(&at, *name, open_dir, Mode::empty())?;
    }
    if is_dir {
        make_dir(&at, last)?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(openat(&at, *last, flags, Mode::RUSR)?);
    }
    move_mount(&kept.mount, "", &at, *last, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn make_dir(at: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match mkdirat(at, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// The mount at `path`, not the file system.
fn read_only(path: &Path) -> Result<(), Errno> {
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    mount_remount(path, flags, "")
}
