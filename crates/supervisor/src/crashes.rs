//! How often workers died of late, and what follows for the next.

use std::time::Duration;

/// A worker that has served so long has not died quickly.
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

/// From so many quick deaths on, workers are started degraded.
const TOO_MANY: u32 = 3;

/// From so many quick deaths on, the next start waits.
const PATIENCE: u32 = 2;

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
const DEGRADED_LONGEST: Duration = Duration::from_millis(200);

/// Quick deaths in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crashes {
    normal: u32,
    degraded: u32,
    /// The last was killed by somebody else, hardly that it served.
    hurried: bool,
}

impl Crashes {
    /// A worker died after having served for `served`.
    pub(crate) fn died(&mut self, degraded: bool, served: Duration) {
        let deaths = if degraded { &mut self.degraded } else { &mut self.normal };
        *deaths = if served < SETTLED { deaths.saturating_add(1) } else { 1 };
        self.hurried = false;
    }

    /// A worker was killed by somebody else: the next is no worse for it. Whoever kills them without
    /// a pause does not have us start them without one.
    pub(crate) fn killed(&mut self, served: Duration) {
        self.hurried = served < SHORTEST;
    }

    /// A normal worker has served long enough.
    pub(crate) fn settled(&mut self) {
        *self = Self::default();
    }

    /// Whether the next worker is a degraded one, if nobody serves.
    pub(crate) fn is_failing(&self) -> bool {
        self.normal >= TOO_MANY
    }

    /// How long to wait before the next start, while nobody serves.
    pub(crate) fn delay(&self) -> Duration {
        if self.is_failing() {
            return delay(self.degraded).min(DEGRADED_LONGEST); // readers wait for this one
        }
        delay(self.normal).max(if self.hurried { SHORTEST } else { Duration::ZERO })
    }

    /// When to try a normal worker again while a degraded one serves.
    pub(crate) fn retry(&self) -> Duration {
        delay(self.normal)
    }
}

/// 0, 0, 50 ms, 100 ms, … 5 s.
fn delay(deaths: u32) -> Duration {
    match deaths.checked_sub(PATIENCE + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
            SHORTEST.saturating_mul(factor).min(LONGEST)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(deaths: u32) -> Crashes {
        let mut crashes = Crashes::default();
        (0..deaths).for_each(|_| crashes.died(false, Duration::from_secs(1)));
        crashes
    }

    fn next(crashes: Crashes) -> (Duration, bool) {
        (crashes.delay(), crashes.is_failing())
    }

    #[test]
    fn first_deaths_cost_nothing_and_later_ones_ever_more_up_to_a_bound() {
        let millis: Vec<u128> = (0..12).map(|deaths| after(deaths).retry().as_millis()).collect();
        assert_eq!(millis, [0, 0, 0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(after(1000).retry(), LONGEST);
    }

    #[test]
    fn from_the_third_quick_death_on_a_degraded_worker_starts_at_once() {
        assert_eq!(next(after(2)), (Duration::ZERO, false));
        assert_eq!(next(after(3)), (Duration::ZERO, true));
        assert_eq!(next(after(30)), (Duration::ZERO, true));
    }

    #[test]
    fn degraded_worker_that_dies_too_waits_before_the_next() {
        let mut crashes = after(5);
        (0..4).for_each(|_| crashes.died(true, Duration::ZERO));
        assert_eq!(next(crashes), (Duration::from_millis(100), true));
        (0..40).for_each(|_| crashes.died(true, Duration::ZERO));
        assert_eq!(next(crashes), (DEGRADED_LONGEST, true));
    }

    #[test]
    fn workers_killed_by_others_are_replaced_by_normal_ones_at_once() {
        let mut crashes = Crashes::default();
        (0..200).for_each(|_| crashes.killed(SHORTEST));
        assert_eq!(next(crashes), (Duration::ZERO, false));
        (0..200).for_each(|_| crashes.killed(Duration::from_millis(49)));
        assert_eq!(next(crashes), (SHORTEST, false));
        crashes.died(false, Duration::ZERO);
        assert_eq!(next(crashes), (Duration::ZERO, false));
        assert_eq!(crashes.normal, 1);
    }

    #[test]
    fn death_after_a_long_life_counts_as_the_first() {
        let mut crashes = after(8);
        crashes.died(false, SETTLED);
        assert_eq!(next(crashes), (Duration::ZERO, false));
        let mut crashes = after(8);
        crashes.settled();
        assert_eq!(crashes.normal, 0);
    }
}
