//! Properties and regressions of the CPU account.

use procfmt::units::Ticks;
use proptest::prelude::*;

use super::*;

const HZ: u64 = 100;
const SECOND: u64 = 1_000_000;

fn used(user: u64, nice: u64, system: u64, throttled: u64) -> CpuTimeInput {
    let per_cpu = None;
    let (nice, system, throttled) = (Usec(nice), Usec(system), Usec(throttled));
    CpuTimeInput { user: Usec(user), nice, system, throttled, per_cpu }
}

fn cpus(list: &str) -> CpuSet {
    CpuSet::parse_list(list.as_bytes()).unwrap()
}

fn step<'a>(now: u64, input: &'a CpuTimeInput, visible: &'a CpuSet, hint: Hint) -> Step<'a> {
    Step { now: Usec(now), input, visible, hint }
}

fn busy(times: &CpuTimes) -> Vec<u64> {
    times.rows.iter().map(|(_, row)| row.user.0 + row.nice.0 + row.system.0).collect()
}

#[test]
fn first_stat_is_not_all_zero() {
    let (input, visible) = (used(3 * SECOND, 0, SECOND, 0), cpus("0-1"));
    let account = CpuAccount::open(&step(0, &input, &visible, Hint::None), Usec(10 * SECOND));
    let times = account.times(&visible, HZ);
    assert_eq!(busy(&times), [200, 200]);
    assert_eq!(times.total.idle, Ticks(1600));
}

#[test]
fn busy_loop_stays_on_its_row() {
    let visible = cpus("0-3");
    let start = used(0, 0, 0, 0);
    let mut host = vec![Usec(0); 4];
    let opened = step(0, &start, &visible, Hint::Busy(host.clone()));
    let mut account = CpuAccount::open(&opened, Usec(0));
    for second in 1..=5 {
        // The loop runs on CPU 2, as the host's own counters show; CPU 0 has a little noise.
        host[2] = Usec(second * SECOND);
        host[0] = Usec(second * SECOND / 50);
        let input = used(second * SECOND, 0, 0, 0);
        account.step(&step(second * SECOND, &input, &visible, Hint::Busy(host.clone())));
    }
    // The first step gives CPU 0 its noise before CPU 2 moves to the front of the order.
    let rows = busy(&account.times(&visible, HZ));
    assert!(rows[2] >= 498 && rows[0] <= 2, "{rows:?}");
}

#[test]
fn throttled_burst_is_clamped() {
    let visible = cpus("0");
    let start = used(0, 0, 0, 0);
    let mut account = CpuAccount::open(&step(0, &start, &visible, Hint::None), Usec(0));
    // Half a second of work and 6.4 s of throttling within one second of one CPU.
    account.step(&step(SECOND, &used(SECOND / 2, 0, 0, 6_400_000), &visible, Hint::None));
    let row = account.times(&visible, HZ).rows[0].1;
    assert_eq!((row.user, row.steal, row.idle), (Ticks(50), Ticks(50), Ticks(0)));
    // The backlog is worth a second per CPU at most, and ends.
    account.step(&step(4 * SECOND, &used(SECOND / 2, 0, 0, 6_400_000), &visible, Hint::None));
    let row = account.times(&visible, HZ).rows[0].1;
    assert!(row.steal <= Ticks(150) && row.idle >= Ticks(200), "{row:?}");
}

#[test]
fn cgroup_replaced_under_its_name_does_not_wrap() {
    let visible = cpus("0");
    let start = used(9 * SECOND, 0, 0, 0);
    let mut account = CpuAccount::open(&step(0, &start, &visible, Hint::None), Usec(9 * SECOND));
    account.step(&step(SECOND, &used(0, 0, 0, 0), &visible, Hint::None));
    account.step(&step(2 * SECOND, &used(SECOND, 0, 0, 0), &visible, Hint::None));
    let row = account.times(&visible, HZ).rows[0].1;
    assert_eq!((row.user, row.idle), (Ticks(1000), Ticks(100)));
}

#[test]
fn cpu_that_leaves_keeps_its_time() {
    let (both, one) = (cpus("0-1"), cpus("0"));
    let start = used(0, 0, 0, 0);
    let mut account = CpuAccount::open(&step(0, &start, &both, Hint::None), Usec(0));
    account.step(&step(SECOND, &used(2 * SECOND, 0, 0, 0), &both, Hint::None));
    account.step(&step(2 * SECOND, &used(3 * SECOND, 0, 0, 0), &one, Hint::None));
    let times = account.times(&one, HZ);
    assert_eq!(busy(&times), [200]);
    assert_eq!(times.total.user, Ticks(300));
    account.step(&step(3 * SECOND, &used(3 * SECOND, 0, 0, 0), &both, Hint::None));
    assert_eq!(busy(&account.times(&both, HZ)), [200, 100]);
}

