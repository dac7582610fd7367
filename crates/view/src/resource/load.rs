//! Load averages with the kernel's own arithmetic, over the container's own tasks.
//!
//! Every 5 seconds the kernel moves each average towards n, the number of tasks that are running
//! or in uninterruptible sleep: load' = load·e + n·(1 − e) with e = exp(−5 s / τ), in fixed point
//! with 11 bits behind the point, rounded up while the load rises. Source: kernel/sched/loadavg.c.

use procfmt::units::{Usec, scale};

use super::saved::{Reader, Writer};

/// 1.0 in the kernel's fixed point.
const ONE: u64 = 1 << 11;
/// exp(−5 s / τ) in that fixed point, for τ of 1, 5 and 15 minutes.
const DECAY: [u64; 3] = [1884, 2014, 2037];
/// The averages' periods τ, in seconds.
const PERIODS: [f64; 3] = [60.0, 300.0, 900.0];
/// The time from one sample to the next.
const INTERVAL: Usec = Usec(5_000_000);
/// After this many missed samples (two hours) every average has forgotten what was before.
const MEMORY_STEPS: u64 = 1440;

/// What one walk over the container's tasks has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Tasks running or ready to run.
    pub running: u64,
    /// Tasks in uninterruptible sleep.
    pub blocked: u64,
    /// Tasks that exist.
    pub total: u64,
    /// The highest pid seen, as the container numbers them.
    pub last_pid: u64,
}

/// The load averages of one container.
#[derive(Clone, Debug)]
pub struct LoadHistory {
    averages: [u64; 3],
    sampled_at: Usec,
    latest: Sample,
    /// CPU time used until then.
    busy: Usec,
}

impl LoadHistory {
    /// The history of a container first asked about now, `age` after its start, having used `busy`
    /// CPU time so far. With a steady load of n from the start, an average would now be
    /// n·(1 − exp(−age/τ)). The tasks running now stand for n in the last minute, the CPUs used
    /// since the start for the longer periods.
    #[must_use]
    pub fn first(sample: Sample, now: Usec, age: Usec, busy: Usec) -> Self {
        let age_seconds = micros(age) / 1e6;
        let mean = if age.0 == 0 { 0.0 } else { micros(busy) / micros(age) };
        let n = [count(sample.running.saturating_add(sample.blocked)), mean, mean];
        let average = |index: usize| {
            let grown: f64 = n[index] * (1.0 - (-age_seconds / PERIODS[index]).exp());
            to_fixed(grown)
        };
        let averages = [average(0), average(1), average(2)];
        Self { averages, sampled_at: now, latest: sample, busy }
    }

    /// Takes in a sample, with the CPU time used so far. Samples that were missed are taken to have
    /// been like this one.
    pub fn sample(&mut self, sample: Sample, now: Usec, busy: Usec) {
        let active = sample.running.saturating_add(sample.blocked).saturating_mul(ONE);
        self.advance(active, now);
        self.take(sample, busy);
    }

    /// Goes on after a pause in which nobody took samples: the CPUs used meanwhile stand for the
    /// load.
    pub fn resume(&mut self, sample: Sample, now: Usec, busy: Usec) {
        let pause = now.saturating_sub(self.sampled_at);
        let used = busy.saturating_sub(self.busy);
        self.advance(scale(used.0, ONE, pause.0), now);
        self.take(sample, busy);
    }

    /// When the last sample was due, on the clock of `now`.
    #[must_use]
    pub fn sampled_at(&self) -> Usec {
        self.sampled_at
    }

    /// The steps up to now, each with the same load. A product of powers would be no faster for
    /// the few that are missed, and would round otherwise than the kernel does.
    fn advance(&mut self, active: u64, now: Usec) {
        let steps = now.saturating_sub(self.sampled_at).0 / INTERVAL.0;
        for _ in 0..steps.min(MEMORY_STEPS) {
            for (average, decay) in self.averages.iter_mut().zip(DECAY) {
                *average = step(*average, decay, active);
            }
        }
        self.sampled_at += Usec(steps * INTERVAL.0);
    }

    /// The last pid never falls: the task that had it may have ended.
    fn take(&mut self, sample: Sample, busy: Usec) {
        let last_pid = self.latest.last_pid.max(sample.last_pid);
        self.latest = Sample { last_pid, ..sample };
        self.busy = busy;
    }

    /// Appends all that the next daemon needs to go on: [`LoadHistory::SAVED_BYTES`].
    pub fn save(&self, out: &mut Vec<u8>) {
        let Sample { running, blocked, total, last_pid } = self.latest;
        let mut out = Writer(out);
        out.words(&self.averages);
        out.words(&[self.sampled_at.0, self.busy.0, running, blocked, total, last_pid]);
    }

    /// How many bytes [`LoadHistory::save`] appends.
    pub const SAVED_BYTES: usize = 8 * 9;

