//! The catalogue as people read it: every file, what becomes of it and of its lines, and where it
//! comes from.

use super::{FilePolicy, PROC_FILES, SYS_DIRECTORIES, Sys, sys};
use crate::Memory;
use crate::render::meminfo::{self, Value};

use FilePolicy::{Absent, Host, Virtual};

/// A file or directory of the catalogue.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name: below `/proc` as in `meminfo`, else below the root as in
    /// `sys/devices/system/cpu`.
    pub name: &'static str,
    /// What becomes of it unless the operator chooses otherwise.
    pub policy: FilePolicy,
    /// Permission bits; of the files, for a directory of files alike.
    pub mode: u32,
    /// Whether LXCFS 7 has it too.
    pub in_lxcfs: bool,
    /// What it is made from on cgroup v2.
    pub v2: &'static str,
    /// What it is made from on cgroup v1.
    pub v1: &'static str,
    /// Its lines or entries, where they differ in what becomes of them. A name may hold a `*` or
    /// an `N`.
    pub lines: Vec<(&'static str, FilePolicy)>,
}

/// All files, in the order in which the tree lists them.
#[must_use]
pub fn listing() -> Vec<Listed> {
    let files = PROC_FILES.iter().map(|file| {
        let (v2, v1) = sources(file.name);
        let lines = lines(file.name);
        let &super::ProcFile { name, policy, mode, in_lxcfs, .. } = file;
        Listed { name, policy, mode, in_lxcfs, v2, v1, lines }
    });
    let (v2, v1) = sources(PRESSURE);
    let pressure = Listed {
        name: PRESSURE,
        policy: Virtual,
        mode: 0o666,
        in_lxcfs: true,
        v2,
        v1,
        lines: Vec::new(),
    };
    let directories = SYS_DIRECTORIES.iter().map(|directory| {
        let &super::SysDirectory { name, in_lxcfs, .. } = directory;
        let (v2, v1) = sources(name);
        let lines = lines(name);
        Listed { name, policy: Virtual, mode: 0o444, in_lxcfs, v2, v1, lines }
    });
    files.chain([pressure]).chain(directories).collect()
}

/// The directory with the pressure files.
pub const PRESSURE: &str = "pressure";

/// The names of all files.
pub fn names() -> impl Iterator<Item = &'static str> {
    let directories = SYS_DIRECTORIES.iter().map(|directory| directory.name);
    PROC_FILES.iter().map(|file| file.name).chain([PRESSURE]).chain(directories)
}

/// What becomes of a file unless the operator chooses otherwise; `None`: there is no such file.
#[must_use]
pub fn default_policy(name: &str) -> Option<FilePolicy> {
    let file = PROC_FILES.iter().find(|file| file.name == name).map(|file| file.policy);
    file.or_else(|| names().any(|known| known == name).then_some(Virtual))
}

/// What a file is made from, on v2 and on v1.
fn sources(name: &str) -> (&'static str, &'static str) {
    match name {
        "cpuinfo" | "interrupts" | "softirqs" | "sys/devices/system/cpu" => {
            ("cpuset.cpus.effective, cpu.max", "cpuset.effective_cpus, cpu.cfs_quota_us")
        }
        "meminfo" => (
            "memory.{max,high,current,stat,swap.*}, hugetlb.*",
            "memory.{limit,usage}_in_bytes, memory.stat, memsw, hugetlb.*",
        ),
        "swaps" => ("memory.swap.{max,current}", "memory.memsw.*, memory.stat"),
        "stat" => ("cpu.stat, cpu.stat.local, tasks", "cpuacct.usage_percpu, cpu.stat, tasks"),
        "uptime" => ("start of init, cpu.stat", "start of init, cpuacct.usage_percpu"),
        "loadavg" => ("tasks of cgroup.threads, pids.current", "tasks, pids.current"),
        "diskstats" => ("io.stat, mounts", "blkio.*_recursive, mounts"),
        "sys/block" | "sys/class/block" => ("io.stat, mounts", "blkio.*_recursive, mounts"),
        "partitions" => ("devices of io.stat, mounts", "devices of blkio.*_recursive, mounts"),
        "slabinfo" => ("header only", "memory.kmem.slabinfo"),
        "vmstat" => {
            ("memory.stat, memory.events, io.stat", "memory.stat, memory.oom_control, blkio.*")
        }
        "zoneinfo" => {
            ("memory.numa_stat, cpuset.mems.effective", "the same, cpuset.effective_mems")
        }
        "schedstat" => ("the rows of stat", "the rows of stat"),
        PRESSURE => ("{cpu,memory,io,irq}.pressure", "none, but on hybrid as on v2"),
        "sys/devices/system/node" => {
            ("cpuset.mems.effective, memory.numa_stat", "cpuset.effective_mems, memory.numa_stat")
        }
        _ => ("", ""),
    }
}

