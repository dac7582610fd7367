//! The service manager: what it keeps for us, and what it is told. Without one, nothing happens.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use control::{Estate, Holdings, Named, PROTOCOL};
use rustix::fs::MemfdFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The memfd that says what the other descriptors are.
const STATE: &str = "state";

/// No more is read of it than this.
const STATE_MAX_BYTES: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Saved {
    protocol: u32,
    estate: Estate,
}

/// The service manager's descriptor store.
#[derive(Debug)]
pub(crate) struct Store {
    state: OwnedFd,
}

impl Store {
    /// Gives it everything, in the place of what is stale there.
    ///
    /// # Errors
    /// No memfd can be made.
    pub(crate) fn fill(holdings: &Holdings, stored: Stored) -> Result<Self, Error> {
        forget(stored.stale);
        // The same again: it would keep two by one name.
        let state = stored
            .state
            .map_or_else(|| rustix::fs::memfd_create("resview-state", MemfdFlags::CLOEXEC), Ok);
        let store = Self { state: state.map_err(Error::system("make a memfd"))? };
        store.update(holdings);
        store.keep(holdings);
        Ok(store)
    }

    /// Gives it what it has not. The service manager drops what it has already.
    pub(crate) fn keep(&self, holdings: &Holdings) {
        let mut descriptors = holdings.descriptors_for_store();
        descriptors.push((STATE.to_owned(), self.state.as_fd()));
        for (name, fd) in &descriptors {
            // Without FDPOLL=0, systemd would poll the devices, and drop them.
            let state =
                [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
            tell(&state, &[*fd]);
        }
    }

    /// After a change of what is known.
    pub(crate) fn update(&self, holdings: &Holdings) {
        let saved = Saved { protocol: PROTOCOL, estate: holdings.estate() };
        let mut text = serde_json::to_vec(&saved).unwrap_or_default();
        text.push(b'\n'); // ends the text, for what stood there may have been longer
        let written = rustix::io::pwrite(&self.state, &text, 0);
        if let Err(error) = written {
            tracing::error!(%error, "cannot write down what the service manager keeps");
        }
    }

    /// Everything is unmounted.
    pub(crate) fn empty(&self, holdings: &Holdings) {
        let names = holdings.descriptors_for_store().into_iter().map(|(name, _)| name);
        forget(names.chain([STATE.to_owned()]));
    }
}

/// Has the service manager close what it keeps by these names.
pub(crate) fn forget(names: impl IntoIterator<Item = String>) {
    for name in names {
        tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)], &[]);
    }
}

/// What the service manager kept from before, and is to go on keeping, or not.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    state: Option<OwnedFd>,
    /// All names.
    names: Vec<String>,
    /// Names of what is of no use any more.
    pub(crate) stale: Vec<String>,
}

impl Stored {
    /// Whether somebody has left something that belongs together.
    pub(crate) fn is_of_use(&self) -> bool {
        matches!(self.estate(), Ok(Some(_)))
    }

    /// Everything is of no use.
    pub(crate) fn discard(&mut self) {
        self.state = None;
        self.stale = std::mem::take(&mut self.names);
    }

    /// What the service manager's descriptors are; `None` if it has kept none.
    ///
    /// # Errors
    /// It is of another version, or cannot be read: then nothing must be unmounted either.
    pub(crate) fn estate(&self) -> Result<Option<Estate>, Error> {
        let unusable = |error: &dyn std::fmt::Display| Error::Store(error.to_string());
        let Some(state) = &self.state else { return Ok(None) };
        let mut text = vec![0; STATE_MAX_BYTES];
        let len = rustix::io::pread(state, &mut text, 0).map_err(|error| unusable(&error))?;
        text.truncate(len);
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        // The version first: the rest of another one may look different.
        let value: serde_json::Value =
            serde_json::from_slice(line).map_err(|error| unusable(&error))?;
        if value["protocol"] != PROTOCOL {
            let theirs = &value["protocol"];
            let why = format!("it is of version {theirs}, this is version {PROTOCOL}");
            return Err(Error::Store(why));
        }
        let saved: Saved = serde_json::from_value(value).map_err(|error| unusable(&error))?;
        Ok(Some(saved.estate))
    }
}

/// What the service manager kept from before, apart from the state.
///
/// # Errors
/// It cannot be had.
pub(crate) fn inherited() -> Result<(Stored, Vec<Named>), Error> {
    let mut descriptors = inherited_descriptors()?;
    let names = descriptors.iter().map(|(name, _)| name.clone()).collect();
    let state = descriptors.iter().position(|(name, _)| name == STATE);
    let state = state.map(|index| descriptors.swap_remove(index).1);
    Ok((Stored { state, names, stale: Vec::new() }, descriptors))
}

/// Copies of the descriptors with names. The originals stay open until this process ends.
fn inherited_descriptors() -> Result<Vec<Named>, Error> {
    let numbers = match sd_notify::listen_fds_with_names() {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::Store(error.to_string())),
    };
    let myself = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(Error::system("open a pidfd of this process"))?;
    let copy = |(number, name)| {
        let fd = pidfd_getfd(&myself, number, PidfdGetfdFlags::empty());
        fd.map(|fd| (name, fd)).map_err(Error::system("copy a descriptor of the service manager"))
    };
    numbers.map(copy).collect()
}

/// Whether a service manager wants to hear of us.
pub(crate) fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The worker answers.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)], &[]);
}

/// An upgrade begins; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now], &[]),
        Err(error) => tracing::warn!(%error, "cannot tell the time to the service manager"),
    }
}

/// In one sentence, for `systemctl status`.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)], &[]);
}

/// The end is near.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping], &[]);
}

fn tell(state: &[NotifyState<'_>], fds: &[BorrowedFd<'_>]) {
    let told = match fds {
        [] => sd_notify::notify(state),
        fds => sd_notify::notify_with_fds(state, fds),
    };
    if let Err(error) = told {
        tracing::warn!(%error, "cannot reach the socket in NOTIFY_SOCKET");
    }
}
