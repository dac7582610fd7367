//! Which file decided each limit: for people, off the way of a read.

use std::path::PathBuf;

use procfmt::cpulist::CpuSet;
use procfmt::limit::Limit;
use procfmt::limit_value::number_or_max;
use procfmt::units::Bytes;
use view::input::{Quota, Weight};

use crate::controller::{Controller, Version};
use crate::cpu::{tightest_quota, weight};
use crate::cpuset::{CPUS, nearest};
use crate::error::Error;
use crate::group::{Chain, Group};
use crate::level::Level;
use crate::memory::{LIMIT, v1_limit, v2_limit};

/// A value, and the file that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<T> {
    /// The value.
    pub value: T,
    /// The file, such as `/sys/fs/cgroup/memory/web/memory.limit_in_bytes`. Of v1's quota it is
    /// `cpu.cfs_quota_us`; the period is beside it.
    pub file: PathBuf,
}

/// The limits that hold for a container, each with the file that decided it. `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// The lowest memory limit of the ancestry.
    pub memory: Option<Decided<Bytes>>,
    /// The lowest `memory.high` of the ancestry; v2 only.
    pub memory_high: Option<Decided<Bytes>>,
    /// The lowest swap limit of the ancestry: v2 swap alone, v1 memory and swap together.
    pub swap: Option<Decided<Bytes>>,
    /// The tightest CPU quota of the ancestry.
    pub quota: Option<Decided<Quota>>,
    /// The container's own weight.
    pub weight: Option<Decided<Weight>>,
    /// The effective CPU set.
    pub cpuset: Option<Decided<CpuSet>>,
    /// The lowest `pids.max` of the ancestry.
    pub pids: Option<Decided<u64>>,
}

impl Group {
    /// The directories of the container's cgroups in the hierarchy of `controller`: its own first,
    /// then those above it, without the root. Empty where the controller does not hold for it.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, or why it could not be opened.
    pub fn directories(&self, controller: Controller) -> Result<Vec<PathBuf>, Error> {
        let paths = |chain: &Chain| chain.levels.iter().map(|level| level.path_of("")).collect();
        Ok(self.walk(controller, |chain, _| Ok(paths(chain)))?.unwrap_or_default())
    }

    /// The limits that hold for the container, and where each is set.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed, [`Error::Unexpected`] for text of another form,
    /// or why a file could not be read.
    pub fn explain(&self) -> Result<Explained, Error> {
        let memory = |v1: Option<&'static str>, v2| {
            let found = self.walk(Controller::Memory, |chain, _| match (chain.version, v1) {
                (Version::V1, Some(file)) => lowest(chain, file, LIMIT, v1_limit),
                (Version::V1, None) => Ok(None),
                (Version::V2, _) => lowest(chain, v2, LIMIT, v2_limit),
            })?;
            Ok::<_, Error>(found.flatten())
        };
        let cpu = self.walk(Controller::Cpu, |chain, _| Ok((quota(chain)?, own_weight(chain)?)))?;
        let (quota, weight) = cpu.unwrap_or_default();
        let pids = self.walk(Controller::Pids, |chain, _| {
            lowest(chain, "pids.max", "a number or \"max\"", number_or_max)
        })?;
        Ok(Explained {
            memory: memory(Some("memory.limit_in_bytes"), "memory.max")?,
            memory_high: memory(None, "memory.high")?,
            swap: memory(Some("memory.memsw.limit_in_bytes"), "memory.swap.max")?,
            quota,
            weight,
            cpuset: self.walk(Controller::Cpuset, |chain, _| cpuset(chain))?.flatten(),
            pids: pids.flatten(),
        })
    }
}

/// The lowest limit of the ancestry; of equal ones the container's nearest.
fn lowest<T: Copy + Ord>(
    chain: &Chain,
    file: &str,
    expected: &'static str,
    parse: impl Fn(&[u8]) -> Option<Limit<T>>,
) -> Result<Option<Decided<T>>, Error> {
    let mut buffer = Vec::new();
    let mut lowest: Option<(T, &Level)> = None;
    for level in &chain.levels {
        if let Some(Limit::Value(value)) = level.parse(file, expected, &mut buffer, &parse)?
            && lowest.is_none_or(|(known, _)| value < known)
        {
            lowest = Some((value, level));
        }
    }
    Ok(lowest.map(|(value, level)| Decided { value, file: level.path_of(file) }))
}

