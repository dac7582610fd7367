//! The list of what was done, so that it can be undone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crate::error::Error;
use crate::removal::remove;
use crate::visit::{Position, Visit};

/// One change to the container's mounts.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) target: PathBuf,
    /// The mount that was made.
    pub(crate) id: u64,
    /// A copy of the mount whose place it took.
    pub(crate) replaced: Option<OwnedFd>,
}

/// Undoes the steps, the last one first, and says why.
pub(crate) fn undo(visit: &Visit, steps: Vec<Step>, error: Error) -> Error {
    let mut failed = None;
    for step in steps.into_iter().rev() {
        if let Err(error) = undo_one(visit, &step) {
            tracing::error!(target = %step.target.display(), %error, "cannot undo a mount");
            failed = Some(step.target);
        }
    }
    match failed {
        None => error,
        Some(left) => Error::Left { error: Box::new(error), left },
    }
}

fn undo_one(visit: &Visit, step: &Step) -> Result<(), Error> {
    let target = &step.target;
    if let Some(replaced) = &step.replaced {
        let at = visit.open(target, &visit.table()?)?.ok_or_else(|| visit.restless(target))?;
        // Under ours if that is possible, so that what is beneath never shows.
        let put = visit.put(replaced.as_fd(), &at, Position::Beneath);
        let put = put.or_else(|_| visit.put(replaced.as_fd(), &at, Position::Top));
        put.map_err(|errno| visit.step("mount again on", target, errno))?;
    }
    remove(visit, target, &|mount, _| mount.id == step.id).map(drop)
}
