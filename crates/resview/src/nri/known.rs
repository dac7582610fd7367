//! Which containers the runtime has told of, and which of them wait for another attempt.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nri::Target;

/// The time to the second attempt; each further one takes twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// The longest time between two.
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is tried while the agent says that it does not work.
const MOST_FAILURES: u32 = 10;

/// The containers of a runtime.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_id: Mutex<HashMap<String, One>>,
}

#[derive(Debug, Default)]
struct One {
    /// Whether this plugin has given it the view.
    has_view: bool,
    tries: u32,
    failures: u32,
    owed: Option<(Instant, Owed)>,
}

/// A container that is to be attached, and when its process had started: if it ends unseen, its
/// number may become somebody else's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owed {
    pub(super) target: Target,
    /// In clock ticks after boot, field 22 of `/proc/PID/stat`.
    pub(super) start_time: u64,
}

/// What is left to be done about a container that could not be attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// It is tried again after that time.
    In(Duration),
    /// It has been tried often enough.
    Never,
}

impl Known {
    /// All that there are; `truncated`: and more.
    pub(super) fn listed<'a>(&self, ids: impl Iterator<Item = &'a str>, truncated: bool) {
        let ids: HashSet<&str> = ids.collect();
        let mut by_id = self.lock();
        if !truncated {
            by_id.retain(|id, _| ids.contains(id.as_str()));
        }
        for id in ids {
            by_id.entry(id.to_owned()).or_default();
        }
    }

    pub(super) fn add(&self, id: &str) {
        self.lock().entry(id.to_owned()).or_default();
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    pub(super) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Whether this plugin has given it the view.
    pub(super) fn has_view(&self, id: &str) -> bool {
        self.lock().get(id).is_some_and(|one| one.has_view)
    }

    /// Nothing is owed to it; it has the view, or is to have none.
    pub(super) fn settle(&self, id: &str, has_view: bool) {
        if let Some(one) = self.lock().get_mut(id) {
            *one = One { has_view, ..One::default() };
        }
    }

    /// It could not be attached; `failed`: because of the container, not for want of an agent.
    pub(super) fn owe(&self, owed: Owed, failed: bool) -> Next {
        let mut by_id = self.lock();
        // One that was removed meanwhile is owed nothing.
        let Some(one) = by_id.get_mut(&owed.target.container.id) else { return Next::Never };
        one.failures = one.failures.saturating_add(u32::from(failed));
        if one.failures >= MOST_FAILURES {
            one.owed = None;
            return Next::Never;
        }
        let after = FIRST.saturating_mul(1 << one.tries.min(10)).min(LONGEST);
        one.tries = one.tries.saturating_add(1);
        one.owed = Some((Instant::now() + after, owed));
        Next::In(after)
    }

    /// Those whose time has come. They are owed nothing from now on.
    pub(super) fn due(&self, now: Instant) -> Vec<Owed> {
        let mut by_id = self.lock();
        let owed = by_id
            .values_mut()
            .filter_map(|one| one.owed.take_if(|(at, _)| *at <= now).map(|(_, owed)| owed));
        owed.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, One>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nri::{Container, PodSandbox, Runtime};

    use super::*;

    fn owed(id: &str) -> Owed {
        let target = Target {
            runtime: Arc::new(Runtime::default()),
            pod: Arc::new(PodSandbox::default()),
            container: Arc::new(Container { id: id.to_owned(), ..Container::default() }),
        };
        Owed { target, start_time: 7 }
    }

    fn far() -> Instant {
        Instant::now() + LONGEST * 2
    }

    #[test]
    fn what_is_owed_is_tried_again_later_and_later_but_not_for_ever() {
        let known = Known::default();
        known.add("a");
        let web = || owed("a");
        assert_eq!(known.owe(web(), true), Next::In(FIRST));
        assert!(known.due(Instant::now()).is_empty());
        assert_eq!(known.due(far()), [web()]);
        assert!(known.due(far()).is_empty(), "once");
        assert_eq!(known.owe(web(), true), Next::In(FIRST * 2));
        let waits: Vec<_> = (0..8).map(|_| known.owe(web(), true)).collect();
        assert_eq!(waits.last(), Some(&Next::Never));
        assert_eq!(waits[6], Next::In(LONGEST));
        assert!(known.due(far()).is_empty());
        // Without an agent it is nobody's fault.
        known.settle("a", false);
        assert!((0..40).all(|_| matches!(known.owe(web(), false), Next::In(_))));
    }

    #[test]
    fn a_container_that_is_removed_is_owed_nothing() {
        let known = Known::default();
        known.add("a");
        known.owe(owed("a"), false);
        known.remove("a");
        assert!(known.due(far()).is_empty());
        assert_eq!(known.owe(owed("a"), false), Next::Never);
        known.settle("a", true);
        assert!(!known.has("a") && !known.has_view("a"));
    }

    #[test]
    fn a_listing_is_all_there_is_unless_it_was_cut() {
        let known = Known::default();
        known.listed(["a", "b"].into_iter(), false);
        known.settle("a", true);
        known.listed(["c"].into_iter(), true);
        assert!(known.has("a") && known.has("b") && known.has("c"));
        known.listed(["a", "c"].into_iter(), false);
        assert!(known.has_view("a") && !known.has("b") && known.has("c"));
    }
}
