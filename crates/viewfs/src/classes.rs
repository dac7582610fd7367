//! Whose request it may be, told at once: so that a container that asks without end waits for
//! itself, and not the others for it.

use std::sync::atomic::{AtomicU64, Ordering};

use container::ContainerKey;

/// How many threads are remembered, and how many cgroups; each has one place, which it shares with
/// others.
const PLACES: usize = 4096;
/// In the class of a cgroup whose container is not known. It has a turn of its own until then.
const BY_CGROUP: u32 = 1 << 31;

/// Threads and their containers, as last seen. A guess: a thread's number may be another's by now.
#[derive(Debug)]
pub(crate) struct Classes {
    threads: Table,
    /// Cgroups, and what container the last thread was in that was met there.
    cgroups: Table,
}

/// What is remembered in the upper half, its class in the lower.
#[derive(Debug)]
struct Table(Box<[AtomicU64]>);

/// The class of a container's requests; 0, that of requests that never wait, for the host.
pub(crate) fn class_of(container: Option<ContainerKey>) -> u64 {
    container.map_or(0, |key| (key.0 & u64::from(!BY_CGROUP) & u64::from(u32::MAX)).max(1))
}

impl Classes {
    pub(crate) fn new() -> Self {
        Self { threads: Table::new(), cgroups: Table::new() }
    }

    /// The thread has been found to be in this container.
    pub(crate) fn note(&self, tid: u32, container: Option<ContainerKey>) {
        let class = class_of(container);
        if let Some(cgroup) = self.threads.get(tid).filter(|&seen| seen & BY_CGROUP != 0) {
            self.cgroups.put(cgroup, class);
        }
        self.threads.put(tid, class);
    }

    /// The class of the thread's container; 0: the host's, or not known.
    pub(crate) fn guess(&self, tid: u32) -> u64 {
        self.threads.get(tid).map_or(0, u64::from)
    }

    /// The class of a thread by its cgroup, which `cgroup` tells, unless the thread is known.
    pub(crate) fn find(&self, tid: u32, cgroup: impl FnOnce() -> Option<u32>) -> u64 {
        if let Some(seen) = self.threads.get(tid) {
            return seen.into();
        }
        let Some(cgroup) = cgroup().map(|cgroup| cgroup | BY_CGROUP) else { return 0 };
        // To be noted there once the container is known.
        self.threads.put(tid, cgroup.into());
        self.cgroups.get(cgroup).unwrap_or(cgroup).into()
    }
}

impl Table {
    fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    fn get(&self, key: u32) -> Option<u32> {
        let seen = self.place(key)?.load(Ordering::Relaxed);
        let class = u32::try_from(seen & u64::from(u32::MAX)).ok()?;
        (key != 0 && seen >> 32 == u64::from(key)).then_some(class)
    }

    fn put(&self, key: u32, class: u64) {
        if let Some(place) = self.place(key) {
            place.store(u64::from(key) << 32 | class, Ordering::Relaxed);
        }
    }

    fn place(&self, key: u32) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(key).unwrap_or(0) % PLACES)
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

    #[test]
    fn a_new_thread_is_known_by_its_cgroup() {
        let classes = Classes::new();
        let key = ContainerKey(5);
        assert_eq!(classes.find(1, || None), 0);
        let stranger = classes.find(7, || Some(33));
        assert!(stranger > u64::from(u32::MAX >> 1), "no class of a container");
        assert_eq!(classes.find(8, || Some(33)), stranger);
        assert_ne!(classes.find(9, || Some(34)), stranger);
        classes.note(7, Some(key));
        assert_eq!(classes.guess(7), class_of(Some(key)));
        assert_eq!(classes.find(7, || None), class_of(Some(key)), "without another look");
        assert_eq!(classes.find(10, || Some(33)), class_of(Some(key)));
        // The host's processes never wait.
        classes.note(9, None);
        assert_eq!((classes.find(9, || None), classes.find(11, || Some(34))), (0, 0));
    }
}
