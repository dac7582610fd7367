//! The cpu controller: the tightest quota of the ancestry, and the container's own weight.

use procfmt::limit::Limit;
use procfmt::limit_value::{cpu_max, number, v1_quota};
use procfmt::units::Usec;
use view::input::{CpuInput, Quota, Weight};

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::level::Level;

impl Group {
    /// What bounds the container's CPUs: the set, the quota, the weight. Each is `None` where its
    /// controller does not hold for the container.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn cpu(&self) -> Result<CpuInput, Error> {
        let cpu = self.walk(Controller::Cpu, |chain, _| {
            let mut buffer = Vec::new();
            let tightest = tightest_quota(chain, &mut buffer)?;
            let weight = weight(chain, &mut buffer)?;
            Ok((tightest.map(|(_, quota)| quota), weight))
        })?;
        let (quota, weight) = cpu.unwrap_or_default();
        Ok(CpuInput { cpuset: self.cpuset()?, quota, weight })
    }
}

/// The tightest quota of a cgroup and its ancestors, and at which level it is set.
pub(crate) fn tightest_quota(
    chain: &Chain,
    buffer: &mut Vec<u8>,
) -> Result<Option<(usize, Quota)>, Error> {
    let mut tightest: Option<(usize, Quota)> = None;
    for (index, level) in chain.levels.iter().enumerate() {
        if let Some(quota) = quota(level, chain.version, buffer)?
            && tightest.is_none_or(|(_, known)| quota.tighter_than(&known))
        {
            tightest = Some((index, quota));
        }
    }
    Ok(tightest)
}

fn quota(level: &Level, version: Version, buffer: &mut Vec<u8>) -> Result<Option<Quota>, Error> {
    match version {
        Version::V1 => {
            let quota = level.parse("cpu.cfs_quota_us", "microseconds or -1", buffer, v1_quota)?;
            let Some(Limit::Value(quota)) = quota else {
                return Ok(None);
            };
            let above_zero = |text: &[u8]| number(text).filter(|&period| period != 0);
            let period =
                level.parse("cpu.cfs_period_us", "microseconds above 0", buffer, above_zero)?;
            Ok(period.map(|period| Quota { quota: Usec(quota), period: Usec(period) }))
        }
        Version::V2 => {
            let expected = "a quota or \"max\", and a period above 0, in microseconds";
            let limit = level.parse("cpu.max", expected, buffer, cpu_max)?;
            Ok(limit.and_then(|(quota, period)| {
                quota.value().map(|quota| Quota { quota: Usec(quota), period: Usec(period) })
            }))
        }
    }
}

pub(crate) fn weight(chain: &Chain, buffer: &mut Vec<u8>) -> Result<Option<Weight>, Error> {
    Ok(match chain.version {
        Version::V1 => chain.own.number("cpu.shares", buffer)?.map(Weight::Shares),
        Version::V2 => chain.own.number("cpu.weight", buffer)?.map(Weight::Weight),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    fn quota_of(quota: u64, period: u64) -> Option<Quota> {
        Some(Quota { quota: Usec(quota), period: Usec(period) })
    }

    #[test]
    fn quota_of_ancestor_counts() {
        let v2 = Fake::new(V2);
        // 0.5 of a CPU, 1.5 and none; the tightest is neither the nearest nor the smallest number.
        v2.files("unified/a", &[("cpu.max", "100000 200000\n"), ("cpu.weight", "7\n")]);
        v2.files("unified/a/b", &[("cpu.max", "15000 10000\n"), ("cpu.weight", "8\n")]);
        v2.files("unified/a/b/c", &[("cpu.max", "max 100000\n"), ("cpu.weight", "100\n")]);
        let cpu = v2.group("/a/b/c").cpu().unwrap();
        assert_eq!(
            (cpu.quota, cpu.weight),
            (quota_of(100_000, 200_000), Some(Weight::Weight(100)))
        );

        let v1 = Fake::new(V1);
        let limited = [("cpu.cfs_quota_us", "50000\n"), ("cpu.cfs_period_us", "100000\n")];
        v1.files("cpu,cpuacct/a", &limited);
        v1.files("cpu,cpuacct/a/b", &[("cpu.cfs_quota_us", "-1\n"), ("cpu.shares", "512\n")]);
        v1.files("cpuset/a/b", &[]);
        let cpu = v1.group("/a/b").cpu().unwrap();
        assert_eq!((cpu.quota, cpu.weight), (quota_of(50_000, 100_000), Some(Weight::Shares(512))));
    }

    #[test]
    fn cpu_max_max_is_no_limit() {
        let fake = Fake::new(V2);
        fake.files("unified/a", &[("cpu.max", "max 100000\n")]);
        assert_eq!(fake.group("/a").cpu().unwrap().quota, None);
        fake.files("unified/b", &[]);
        assert_eq!(fake.group("/b").cpu().unwrap(), CpuInput::default(), "no controller here");
    }

    #[test]
    fn garbage_is_an_error() {
        for text in ["max", "", "100000\n", "1 0\n", "x 100000\n", "-1 100000\n"] {
            let fake = Fake::new(V2);
            fake.files("unified/a", &[("cpu.max", text)]);
            let error = fake.group("/a").cpu().unwrap_err();
            assert!(matches!(error, Error::Unexpected { .. }), "{text:?}: {error}");
        }
        let fake = Fake::new(V1);
        fake.files("cpu,cpuacct/a", &[("cpu.cfs_quota_us", "1\n"), ("cpu.cfs_period_us", "0\n")]);
        assert!(matches!(fake.group("/a").cpu().unwrap_err(), Error::Unexpected { .. }));
    }
}
