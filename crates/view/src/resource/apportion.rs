//! Splitting amounts so that the parts add up to the whole exactly.

/// CPU time by kind, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) user: u64,
    pub(super) nice: u64,
    pub(super) system: u64,
}

impl Kinds {
    pub(super) fn sum(&self) -> u64 {
        self.user.saturating_add(self.nice).saturating_add(self.system)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.user = self.user.saturating_add(other.user);
        self.nice = self.nice.saturating_add(other.nice);
        self.system = self.system.saturating_add(other.system);
    }

    /// Takes `amount` (no more than there is) out, each kind in proportion to what is left of it.
    ///
    /// The rounding goes to nice: with the remainder R = N + S of the kinds behind user, taking
    /// ⌊S·x/R⌋ of system leaves ⌈N·x/R⌉ ≤ N for nice, so nothing is ever taken that is not there,
    /// and a series of takes that exhausts the sum exhausts every kind.
    pub(super) fn take(&mut self, amount: u64) -> Self {
        let amount = amount.min(self.sum());
        let user = proportion(self.user, amount, self.sum());
        let rest = amount - user;
        let system = proportion(self.system, rest, self.nice.saturating_add(self.system));
        let part = Self { user, system, nice: rest - system };
        self.user -= part.user;
        self.nice -= part.nice;
        self.system -= part.system;
        part
    }
}

/// ⌊part · amount / whole⌋, zero for an empty whole.
pub(super) fn proportion(part: u64, amount: u64, whole: u64) -> u64 {
    if whole == 0 { 0 } else { procfmt::units::scale(part, amount, whole) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(
            user in 0..u64::MAX / 4, nice in 0..u64::MAX / 4, system in 0..u64::MAX / 4,
            shares in proptest::collection::vec(any::<u64>(), 1..8),
        ) {
            let whole = Kinds { user, nice, system };
            let mut left = whole;
            let mut taken = Kinds::default();
            for share in shares {
                let wanted = share.min(left.sum());
                let part = left.take(share);
                prop_assert_eq!(part.sum(), wanted);
                taken.add(&part);
            }
            taken.add(&left.take(u64::MAX));
            prop_assert_eq!(taken, whole);
            prop_assert_eq!(left, Kinds::default());
        }
    }
}
