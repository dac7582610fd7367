//! What the service manager kept: descriptors by name, and one that says what they are.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use control::{Estate, Holdings, Named, PROTOCOL};
use rustix::fs::MemfdFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::connections::listen;
use crate::error::Error;
use crate::view::View;

/// The memfd that says what the other descriptors are.
pub(crate) const STATE: &str = "state";

/// No more is read of it than this.
const STATE_MAX_BYTES: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Saved {
    protocol: u32,
    estate: Estate,
}

/// Writes down what there is.
pub(crate) fn write(state: &OwnedFd, holdings: &Holdings) {
    let saved = Saved { protocol: PROTOCOL, estate: holdings.estate() };
    let mut text = serde_json::to_vec(&saved).unwrap_or_default();
    text.push(b'\n'); // ends the text, for what stood there may have been longer
    if let Err(error) = rustix::io::pwrite(state, &text, 0) {
        tracing::error!(%error, "cannot write down what the service manager keeps");
    }
}

/// What the service manager kept from before.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    state: Option<OwnedFd>,
    descriptors: Vec<Named>,
    /// All names.
    pub(crate) names: Vec<String>,
}

impl Stored {
    /// The memfd of the state: the same again, or a new one. With another, the service manager would
    /// keep two by one name.
    pub(crate) fn state(&self) -> Result<OwnedFd, Error> {
        match &self.state {
            Some(state) => state.try_clone().map_err(Error::io("copy a descriptor")),
            None => rustix::fs::memfd_create("resview-state", MemfdFlags::CLOEXEC)
                .map_err(Error::system("make a memfd")),
        }
    }

    /// Whether somebody has left something that belongs together.
    pub(crate) fn is_of_use(&self) -> bool {
        matches!(self.estate(), Ok(Some(_)))
    }

    /// What was kept, put together, with a control socket of our own.
    ///
    /// # Errors
    /// As [`estate`](Self::estate).
    pub(crate) fn holdings(&mut self, view: &View) -> Result<Option<Holdings>, Error> {
        let Some(estate) = self.estate()? else { return Ok(None) };
        let listener = (Holdings::LISTENER.to_owned(), listen(view)?);
        let kept = std::mem::take(&mut self.descriptors).into_iter().chain([listener]);
        let holdings = Holdings::assemble(estate, kept).inspect_err(|error| {
            tracing::warn!("starting afresh: of what the service manager kept, {error}");
        });
        Ok(holdings.ok())
    }

    /// What the service manager's descriptors are; `None` if it has kept none.
    ///
    /// # Errors
    /// It is of another version, or cannot be read: then nothing must be unmounted either.
    fn estate(&self) -> Result<Option<Estate>, Error> {
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

/// What the service manager kept from before.
///
/// # Errors
/// It cannot be had.
pub(crate) fn inherited() -> Result<Stored, Error> {
    let mut descriptors = inherited_descriptors()?;
    let names = descriptors.iter().map(|(name, _)| name.clone()).collect();
    let state = descriptors.iter().position(|(name, _)| name == STATE);
    let state = state.map(|index| descriptors.swap_remove(index).1);
    Ok(Stored { state, descriptors, names })
}

/// Copies of the descriptors with names. The originals stay open until this process ends.
fn inherited_descriptors() -> Result<Vec<Named>, Error> {
    // Services pass the names of their own on to what they start, without LISTEN_FDS: incusd does.
    if sd_notify::listen_fds().is_ok_and(|numbers| numbers.len() == 0) {
        return Ok(Vec::new());
    }
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
