//! Detaching.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::hidden;
use crate::process::{Held, Process, Procfs};
use crate::removal::remove;
use crate::request::{LIMIT, Ours, Root, below_root};
use crate::target::is_ours_in_stack;
use crate::thread::{Ticket, run};
use crate::visit::Visit;

/// What to detach, and from whom.
#[derive(Clone, Debug)]
pub struct Detach {
    /// Any process of the container.
    pub process: Process,
    /// Where the container's root directory is.
    pub root: Root,
    /// Where something was attached. Nothing else is touched.
    pub targets: Vec<PathBuf>,
    /// Which of the mounts there go. Mounts of others stay, also those above ours.
    pub ours: Ours,
    /// How long the visit may take; 20 seconds by default.
    pub limit: Duration,
}

impl Detach {
    /// From a running container.
    #[must_use]
    pub fn new(process: Process, targets: Vec<PathBuf>, ours: Ours) -> Self {
        Self { process, root: Root::Namespace, targets, ours, limit: LIMIT }
    }
}

/// What came of a [`Detach`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// The targets at which something of ours was, and is no more.
    pub targets: Vec<PathBuf>,
}

/// Takes away every mount of ours at the targets. The container's mounts are then what they would
/// be without an attachment; only a mount that [`attach`](crate::attach()) has replaced does not
/// come back.
///
/// A mount of the container's own that covers ours is taken away for a moment and put back.
///
/// # Errors
/// Any [`Error`]. Targets that come before the one with the error are detached then.
pub fn detach(request: Detach) -> Result<Detached, Error> {
    for target in &request.targets {
        below_root(target)?;
    }
    run(request.process.pid, request.limit, move |ticket| take_away(&request, ticket))
}

fn take_away(request: &Detach, ticket: &Ticket) -> Result<Detached, Error> {
    let procfs = Procfs::open()?;
    let held = Held::open(&procfs, request.process)?;
    let visit = Visit::enter(&procfs, held, &request.root)?;
    let mut detached = Detached::default();
    for target in &request.targets {
        ticket.is_wanted()?;
        let meant = |mount: &_, below: Option<&_>| is_ours_in_stack(mount, below, &request.ours);
        if remove(&visit, target, &meant)? > 0 {
            detached.targets.push(target.clone());
        }
    }
    if request.root == Root::Namespace {
        hidden::clear(&visit, &request.ours)?;
    }
    visit.held.check()?;
    ticket.commit()?;
    Ok(detached)
}
