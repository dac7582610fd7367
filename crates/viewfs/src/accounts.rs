//! The CPU accounts of all containers that were asked about.
//!
//! No counter falls when the daemon is started anew. Each account is written down after its step
//! and before anybody reads the rows, so the next daemon goes on from the rows that were printed
//! last, or from later ones.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use cgroup::CgroupPaths;
use container::ContainerKey;
use procfmt::cpulist::CpuSet;
use procfmt::units::Usec;
use view::input::CpuTimeInput;
use view::{CpuAccount, CpuTimes, Hint, Step};

use crate::clocks::monotonic;
use crate::gather::GatherError;
use crate::store::{Kind, Saved, StateDir, Store};

/// So many accounts are kept, unless that takes too much memory on a machine with many CPUs; beyond
/// that, those that nobody asks for are closed.
const MOST: usize = 16_384;
/// How much memory the accounts may take, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// One account per container.
#[derive(Debug)]
pub(crate) struct Accounts {
    by_container: Mutex<HashMap<ContainerKey, Arc<Mutex<Option<Kept>>>>>,
    most: usize,
    store: Option<Store>,
}

#[derive(Debug)]
struct Kept {
    account: CpuAccount,
    /// Whose counters the last step has seen; `None`: the last daemon made it.
    cgroup: Option<CgroupId>,
}

/// Tells the cgroups apart that a container is moved between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CgroupId(u64);

impl From<&CgroupPaths> for CgroupId {
    fn from(paths: &CgroupPaths) -> Self {
        // The paths themselves would take more room than most accounts do.
        let mut hash = DefaultHasher::new();
        paths.hash(&mut hash);
        Self(hash.finish())
    }
}

impl Accounts {
    /// The accounts that the last daemon left in `state`, on a machine with so many CPUs at most.
    pub(crate) fn open(state: Option<&StateDir>, cpus: usize) -> Self {
        let bytes = CpuAccount::saved_bytes(cpus);
        let kind = Kind { name: "cpu-accounts", version: 1, most: bytes };
        let (store, saved) = StateDir::store_of(state, kind);
        let accounts = saved.iter().filter_map(restored);
        let by_container = accounts.map(|(key, kept)| (key, Arc::new(Mutex::new(Some(kept)))));
        let by_container = Mutex::new(by_container.collect());
        Self { by_container, most: (MOST_BYTES / bytes).clamp(256, MOST), store }
    }

    /// The container's CPU times, after a step if at least a clock tick has passed since the last.
    ///
    /// `read` gives the counters and the hint, or `None` where nothing counts CPU time. It is
    /// called under the account's lock, so that a slow reader cannot book older counters after
    /// newer ones; it reads cgroup files only, which never wait for us.
    pub(crate) fn times(
        &self,
        (container, cgroup): (ContainerKey, CgroupId),
        age: Usec,
        visible: &CpuSet,
        user_hz: u64,
        read: impl FnOnce() -> Result<Option<(CpuTimeInput, Hint)>, GatherError>,
    ) -> Result<Option<CpuTimes>, GatherError> {
        let kept = self.account(container);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = Usec::from_ticks(1, user_hz);
        let is_due = |kept: &Kept| monotonic() >= kept.account.stepped_at() + tick;
        if kept.as_ref().is_none_or(is_due) {
            let Some((input, hint)) = read()? else { return Ok(None) };
            let step = Step { now: monotonic(), input: &input, visible, hint };
            match kept.as_mut() {
                Some(kept) => kept.step(&step, cgroup),
                None => {
                    let account = CpuAccount::open(&step, age);
                    *kept = Some(Kept { account, cgroup: Some(cgroup) });
                }
            }
            self.keep(container, kept.as_ref());
        }
        Ok(kept.as_ref().map(|kept| kept.account.times(visible, user_hz)))
    }