#[test]
fn split_that_starts_afresh_counts_nothing_twice() {
    // The last daemon had told 9 s user and 1 s system; the next one's first split is even.
    let visible = cpus("0");
    let told = used(9 * SECOND, 0, SECOND, 0);
    let mut account = CpuAccount::open(&step(0, &told, &visible, Hint::None), Usec(10 * SECOND));
    account.step(&step(SECOND, &used(6 * SECOND, 0, 5 * SECOND, 0), &visible, Hint::None));
    let row = account.times(&visible, HZ).rows[0].1;
    assert_eq!((row.user, row.system), (Ticks(900), Ticks(200)));
}

#[test]
fn restored_account_is_the_same_account() {
    let (both, one) = (cpus("0,7"), cpus("7"));
    let start = used(5 * SECOND, SECOND, SECOND, 9);
    let opened = step(0, &start, &both, Hint::None);
    let mut account = CpuAccount::open(&opened, Usec(9 * SECOND));
    account.step(&step(SECOND, &used(9 * SECOND, SECOND, SECOND, 9), &one, Hint::None));
    let mut saved = Vec::new();
    account.save(&mut saved);
    assert!(saved.len() <= CpuAccount::saved_bytes(2), "{}", saved.len());
    let mut restored = CpuAccount::restore(&saved).unwrap();
    assert_eq!(restored.times(&both, HZ), account.times(&both, HZ));
    // Nothing but the hint is lost: both go on alike.
    let later = used(12 * SECOND, SECOND, SECOND, SECOND);
    for account in [&mut account, &mut restored] {
        account.step(&step(3 * SECOND, &later, &both, Hint::None));
    }
    assert_eq!(restored.times(&both, HZ), account.times(&both, HZ));
    for length in 0..saved.len() {
        assert!(CpuAccount::restore(&saved[..length]).is_none());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_account_and_never_panic(
        mut saved in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = CpuAccount::restore(&saved);
        // Plausible counts, absurd numbers.
        saved.resize(8 * (11 + 7), 255);
        saved[72..80].copy_from_slice(&1u64.to_le_bytes());
        saved[80..84].copy_from_slice(&[0; 4]);
        saved[84..88].copy_from_slice(&[0; 4]);
        saved[128..136].copy_from_slice(&1u64.to_le_bytes());
        saved[136..144].copy_from_slice(&0u64.to_le_bytes());
        let mut account = CpuAccount::restore(&saved).unwrap();
        let visible = cpus("0");
        account.step(&step(u64::MAX, &used(9, 9, 9, 9), &visible, Hint::None));
        let _ = account.times(&visible, HZ);
    }

    /// No counter falls, no row outruns the clock, gains add up to the first line's: also when the
    /// quota, the cpuset and the hints change in any way.
    #[test]
    fn no_counter_goes_backwards_when_quota_or_cpuset_changes(
        steps in proptest::collection::vec(
            (0u64..5 * SECOND, 0u64..9 * SECOND, 0u64..9 * SECOND, 0u64..9 * SECOND,
             proptest::collection::vec(0u32..6, 1..5),
             proptest::collection::vec(0u64..9 * SECOND, 0..6)),
            1..30),
    ) {
        let all = cpus("0-5");
        let mut input = used(0, 0, 0, 0);
        let mut now = 0;
        let mut account = CpuAccount::open(&step(0, &input, &all, Hint::None), Usec(0));
        let mut before = account.times(&all, 1_000_000);
        for (elapsed, user, system, throttled, visible, hint) in steps {
            now += elapsed;
            input.user += Usec(user);
            input.nice += Usec(user / 3);
            input.system += Usec(system);
            input.throttled += Usec(throttled);
            let visible: CpuSet = visible.into_iter().collect();
            let hint = Hint::Busy(hint.into_iter().map(Usec).collect());
            account.step(&step(now, &input, &visible, hint));
            let after = account.times(&all, 1_000_000);
            let mut gained = 0;
            for (cpu, new) in &after.rows {
                let old = before.rows.iter().find(|(other, _)| other == cpu)
                    .map(|(_, row)| *row).unwrap_or_default();
                for (old, new) in columns(&old).into_iter().zip(columns(new)) {
                    prop_assert!(new >= old);
                }
                let gain = columns(new).iter().sum::<u64>() - columns(&old).iter().sum::<u64>();
                let expected = if visible.contains(*cpu) { elapsed } else { 0 };
                prop_assert_eq!(gain, expected);
                gained += gain;
            }
            let total = columns(&after.total).iter().sum::<u64>()
                - columns(&before.total).iter().sum::<u64>();
            prop_assert_eq!(total, gained);
            before = after;
        }
    }
}

fn columns(row: &CpuTicks) -> [u64; 5] {
    [row.user.0, row.nice.0, row.system.0, row.idle.0, row.steal.0]
}
