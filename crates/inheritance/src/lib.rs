//! Where a supervisor's FUSE connections come from, and what becomes of them when it ends.
//!
//! [`inherit`] finds them: with a predecessor that still serves, with the service manager that kept
//! them when everybody died, or makes new ones. What it gives back is complete, and the same in
//! each case: [`Inheritance`]. Nothing of whoever serves is touched until [`Former::release`].
//!
//! Nothing here ever walks a path into a view that may be dead.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod connections;
mod error;
mod home;
mod manager;
mod mountpoint;
mod predecessor;
mod stored;
mod view;

pub use connections::{is_over_io_uring, new_journal, put_in_place, unmount};
pub use error::Error;
pub use home::Home;
pub use manager::Manager;
pub use mountpoint::{probe, resolve};
pub use predecessor::{Former, Released};
pub use view::{MountpointCheck, Transport, View, Wanted};

use control::{Holdings, Role};

/// What a supervisor starts with.
#[derive(Debug)]
pub struct Inheritance {
    /// The connections, and all that belongs to them.
    pub holdings: Holdings,
    /// Who served before, and may still.
    pub former: Former,
    /// The service manager, which is to [keep](Manager::keep) them.
    pub manager: Manager,
    /// The runtime directory. Nobody else starts until it is [settled](Home::settle).
    pub home: Home,
}

/// Finds or makes the connections. Whoever serves at the moment goes on.
///
/// # Errors
/// See [`Error`]; nothing is changed then, but for dead views that are detached.
pub fn inherit(view: &View) -> Result<Inheritance, Error> {
    let home = Home::enter(&view.runtime_dir)?;
    // In any case, so that nobody else takes these descriptors for something else.
    let mut stored = stored::inherited()?;
    let mut manager = Manager::from_environment(&stored)?;
    let (holdings, former) = match predecessor::find(view, stored.is_of_use())? {
        Some((theirs, _)) if is_over_io_uring(&theirs) => {
            return Err(Error::OverIoUring(view.mountpoint()));
        }
        Some((holdings, predecessor)) => (Some(holdings), Former::Living(predecessor)),
        // One over io_uring has ended with its worker, whoever has its descriptor.
        None => (stored.holdings(view)?.filter(|held| !is_over_io_uring(held)), Former::Dead),
    };
    let mended = holdings.map(|holdings| mend(view, holdings, &mut manager)).transpose()?;
    let (holdings, former) = match (mended.flatten(), former) {
        (Some(holdings), former) => (holdings, former),
        // Containers may have it still, so that nobody must end it unasked.
        (None, Former::Living(_)) => return Err(Error::NotMounted(view.mountpoint())),
        (None, _) => {
            manager.forget(stored.names);
            (connections::new(view)?, Former::Nobody)
        }
    };
    Ok(Inheritance { holdings, former, manager, home })
}

/// Ends a connection over io_uring whose worker is dead, and makes anew what ends with it. Whoever
/// waits for an answer gets ECONNABORTED, and what containers have of the shared tree answers
/// ENOTCONN from now on. The other connections go on.
///
/// # Errors
/// See [`Error`]: then nothing is mounted in its place.
pub fn renew(view: &View, holdings: &mut Holdings, manager: &mut Manager) -> Result<(), Error> {
    let (ended, others): (Vec<_>, Vec<_>) = std::mem::take(&mut holdings.connections)
        .into_iter()
        .partition(|held| held.state.negotiated.is_over_io_uring());
    holdings.connections = others;
    for held in ended {
        manager.forget(Holdings::names(held.state.role));
        connections::abort(&held)?;
    }
    // What was mounted in it is mounted nowhere any more.
    holdings.connections.retain_mut(|held| connections::is_usable(held, view));
    complete(view, holdings, manager)
}

/// Makes what there is not.
fn complete(view: &View, holdings: &mut Holdings, manager: &mut Manager) -> Result<(), Error> {
    for wanted in &view.connections {
        if holdings.connection(wanted.role).is_none() {
            manager.forget(Holdings::names(wanted.role));
            holdings.connections.push(connections::connect(view, wanted)?);
        }
    }
    holdings.connections.sort_by_key(|held| held.state.role);
    Ok(())
}

/// Makes anew what is dead or is mounted nowhere any more, and what there was not yet. `None`: that
/// is the view itself.
fn mend(
    view: &View,
    mut holdings: Holdings,
    manager: &mut Manager,
) -> Result<Option<Holdings>, Error> {
    let theirs = holdings.connection(Role::Shared).map(|held| &held.state.mountpoint);
    match theirs.filter(|theirs| **theirs != view.mountpoint()) {
        Some(theirs) => {
            let (theirs, ours) = (theirs.clone(), view.mountpoint());
            return Err(Error::OtherMountpoint { theirs, ours });
        }
        None => holdings.connections.retain_mut(|held| connections::is_usable(held, view)),
    }
    if holdings.connection(Role::Shared).is_none() {
        return Ok(None);
    }
    complete(view, &mut holdings, manager)?;
    Ok(Some(holdings))
}
