//! CPU time: what the container has used, and what throttling kept from it.

use std::sync::PoisonError;

use procfmt::keyed::{flat, flat_value};
use procfmt::num::{fields, parse_u64};
use procfmt::units::{Usec, scale};
use view::input::CpuTimeInput;

use crate::controller::{Controller, Version};
use crate::cpu::tightest_quota;
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::level::Level;

const STAT: &str = "a key and a number on each line";

/// User and system time as last told on v1, so that neither ever falls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Split {
    user: u64,
    system: u64,
}

impl Group {
    /// CPU time since the cgroup was made, of all its tasks, past ones and those in cgroups below
    /// it included.
    ///
    /// v2 answers from `cpu.stat`, which every v2 cgroup has, on a hybrid machine too. On v1 the
    /// sum and the CPUs' times are exact, and the kernel's sampled user and system times only tell
    /// in which ratio to split the sum.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn cpu_time(&self) -> Result<Option<CpuTimeInput>, Error> {
        let used = self.walk(Controller::Cpuacct, |chain, _| match chain.version {
            Version::V1 => self.v1(&chain.own),
            Version::V2 => v2(&chain.own),
        })?;
        let Some(mut time) = used else {
            return Ok(None);
        };
        time.throttled =
            self.walk(Controller::Cpu, |chain, _| throttled(chain))?.unwrap_or_default();
        Ok(Some(time))
    }

    fn v1(&self, own: &Level) -> Result<CpuTimeInput, Error> {
        let mut buffer = Vec::new();
        let expected = "nanoseconds for each CPU";
        let nanos = own
            .parse("cpuacct.usage_percpu", expected, &mut buffer, |text| {
                fields(text).map(parse_u64).collect::<Option<Vec<_>>>()
            })?
            .unwrap_or_default();
        let total = nanos.iter().fold(0, |sum: u64, &one| sum.saturating_add(one));
        let (user, system) = match own.read("cpuacct.stat", &mut buffer)? {
            true => user_and_system(own, &buffer)?,
            false => (0, 0),
        };
        let mut last = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.split(total, user, system);
        Ok(CpuTimeInput {
            user: Usec::from_nanos(last.user),
            system: Usec::from_nanos(last.system),
            per_cpu: Some(nanos.into_iter().map(Usec::from_nanos).collect()),
            ..CpuTimeInput::default()
        })
    }
}

impl Split {
    /// Splits `total` as `user` and `system` are to one another, without letting either fall below
    /// what was told last. Should the total itself have fallen, the cgroup is a new one.
    fn split(self, total: u64, user: u64, system: u64) -> Self {
        let last =
            if total < self.user.saturating_add(self.system) { Self::default() } else { self };
        let sampled = user.saturating_add(system);
        let user = if sampled == 0 { total } else { scale(total, user, sampled) };
        // The ratio may have moved by more than the total grew: then one of the two stands still.
        let user = user.clamp(last.user, total.saturating_sub(last.system));
        Self { user, system: total.saturating_sub(user) }
    }
}

/// `cpuacct.stat`: both in clock ticks; only their ratio matters.
fn user_and_system(own: &Level, text: &[u8]) -> Result<(u64, u64), Error> {
    flat_value(text, b"user")
        .zip(flat_value(text, b"system"))
        .ok_or_else(|| Error::unexpected(own.path_of("cpuacct.stat"), STAT, text))
}

fn v2(own: &Level) -> Result<CpuTimeInput, Error> {
    let mut buffer = Vec::new();
    let mut time = CpuTimeInput::default();
    own.read("cpu.stat", &mut buffer)?;
    for line in flat(&buffer) {
        match line {
            Some((b"user_usec", value)) => time.user = Usec(value),
            Some((b"nice_usec", value)) => time.nice = Usec(value),
            Some((b"system_usec", value)) => time.system = Usec(value),
            Some(_) => {}
            None => return Err(Error::unexpected(own.path_of("cpu.stat"), STAT, &buffer)),
        }
    }
    Ok(time)
}

/// How long the container was kept from running. `cpu.stat.local` (Linux 6.6) counts what the
/// quotas of all levels did to it. Before, each level's `cpu.stat` counts its own quota alone; the
/// tightest one does nearly all of the throttling.
fn throttled(chain: &Chain) -> Result<Usec, Error> {
    let mut buffer = Vec::new();
    if let Some(time) = throttled_of(&chain.own, "cpu.stat.local", &mut buffer)? {
        return Ok(time);
    }
    let tightest =
        tightest_quota(chain, &mut buffer)?.and_then(|(index, _)| chain.levels.get(index));
    let level = tightest.unwrap_or(&chain.own);
    Ok(throttled_of(level, "cpu.stat", &mut buffer)?.unwrap_or_default())
}

