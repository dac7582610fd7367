//! Limits, written into cgroup files.

use std::path::Path;

use anyhow::{Context, bail};
use procfmt::cpulist::CpuSet;
use procfmt::units::{Bytes, Usec};

use crate::cli::RunOptions;
use crate::size::{MemorySwap, PERIOD};

/// The least memory that a container is given: Docker's bound. Below it not even a shell starts.
const LEAST_MEMORY: Bytes = Bytes(6 << 20);

/// What the command may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) struct Limits {
    pub(super) memory: Option<Bytes>,
    /// Only with `memory`.
    pub(super) swap: Swap,
    /// CPU time per [`PERIOD`].
    pub(super) quota: Option<Usec>,
    pub(super) cpus: Option<CpuSet>,
}

/// A limit of memory and swap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// Docker's default: as much swap again as memory. Let go where the kernel cannot limit swap.
    AsMuchAgain,
    /// What was asked for, or an error.
    Asked(MemorySwap),
}

impl Limits {
    /// The limits that were typed.
    ///
    /// # Errors
    /// Limits that contradict one another or let nothing run.
    pub(in crate::run) fn from_options(options: &RunOptions) -> anyhow::Result<Self> {
        if let Some(memory) = options.memory.filter(|memory| *memory < LEAST_MEMORY) {
            bail!("-m {} bytes is too little to start a process in; the least is 6m", memory.0);
        }
        if let (Some(memory), Some(MemorySwap::Total(total))) =
            (options.memory, options.memory_swap)
            && total < memory
        {
            bail!(
                "--memory-swap counts memory and swap together: {} bytes is less than the memory \
                 limit of {} bytes",
                total.0,
                memory.0
            );
        }
        Ok(Self {
            memory: options.memory,
            swap: options.memory_swap.map_or(Swap::AsMuchAgain, Swap::Asked),
            quota: options.cpus,
            cpus: options.cpuset_cpus.clone(),
        })
    }
}

/// Where a controller's files are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    pub(super) dir: &'a Path,
    pub(super) v2: bool,
}

/// Limits memory, and swap with it.
pub(super) fn set_memory(files: Files<'_>, memory: Bytes, swap: Swap) -> anyhow::Result<()> {
    let total = match swap {
        Swap::AsMuchAgain => MemorySwap::Total(memory + memory),
        Swap::Asked(total) => total,
    };
    let (limit, swap_limit, value) = if files.v2 {
        let swap_alone = |total: Bytes| total.saturating_sub(memory).0.to_string();
        ("memory.max", "memory.swap.max", text(total, "max", swap_alone))
    } else {
        let together = |total: Bytes| total.0.to_string();
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", text(total, "-1", together))
    };
    write(files.dir, limit, &memory.0.to_string())?;
    if files.dir.join(swap_limit).exists() {
        return write(files.dir, swap_limit, &value);
    }
    match swap {
        Swap::AsMuchAgain => Ok(()),
        Swap::Asked(_) => bail!(
            "--memory-swap: this kernel does not account swap ({swap_limit} is missing); boot with \
             swapaccount=1 on the kernel's command line"
        ),
    }
}

fn text(total: MemorySwap, unlimited: &str, limited: impl FnOnce(Bytes) -> String) -> String {
    match total {
        MemorySwap::Unlimited => unlimited.to_owned(),
        MemorySwap::Total(total) => limited(total),
    }
}

/// Limits CPU time.
pub(super) fn set_quota(files: Files<'_>, quota: Usec) -> anyhow::Result<()> {
    let file = if files.v2 { "cpu.max" } else { "cpu.cfs_quota_us" };
    if !files.dir.join(file).exists() {
        bail!("--cpus: this kernel was built without CPU quotas (CONFIG_CFS_BANDWIDTH)");
    }
    if files.v2 {
        return write(files.dir, file, &format!("{} {}", quota.0, PERIOD.0));
    }
    write(files.dir, "cpu.cfs_period_us", &PERIOD.0.to_string())?;
    write(files.dir, file, &quota.0.to_string())
}

/// Chooses the CPUs. A new v1 cpuset has neither CPUs nor memory nodes and takes no process until
/// it has; v2's inherits them.
pub(super) fn set_cpuset(files: Files<'_>, wanted: Option<&CpuSet>) -> anyhow::Result<()> {
    let parent = files.dir.parent().unwrap_or(files.dir);
    let (available, default) = if files.v2 {
        (read(files.dir, &["cpuset.cpus.effective"])?, None)
    } else {
        let nodes = read(parent, &["cpuset.effective_mems", "cpuset.mems"])?;
        write(files.dir, "cpuset.mems", nodes.trim())?;
        let cpus = read(parent, &["cpuset.effective_cpus", "cpuset.cpus"])?;
        (cpus.clone(), Some(cpus))
    };
    let available = CpuSet::parse_list(available.as_bytes())
        .with_context(|| format!("the CPUs of {} cannot be understood", parent.display()))?;
    if let Some(absent) =
        wanted.map(|wanted| wanted.difference(&available)).filter(|set| !set.is_empty())
    {
        bail!("--cpuset-cpus: there is no CPU {absent} to use here, only {available}");
    }
    match wanted.map(ToString::to_string).or(default) {
        Some(cpus) => write(files.dir, "cpuset.cpus", cpus.trim()),
        None => Ok(()),
    }
}

