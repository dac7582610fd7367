//! The catalogue: every virtual file, what it needs, and how it is rendered.
//!
//! It is the one list of files: the trees, the documents and the tests are made from it.

use crate::render::{Renderer, cpuinfo, diskstats, loadavg, meminfo, stat, swaps, sys_cpu, uptime};

/// Which parts of a [`ResourceView`](crate::ResourceView) a file is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// [`cpus`](crate::ResourceView::cpus).
    pub cpus: bool,
    /// [`memory`](crate::ResourceView::memory).
    pub memory: bool,
    /// [`cpu_times`](crate::ResourceView::cpu_times), which include the CPUs and the clock.
    pub cpu_times: bool,
    /// [`tasks`](crate::ResourceView::tasks).
    pub tasks: bool,
    /// [`disks`](crate::ResourceView::disks).
    pub disks: bool,
}

const NOTHING: Needs =
    Needs { cpus: false, memory: false, cpu_times: false, tasks: false, disks: false };
const CPUS: Needs = Needs { cpus: true, ..NOTHING };
const MEMORY: Needs = Needs { memory: true, ..NOTHING };
const CPU_TIMES: Needs = Needs { cpu_times: true, ..NOTHING };
const TASKS: Needs = Needs { tasks: true, ..NOTHING };
const DISKS: Needs = Needs { disks: true, ..NOTHING };

/// What becomes of a file, or of a line of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePolicy {
    /// The container's own, computed.
    Virtual,
    /// The host's, because it is true for the container too, or because the operator chose so.
    Host,
    /// Not there, as on a kernel without the feature; a table keeps its header and has no rows.
    Absent,
}

/// A file of `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct ProcFile {
    /// Its name below `/proc`.
    pub name: &'static str,
    /// What becomes of it unless the operator chooses otherwise.
    pub policy: FilePolicy,
    /// Permission bits, those of the kernel's own file.
    pub mode: u32,
    /// Whether LXCFS 7 has the file too; under that name, the others are not listed.
    pub in_lxcfs: bool,
    /// What it is made from.
    pub needs: Needs,
    /// How it is made.
    pub render: Renderer,
}

/// A file that LXCFS has as well and that everybody may read.
const fn classic(name: &'static str, needs: Needs, render: Renderer) -> ProcFile {
    ProcFile { name, policy: FilePolicy::Virtual, mode: 0o444, in_lxcfs: true, needs, render }
}

/// The files of `/proc`, in the order in which the tree lists them.
pub static PROC_FILES: [ProcFile; 7] = [
    classic("cpuinfo", CPUS, cpuinfo::render),
    classic("meminfo", MEMORY, meminfo::render),
    classic("stat", Needs { tasks: true, ..CPU_TIMES }, stat::render),
    classic("uptime", CPU_TIMES, uptime::render),
    classic("swaps", MEMORY, swaps::render),
    classic("diskstats", DISKS, diskstats::render),
    classic("loadavg", TASKS, loadavg::render),
];

/// The file of `/proc` with this name.
#[must_use]
pub fn proc_file(name: &str) -> Option<&'static ProcFile> {
    PROC_FILES.iter().find(|file| file.name == name)
}

/// What becomes of an entry of `/sys/devices/system/cpu`.
#[derive(Clone, Copy, Debug)]
pub enum SysCpu {
    /// The container's own content, made from its CPUs.
    Virtual(Renderer),
    /// The host's content, because it is true for the container too.
    Host,
    /// A CPU's directory: there if the container sees the CPU.
    CpuDirectory(u32),
    /// Not there: it cannot be read, or says what a container should not know.
    Absent,
}

/// What a file of `SysCpu::Virtual` is made from.
pub const SYS_CPU_NEEDS: Needs = CPUS;

/// The policy for the entry `path`, which is relative to `/sys/devices/system/cpu` and has no
/// leading slash: `online`, `cpu3`, `cpu3/topology/core_cpus`.
#[must_use]
pub fn sys_cpu(path: &str) -> SysCpu {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (cpu_directory(first), rest) {
        (Some(cpu), "") => SysCpu::CpuDirectory(cpu),
        (Some(_), rest) => below_cpu(rest),
        (None, "") => top_level(first),
        (None, _) => SysCpu::Host,
    }
}

fn top_level(name: &str) -> SysCpu {
    match name {
        "online" | "present" => SysCpu::Virtual(sys_cpu::online),
        "possible" => SysCpu::Virtual(sys_cpu::possible),
        "offline" => SysCpu::Virtual(sys_cpu::offline),
        "isolated" | "nohz_full" | "enabled" => SysCpu::Virtual(sys_cpu::list),
        _ => SysCpu::Host,
    }
}

fn below_cpu(path: &str) -> SysCpu {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    // A physical address, and how often the host ran hot.
    if name.starts_with("crash_notes") || path.split('/').any(|part| part == "thermal_throttle") {
        return SysCpu::Absent;
    }
    match (directory, name) {
        ("topology", _) if name.ends_with("_list") => SysCpu::Virtual(sys_cpu::list),
        ("topology", _) if name.ends_with("_cpus") || name.ends_with("_siblings") => {
            SysCpu::Virtual(sys_cpu::mask)
        }
        (_, "shared_cpu_list") => SysCpu::Virtual(sys_cpu::list),
        (_, "shared_cpu_map") => SysCpu::Virtual(sys_cpu::mask),
        (_, "affected_cpus" | "related_cpus") => SysCpu::Virtual(sys_cpu::numbers),
        _ => SysCpu::Host,
    }
}

/// N of a name `cpuN`.
fn cpu_directory(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("cpu")?;
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = PROC_FILES.iter().map(|file| file.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROC_FILES.len());
        assert!(proc_file("meminfo").is_some() && proc_file("kcore").is_none());
    }

    #[test]
    fn cpu_directories_are_told_from_other_names() {
        assert!(matches!(sys_cpu("cpu12"), SysCpu::CpuDirectory(12)));
        for other in ["cpufreq", "cpuidle", "cpu", "cpu01", "cpu-1", "cpu99999999999"] {
            assert!(matches!(sys_cpu(other), SysCpu::Host), "{other}");
        }
    }

    #[test]
    fn crash_notes_not_served() {
        for path in ["cpu0/crash_notes", "cpu0/crash_notes_size", "cpu3/thermal_throttle/core"] {
            assert!(matches!(sys_cpu(path), SysCpu::Absent), "{path}");
        }
    }

    #[test]
    fn masks_and_lists_are_virtual() {
        for path in [
            "online",
            "cpu0/topology/core_cpus",
            "cpu0/topology/thread_siblings_list",
            "cpu1/cache/index0/shared_cpu_map",
            "cpu1/cpufreq/affected_cpus",
        ] {
            assert!(matches!(sys_cpu(path), SysCpu::Virtual(_)), "{path}");
        }
        for path in ["kernel_max", "cpu0/topology/core_id", "cpufreq/policy0/scaling_cur_freq"] {
            assert!(matches!(sys_cpu(path), SysCpu::Host), "{path}");
        }
    }
}
