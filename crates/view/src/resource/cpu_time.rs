//! CPU time per CPU: the `cpu` rows of `/proc/stat`.
//!
//! A cgroup knows how much CPU time it has used; cgroup v1 also on which CPUs, cgroup v2 does not.
//! The rows must still behave like a kernel's: no counter ever falls, no row gains more than the
//! clock, and the rows' gains add up to the first line's. So the account is kept in steps. In a
//! step of e microseconds over the visible CPUs V (N of them):
//!
//! 1. What was used since the last step joins a backlog, and at most N·e of it is placed. The rest
//!    waits: throttling and clock skew make short bursts, and a quota rounded down more than that;
//!    a backlog above one second per CPU is dropped.
//! 2. The busy time fills the CPUs in the fill order, each up to what the *hint* says it was busy,
//!    then each up to e. The fill order is by what each CPU got in the last step, so a busy loop
//!    stays on its row.
//! 3. Time throttled is *steal*: the container wanted to run and was not allowed to. It fills what
//!    is free on the same CPUs, with a backlog of its own, because the kernel adds it in bursts.
//! 4. The rest of e is idle.
//!
//! A CPU that leaves V keeps its counters, unprinted, as an offline CPU does in the kernel, and
//! goes on from them when it comes back; the first line goes on counting it.
//!
//! An account can be saved and restored. All that is printed follows from what is saved, so whoever
//! saves it after each step, before anybody sees the rows, can go on from there in another process
//! without any row falling: the next step books what was used in between.

use std::collections::BTreeMap;

use procfmt::cpulist::CpuSet;
use procfmt::stat::CpuTicks;
use procfmt::units::Usec;

use super::apportion::Kinds;
use super::saved::{Reader, Writer};
use crate::Cpus;
use crate::input::CpuTimeInput;

/// One backlog may hold this much per CPU.
const BACKLOG_PER_CPU: u64 = 1_000_000;

/// What is known about where the container ran since the last step, by kernel CPU number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing, or the visible CPUs stand for a quota: fill the first CPUs first.
    #[default]
    None,
    /// Busy time since boot by CPU: v1's `cpuacct.usage_percpu`, exact; on v2 the host's own.
    Busy(Vec<Usec>),
}

/// What a step needs.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// `CLOCK_MONOTONIC`, which stands still during suspend: that is nobody's idle time.
    pub now: Usec,
    /// The container's counters.
    pub input: &'a CpuTimeInput,
    /// The CPUs that the container sees.
    pub visible: &'a CpuSet,
    /// Where it ran.
    pub hint: Hint,
}

/// The account of one container.
#[derive(Clone, Debug)]
pub struct CpuAccount {
    stepped_at: Usec,
    last: CpuTimeInput,
    last_hint: Vec<Usec>,
    backlog: Kinds,
    steal_backlog: u64,
    rows: BTreeMap<u32, Row>,
    /// CPUs by what they got in the last step, the busiest first.
    order: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    busy: Kinds,
    steal: u64,
    idle: u64,
}

impl CpuAccount {
    /// Opens the account of a container that has existed for `age`: all that it has used so far is
    /// spread evenly, as nothing is known about where. Never zeros: a first reading of zeros makes
    /// every monitor print the whole history as one interval.
    #[must_use]
    pub fn open(step: &Step<'_>, age: Usec) -> Self {
        let mut account = Self {
            stepped_at: step.now,
            last: step.input.clone(),
            last_hint: hint_values(&step.hint),
            backlog: Kinds::default(),
            steal_backlog: 0,
            rows: BTreeMap::new(),
            order: step.visible.iter().collect(),
        };
        let mut busy = kinds(step.input, &CpuTimeInput::default());
        let mut steal = step.input.throttled.0;
        let mut rows_left = u64::from(step.visible.len());
        for cpu in step.visible.iter() {
            let busy_here = busy.take((busy.sum() / rows_left.max(1)).min(age.0));
            let steal_here = (steal / rows_left.max(1)).min(age.0 - busy_here.sum());
            steal -= steal_here;
            let idle = age.0 - busy_here.sum() - steal_here;
            account.rows.insert(cpu, Row { busy: busy_here, steal: steal_here, idle });
            rows_left = rows_left.saturating_sub(1);
        }
        account
    }