    /// Restores what [`LoadHistory::save`] saved, on the same clock. `None` for anything else.
    #[must_use]
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let mut saved = Reader(saved);
        let averages = saved.words()?;
        let [sampled_at, busy] = saved.words()?.map(Usec);
        let [running, blocked, total, last_pid] = saved.words()?;
        saved.end()?;
        let latest = Sample { running, blocked, total, last_pid };
        Some(Self { averages, sampled_at, latest, busy })
    }

    /// The tasks and averages as files print them.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        // The kernel rounds to the nearest hundredth by adding half of one before it cuts.
        let hundredths = |load: u64| load.saturating_add(ONE / 200).saturating_mul(100) / ONE;
        Tasks { averages: self.averages.map(hundredths), sample: self.latest }
    }
}

fn step(load: u64, decay: u64, active: u64) -> u64 {
    let rounding = if active >= load { ONE - 1 } else { 0 };
    let moved = u128::from(load) * u128::from(decay)
        + u128::from(active) * u128::from(ONE - decay)
        + u128::from(rounding);
    u64::try_from(moved / u128::from(ONE)).unwrap_or(u64::MAX)
}

fn micros(usec: Usec) -> f64 {
    count(usec.0)
}

/// Exact below 2^53: 285 years of microseconds.
#[allow(clippy::cast_precision_loss)]
fn count(n: u64) -> f64 {
    n as f64
}

/// `as` saturates between floats and integers, and the load is never negative.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn to_fixed(load: f64) -> u64 {
    (load * ONE as f64).round() as u64
}

/// The container's tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Load over 1, 5 and 15 minutes, in hundredths.
    pub averages: [u64; 3],
    /// The latest count.
    pub sample: Sample,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(running: u64) -> Sample {
        Sample { running, total: running, last_pid: 9, ..Sample::default() }
    }

    #[test]
    fn the_kernels_averages_of_one_busy_task() {
        let mut history = LoadHistory::first(running(0), Usec(0), Usec(0), Usec(0));
        for step in 1..=12 {
            history.sample(running(1), Usec(step * INTERVAL.0), Usec(0));
        }
        // A kernel shows 0.63, 0.18 and 0.06 after a minute of one busy task: 1 − exp(−60/τ).
        assert_eq!(history.tasks().averages, [63, 18, 6]);
    }

    #[test]
    fn missed_samples_are_made_up_for() {
        let mut steady = LoadHistory::first(running(3), Usec(0), Usec(0), Usec(0));
        let mut late = steady.clone();
        (1..=60).for_each(|step| steady.sample(running(3), Usec(step * INTERVAL.0), Usec(0)));
        late.sample(running(3), Usec(60 * INTERVAL.0), Usec(0));
        assert_eq!(steady.tasks(), late.tasks());
    }

    #[test]
    fn late_first_read_is_plausible() {
        let hour = Usec(3_600_000_000);
        let busy_all_the_time = LoadHistory::first(running(1), hour, hour, hour);
        assert_eq!(busy_all_the_time.tasks().averages, [100, 100, 98]);
        let just_started = LoadHistory::first(running(1), Usec(0), Usec(0), Usec(0));
        assert_eq!(just_started.tasks().averages, [0, 0, 0]);
    }

    #[test]
    fn history_survives_restart() {
        let mut history = LoadHistory::first(running(2), Usec(0), Usec(0), Usec(0));
        history.sample(running(2), Usec(60_000_000), Usec(120_000_000));
        let mut saved = Vec::new();
        history.save(&mut saved);
        assert_eq!(saved.len(), LoadHistory::SAVED_BYTES);
        let mut restored = LoadHistory::restore(&saved).unwrap();
        assert_eq!(restored.tasks(), history.tasks());
        // A minute without samples in which two CPUs were used is like one with two tasks seen.
        history.sample(running(2), Usec(120_000_000), Usec(240_000_000));
        restored.resume(running(2), Usec(120_000_000), Usec(240_000_000));
        assert_eq!(restored.tasks(), history.tasks());
        for length in 0..saved.len() {
            assert!(LoadHistory::restore(&saved[..length]).is_none());
        }
        saved.push(0);
        assert!(LoadHistory::restore(&saved).is_none());
    }

    #[test]
    fn idle_pause_decays_and_last_pid_stays() {
        let minute = Usec(60_000_000);
        let mut history = LoadHistory::first(running(1), Usec(0), Usec(u64::MAX / 2), Usec(7));
        let before = history.tasks().averages;
        history.resume(Sample::default(), minute, Usec(7));
        let after = history.tasks();
        assert!(after.averages[0] < before[0] / 2, "{before:?} {after:?}");
        assert_eq!((after.sample.last_pid, after.sample.total), (9, 0));
    }

    #[test]
    fn absurd_gaps_end() {
        let mut history = LoadHistory::first(running(u64::MAX), Usec(0), Usec(0), Usec(0));
        history.sample(running(u64::MAX), Usec(u64::MAX), Usec(u64::MAX));
        history.resume(running(0), Usec(u64::MAX), Usec(0));
        assert_eq!(history.tasks().sample.running, 0);
    }
}