fn lines(name: &str) -> Vec<(&'static str, FilePolicy)> {
    match name {
        "meminfo" => MEMINFO.into_iter().map(|key| (key, meminfo_policy(key))).collect(),
        "sys/devices/system/cpu" => entries("devices/system/cpu", &SYS_CPU),
        "sys/devices/system/node" => entries("devices/system/node", &SYS_NODE),
        "sys/block" => entries("block", &SYS_BLOCK),
        "sys/class/block" => entries("class/block", &SYS_CLASS_BLOCK),
        "cpuinfo" => CPUINFO.to_vec(),
        "stat" => STAT.to_vec(),
        "slabinfo" => vec![("header", Host), ("rows", Virtual)],
        "interrupts" => vec![("header", Virtual), ("rows", Absent)],
        "softirqs" => vec![("header", Virtual), ("rows", Virtual)],
        "schedstat" => SCHEDSTAT.to_vec(),
        _ => Vec::new(),
    }
}

const CPUINFO: [(&str, FilePolicy); 5] = [
    ("processor", Virtual),
    ("siblings", Virtual),
    ("cpu cores", Virtual),
    ("# processors", Virtual),
    ("other lines", Host),
];

const STAT: [(&str, FilePolicy); 10] = [
    ("cpu", Virtual),
    ("cpuN", Virtual),
    ("intr", Virtual),
    ("ctxt", Virtual),
    ("btime", Host),
    ("processes", Virtual),
    ("procs_running", Virtual),
    ("procs_blocked", Virtual),
    ("softirq", Virtual),
    ("unknown lines", Absent),
];

const SCHEDSTAT: [(&str, FilePolicy); 4] =
    [("version", Host), ("timestamp", Virtual), ("cpuN", Virtual), ("domainN", Absent)];

/// The lines that a kernel can have; `*` stands for many of a kind.
const MEMINFO: [&str; 63] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "Active",
    "Inactive",
    "Active(anon)",
    "Inactive(anon)",
    "Active(file)",
    "Inactive(file)",
    "Unevictable",
    "Mlocked",
    "HighTotal",
    "HighFree",
    "LowTotal",
    "LowFree",
    "SwapTotal",
    "SwapFree",
    "Zswap",
    "Zswapped",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Mapped",
    "Shmem",
    "KReclaimable",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "KernelStack",
    "PageTables",
    "SecPageTables",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "CommitLimit",
    "Committed_AS",
    "VmallocTotal",
    "VmallocUsed",
    "VmallocChunk",
    "Percpu",
    "HardwareCorrupted",
    "AnonHugePages",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "FileHugePages",
    "FilePmdMapped",
    "CmaTotal",
    "CmaFree",
    "Unaccepted",
    "GPUActive",
    "GPUReclaim",
    "Balloon",
    "HugePages_Total",
    "HugePages_Free",
    "HugePages_Rsvd",
    "HugePages_Surp",
    "Hugepagesize",
    "Hugetlb",
    "DirectMap*",
    "unknown lines",
];

/// With a hugetlb controller; without one, the huge pages are the host's shared pool.
fn meminfo_policy(key: &str) -> FilePolicy {
    let memory = Memory {
        huge_pages: Some(crate::HugePages::default()),
        hugetlb: Some(procfmt::units::Kib(0)),
        ..Memory::default()
    };
    match meminfo::value(key.as_bytes(), &memory) {
        // An unknown line is printed as 0.
        Value::Virtual(_) | Value::Unknown => Virtual,
        Value::Host => Host,
        Value::Absent => Absent,
    }
}

