//! One trigger of the kernel's, and those who share it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fuse::{PollFlags, PollHandle};
use rustix::event::epoll::EventFlags;

use super::trigger::Trigger;

/// What the kernel says of its own pressure files at any time: `DEFAULT_POLLMASK`.
pub(crate) const READY: PollFlags =
    PollFlags::IN.union(PollFlags::OUT).union(PollFlags::RDNORM).union(PollFlags::WRNORM);
/// What it adds for one without a trigger, or of a cgroup that was removed.
pub(crate) const NOTHING_TO_WAIT_FOR: PollFlags = PollFlags::PRI.union(PollFlags::ERR);

/// Triggers that are one to the kernel: of the same file, by device and inode, and the same text.
pub(super) type Kind = (u64, u64, Trigger);

/// A trigger that the kernel has taken, for all who want the same.
///
/// The kernel takes an RCU grace period to free one, some 10 ms, and readers wait until it has freed
/// all of a worker that has died.
#[derive(Debug)]
pub(super) struct Watched {
    file: OwnedFd,
    kind: Kind,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The cgroup was removed.
    gone: bool,
    sharers: HashMap<u64, Sharer>,
}

/// One who wants the trigger.
#[derive(Debug, Default)]
struct Sharer {
    /// Happened, and told to nobody yet.
    event: bool,
    /// Who waits, once somebody has.
    waiter: Option<PollHandle>,
}

impl State {
    fn sharer(&mut self, number: u64, waiter: Option<PollHandle>) -> &mut Sharer {
        let sharer = self.sharers.entry(number).or_default();
        sharer.waiter = waiter.or(sharer.waiter);
        sharer
    }
}

impl Watched {
    pub(super) fn new(file: OwnedFd, kind: Kind) -> Self {
        Self { file, kind, state: Mutex::default() }
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// `sharer` shares it from now on.
    pub(super) fn join(&self, sharer: u64) {
        self.lock().sharer(sharer, None);
    }

    /// `sharer` does not share it any more; whether nobody does.
    pub(super) fn leave(&self, sharer: u64) -> bool {
        let mut state = self.lock();
        state.sharers.remove(&sharer);
        state.sharers.is_empty()
    }

    /// See [`Registered::will_wake`](super::watch::Registered::will_wake).
    pub(super) fn will_wake(&self, sharer: u64, waiter: Option<PollHandle>) {
        self.lock().sharer(sharer, waiter);
    }

    /// See [`Registered::poll`](super::watch::Registered::poll).
    pub(super) fn poll(&self, sharer: u64, waiter: Option<PollHandle>) -> PollFlags {
        let mut state = self.lock();
        let event = std::mem::take(&mut state.sharer(sharer, waiter).event);
        match (state.gone, event) {
            (true, _) => READY | NOTHING_TO_WAIT_FOR,
            (false, true) => READY | PollFlags::PRI,
            (false, false) => READY,
        }
    }

    /// Notes what has happened, and says whom to wake.
    pub(super) fn note(&self, flags: EventFlags) -> Vec<PollHandle> {
        let mut state = self.lock();
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            state.gone = true;
        } else {
            state.sharers.values_mut().for_each(|sharer| sharer.event = true);
        }
        state.sharers.values().filter_map(|sharer| sharer.waiter).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What was there before a panic is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
