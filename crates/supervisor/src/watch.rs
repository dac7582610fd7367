//! Does a worker answer? Decided from looks at the journal, at equal intervals.
//!
//! Looks are counted, not clocks read: where the whole machine stood still for a while, nobody is
//! killed for it.

use std::time::Duration;

use fuse::{Glance, MAX_THREADS};

/// Intervals between looks in one period of the watchdog.
const INTERVALS: u32 = 4;

/// After so many looks at which nothing was asked of the worker, a look is not worth its price:
/// waking a CPU for each. Who reads more often than that wakes nobody in addition.
const STILL: u32 = 20;

/// The time between two looks, for a period of the watchdog.
pub(crate) fn interval(watchdog: Duration) -> Duration {
    (watchdog / INTERVALS).max(Duration::from_millis(1))
}

/// What was seen of one connection.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// For each thread the request in hand, and at how many looks it was there.
    in_hand: [(u64, u32); MAX_THREADS],
    /// The count of answers, and for how many looks it has stood still while requests wait.
    waiting: (u64, u32),
    /// At how many looks running nothing was asked of the worker, or had been since the last.
    still: u32,
}

impl Watch {
    /// Looks once more; what is wrong with the worker. `pending`: requests wait that nobody has read.
    pub(crate) fn look(&mut self, glance: &Glance, pending: bool) -> Option<String> {
        let moved = self.waiting.0 != glance.answered;
        let idle = pending && !moved;
        let is_empty = glance.parked == 0 && glance.in_hand.iter().all(Option::is_none);
        self.still = if is_empty && !pending && !moved { self.still.saturating_add(1) } else { 0 };
        self.waiting = (glance.answered, if idle { self.waiting.1.saturating_add(1) } else { 0 });
        for ((last, looks), unique) in self.in_hand.iter_mut().zip(glance.in_hand) {
            let unique = unique.unwrap_or(0);
            *looks = if unique == *last { looks.saturating_add(1) } else { 0 };
            *last = unique;
        }
        let mut in_hand = self.in_hand.iter().enumerate();
        let stuck = in_hand.find(|(_, (unique, looks))| *unique != 0 && *looks >= INTERVALS);
        match stuck {
            Some((thread, (unique, _))) => {
                Some(format!("does not answer request {unique}, in thread {thread},"))
            }
            None if self.waiting.1 >= INTERVALS => {
                Some("answers none of the requests that wait".to_owned())
            }
            None => None,
        }
    }

    /// Whether nothing has been asked for so long that the next request may be waited for.
    pub(crate) fn is_still(&self) -> bool {
        self.still >= STILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(answered: u64, in_hand: &[u64]) -> Glance {
        let mut glance = Glance { answered, ..Glance::default() };
        for (slot, &unique) in glance.in_hand.iter_mut().zip(in_hand) {
            *slot = (unique != 0).then_some(unique);
        }
        glance
    }

    /// What is wrong after each look.
    fn verdicts(looks: impl IntoIterator<Item = (Glance, bool)>) -> Vec<Option<String>> {
        let mut watch = Watch::default();
        looks.into_iter().map(|(glance, pending)| watch.look(&glance, pending)).collect()
    }

    #[test]
    fn request_in_one_hand_for_a_whole_period_is_stuck_though_others_are_answered() {
        let seen = verdicts((0..6).map(|look| (glance(look, &[0, 7, look + 100]), false)));
        assert_eq!(seen[..4], [const { None }; 4]);
        for said in &seen[4..] {
            assert!(said.as_ref().unwrap().contains("request 7, in thread 1"), "{said:?}");
        }
    }

    #[test]
    fn requests_that_wait_while_none_is_answered_make_it_idle() {
        let seen = verdicts((0..6).map(|_| (glance(3, &[]), true)));
        assert_eq!(seen[..4], [const { None }; 4]);
        assert!(seen[5].as_ref().unwrap().contains("none of the requests"), "{seen:?}");
    }

    #[test]
    fn busy_worker_with_a_queue_is_well() {
        let seen = verdicts((0..20).map(|look| (glance(look, &[look + 1]), true)));
        assert!(seen.iter().all(Option::is_none));
    }

    #[test]
    fn nothing_to_do_is_well_for_ever() {
        let seen = verdicts((0..20).map(|_| (glance(9, &[]), false)));
        assert!(seen.iter().all(Option::is_none));
    }

    #[test]
    fn only_what_nobody_uses_is_still() {
        let after_looks = |last: Glance, pending| {
            let mut watch = Watch::default();
            for _ in 0..=STILL {
                watch.look(&glance(9, &[]), false);
            }
            assert!(watch.is_still(), "the first look finds that there were answers");
            watch.look(&last, pending);
            watch.is_still()
        };
        assert!(after_looks(glance(9, &[]), false));
        assert!(!after_looks(glance(9, &[]), true));
        assert!(!after_looks(glance(10, &[]), false));
        assert!(!after_looks(glance(9, &[0, 7]), false));
        assert!(!after_looks(Glance { parked: 1, ..glance(9, &[]) }, false));
    }

    #[test]
    fn queue_that_was_empty_in_between_starts_the_period_anew() {
        let seen = verdicts((0..20).map(|look| (glance(9, &[]), look % 4 != 3)));
        assert!(seen.iter().all(Option::is_none));
    }
}