    /// Books what happened since the last step. A clock that did not advance books nothing.
    pub fn step(&mut self, step: &Step<'_>) {
        let elapsed = step.now.saturating_sub(self.stepped_at).0;
        if elapsed == 0 {
            return;
        }
        let busy_hint = self.hint_since_last(&step.hint);
        self.collect(step.input);
        self.forget_absurd_backlog(u64::from(step.visible.len()));
        self.place(elapsed, step.visible, &busy_hint);
        self.stepped_at = step.now;
    }

    /// The container is in another cgroup now, whose counters stand at `input`. What it used in the
    /// old one since the last step is not told there, and what others have used in the new one is
    /// not its own; so the next step books from here.
    pub fn moved(&mut self, input: &CpuTimeInput) {
        self.last = input.clone();
        self.last_hint.clear();
    }

    /// When the last step was, on the clock of [`Step::now`].
    #[must_use]
    pub fn stepped_at(&self) -> Usec {
        self.stepped_at
    }

    /// The rows of the visible CPUs and the first line, in ticks.
    #[must_use]
    pub fn times(&self, visible: &CpuSet, user_hz: u64) -> CpuTimes {
        let mut total = CpuTicks::default();
        let mut rows = Vec::new();
        for (&cpu, row) in &self.rows {
            let ticks = row.ticks(user_hz);
            total.add(&ticks);
            if visible.contains(cpu) {
                rows.push((cpu, ticks));
            }
        }
        CpuTimes { total, rows }
    }

    /// Appends all that the next daemon needs to go on: at most [`CpuAccount::saved_bytes`]. The
    /// hint is not saved; the first step after that goes by the fill order.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut out = Writer(out);
        let last = &self.last;
        out.words(&[self.stepped_at.0, last.user.0, last.nice.0, last.system.0, last.throttled.0]);
        out.words(&[self.backlog.user, self.backlog.nice, self.backlog.system]);
        out.words(&[self.steal_backlog]);
        out.count(self.rows.len());
        for (&cpu, Row { busy, steal, idle }) in &self.rows {
            out.words(&[cpu.into(), busy.user, busy.nice, busy.system, *steal, *idle]);
        }
        out.count(self.order.len());
        self.order.iter().for_each(|&cpu| out.words(&[cpu.into()]));
    }

    /// How many bytes an account takes on a machine with so many CPUs, at most.
    #[must_use]
    pub fn saved_bytes(cpus: usize) -> usize {
        8 * (11 + 7 * cpus)
    }

    /// Restores what [`CpuAccount::save`] saved, on the same clock. `None` for anything else.
    #[must_use]
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let mut saved = Reader(saved);
        let [stepped_at, user, nice, system, throttled] = saved.words()?.map(Usec);
        let [backlog_user, backlog_nice, backlog_system, steal_backlog] = saved.words()?;
        let mut rows = BTreeMap::new();
        for _ in 0..saved.count()? {
            let [cpu, user, nice, system, steal, idle] = saved.words()?;
            let busy = Kinds { user, nice, system };
            rows.insert(u32::try_from(cpu).ok()?, Row { busy, steal, idle });
        }
        let mut order = Vec::new();
        for _ in 0..saved.count()? {
            let [cpu] = saved.words()?;
            order.push(u32::try_from(cpu).ok()?);
        }
        saved.end()?;
        let backlog = Kinds { user: backlog_user, nice: backlog_nice, system: backlog_system };
        let last = CpuTimeInput { user, nice, system, throttled, per_cpu: None };
        let last_hint = Vec::new();
        Some(Self { stepped_at, last, last_hint, backlog, steal_backlog, rows, order })
    }

    /// Adds what the counters gained to the backlogs. A counter that fell belongs to another
    /// cgroup that took the name: count from there.
    fn collect(&mut self, input: &CpuTimeInput) {
        self.backlog.add(&kinds(input, &self.last));
        let throttled = input.throttled.saturating_sub(self.last.throttled).0;
        self.steal_backlog = self.steal_backlog.saturating_add(throttled);
        self.last = input.clone();
    }

    fn forget_absurd_backlog(&mut self, cpus: u64) {
        let cap = cpus.saturating_mul(BACKLOG_PER_CPU);
        self.steal_backlog = self.steal_backlog.min(cap);
    }

    fn place(&mut self, elapsed: u64, visible: &CpuSet, busy_hint: &BTreeMap<u32, u64>) {
        self.order.retain(|&cpu| visible.contains(cpu));
        let new: Vec<u32> = visible.iter().filter(|cpu| !self.order.contains(cpu)).collect();
        self.order.extend(new);

        let capacity = elapsed.saturating_mul(self.order.len() as u64);
        let mut to_place = self.backlog.take(capacity.min(self.backlog.sum()));
        let busy = fill(&self.order, to_place.sum(), elapsed, busy_hint);
        for &cpu in &self.order {
            let got = busy.get(&cpu).copied().unwrap_or(0);
            let row = self.rows.entry(cpu).or_default();
            let steal = self.steal_backlog.min(elapsed.saturating_sub(got));
            self.steal_backlog -= steal;
            row.busy.add(&to_place.take(got));
            row.steal = row.steal.saturating_add(steal);
            row.idle = row.idle.saturating_add(elapsed.saturating_sub(got).saturating_sub(steal));
        }
        self.order.sort_by_key(|cpu| std::cmp::Reverse(busy.get(cpu).copied().unwrap_or(0)));
        let cap = (self.order.len() as u64).saturating_mul(BACKLOG_PER_CPU);
        if self.backlog.sum() > cap {
            self.backlog = self.backlog.take(cap);
        }
    }

    /// How long each CPU was busy since the last step, where the hint says so.
    fn hint_since_last(&mut self, hint: &Hint) -> BTreeMap<u32, u64> {
        let now = hint_values(hint);
        let gains = (0u32..).zip(now.iter().zip(&self.last_hint));
        let gains =
            gains.map(|(cpu, (now, before))| (cpu, now.saturating_sub(*before).0)).collect();
        self.last_hint = now;
        gains
    }
}