/// v2 counts in microseconds, v1 in nanoseconds and under another key.
fn throttled_of(level: &Level, file: &str, buffer: &mut Vec<u8>) -> Result<Option<Usec>, Error> {
    if !level.read(file, buffer)? {
        return Ok(None);
    }
    let usec = flat_value(buffer, b"throttled_usec").map(Usec);
    Ok(usec.or_else(|| flat_value(buffer, b"throttled_time").map(Usec::from_nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_counter_goes_backwards_when_the_ratio_moves() {
        let first = Split::default().split(1000, 9, 1);
        assert_eq!((first.user, first.system), (900, 100));
        let second = first.split(1010, 1, 1);
        assert_eq!((second.user, second.system), (900, 110), "user stands still");
        let third = second.split(1020, 100, 1);
        assert_eq!((third.user, third.system), (910, 110), "system stands still");
        let replaced = third.split(10, 1, 1);
        assert_eq!((replaced.user, replaced.system), (5, 5));
        assert_eq!(Split::default().split(7, 0, 0).user, 7);
        let most = Split::default().split(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(most.user.saturating_add(most.system), u64::MAX);
    }

    use crate::fake::{Fake, V1, V2};

    #[test]
    fn v2_time_and_throttling_by_all_levels() {
        let fake = Fake::new(V2);
        let stat = "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnice_usec 5\nthrottled_usec 1\n";
        fake.files("unified/a", &[("cpu.stat", stat), ("cpu.max", "1 100\n")]);
        fake.files("unified/a/b", &[("cpu.stat", stat), ("cpu.stat.local", "throttled_usec 77\n")]);
        let time = fake.group("/a/b").cpu_time().unwrap().unwrap();
        assert_eq!((time.user, time.nice, time.system), (Usec(20), Usec(5), Usec(10)));
        assert_eq!((time.throttled, time.per_cpu), (Usec(77), None));
    }

    #[test]
    fn parent_throttling_is_steal() {
        // Before cpu.stat.local the level with the tightest quota tells.
        let fake = Fake::new(V2);
        let parent = [("cpu.max", "1 100\n"), ("cpu.stat", "throttled_usec 64\n")];
        fake.files("unified/a", &parent);
        fake.files("unified/a/b", &[("cpu.max", "50 100\n"), ("cpu.stat", "throttled_usec 0\n")]);
        let time = fake.group("/a/b").cpu_time().unwrap().unwrap();
        assert_eq!(time.throttled, Usec(64));
    }

    #[test]
    fn v1_time_is_exact_and_split_by_the_sampled_ratio() {
        let fake = Fake::new(V1);
        fake.files(
            "cpu,cpuacct/a",
            &[
                ("cpuacct.usage_percpu", "3000000 1000000 \n"),
                ("cpuacct.stat", "user 3\nsystem 1\n"),
                ("cpu.stat", "nr_throttled 0\nthrottled_time 9000\n"),
            ],
        );
        let time = fake.group("/a").cpu_time().unwrap().unwrap();
        assert_eq!((time.user, time.system), (Usec(3000), Usec(1000)));
        assert_eq!(time.per_cpu, Some(vec![Usec(3000), Usec(1000)]));
        assert_eq!(time.throttled, Usec(9));
    }

    #[test]
    fn hybrid_answers_from_v2_without_the_controller() {
        let fake = Fake::new(&[("memory", &["memory"]), ("unified", &[])]);
        fake.write("unified/cgroup.controllers", "\n");
        fake.files("unified/a", &[("cpu.stat", "user_usec 20\nsystem_usec 10\n")]);
        let time = fake.group("/a").cpu_time().unwrap().unwrap();
        assert_eq!((time.user, time.system, time.throttled), (Usec(20), Usec(10), Usec(0)));
    }

    #[test]
    fn garbage_is_an_error() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("cpu.stat", "user_usec\n")]);
        assert!(matches!(fake.group("/a").cpu_time().unwrap_err(), Error::Unexpected { .. }));
        let fake = Fake::new(V1);
        fake.files("cpu,cpuacct/a", &[("cpuacct.usage_percpu", "1 x\n")]);
        assert!(matches!(fake.group("/a").cpu_time().unwrap_err(), Error::Unexpected { .. }));
    }
}
