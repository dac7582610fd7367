//! A full procfs or sysfs for containers that would lose the right to mount one.
//!
//! A user namespace may mount a fresh procfs or sysfs only where one lies in its mount namespace on
//! which nothing is mounted but over empty directories (`mnt_already_visible` in fs/namespace.c).
//! So where only our files end that, the container's own procfs is mounted once more. The place has
//! to be there in every container, and must not cover anything: sysfs has directories that are
//! empty for ever because other file systems are mounted there.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::attaching::{Item, Plan, Todo, Work};
use crate::clone::{Identity, Prepared, clone};
use crate::error::Error;
use crate::removal::remove;
use crate::request::{Kind, Nesting, Ours, Outcome};
use crate::syscalls::{Attributes, restrict};
use crate::table::{Mount, Table};
use crate::target::{Place, Verdict, verdict};
use crate::visit::Visit;

/// Where to put one, in this order, and which path of sysfs that is. The second is inside a sysfs
/// that was put at the first. What is meant to be mounted there (fusectl, pstore, configfs) needs a
/// privilege over the host.
const PLACES: [(&str, &str); 4] = [
    ("/sys/fs/fuse/connections", "sys/fs/fuse/connections"),
    ("/sys/fs/fuse/connections/fs/fuse/connections", "sys/fs/fuse/connections"),
    ("/sys/fs/pstore", "sys/fs/pstore"),
    ("/sys/kernel/config", "sys/kernel/config"),
];

/// Directories of procfs and sysfs that the kernel makes for mounting on: always empty, so what
/// lies on them hides nothing. `sysfs_create_mount_point`, `proc_create_mount_point` and
/// `register_sysctl_mount_point` in the kernel's source.
const EMPTY: [&str; 16] = [
    "fs/bpf",
    "fs/cgroup",
    "fs/fuse/connections",
    "fs/nfsd",
    "fs/pstore",
    "fs/resctrl",
    "fs/selinux",
    "fs/smackfs",
    "firmware/efi/efivars",
    "hypervisor/s390",
    "kernel/config",
    "kernel/debug",
    "kernel/security",
    "kernel/tracing",
    "openprom",
    "sys/fs/binfmt_misc",
];

/// The types, sysfs first: a procfs may find its place inside the hidden sysfs.
const TYPES: [&str; 2] = ["sysfs", "proc"];

/// Does what `nesting` says, before anything of the plan is mounted. Returns where a full procfs
/// or sysfs was put.
pub(crate) fn keep(
    work: &mut Work<'_>,
    plan: &mut Plan,
    nesting: Nesting,
) -> Result<Vec<PathBuf>, Error> {
    let mut places = Vec::new();
    if nesting == Nesting::Ignore {
        return Ok(places);
    }
    for fs_type in TYPES {
        let covered: Vec<u64> = plan.items.iter().filter_map(Item::covers).collect();
        let Some(model) = last_one(&plan.table, fs_type, &covered, work.ours).cloned() else {
            continue;
        };
        let place = if nesting == Nesting::Keep { add(work, &model)? } else { None };
        match place {
            Some(place) => places.push(place),
            None => leave_alone(plan, &model, nesting),
        }
    }
    Ok(places)
}

impl Item {
    /// The mount on which a file of ours lies or is going to.
    fn covers(&self) -> Option<u64> {
        let nothing = matches!(self.todo, Todo::Nothing(ref outcome) if !outcome.is_there());
        self.base.filter(|_| !nothing)
    }
}

/// The full mount of a type that the container would be left without if nothing more is done.
/// `None`: it never had one, or has another besides.
fn last_one<'table>(
    table: &'table Table,
    fs_type: &str,
    covered: &[u64],
    ours: &Ours,
) -> Option<&'table Mount> {
    let is_full = |mount: &&Mount| {
        mount.fs_type == fs_type
            && mount.root == Path::new("/")
            && table.children(mount.id).all(|child| hides_nothing(table, mount, child, ours))
    };
    let full: Vec<&Mount> = table.iter().filter(is_full).collect();
    let stays = |mount: &&Mount| {
        !covered.contains(&mount.id) && !table.children(mount.id).any(|child| ours.has(child))
    };
    if full.iter().any(stays) { None } else { full.first().copied() }
}

/// Whether a mount on `mount` hides nothing but what we ourselves hide. One on a file of ours
/// counts as hiding: it may be a mask.
fn hides_nothing(table: &Table, mount: &Mount, child: &Mount, ours: &Ours) -> bool {
    if ours.has(child) {
        return table.children(child.id).all(|other| ours.has(other));
    }
    let at = child.mount_point.strip_prefix(&mount.mount_point);
    at.is_ok_and(|at| EMPTY.iter().any(|empty| at == Path::new(empty)))
}

