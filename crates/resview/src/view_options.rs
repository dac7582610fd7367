//! Options about what containers see: the same for `resview daemon` and `resview run`.

use clap::{Args, ValueEnum};
use view::catalogue::FilePolicy;
use view::policy::{self, DEFAULT_WEIGHT_BASE, FileOverrides, Policy};

/// What the operator decides about the view.
#[derive(Args, Clone, Debug)]
pub(crate) struct ViewOptions {
    /// How the CPU count follows a container's CPU limits
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pub(crate) cpu_count: CpuCount,

    /// Which numbers the CPUs bear in all files
    #[arg(long, value_name = "NUMBERS", value_enum, default_value_t)]
    cpu_numbers: CpuNumbers,

    /// What /sys/devices/system/cpu/possible says
    #[arg(long, value_name = "CPUS", value_enum, default_value_t)]
    cpu_possible: CpuPossible,

    /// The cpu.weight that stands for one CPU, for --cpu-count shares on cgroup v2: 1 to 10000
    /// (39 where the container engine maps 1024 shares to that)
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value_t = DEFAULT_WEIGHT_BASE,
        value_parser = clap::value_parser!(u64).range(1..=10_000)
    )]
    cpu_weight_base: u64,

    /// Serve a file otherwise than by default: virtual (the container's own), host (the host's) or
    /// absent (not there, so nothing to mount over the kernel's own); may be repeated. `resview files`
    /// lists the names
    #[arg(long = "file", value_name = "NAME=POLICY", value_parser = parse_override)]
    files: Vec<(String, FilePolicy)>,
}

impl ViewOptions {
    /// The policy for all containers.
    ///
    /// # Errors
    /// A file that the catalogue does not have, which the command line has refused before.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let mut files = FileOverrides::default();
        for (name, policy) in &self.files {
            files.set(name, *policy)?;
        }
        Ok(Policy {
            cpu_count: self.cpu_count.into(),
            cpu_numbers: self.cpu_numbers.into(),
            cpu_possible: self.cpu_possible.into(),
            cpu_weight_base: self.cpu_weight_base,
            files,
            ..Policy::default()
        })
    }
}

fn parse_override(text: &str) -> Result<(String, FilePolicy), String> {
    let (name, policy) = text.split_once('=').ok_or("write NAME=host, =virtual or =absent")?;
    let policy = policy.parse().map_err(|error| format!("`{policy}`: {error}"))?;
    // To say at once, and with the option's name, that there is no such file.
    FileOverrides::default().set(name, policy).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), policy))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CpuCount {
    /// As many as the cpuset has
    Cpuset,
    /// Also bounded by the quota, rounded up
    #[default]
    Quota,
    /// Also bounded by the quota, rounded down, at least 1
    QuotaFloor,
    /// Also bounded by the CPU shares
    Shares,
}

impl From<CpuCount> for policy::CpuCount {
    fn from(policy: CpuCount) -> Self {
        match policy {
            CpuCount::Cpuset => Self::Cpuset,
            CpuCount::Quota => Self::Quota,
            CpuCount::QuotaFloor => Self::QuotaFloor,
            CpuCount::Shares => Self::Shares,
        }
    }
}

impl From<policy::CpuCount> for CpuCount {
    fn from(policy: policy::CpuCount) -> Self {
        match policy {
            policy::CpuCount::Cpuset => Self::Cpuset,
            policy::CpuCount::Quota => Self::Quota,
            policy::CpuCount::QuotaFloor => Self::QuotaFloor,
            policy::CpuCount::Shares => Self::Shares,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CpuNumbers {
    /// The kernel's own, with gaps, as pinning and sched_getaffinity(2) have them
    #[default]
    Kernel,
    /// 0 to N-1, without gaps
    Packed,
}

impl From<CpuNumbers> for policy::CpuNumbers {
    fn from(numbers: CpuNumbers) -> Self {
        match numbers {
            CpuNumbers::Kernel => Self::Kernel,
            CpuNumbers::Packed => Self::Packed,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CpuPossible {
    /// 0 to the highest CPU that the container may run on: arrays of that size are large enough
    #[default]
    Safe,
    /// The visible CPUs, so that `nproc --all` prints their count; programs that index by the CPU
    /// they run on may corrupt their memory
    Visible,
}

impl From<CpuPossible> for policy::CpuPossible {
    fn from(possible: CpuPossible) -> Self {
        match possible {
            CpuPossible::Safe => Self::Safe,
            CpuPossible::Visible => Self::Visible,
        }
    }
}

/// Prints a value as it is typed.
macro_rules! display_as_typed {
    ($($value:ty),*) => {$(
        impl std::fmt::Display for $value {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let value = self.to_possible_value();
                f.write_str(value.as_ref().map_or("", |value| value.get_name()))
            }
        }
    )*};
}
display_as_typed!(CpuCount, CpuNumbers, CpuPossible);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        view: ViewOptions,
    }

    fn policy(line: &str) -> Result<Policy, String> {
        let line = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        line.view.policy().map_err(|error| error.to_string())
    }

    #[test]
    fn policies_print_as_they_are_typed() {
        assert_eq!(CpuCount::QuotaFloor.to_string(), "quota-floor");
        assert_eq!(policy("x").unwrap(), Policy::default());
    }

    #[test]
    fn each_option_is_its_policy() {
        let policy = policy(
            "x --cpu-count shares --cpu-weight-base 39 --cpu-numbers packed \
             --cpu-possible visible --file vmstat=host --file sys/devices/system/cpu=absent",
        )
        .unwrap();
        assert_eq!((policy.cpu_count, policy.cpu_weight_base), (policy::CpuCount::Shares, 39));
        assert_eq!(policy.cpu_numbers, policy::CpuNumbers::Packed);
        assert_eq!(policy.cpu_possible, policy::CpuPossible::Visible);
        assert_eq!(policy.of_file("vmstat"), FilePolicy::Host);
        assert_eq!(policy.of_file("sys/devices/system/cpu"), FilePolicy::Absent);
    }

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        for (line, words) in [
            ("x --file vmsat=host", "zoneinfo"),
            ("x --file vmstat", "NAME=host"),
            ("x --file vmstat=hots", "virtual, host, absent"),
            ("x --cpu-weight-base 0", "1..=10000"),
        ] {
            let message = policy(line).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