/// Reads the first of `names` that exists in `dir`.
fn read(dir: &Path, names: &[&str]) -> anyhow::Result<String> {
    let found = names.iter().map(|name| dir.join(name)).find(|path| path.exists());
    let path = found.unwrap_or_else(|| dir.join(names.first().copied().unwrap_or_default()));
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

pub(super) fn write(dir: &Path, name: &str, value: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    std::fs::write(&path, value)
        .with_context(|| format!("cannot set {} to {value}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    fn content(dir: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(dir.path().join(name)).unwrap()
    }

    const GIB: Bytes = Bytes(1 << 30);

    #[test]
    fn docker_counts_memory_and_swap_together_v2_does_not() {
        let v2 = fake(&["memory.max", "memory.swap.max"]);
        let files = Files { dir: v2.path(), v2: true };
        set_memory(files, GIB, Swap::AsMuchAgain).unwrap();
        assert_eq!(content(&v2, "memory.max"), "1073741824");
        assert_eq!(content(&v2, "memory.swap.max"), "1073741824");
        set_memory(files, GIB, Swap::Asked(MemorySwap::Total(Bytes(3 << 29)))).unwrap();
        assert_eq!(content(&v2, "memory.swap.max"), "536870912");
        set_memory(files, GIB, Swap::Asked(MemorySwap::Total(GIB))).unwrap();
        assert_eq!(content(&v2, "memory.swap.max"), "0");
        set_memory(files, GIB, Swap::Asked(MemorySwap::Unlimited)).unwrap();
        assert_eq!(content(&v2, "memory.swap.max"), "max");

        let v1 = fake(&["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]);
        let files = Files { dir: v1.path(), v2: false };
        set_memory(files, GIB, Swap::AsMuchAgain).unwrap();
        assert_eq!(content(&v1, "memory.memsw.limit_in_bytes"), "2147483648");
        set_memory(files, GIB, Swap::Asked(MemorySwap::Unlimited)).unwrap();
        assert_eq!(content(&v1, "memory.memsw.limit_in_bytes"), "-1");
    }

    #[test]
    fn without_swap_accounting_only_an_explicit_wish_fails() {
        let dir = fake(&["memory.limit_in_bytes"]);
        let files = Files { dir: dir.path(), v2: false };
        set_memory(files, GIB, Swap::AsMuchAgain).unwrap();
        let wish = Swap::Asked(MemorySwap::Total(GIB));
        let error = set_memory(files, GIB, wish).unwrap_err().to_string();
        assert!(error.contains("swapaccount=1"), "{error}");
    }

    #[test]
    fn quotas_are_per_tenth_of_a_second() {
        let v2 = fake(&["cpu.max"]);
        set_quota(Files { dir: v2.path(), v2: true }, Usec(150_000)).unwrap();
        assert_eq!(content(&v2, "cpu.max"), "150000 100000");
        let none = fake(&[]);
        assert!(set_quota(Files { dir: none.path(), v2: false }, Usec(1000)).is_err());
    }

    #[test]
    fn a_v1_cpuset_starts_with_its_parents_cpus_and_nodes() {
        let parent = fake(&[]);
        std::fs::write(parent.path().join("cpuset.effective_cpus"), "0-3\n").unwrap();
        std::fs::write(parent.path().join("cpuset.mems"), "0\n").unwrap();
        let dir = parent.path().join("x");
        std::fs::create_dir(&dir).unwrap();
        let files = Files { dir: &dir, v2: false };
        set_cpuset(files, None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("cpuset.cpus")).unwrap(), "0-3");
        assert_eq!(std::fs::read_to_string(dir.join("cpuset.mems")).unwrap(), "0");
        set_cpuset(files, Some(&CpuSet::parse_list(b"1,3").unwrap())).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("cpuset.cpus")).unwrap(), "1,3");
        let error = set_cpuset(files, Some(&CpuSet::parse_list(b"3-9").unwrap())).unwrap_err();
        assert!(error.to_string().contains("no CPU 4-9 to use here, only 0-3"), "{error}");
    }
}