    fn keep(&self, container: ContainerKey, kept: Option<&Kept>) {
        if let (Some(store), Some(kept)) = (&self.store, kept) {
            let mut record = Vec::new();
            kept.account.save(&mut record);
            store.put(container, &record);
        }
    }

    fn account(&self, container: ContainerKey) -> Arc<Mutex<Option<Kept>>> {
        let mut accounts = self.by_container.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= self.most && !accounts.contains_key(&container) {
            // One whose container is being read now is locked, and not idle.
            let is_idle = |kept: &Mutex<Option<Kept>>| {
                let Ok(kept) = kept.try_lock() else { return false };
                kept.as_ref().is_none_or(|kept| monotonic() >= kept.account.stepped_at() + IDLE)
            };
            accounts.retain(|&container, account| {
                let stays = !is_idle(account);
                if let (false, Some(store)) = (stays, &self.store) {
                    store.forget(container);
                }
                stays
            });
        }
        Arc::clone(accounts.entry(container).or_default())
    }
}

/// An account as the last daemon left it. One from the future would never be stepped.
fn restored((container, record): &Saved) -> Option<(ContainerKey, Kept)> {
    let account = CpuAccount::restore(record)?;
    (account.stepped_at() <= monotonic()).then_some((*container, Kept { account, cgroup: None }))
}

impl Kept {
    fn step(&mut self, step: &Step<'_>, cgroup: CgroupId) {
        if self.cgroup.replace(cgroup).is_some_and(|last| last != cgroup) {
            self.account.moved(step.input);
        }
        self.account.step(step);
    }
}

