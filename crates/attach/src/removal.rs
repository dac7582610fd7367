//! Taking mounts away, from under others too.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::clone::clone;
use crate::error::Error;
use crate::table::{Mount, Table};
use crate::visit::{Position, Target, Visit};

/// How often to begin again while the container mounts and unmounts at the target.
pub(crate) const ATTEMPTS: u32 = 20;

/// Says of a mount at a target, and the one right under it there, whether it is to go.
pub(crate) type Meant<'a> = dyn Fn(&Mount, Option<&Mount>) -> bool + 'a;

/// Takes away the mounts at `target` that are meant, and says how many. Others that lie above them
/// are there again afterwards.
pub(crate) fn remove(visit: &Visit, target: &Path, meant: &Meant<'_>) -> Result<usize, Error> {
    let mut removed = 0;
    for _ in 1..ATTEMPTS {
        match once(visit, target, meant, &mut removed) {
            Err(Error::Restless { .. }) => {}
            result => return result.map(|()| removed),
        }
    }
    once(visit, target, meant, &mut removed).map(|()| removed)
}

fn once(visit: &Visit, target: &Path, meant: &Meant<'_>, removed: &mut usize) -> Result<(), Error> {
    let table = visit.table()?;
    let Some(top) = visit.open(target, &table)? else { return Ok(()) };
    if !top.sight.is_mounted {
        return Ok(());
    }
    let shown = visit.shown(target)?;
    let known = table.stack(top.sight.mount);
    let known = known.filter(|(stack, _)| stack.iter().all(|mount| mount.mount_point == shown));
    let (stack, _) = known.ok_or_else(|| visit.restless(target))?;
    let layers = layers(&stack, meant);
    check(visit, target, &table, &top, &layers)?;
    let mut kept = Vec::new();
    let result = take_down(visit, target, &table, &layers, &mut kept, removed);
    match put_back(visit, target, &table, kept) {
        Ok(()) => result,
        Err(error) => Err(Error::Left { error: Box::new(error), left: target.to_owned() }),
    }
}

/// Everything from the uppermost mount down to the lowest that is to go.
fn layers<'a>(stack: &[&'a Mount], meant: &Meant<'_>) -> Vec<(&'a Mount, bool)> {
    let below = stack.iter().skip(1).map(|mount| Some(*mount)).chain([None]);
    let all = stack.iter().zip(below);
    let mut layers: Vec<_> = all.map(|(mount, below)| (*mount, meant(mount, below))).collect();
    while layers.pop_if(|(_, goes)| !*goes).is_some() {}
    layers
}

/// Whether all of it can go without harm to anything else.
fn check(
    visit: &Visit,
    target: &Path,
    table: &Table,
    top: &Target,
    layers: &[(&Mount, bool)],
) -> Result<(), Error> {
    for (mount, goes) in layers {
        let sight = crate::target::Sight { mount: mount.id, ..top.sight };
        visit.check_private(target, &sight, table)?;
        if let Some(inside) = table.inside(mount.id).filter(|_| *goes) {
            let inside = inside.mount_point.display().to_string();
            return Err(Error::Occupied { pid: visit.pid(), target: target.to_owned(), inside });
        }
    }
    Ok(())
}

fn take_down(
    visit: &Visit,
    target: &Path,
    table: &Table,
    layers: &[(&Mount, bool)],
    kept: &mut Vec<OwnedFd>,
    removed: &mut usize,
) -> Result<(), Error> {
    for (mount, goes) in layers {
        let top = visit.expect(target, table, mount.id)?;
        if !goes {
            let copy = clone(top.fd.as_fd(), true);
            kept.push(copy.map_err(|errno| visit.step("copy the mount on", target, errno))?);
        }
        if let Err(errno) = visit.unmount(&top) {
            if !goes {
                kept.pop();
            }
            return Err(match errno {
                Errno::INVAL => Error::Locked { pid: visit.pid(), target: target.to_owned() },
                errno => visit.step("unmount", target, errno),
            });
        }
        *removed += usize::from(*goes);
    }
    Ok(())
}

fn put_back(visit: &Visit, target: &Path, table: &Table, kept: Vec<OwnedFd>) -> Result<(), Error> {
    for mount in kept.into_iter().rev() {
        let at = visit.open(target, table)?.ok_or_else(|| visit.restless(target))?;
        let put = visit.put(mount.as_fd(), &at, Position::Top);
        put.map_err(|errno| visit.step("mount again on", target, errno))?;
    }
    Ok(())
}
