//! `/sys/devices/system/cpu/**`.

use super::sys::{Sys, machine, numbered};
use super::{CPUS, Needs};
use crate::render::sys_cpu as render;

/// The policy for a path below the directory.
pub(super) fn policy(path: &str) -> Sys {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (numbered(first, "cpu"), rest) {
        (Some(cpu), "") => Sys::OfCpu(cpu),
        (Some(_), rest) => below_cpu(rest),
        (None, "") => top_level(first),
        (None, "active") if first == "smt" => {
            machine(Needs { thread_siblings: true, ..CPUS }, render::smt_active)
        }
        (None, rest) => match rest.rsplit('/').next() {
            // cpuN/cpufreq is a link to cpufreq/policyM.
            Some("affected_cpus" | "related_cpus") => machine(CPUS, render::numbers),
            _ => Sys::Host,
        },
    }
}

fn top_level(name: &str) -> Sys {
    match name {
        "online" | "present" => machine(CPUS, render::online),
        "possible" => machine(CPUS, render::possible),
        "offline" => machine(CPUS, render::offline),
        "isolated" | "nohz_full" | "enabled" | "housekeeping" => machine(CPUS, render::list),
        _ => Sys::Host,
    }
}

fn below_cpu(path: &str) -> Sys {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    // A physical address, and how often the host ran hot.
    if name.starts_with("crash_notes") || path.split('/').any(|part| part == "thermal_throttle") {
        return Sys::Absent;
    }
    match (directory, name) {
        ("topology", _) if name.ends_with("_list") => machine(CPUS, render::list),
        ("topology", _) if name.ends_with("_cpus") || name.ends_with("_siblings") => {
            machine(CPUS, render::mask)
        }
        (_, "shared_cpu_list") => machine(CPUS, render::list),
        (_, "shared_cpu_map") => machine(CPUS, render::mask),
        (_, "affected_cpus" | "related_cpus") => machine(CPUS, render::numbers),
        ("", _) => numbered(name, "node").map_or(Sys::Host, Sys::OfNode),
        _ => Sys::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_directories_are_told_from_other_names() {
        assert!(matches!(policy("cpu12"), Sys::OfCpu(12)));
        for other in ["cpufreq", "cpuidle", "cpu", "cpu01", "cpu-1", "cpu99999999999"] {
            assert!(matches!(policy(other), Sys::Host), "{other}");
        }
    }

    #[test]
    fn crash_notes_not_served() {
        for path in ["cpu0/crash_notes", "cpu0/crash_notes_size", "cpu3/thermal_throttle/core"] {
            assert!(matches!(policy(path), Sys::Absent), "{path}");
        }
    }

    #[test]
    fn masks_and_lists_are_virtual() {
        for path in [
            "online",
            "housekeeping",
            "smt/active",
            "cpu0/topology/core_cpus",
            "cpu0/topology/thread_siblings_list",
            "cpu1/cache/index0/shared_cpu_map",
            "cpu1/cpufreq/affected_cpus",
            "cpufreq/policy0/related_cpus",
        ] {
            assert!(matches!(policy(path), Sys::Virtual(_)), "{path}");
        }
        for path in ["kernel_max", "uevent", "smt/control", "cpu0/topology/core_id", "cpufreq/x"] {
            assert!(matches!(policy(path), Sys::Host), "{path}");
        }
    }

    #[test]
    fn a_cpus_link_to_its_node_is_there_if_the_node_is() {
        assert!(matches!(policy("cpu3/node1"), Sys::OfNode(1)));
        assert!(matches!(policy("cpu3/node"), Sys::Host));
    }
}
