//! What the operator decides about the view.

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

/// Everything that the operator can choose for a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many CPUs a container sees.
    pub cpu_count: CpuCount,
    /// The container's own load average in `/proc/loadavg`; otherwise the host's.
    pub loadavg: bool,
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
            loadavg: true,
            swap: true,
            zswap: true,
            v1_swap_includes_memory: false,
        }
    }
}
