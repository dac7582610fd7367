//! Which CPUs the container sees.

use procfmt::cpulist::CpuSet;

use crate::input::{CpuInput, Quota, Weight};
use crate::policy::CpuCount;

/// v1's `cpu.shares` of one CPU; engines give this to a container by default.
const SHARES_PER_CPU: u64 = 1024;
/// v2's default `cpu.weight`.
const WEIGHT_PER_CPU: u64 = 100;

/// The CPUs of one container, by the kernel's numbers.
///
/// Numbers are the kernel's in every file, so that pinning, `sched_getaffinity(2)` and `getcpu(2)`
/// agree with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    visible: CpuSet,
    possible: CpuSet,
    /// Whether the container may run on more CPUs than it sees: then the visible ones stand for a
    /// quota, and where it really ran says nothing about their rows.
    stands_for_quota: bool,
}

impl Cpus {
    /// The CPUs that `input` leaves of the host's online ones, counted by `policy`.
    ///
    /// A = cpuset ∩ online. An empty A (a cpuset that could not be read, or whose last CPU went
    /// offline) is taken as all online CPUs: a machine without CPUs is never shown.
    #[must_use]
    pub fn new(input: &CpuInput, online: &CpuSet, policy: CpuCount) -> Self {
        let allowed = match &input.cpuset {
            Some(cpuset) => cpuset.intersection(online),
            None => online.clone(),
        };
        let allowed = if allowed.is_empty() { online.clone() } else { allowed };
        let count = count(input, policy).clamp(1, u64::from(allowed.len().max(1)));
        let visible = allowed.lowest(u32::try_from(count).unwrap_or(u32::MAX));
        let possible = CpuSet::first(allowed.max().map_or(1, |highest| highest + 1));
        Self { stands_for_quota: visible != allowed, visible, possible }
    }

    /// V: the CPUs in cpuinfo, stat, online, present and as cpuN directories.
    #[must_use]
    pub fn visible(&self) -> &CpuSet {
        &self.visible
    }

    /// `possible`: 0 to the highest CPU that the container may run on.
    ///
    /// Programs take it as the bound of CPU numbers (glibc's `_SC_NPROCESSORS_CONF`, the per-CPU
    /// arrays of memory allocators) and index by the CPU they happen to run on. A smaller set than
    /// the one they can run on would corrupt their memory, so it is never cut to the visible CPUs.
    #[must_use]
    pub fn possible(&self) -> &CpuSet {
        &self.possible
    }

    /// `offline`: possible and not visible, as a machine with empty sockets has it.
    #[must_use]
    pub fn offline(&self) -> CpuSet {
        self.possible.difference(&self.visible)
    }

    /// How many CPUs are visible: at least one.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.visible.len().max(1)
    }

    /// Whether the container may run on CPUs that it does not see.
    #[must_use]
    pub fn stands_for_quota(&self) -> bool {
        self.stands_for_quota
    }
}

fn count(input: &CpuInput, policy: CpuCount) -> u64 {
    let by_quota = |round: fn(&Quota) -> u64| input.quota.as_ref().map_or(u64::MAX, round);
    match policy {
        CpuCount::Cpuset => u64::MAX,
        CpuCount::Quota => by_quota(ceil),
        CpuCount::QuotaFloor => by_quota(floor),
        CpuCount::Shares => by_quota(ceil).min(by_weight(input.weight)),
    }
}

fn ceil(quota: &Quota) -> u64 {
    quota.quota.0.div_ceil(quota.period.0.max(1))
}

fn floor(quota: &Quota) -> u64 {
    quota.quota.0 / quota.period.0.max(1)
}

fn by_weight(weight: Option<Weight>) -> u64 {
    match weight {
        Some(Weight::Shares(shares)) => shares.div_ceil(SHARES_PER_CPU),
        Some(Weight::Weight(weight)) => weight.div_ceil(WEIGHT_PER_CPU),
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use procfmt::units::Usec;
    use proptest::prelude::*;

    use super::*;

    fn cpus(list: &str) -> CpuSet {
        CpuSet::parse_list(list.as_bytes()).unwrap()
    }

    fn limited(cpuset: &str, tenths: Option<u64>) -> CpuInput {
        let quota = tenths.map(|q| Quota { quota: Usec(q * 10_000), period: Usec(100_000) });
        CpuInput { cpuset: Some(cpus(cpuset)), quota, weight: None }
    }

    #[test]
    fn half_a_cpu_is_one() {
        // The table of docs: policy × quota of 0.5, 1.5, 2.5, 4 and none, on 4 CPUs.
        let table = [
            (CpuCount::Cpuset, [4, 4, 4, 4, 4]),
            (CpuCount::Quota, [1, 2, 3, 4, 4]),
            (CpuCount::QuotaFloor, [1, 1, 2, 4, 4]),
        ];
        for (policy, expected) in table {
            let quotas = [Some(5), Some(15), Some(25), Some(40), None];
            let counts =
                quotas.map(|q| Cpus::new(&limited("0-3", q), &cpus("0-3"), policy).count());
            assert_eq!(counts, expected, "{policy:?}");
        }
    }

    #[test]
    fn shares_and_weights_bound_the_count() {
        let counted = |weight| {
            let input = CpuInput { weight: Some(weight), ..limited("0-3", None) };
            Cpus::new(&input, &cpus("0-3"), CpuCount::Shares).count()
        };
        assert_eq!(counted(Weight::Shares(2)), 1);
        assert_eq!(counted(Weight::Shares(1536)), 2);
        assert_eq!(counted(Weight::Weight(300)), 3);
        assert_eq!(counted(Weight::Weight(10_000)), 4);
    }

    #[test]
    fn offline_cpu_in_cpuset_is_not_online() {
        let seen = Cpus::new(&limited("0-3", None), &cpus("0-2"), CpuCount::Quota);
        assert_eq!(seen.visible(), &cpus("0-2"));
    }

    #[test]
    fn possible_bounds_getcpu() {
        let seen = Cpus::new(&limited("2,5,7", Some(10)), &cpus("0-7"), CpuCount::Quota);
        assert_eq!(seen.visible(), &cpus("2"));
        assert_eq!(seen.possible(), &cpus("0-7"));
        assert_eq!(seen.offline(), cpus("0-1,3-7"));
        assert!(seen.stands_for_quota());
    }

    #[test]
    fn cpuset_unreadable_is_not_an_empty_file() {
        for input in [CpuInput::default(), limited("", None), limited("9", None)] {
            let seen = Cpus::new(&input, &cpus("0-1"), CpuCount::Quota);
            assert_eq!(seen.visible(), &cpus("0-1"));
        }
    }

    proptest! {
        #[test]
        fn there_is_always_a_cpu_and_never_one_too_many(
            allowed in proptest::collection::vec(0u32..300, 0..20),
            online in proptest::collection::vec(0u32..300, 1..20),
            quota: u64, period: u64,
        ) {
            let quota = Some(Quota { quota: Usec(quota), period: Usec(period) });
            let input = CpuInput { cpuset: Some(allowed.into_iter().collect()), quota, weight: None };
            let online: CpuSet = online.into_iter().collect();
            for policy in [CpuCount::Cpuset, CpuCount::Quota, CpuCount::QuotaFloor, CpuCount::Shares] {
                let seen = Cpus::new(&input, &online, policy);
                prop_assert!(!seen.visible().is_empty());
                prop_assert!(seen.visible().difference(&online).is_empty());
                prop_assert!(seen.visible().difference(seen.possible()).is_empty());
            }
        }
    }
}
