//! The controllers that Resview reads, and their names.

/// What a hierarchy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// cgroup v1: several hierarchies, each with its controllers.
    V1,
    /// cgroup v2: the unified hierarchy.
    V2,
}

/// A controller, or what does a controller's job on cgroup v2.
#[allow(missing_docs)] // the kernel's names, documented in cgroup-v2.rst and cgroup-v1/
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Cpu,
    Cpuset,
    /// CPU time: v1 `cpuacct`; on v2 every cgroup has `cpu.stat`, whatever is switched on.
    Cpuacct,
    /// v1 calls it `blkio`.
    Io,
    Pids,
    /// v1 `freezer`; on v2 every cgroup can be frozen.
    Freezer,
    Hugetlb,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::Cpu,
        Self::Cpuset,
        Self::Cpuacct,
        Self::Io,
        Self::Pids,
        Self::Freezer,
        Self::Hugetlb,
    ];

    /// What the controller is called in `/proc/PID/cgroup` and in the options of a v1 mount.
    #[must_use]
    pub const fn v1_name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Cpuacct => "cpuacct",
            Self::Io => "blkio",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Hugetlb => "hugetlb",
        }
    }

    /// What it is called in v2's `cgroup.controllers`; `None` if every v2 cgroup has it.
    #[must_use]
    pub const fn v2_name(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("memory"),
            Self::Cpu => Some("cpu"),
            Self::Cpuset => Some("cpuset"),
            Self::Io => Some("io"),
            Self::Pids => Some("pids"),
            Self::Hugetlb => Some("hugetlb"),
            Self::Cpuacct | Self::Freezer => None,
        }
    }
}
