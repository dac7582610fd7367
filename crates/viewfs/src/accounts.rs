//! The CPU accounts of all containers that were asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use container::ContainerKey;
use procfmt::cpulist::CpuSet;
use procfmt::units::Usec;
use view::input::CpuTimeInput;
use view::{CpuAccount, CpuTimes, Hint, Step};

use crate::clocks::monotonic;
use crate::gather::GatherError;

/// So many accounts are kept; beyond that, those longest not stepped are closed. An account takes
/// about 100 bytes per CPU.
const MOST: usize = 16_384;

/// One account per container.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    by_container: Mutex<HashMap<ContainerKey, Arc<Mutex<Option<CpuAccount>>>>>,
}

impl Accounts {
    /// The container's CPU times, after a step if at least a clock tick has passed since the last.
    ///
    /// `read` gives the counters and the hint, or `None` where nothing counts CPU time. It is
    /// called under the account's lock, so that a slow reader cannot book older counters after
    /// newer ones; it reads cgroup files only, which never wait for us.
    pub(crate) fn times(
        &self,
        container: ContainerKey,
        age: Usec,
        visible: &CpuSet,
        user_hz: u64,
        read: impl FnOnce() -> Result<Option<(CpuTimeInput, Hint)>, GatherError>,
    ) -> Result<Option<CpuTimes>, GatherError> {
        let account = self.account(container);
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = Usec::from_ticks(1, user_hz);
        let is_due = |account: &CpuAccount| monotonic() >= account.stepped_at() + tick;
        if account.as_ref().is_none_or(is_due) {
            let Some((input, hint)) = read()? else { return Ok(None) };
            let step = Step { now: monotonic(), input: &input, visible, hint };
            match account.as_mut() {
                Some(account) => account.step(&step),
                None => *account = Some(CpuAccount::open(&step, age)),
            }
        }
        Ok(account.as_ref().map(|account| account.times(visible, user_hz)))
    }

    fn account(&self, container: ContainerKey) -> Arc<Mutex<Option<CpuAccount>>> {
        let mut accounts = self.by_container.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MOST && !accounts.contains_key(&container) {
            // One whose container is being read now is locked, and not idle.
            accounts.retain(|_, account| {
                let Ok(account) = account.try_lock() else { return true };
                account.as_ref().is_some_and(|account| monotonic() < account.stepped_at() + IDLE)
            });
        }
        Arc::clone(accounts.entry(container).or_default())
    }
}

/// An account that nobody has asked for in a quarter of an hour may be closed.
const IDLE: Usec = Usec(900_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    fn used(user: u64) -> CpuTimeInput {
        CpuTimeInput { user: Usec(user), ..CpuTimeInput::default() }
    }

    #[test]
    fn at_most_one_step_per_tick() {
        let accounts = Accounts::default();
        let visible = CpuSet::first(1);
        let mut reads = 0;
        for _ in 0..2 {
            // USER_HZ of 1: a tick of a second does not pass in this test.
            let times = accounts.times(ContainerKey(1), Usec(1_000_000), &visible, 1, || {
                reads += 1;
                Ok(Some((used(1_000_000), Hint::None)))
            });
            assert_eq!(times.unwrap().unwrap().total.user.0, 1);
        }
        assert_eq!(reads, 1);
    }

    #[test]
    fn containers_have_accounts_of_their_own() {
        let accounts = Accounts::default();
        let visible = CpuSet::first(1);
        for (container, user) in [(ContainerKey(1), 5_000_000), (ContainerKey(2), 7_000_000)] {
            let read = || Ok(Some((used(user), Hint::None)));
            let times = accounts.times(container, Usec(9_000_000), &visible, 1, read);
            assert_eq!(times.unwrap().unwrap().total.user.0, user / 1_000_000);
        }
    }
}
