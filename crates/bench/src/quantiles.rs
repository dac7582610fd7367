//! Order statistics of samples.

/// Samples of one thing, in nanoseconds, grouped by the round that they were taken in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    rounds: Vec<Vec<u64>>,
}

impl Samples {
    /// Adds the samples of a round.
    pub(crate) fn push(&mut self, mut round: Vec<u64>) {
        round.sort_unstable();
        self.rounds.push(round);
    }

    /// The median over the rounds of each round's median.
    ///
    /// A machine has good and bad phases that last longer than a round. The median of medians is
    /// that of a typical phase; the median of all samples would be that of a mixture.
    pub(crate) fn p50_ns(&self) -> u64 {
        let mut medians: Vec<u64> = self.rounds.iter().filter_map(|one| at(one, 50)).collect();
        medians.sort_unstable();
        at(&medians, 50).unwrap_or_default()
    }

    /// What 99 of 100 samples of all rounds do not exceed.
    pub(crate) fn p99_ns(&self) -> u64 {
        let mut all: Vec<u64> = self.rounds.iter().flatten().copied().collect();
        all.sort_unstable();
        at(&all, 99).unwrap_or_default()
    }
}

/// The nearest-rank percentile of sorted values.
fn at(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((at(&values, 50), at(&values, 99)), (Some(100), Some(198)));
        assert_eq!((at(&[7], 50), at(&[7], 99), at(&[], 50)), (Some(7), Some(7), None));
    }

    #[test]
    fn one_bad_phase_does_not_move_the_median() {
        let mut samples = Samples::default();
        for round in [vec![10, 11, 12], vec![900, 901, 902], vec![10, 12, 14]] {
            samples.push(round);
        }
        assert_eq!((samples.p50_ns(), samples.p99_ns()), (12, 902));
    }
}
