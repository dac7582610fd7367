//! Which CPUs the container sees.

use procfmt::cpulist::CpuSet;

use crate::input::{CpuInput, Quota, Weight};
use crate::policy::{CpuCount, CpuNumbers, CpuPossible, Policy};

/// v1's `cpu.shares` of one CPU; engines give this to a container by default.
const SHARES_PER_CPU: u64 = 1024;

/// The CPUs of one container.
///
/// The kernel knows them by its own numbers. They are *shown* under these, so that pinning,
/// `sched_getaffinity(2)` and `getcpu(2)` agree with the files, or packed without gaps, in every
/// file alike: the first visible one as 0, the next as 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    visible: CpuSet,
    shown: CpuSet,
    possible: CpuSet,
    numbers: CpuNumbers,
    /// Whether the container may run on more CPUs than it sees: then the visible ones stand for a
    /// quota, and where it really ran says nothing about their rows.
    stands_for_quota: bool,
}

impl Cpus {
    /// The CPUs that `input` leaves of the host's online ones, counted by `policy` and with the
    /// kernel's numbers.
    #[must_use]
    pub fn new(input: &CpuInput, online: &CpuSet, policy: CpuCount) -> Self {
        Self::by_policy(input, online, &Policy { cpu_count: policy, ..Policy::default() })
    }

    /// The CPUs that `input` leaves of the host's online ones, as the operator wants them shown.
    ///
    /// A = cpuset ∩ online. An empty A (a cpuset that could not be read, or whose last CPU went
    /// offline) is taken as all online CPUs: a machine without CPUs is never shown.
    #[must_use]
    pub fn by_policy(input: &CpuInput, online: &CpuSet, policy: &Policy) -> Self {
        let allowed = match &input.cpuset {
            Some(cpuset) => cpuset.intersection(online),
            None => online.clone(),
        };
        let allowed = if allowed.is_empty() { online.clone() } else { allowed };
        let count = count(input, policy).clamp(1, u64::from(allowed.len().max(1)));
        let visible = allowed.lowest(u32::try_from(count).unwrap_or(u32::MAX));
        let shown = match policy.cpu_numbers {
            CpuNumbers::Kernel => visible.clone(),
            CpuNumbers::Packed => CpuSet::first(visible.len()),
        };
        let possible = match policy.cpu_possible {
            CpuPossible::Safe => CpuSet::first(allowed.max().map_or(1, |highest| highest + 1)),
            CpuPossible::Visible => shown.clone(),
        };
        let stands_for_quota = visible != allowed;
        Self { visible, shown, possible, numbers: policy.cpu_numbers, stands_for_quota }
    }

    /// V by the kernel's numbers: what of the host's text is about the container.
    #[must_use]
    pub fn visible(&self) -> &CpuSet {
        &self.visible
    }

    /// V by the numbers that the container sees: those in cpuinfo, stat, online, present and of
    /// the cpuN directories.
    #[must_use]
    pub fn shown(&self) -> &CpuSet {
        &self.shown
    }

    /// Whether any CPU is shown under another number than the kernel's.
    #[must_use]
    pub fn renumbers(&self) -> bool {
        self.shown != self.visible
    }

    /// The number under which the kernel's CPU `kernel` is shown; `None`: it is not visible.
    #[must_use]
    pub fn shown_number(&self, kernel: u32) -> Option<u32> {
        if !self.visible.contains(kernel) {
            return None;
        }
        match self.numbers {
            CpuNumbers::Kernel => Some(kernel),
            CpuNumbers::Packed => {
                u32::try_from(self.visible.iter().take_while(|&cpu| cpu < kernel).count()).ok()
            }
        }
    }

    /// The kernel's number of the CPU that is shown as `shown`; `None`: there is no such CPU.
    #[must_use]
    pub fn kernel_number(&self, shown: u32) -> Option<u32> {
        match self.numbers {
            CpuNumbers::Kernel => self.visible.contains(shown).then_some(shown),
            CpuNumbers::Packed => self.visible.iter().nth(shown as usize),
        }
    }

    /// What is visible of a set of the kernel's numbers, by the numbers shown.
    #[must_use]
    pub fn shown_of(&self, kernel: &CpuSet) -> CpuSet {
        match self.numbers {
            CpuNumbers::Kernel => kernel.intersection(&self.visible),
            CpuNumbers::Packed => {
                let numbered = self.visible.iter().zip(0u32..);
                numbered.filter(|(cpu, _)| kernel.contains(*cpu)).map(|(_, shown)| shown).collect()
            }
        }
    }