/// An account that nobody has asked for in a quarter of an hour may be closed.
const IDLE: Usec = Usec(900_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (ContainerKey, CgroupId) = (ContainerKey(1), CgroupId(1));

    fn used(user: u64) -> CpuTimeInput {
        CpuTimeInput { user: Usec(user), ..CpuTimeInput::default() }
    }

    #[test]
    fn at_most_one_step_per_tick() {
        let accounts = Accounts::open(None, 1);
        let visible = CpuSet::first(1);
        let mut reads = 0;
        for _ in 0..2 {
            // USER_HZ of 1: a tick of a second does not pass in this test.
            let times = accounts.times(ONE, Usec(1_000_000), &visible, 1, || {
                reads += 1;
                Ok(Some((used(1_000_000), Hint::None)))
            });
            assert_eq!(times.unwrap().unwrap().total.user.0, 1);
        }
        assert_eq!(reads, 1);
    }

    #[test]
    fn rows_go_on_after_a_restart() {
        let runtime = tempfile::tempdir().unwrap();
        let host = hostfs::HostFs::at("/proc", "/sys").unwrap();
        let visible = CpuSet::first(2);
        let read = |user, per_cpu: [u64; 2]| {
            let hint = Hint::Busy(per_cpu.map(Usec).to_vec());
            move || Ok(Some((used(user), hint)))
        };
        let age = Usec(1);
        let before = {
            let state = StateDir::open(runtime.path(), &host).unwrap();
            let accounts = Accounts::open(Some(&state), 2);
            accounts.times(ONE, age, &visible, 1000, read(0, [0, 0])).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            let gained = read(10_000, [0, 10_000]);
            accounts.times(ONE, age, &visible, 1000, gained).unwrap().unwrap()
        };
        assert_eq!([before.rows[0].1.user.0, before.rows[1].1.user.0], [0, 10]);
        let state = StateDir::open(runtime.path(), &host).unwrap();
        let accounts = Accounts::open(Some(&state), 2);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let next = read(12_000, [0, 12_000]);
        let after = accounts.times(ONE, age, &visible, 1000, next).unwrap().unwrap();
        // Not spread evenly, as for a container that is seen for the first time.
        assert_eq!([after.rows[0].1.user.0, after.rows[1].1.user.0], [0, 12]);
        assert!(after.total.idle > before.total.idle);
    }

    #[test]
    fn a_look_goes_on_from_a_running_daemons_rows_and_writes_nothing() {
        let runtime = tempfile::tempdir().unwrap();
        let host = hostfs::HostFs::at("/proc", "/sys").unwrap();
        let visible = CpuSet::first(1);
        let user = |accounts: &Accounts, used_so_far: u64| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let read = || Ok(Some((used(used_so_far), Hint::None)));
            let times = accounts.times(ONE, Usec(9_000_000), &visible, 1000, read);
            times.unwrap().unwrap().total.user.0
        };
        let state = StateDir::open(runtime.path(), &host).unwrap();
        let daemon = Accounts::open(Some(&state), 1);
        assert_eq!(user(&daemon, 5_000_000), 5_000);
        let written = || std::fs::read(runtime.path().join("cpu-accounts")).unwrap();
        let before = written();
        let look = StateDir::look_or_log(runtime.path(), &host).unwrap();
        // A container that is seen for the first time would show 1 ms as used just now.
        assert_eq!(user(&Accounts::open(Some(&look), 1), 5_001_000), 5_001);
        assert!(before == written(), "the daemon's file was written to");
        let nowhere = StateDir::look_or_log(&runtime.path().join("none"), &host).unwrap();
        assert_eq!(user(&Accounts::open(Some(&nowhere), 1), 7_000_000), 7_000);
        assert!(!runtime.path().join("none").exists(), "nothing is made");
    }

    #[test]
    fn a_container_that_is_moved_keeps_its_rows_and_gets_nobody_elses_time() {
        let accounts = Accounts::open(None, 1);
        let visible = CpuSet::first(1);
        let user = |cgroup, used_there: u64| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let read = || Ok(Some((used(used_there), Hint::None)));
            let times = accounts.times(
                (ContainerKey(1), CgroupId(cgroup)),
                Usec(10_000_000),
                &visible,
                1000,
                read,
            );
            times.unwrap().unwrap().total.user.0
        };
        assert_eq!(user(1, 5_000_000), 5_000);
        assert_eq!(user(2, 9_000_000), 5_000, "another has used 9 s there");
        assert_eq!(user(2, 9_004_000), 5_004);
        assert_eq!(user(1, 5_001_000), 5_004);
        assert_eq!(user(1, 5_003_000), 5_006);
    }

    #[test]
    fn containers_have_accounts_of_their_own() {
        let accounts = Accounts::open(None, 1);
        let visible = CpuSet::first(1);
        for (container, user) in [(ContainerKey(1), 5_000_000), (ContainerKey(2), 7_000_000)] {
            let read = || Ok(Some((used(user), Hint::None)));
            let times =
                accounts.times((container, CgroupId(1)), Usec(9_000_000), &visible, 1, read);
            assert_eq!(times.unwrap().unwrap().total.user.0, user / 1_000_000);
        }
    }

    /// `cargo test --release -p viewfs --lib -- --ignored --nocapture many`
    #[test]
    #[ignore = "prints what many containers cost"]
    fn many_accounts() {
        let resident_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        for (count, cpus) in [(10, 2), (1000, 2), (10_000, 2), (10_000, 64)] {
            let accounts = Accounts::open(None, usize::try_from(cpus).unwrap());
            let visible = CpuSet::first(cpus);
            let before = resident_kib();
            let ask = |container| {
                let read = || Ok(Some((used(1_000_000), Hint::None)));
                let whose = (ContainerKey(container), CgroupId(1));
                accounts.times(whose, Usec(1_000_000), &visible, 1, read).unwrap()
            };
            (0..count).for_each(|container| drop(ask(container)));
            let bytes = (resident_kib().saturating_sub(before) << 10) / count;
            let (begin, rounds) = (std::time::Instant::now(), 100_000 / count);
            (0..rounds).flat_map(|_| 0..count).for_each(|container| drop(ask(container)));
            let each = begin.elapsed() / u32::try_from(rounds * count).unwrap();
            println!("{count} accounts of {cpus} CPUs: {each:?} each, {bytes} bytes each");
        }
    }
}