const SYS_CPU: [&str; 26] = [
    "online",
    "present",
    "possible",
    "offline",
    "enabled",
    "isolated",
    "nohz_full",
    "housekeeping",
    "smt/active",
    "smt/control",
    "kernel_max",
    "modalias",
    "uevent",
    "vulnerabilities/*",
    "cpuidle/*",
    "cpuN",
    "cpuN/topology/*_cpus",
    "cpuN/topology/*_siblings",
    "cpuN/topology/*_list",
    "cpuN/topology/*_id",
    "cpuN/cache/index*/shared_cpu_map",
    "cpuN/cache/index*/shared_cpu_list",
    "cpuN/cpufreq/affected_cpus",
    "cpuN/cpufreq/related_cpus",
    "cpuN/crash_notes",
    "cpuN/thermal_throttle",
];

const SYS_NODE: [&str; 19] = [
    "online",
    "possible",
    "has_cpu",
    "has_memory",
    "has_normal_memory",
    "has_generic_initiator",
    "nodeN",
    "nodeN/cpuN",
    "nodeN/cpulist",
    "nodeN/cpumap",
    "nodeN/distance",
    "nodeN/meminfo",
    "nodeN/vmstat",
    "nodeN/numastat",
    "nodeN/hugepages/*",
    "nodeN/memoryN",
    "nodeN/memory_failure",
    "nodeN/compact",
    "nodeN/reclaim",
];

const SYS_BLOCK: [&str; 24] = [
    "*",
    "*/*N",
    "*/stat",
    "*/inflight",
    "*/holders/*",
    "*/slaves/*",
    "*/dev",
    "*/size",
    "*/start",
    "*/ro",
    "*/removable",
    "*/queue/*",
    "*/dm/*",
    "*/uevent",
    "*/device",
    "*/device/model",
    "*/device/vendor",
    "*/device/driver",
    "*/subsystem",
    "*/bdi",
    "*/mq",
    "*/trace",
    "*/serial",
    "*/anything else",
];

/// What is below is as in `sys/block`.
const SYS_CLASS_BLOCK: [&str; 2] = ["*", "*/stat"];

/// What the tree makes of each entry: N stands for 0, `*` for itself.
fn entries(directory: &str, paths: &[&'static str]) -> Vec<(&'static str, FilePolicy)> {
    let policy = |path: &str| match sys(&format!("{directory}/{}", path.replace('N', "0"))) {
        Sys::Virtual(_) | Sys::OfCpu(_) | Sys::OfNode(_) | Sys::OfDisk | Sys::ToDisk => Virtual,
        Sys::Host | Sys::Followed => Host,
        Sys::Absent => Absent,
    };
    paths.iter().map(|path| (*path, policy(path))).collect()
}

impl std::fmt::Display for FilePolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Virtual => "virtual",
            Host => "host",
            Absent => "absent",
        })
    }
}

/// A word that is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy is one of virtual, host, absent")]
pub struct UnknownPolicy;

impl std::str::FromStr for FilePolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        let found = [Virtual, Host, Absent].into_iter().find(|policy| policy.to_string() == word);
        found.ok_or(UnknownPolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_sources_and_a_default() {
        let listing = listing();
        assert!(listing.iter().map(|file| file.name).eq(names()));
        for file in listing {
            assert!(!file.v2.is_empty() && !file.v1.is_empty(), "{}", file.name);
            assert_eq!(default_policy(file.name), Some(file.policy), "{}", file.name);
        }
        assert_eq!(default_policy("kcore"), None);
    }

    #[test]
    fn lines_are_as_the_renderers_have_them() {
        let meminfo = lines("meminfo");
        for (line, policy) in [
            ("MemTotal", Virtual),
            ("Hugepagesize", Host),
            ("DirectMap*", Absent),
            ("HugePages_Free", Virtual),
        ] {
            assert!(meminfo.contains(&(line, policy)), "{line}");
        }
        assert!(lines("sys/devices/system/cpu").contains(&("cpuN/crash_notes", Absent)));
        assert!(lines("sys/devices/system/cpu").contains(&("kernel_max", Host)));
        assert!(lines("sys/devices/system/node").contains(&("nodeN/meminfo", Virtual)));
        for line in [("*/stat", Virtual), ("*/size", Host), ("*/subsystem", Absent)] {
            assert!(lines("sys/block").contains(&line), "{line:?}");
        }
    }

    #[test]
    fn words_name_policies() {
        for policy in [Virtual, Host, Absent] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("hidden".parse::<FilePolicy>(), Err(UnknownPolicy));
    }
}