    /// `possible`: 0 to the highest CPU that the container may run on, unless the operator wants
    /// the visible CPUs there.
    ///
    /// Programs take it as the bound of CPU numbers (glibc's `_SC_NPROCESSORS_CONF`, the per-CPU
    /// arrays of memory allocators) and index by the CPU they happen to run on. A smaller set than
    /// the one they can run on would corrupt their memory, so it is not cut unasked.
    #[must_use]
    pub fn possible(&self) -> &CpuSet {
        &self.possible
    }

    /// `offline`: possible and not visible, as a machine with empty sockets has it.
    #[must_use]
    pub fn offline(&self) -> CpuSet {
        self.possible.difference(&self.shown)
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

fn count(input: &CpuInput, policy: &Policy) -> u64 {
    let by_quota = |round: fn(&Quota) -> u64| input.quota.as_ref().map_or(u64::MAX, round);
    match policy.cpu_count {
        CpuCount::Cpuset => u64::MAX,
        CpuCount::Quota => by_quota(ceil),
        CpuCount::QuotaFloor => by_quota(floor),
        CpuCount::Shares => by_quota(ceil).min(by_weight(input.weight, policy.cpu_weight_base)),
    }
}

fn ceil(quota: &Quota) -> u64 {
    quota.quota.0.div_ceil(quota.period.0.max(1))
}

fn floor(quota: &Quota) -> u64 {
    quota.quota.0 / quota.period.0.max(1)
}

fn by_weight(weight: Option<Weight>, weight_per_cpu: u64) -> u64 {
    match weight {
        Some(Weight::Shares(shares)) => shares.div_ceil(SHARES_PER_CPU),
        Some(Weight::Weight(weight)) => weight.div_ceil(weight_per_cpu.max(1)),
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
    fn older_engines_give_39_to_1024_shares() {
        let input = CpuInput { weight: Some(Weight::Weight(78)), ..limited("0-3", None) };
        let policy = |cpu_weight_base| Policy {
            cpu_count: CpuCount::Shares,
            cpu_weight_base,
            ..Policy::default()
        };
        for (base, cpus_seen) in [(100, 1), (39, 2), (0, 4)] {
            let seen = Cpus::by_policy(&input, &cpus("0-3"), &policy(base));
            assert_eq!(seen.count(), cpus_seen, "{base}");
        }
    }

    #[test]
    fn jvm_sees_no_gaps_when_packed() {
        let policy = Policy { cpu_numbers: CpuNumbers::Packed, ..Policy::default() };
        let seen = Cpus::by_policy(&limited("8,23,40-41", Some(30)), &cpus("0-63"), &policy);
        assert_eq!((seen.visible(), seen.shown()), (&cpus("8,23,40"), &cpus("0-2")));
        assert_eq!((seen.possible(), seen.offline()), (&cpus("0-41"), cpus("3-41")));
        assert_eq!((seen.shown_number(23), seen.kernel_number(1)), (Some(1), Some(23)));
        assert_eq!((seen.shown_number(9), seen.kernel_number(3)), (None, None));
        assert_eq!(seen.shown_of(&cpus("0-23,40,63")), cpus("0-2"));
        assert!(seen.renumbers());
    }

    #[test]
    fn possible_is_cut_only_on_demand() {
        let policy = Policy { cpu_possible: CpuPossible::Visible, ..Policy::default() };
        let seen = Cpus::by_policy(&limited("2,5,7", Some(20)), &cpus("0-7"), &policy);
        assert_eq!((seen.possible(), seen.offline()), (&cpus("2,5"), CpuSet::new()));
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
                let policy = Policy {
                    cpu_count: policy,
                    cpu_numbers: CpuNumbers::Packed,
                    ..Policy::default()
                };
                let packed = Cpus::by_policy(&input, &online, &policy);
                prop_assert_eq!(packed.visible(), seen.visible());
                prop_assert_eq!(packed.shown(), &packed.shown_of(&online));
                for (kernel, shown) in packed.visible().iter().zip(packed.shown().iter()) {
                    prop_assert_eq!(packed.shown_number(kernel), Some(shown));
                    prop_assert_eq!(packed.kernel_number(shown), Some(kernel));
                }
            }
        }
    }
}
