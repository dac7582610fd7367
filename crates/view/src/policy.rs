//! What the operator decides about the view.

use std::collections::BTreeMap;

use crate::catalogue::{self, FilePolicy};

/// How the number of CPUs that a container sees follows from its limits.
///
/// With A the CPUs that the container may run on and q its quota divided by the period; the number
/// is always between 1 and |A|.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuCount {
    /// |A|: the quota does not count. What LXCFS does by default.
    Cpuset,
    /// min(|A|, ⌈q⌉): what LXCFS does with `--enable-cfs`.
    #[default]
    Quota,
    /// min(|A|, ⌊q⌋), but at least one.
    QuotaFloor,
    /// min of `Quota` and ⌈shares / 1024⌉ (v1) or ⌈weight / 100⌉ (v2).
    Shares,
}

/// Which numbers the visible CPUs bear, in all files alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuNumbers {
    /// The kernel's, so that pinning, `sched_getaffinity(2)` and `getcpu(2)` agree with them.
    #[default]
    Kernel,
    /// 0 to N-1, the i-th standing for the i-th CPU that the container may run on: for programs
    /// that want no gaps.
    Packed,
}

/// What `/sys/devices/system/cpu/possible` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuPossible {
    /// 0 to the highest CPU that the container may run on; those it does not see are offline.
    #[default]
    Safe,
    /// The visible CPUs, and none is offline. A program that indexes an array of this size by the
    /// CPU it runs on may then write beyond its end.
    Visible,
}

/// The `cpu.weight` that stands for one CPU: the kernel's default, to which newer container
/// engines map 1024 shares; older ones map them to 39.
pub const DEFAULT_WEIGHT_BASE: u64 = 100;

/// Everything that the operator can choose for a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many CPUs a container sees.
    pub cpu_count: CpuCount,
    /// Which numbers they bear.
    pub cpu_numbers: CpuNumbers,
    /// How many CPUs there could be.
    pub cpu_possible: CpuPossible,
    /// The `cpu.weight` that stands for one CPU under [`CpuCount::Shares`]: 1 to 10000. 0 counts
    /// as 1.
    pub cpu_weight_base: u64,
    /// Files that are served otherwise than the catalogue says.
    pub files: FileOverrides,
    /// Only those files that LXCFS 7 has are there: hooks written for it bind whatever they find.
    pub lxcfs_files_only: bool,
    /// Swap is shown; otherwise the container has none.
    pub swap: bool,
    /// `Zswap` and `Zswapped` are shown; otherwise they are 0.
    pub zswap: bool,
    /// On cgroup v1, SwapTotal is the memory+swap limit itself, as LXCFS has it, and not that limit
    /// less the memory limit, as Docker means it.
    pub v1_swap_includes_memory: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            cpu_count: CpuCount::default(),
            cpu_numbers: CpuNumbers::default(),
            cpu_possible: CpuPossible::default(),
            cpu_weight_base: DEFAULT_WEIGHT_BASE,
            files: FileOverrides::default(),
            lxcfs_files_only: false,
            swap: true,
            zswap: true,
            v1_swap_includes_memory: false,
        }
    }
}

impl Policy {
    /// What becomes of the file or directory with this name of the
    /// [catalogue](catalogue::listing): the operator's choice, else the catalogue's. A name that
    /// the catalogue does not have is the host's.
    #[must_use]
    pub fn of_file(&self, name: &str) -> FilePolicy {
        let default = || catalogue::default_policy(name).unwrap_or(FilePolicy::Host);
        self.files.0.get(name).copied().unwrap_or_else(default)
    }
}

/// Per file, what becomes of it instead of what the catalogue says. A few entries at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOverrides(BTreeMap<&'static str, FilePolicy>);

/// A name that the catalogue does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no virtual file is called `{name}`; there are {}", known_names())]
pub struct UnknownFile {
    name: String,
}

fn known_names() -> String {
    catalogue::names().collect::<Vec<_>>().join(", ")
}

impl FileOverrides {
    /// Has the file served by `policy`; what was said last about a file holds.
    ///
    /// # Errors
    /// The catalogue has no such name. The message lists those that there are.
    pub fn set(&mut self, name: &str, policy: FilePolicy) -> Result<(), UnknownFile> {
        let known = catalogue::names().find(|known| *known == name);
        let known = known.ok_or_else(|| UnknownFile { name: name.to_owned() })?;
        self.0.insert(known, policy);
        Ok(())
    }

    /// The overrides by name, so that a daemon can say each in its log.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, FilePolicy)> + '_ {
        self.0.iter().map(|(name, policy)| (*name, *policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_has_the_last_word() {
        let mut policy = Policy::default();
        assert_eq!(policy.of_file("meminfo"), FilePolicy::Virtual);
        policy.files.set("meminfo", FilePolicy::Absent).unwrap();
        policy.files.set("meminfo", FilePolicy::Host).unwrap();
        assert_eq!(policy.of_file("meminfo"), FilePolicy::Host);
        assert_eq!(policy.files.iter().collect::<Vec<_>>(), [("meminfo", FilePolicy::Host)]);
        assert_eq!(policy.of_file("stat"), FilePolicy::Virtual);
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = FileOverrides::default().set("memifno", FilePolicy::Host).unwrap_err();
        let message = error.to_string();
        for name in ["`memifno`", "meminfo", "pressure", "sys/devices/system/cpu"] {
            assert!(message.contains(name), "{message}");
        }
    }
}