fn quota(chain: &Chain) -> Result<Option<Decided<Quota>>, Error> {
    let file = match chain.version {
        Version::V1 => "cpu.cfs_quota_us",
        Version::V2 => "cpu.max",
    };
    let tightest = tightest_quota(chain, &mut Vec::new())?;
    Ok(tightest.and_then(|(index, value)| {
        Some(Decided { value, file: chain.levels.get(index)?.path_of(file) })
    }))
}

fn own_weight(chain: &Chain) -> Result<Option<Decided<Weight>>, Error> {
    Ok(weight(chain, &mut Vec::new())?.map(|value| {
        let file = match value {
            Weight::Shares(_) => "cpu.shares",
            Weight::Weight(_) => "cpu.weight",
        };
        Decided { value, file: chain.own.path_of(file) }
    }))
}

fn cpuset(chain: &Chain) -> Result<Option<Decided<CpuSet>>, Error> {
    Ok(nearest(chain, CPUS, &mut Vec::new())?.and_then(|(index, file, value)| {
        Some(Decided { value, file: chain.levels.get(index)?.path_of(file) })
    }))
}

#[cfg(test)]
mod tests {
    use procfmt::units::Usec;

    use super::*;
    use crate::fake::{Fake, V1, V2};

    fn decided<T>(fake: &Fake, value: T, file: &str) -> Option<Decided<T>> {
        Some(Decided { value, file: fake.path().join(file) })
    }

    #[test]
    fn the_deciding_file_is_named() {
        let fake = Fake::new(V2);
        fake.files(
            "unified/p",
            &[
                ("memory.max", "100\n"),
                ("memory.high", "90\n"),
                ("cpu.max", "1 10\n"),
                ("cpuset.cpus.effective", "0-1\n"),
                ("pids.max", "max\n"),
            ],
        );
        fake.files(
            "unified/p/a",
            &[
                ("memory.max", "200\n"),
                ("memory.swap.max", "0\n"),
                ("cpu.weight", "100\n"),
                ("pids.max", "5\n"),
            ],
        );
        let quota = Quota { quota: Usec(1), period: Usec(10) };
        let cpus = CpuSet::first(2);
        let expected = Explained {
            memory: decided(&fake, Bytes(100), "unified/p/memory.max"),
            memory_high: decided(&fake, Bytes(90), "unified/p/memory.high"),
            swap: decided(&fake, Bytes(0), "unified/p/a/memory.swap.max"),
            quota: decided(&fake, quota, "unified/p/cpu.max"),
            weight: decided(&fake, Weight::Weight(100), "unified/p/a/cpu.weight"),
            cpuset: decided(&fake, cpus, "unified/p/cpuset.cpus.effective"),
            pids: decided(&fake, 5, "unified/p/a/pids.max"),
        };
        assert_eq!(fake.group("/p/a").explain().unwrap(), expected);
    }

    #[test]
    fn the_directories_go_up_to_the_root_and_leave_it_out() {
        let fake = Fake::new(V2);
        fake.files("unified/p/a", &[]);
        let found = fake.group("/p/a").directories(Controller::Memory).unwrap();
        assert_eq!(found, ["unified/p/a", "unified/p"].map(|dir| fake.path().join(dir)));
        assert!(fake.group("/").directories(Controller::Memory).unwrap().is_empty());
    }

    #[test]
    fn v1_has_no_memory_high_and_huge_is_no_limit() {
        let fake = Fake::new(V1);
        for (_, controllers) in V1 {
            fake.files(&format!("{}/a", controllers.join(",")), &[]);
        }
        let huge = [("memory.limit_in_bytes", "9223372036854771712\n")];
        fake.files("memory/a", &huge);
        assert_eq!(fake.group("/a").explain().unwrap(), Explained::default());
        fake.files("memory/a", &[("memory.memsw.limit_in_bytes", "7\n")]);
        let swap = decided(&fake, Bytes(7), "memory/a/memory.memsw.limit_in_bytes");
        assert_eq!(fake.group("/a").explain().unwrap().swap, swap);
    }
}
