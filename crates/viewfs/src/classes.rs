//! Whose request it may be, told at once: so that a container that asks without end waits for
//! itself, and not the others for it.

use std::sync::atomic::{AtomicU64, Ordering};

use container::ContainerKey;

/// How many threads are remembered; each has one place, which it shares with others.
const THREADS: usize = 4096;

/// Threads and their containers, as last seen. A guess: a thread's number may be another's by now.
#[derive(Debug)]
pub(crate) struct Classes {
    /// The thread in the upper half, its class in the lower.
    seen: Box<[AtomicU64]>,
}

/// The class of a container's requests; 0, that of requests that never wait, for the host.
pub(crate) fn class_of(container: Option<ContainerKey>) -> u64 {
    container.map_or(0, |key| (key.0 & u64::from(u32::MAX)).max(1))
}

impl Classes {
    pub(crate) fn new() -> Self {
        Self { seen: (0..THREADS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The thread has been found to be in this container.
    pub(crate) fn note(&self, tid: u32, container: Option<ContainerKey>) {
        if let Some(place) = self.place(tid) {
            place.store(u64::from(tid) << 32 | class_of(container), Ordering::Relaxed);
        }
    }

    /// The class of the thread's container; 0: not known.
    pub(crate) fn guess(&self, tid: u32) -> u64 {
        let seen = self.place(tid).map_or(0, |place| place.load(Ordering::Relaxed));
        if seen >> 32 == u64::from(tid) { seen & u64::from(u32::MAX) } else { 0 }
    }

    fn place(&self, tid: u32) -> Option<&AtomicU64> {
        self.seen.get(usize::try_from(tid).unwrap_or(0) % THREADS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_known_until_another_takes_its_place() {
        let classes = Classes::new();
        let (key, other) = (ContainerKey(0x1234_5678_9abc_def0), ContainerKey(1 << 32));
        assert_eq!(classes.guess(7), 0);
        classes.note(7, Some(key));
        assert_eq!(classes.guess(7), class_of(Some(key)));
        assert_eq!(classes.guess(7 + 4096), 0, "another thread");
        classes.note(7 + 4096, Some(other));
        assert_eq!((classes.guess(7), classes.guess(7 + 4096)), (0, 1));
        classes.note(7, None);
        assert_eq!(classes.guess(7), 0, "the host never waits");
        assert_eq!(classes.guess(0), 0);
    }
}