fn hint_values(hint: &Hint) -> Vec<Usec> {
    match hint {
        Hint::None => Vec::new(),
        Hint::Busy(values) => values.clone(),
    }
}

/// Distributes `amount` over the CPUs: first up to what the hint gives each, then up to `elapsed`.
fn fill(
    order: &[u32],
    mut amount: u64,
    elapsed: u64,
    hint: &BTreeMap<u32, u64>,
) -> BTreeMap<u32, u64> {
    let mut filled = BTreeMap::new();
    for bounded_by_hint in [true, false] {
        for &cpu in order {
            let got = filled.entry(cpu).or_insert(0);
            let hinted = hint.get(&cpu).copied().unwrap_or(0);
            let bound = if bounded_by_hint { hinted.min(elapsed) } else { elapsed };
            let more = amount.min(bound.saturating_sub(*got));
            *got += more;
            amount -= more;
        }
    }
    filled
}

/// What was used between two readings. nice is a part of user in the kernel's count.
///
/// The sum of both is exact, while v1's split into user and system is sampled, and starts afresh
/// with the daemon: user may then have lost to system what was never used twice. So the gain of the
/// sum bounds that of its parts.
fn kinds(now: &CpuTimeInput, before: &CpuTimeInput) -> Kinds {
    let used = (now.user + now.system).saturating_sub(before.user + before.system).0;
    let user_and_nice = now.user.saturating_sub(before.user).0.min(used);
    let nice = now.nice.saturating_sub(before.nice).0.min(user_and_nice);
    Kinds { user: user_and_nice - nice, nice, system: used - user_and_nice }
}

impl Row {
    fn ticks(&self, user_hz: u64) -> CpuTicks {
        let ticks = |usec| Usec(usec).ticks(user_hz);
        CpuTicks {
            user: ticks(self.busy.user),
            nice: ticks(self.busy.nice),
            system: ticks(self.busy.system),
            idle: ticks(self.idle),
            steal: ticks(self.steal),
        }
    }
}

/// The printed CPU times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// The first line: the rows, and what CPUs gained that the container no longer sees.
    pub total: CpuTicks,
    /// Number and times of each visible CPU, ascending. An account knows the kernel's numbers; see
    /// [`CpuTimes::as_shown`].
    pub rows: Vec<(u32, CpuTicks)>,
}

impl CpuTimes {
    /// The same with the numbers under which the container sees its CPUs.
    #[must_use]
    pub fn as_shown(self, cpus: &Cpus) -> Self {
        let shown = |(cpu, row)| Some((cpus.shown_number(cpu)?, row));
        Self { rows: self.rows.into_iter().filter_map(shown).collect(), ..self }
    }
}

#[cfg(test)]
#[path = "cpu_time_tests.rs"]
mod tests;
