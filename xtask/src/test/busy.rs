//! How busy the machine's CPUs are: where a step leaves them idle, another could run beside it.

/// What `/proc/stat` says of all CPUs together, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    /// Up to now; nothing where there is no `/proc/stat`.
    pub(super) fn now() -> Self {
        Self::read(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn read(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; what guests had is in user already.
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|one| one.parse().ok()).collect();
        let idle = ticks.iter().skip(3).take(2).sum();
        Self { all: ticks.iter().sum(), idle }
    }

    /// The part of the time since `begin` in which a CPU had something to do, 0 to 1.
    pub(super) fn busy_since(self, begin: Self) -> f64 {
        let all = self.all.saturating_sub(begin.all);
        let idle = self.idle.saturating_sub(begin.idle).min(all);
        let part = |ticks: u64| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
        if all == 0 { 0.0 } else { part(all - idle) / part(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_idle_is_busy() {
        let begin = Ticks::read("cpu  100 0 100 1000 50 0 0 0 0 0\ncpu0 1 2 3\n");
        let end = Ticks::read("cpu  140 10 110 1030 60 0 0 0 7 7\n");
        assert_eq!(begin, Ticks { all: 1250, idle: 1050 });
        assert!((end.busy_since(begin) - 0.6).abs() < 1e-9);
        assert!(begin.busy_since(end).abs() < 1e-9);
        assert!(Ticks::read("").busy_since(Ticks::default()).abs() < 1e-9);
        assert!(Ticks::now().all > 0);
    }
}
