//! An open pressure file, and its trigger.

use std::sync::{Mutex, MutexGuard, PoisonError};

use container::ContainerKey;
use fuse::{PollFlags, PollHandle};

use super::registrar::Slot;
use super::source::Source;
use super::watch::Registered;
use super::watched::{NOTHING_TO_WAIT_FOR, READY};
use crate::handles::Snapshot;
use crate::places::Place;

/// A container; `None` is the host.
pub(super) type Owner = Option<ContainerKey>;

#[derive(Debug)]
pub(super) struct OpenFile {
    /// `None`: the container has ended.
    pub(super) source: Option<Source>,
    /// Whose trigger it will be.
    pub(super) owner: Owner,
    /// Whether the opener may have triggers with windows of any length.
    pub(super) is_privileged: bool,
    pub(super) snapshot: Snapshot,
    pub(super) trigger: Mutex<Option<Held>>,
    pub(super) _place: Option<Place<Owner>>,
}

impl OpenFile {
    pub(super) fn trigger(&self) -> MutexGuard<'_, Option<Held>> {
        // What was there before a panic is as good as before.
        self.trigger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A trigger that was written to a file: its only one, whatever has become of it.
#[derive(Debug)]
pub(super) struct Held {
    /// The number of the write.
    pub(super) written_by: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The last worker had it, and this one has not come to it yet.
    Due {
        waiter: Option<PollHandle>,
    },
    Watched(Watched),
    /// There is nothing to wait for: the container has ended since, or the kernel does not take the
    /// trigger any more.
    Void,
}

/// A trigger that the kernel watches. It is freed before its slot is.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) registered: Registered,
    pub(super) _slot: Slot,
}

impl Held {
    pub(super) fn new(written_by: u64, watched: Watched) -> Self {
        Self { written_by, state: State::Watched(watched) }
    }

    /// One of the last worker's, for whose events `waiter` waits.
    pub(super) fn due(written_by: u64, waiter: Option<PollHandle>) -> Self {
        Self { written_by, state: State::Due { waiter } }
    }

    /// It is not due any more: it is watched now, or void. Who is to be woken, to ask anew.
    pub(super) fn settle(&mut self, watched: Option<Watched>) -> Option<PollHandle> {
        let State::Due { waiter } = self.state else { return None };
        self.state = watched.map_or(State::Void, |watched| {
            watched.registered.will_wake(waiter);
            State::Watched(watched)
        });
        waiter
    }

    /// What the file is ready for. Where `asking` is given, it is woken when the answer changes.
    pub(super) fn poll(&mut self, asking: Option<PollHandle>) -> PollFlags {
        match &mut self.state {
            State::Due { waiter } => {
                *waiter = asking.or(*waiter);
                READY
            }
            State::Watched(watched) => watched.registered.poll(asking),
            State::Void => READY | NOTHING_TO_WAIT_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_polls_a_trigger_that_is_due_waits_until_it_is_settled() {
        let mut held = Held::due(4, None);
        assert_eq!(held.poll(None), READY);
        assert_eq!(held.poll(Some(PollHandle(7))), READY);
        assert_eq!(held.poll(None), READY, "another caller, who does not wait");
        assert_eq!(held.settle(None), Some(PollHandle(7)));
        assert_eq!(held.poll(Some(PollHandle(7))), READY | NOTHING_TO_WAIT_FOR);
        assert_eq!(held.settle(None), None, "once");
    }

    #[test]
    fn who_waited_for_the_last_worker_is_woken_by_this_one() {
        let mut held = Held::due(4, Some(PollHandle(5)));
        assert_eq!(held.settle(None), Some(PollHandle(5)));
    }
}