/// Mounts what `model` is a mount of once more, where nothing is hidden by it; `None` if there is
/// no such place.
fn add(work: &mut Work<'_>, model: &Mount) -> Result<Option<PathBuf>, Error> {
    let visit = work.visit;
    let Ok(below_root) = model.mount_point.strip_prefix("/") else { return Ok(None) };
    let Ok(found) = visit.walk(below_root) else { return Ok(None) };
    if found.sight.mount != model.id {
        return Ok(None);
    }
    // Fails where a user namespace has locked something on it.
    let Ok(mount) = clone(found.fd.as_fd(), false) else { return Ok(None) };
    if restrict(&mount, Attributes { read_only: false, slave: false }).is_err() {
        return Ok(None);
    }
    let identity = Identity { device: (0, 0), inode: 0 };
    for (path, of_sysfs) in PLACES {
        let table = visit.table()?;
        let Ok(Some(target)) = visit.open(Path::new(path), &table) else { continue };
        let shown = visit.shown(Path::new(path))?;
        let place = Place { shown: &shown, below_root: Path::new(of_sysfs) };
        let found = verdict(&table, &target.sight, place, (identity, Kind::Directory), work.ours);
        let is_free = found == Verdict::Free && !target.sight.is_mounted;
        if is_free && visit.check_private(Path::new(path), &target.sight, &table).is_ok() {
            let new = Prepared { mount, identity, target: path.into(), kind: Kind::Directory };
            work.put(&table, &new, &target)?;
            return Ok(Some(path.into()));
        }
    }
    Ok(None)
}

fn leave_alone(plan: &mut Plan, model: &Mount, nesting: Nesting) {
    let at = model.mount_point.display();
    let why = match nesting {
        Nesting::LeaveAlone => "and is to be left alone then",
        _ => "and there is no place to keep a full one for them",
    };
    let reason = format!(
        "nothing is masked in {at}, so user namespaces in the container can mount one of their \
         own, {why}"
    );
    for item in &mut plan.items {
        if item.base == Some(model.id) && item.todo == Todo::Mount {
            item.todo = Todo::Nothing(Outcome::LeftAlone(reason.clone()));
        }
    }
}

/// Takes away what [`keep`] has put, once nothing of ours is left on procfs and sysfs.
pub(crate) fn clear(visit: &Visit, ours: &Ours) -> Result<(), Error> {
    let table = visit.table()?;
    let needed = |mount: &Mount| ours.has(mount) && mount.is_below_kernels();
    if table.iter().any(needed) {
        return Ok(());
    }
    // What lies inside another first.
    for (path, _) in PLACES.iter().rev() {
        let shown = visit.shown(Path::new(path))?;
        let is_ours = |mount: &Mount| {
            mount.is_kernels_own() && mount.root == Path::new("/") && mount.mount_point == shown
        };
        if table.iter().any(is_ours) {
            remove(visit, Path::new(path), &|mount, _| is_ours(mount))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str, covered: &[u64]) -> Option<u64> {
        let text = format!(
            "1 0 0:1 / / rw - overlay o rw\n2 1 0:20 / /proc rw - proc proc rw\n\
             3 1 0:21 / /sys rw - sysfs sysfs rw\n{lines}"
        );
        let ours = Ours::types(&["fuse.resview"]);
        last_one(&Table::parse(text.as_bytes()), "proc", covered, &ours).map(|mount| mount.id)
    }

    #[test]
    fn only_the_last_full_one_needs_another() {
        assert_eq!(of("", &[]), None, "nothing is going to be covered");
        assert_eq!(of("", &[2]), Some(2));
        assert_eq!(of("9 1 0:20 / /dev/.lxc/proc rw - proc proc rw\n", &[2]), None);
        let mask = "9 2 0:5 /null /proc/keys rw - devtmpfs d rw\n";
        assert_eq!(of(mask, &[2]), None, "never had one");
    }

    #[test]
    fn ours_do_not_count_as_masks_but_what_lies_on_them_does() {
        let ours = "9 2 0:5 /stat /proc/stat rw - fuse.resview r rw\n";
        assert_eq!(of(ours, &[]), Some(2), "it was attached before, and has no other");
        let masked = "10 9 0:6 /null /proc/stat rw - devtmpfs d rw\n";
        assert_eq!(of(&format!("{ours}{masked}"), &[]), None);
    }

    #[test]
    fn mounts_on_empty_directories_hide_nothing() {
        let binfmt = "9 2 0:5 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw\n";
        assert_eq!(of(binfmt, &[2]), Some(2));
    }
}
