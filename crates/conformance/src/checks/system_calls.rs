//! What programs print that ask the kernel by `sysinfo(2)` and `sched_getaffinity(2)`: no tree of
//! files decides it, so it is no check, but it is measured and told.

use std::fmt::Write as _;

use anyhow::Result;

use super::consumers::installed;
use super::memory::MIB;
use crate::container::Container;
use crate::text::{meminfo, processors};
use crate::tree::Tree;

/// A quantity that a file has too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Memory,
    Cpus,
    Load,
}

use What::{Cpus, Load, Memory};

/// A quantity, who prints it, the program to look for, and the command.
type Asked = (What, &'static str, &'static str, &'static str);

const ASKED: [Asked; 9] = [
    (
        Memory,
        "busybox `free`",
        "busybox",
        "busybox free -m | awk \"/Mem/ { print \\$2, \\\"MiB\\\" }\"",
    ),
    (
        Memory,
        "`getconf _PHYS_PAGES`",
        "getconf",
        "echo $(($(getconf _PHYS_PAGES) * $(getconf PAGE_SIZE) >> 20)) MiB",
    ),
    (Memory, "JVM `getTotalMemorySize()`", "java", "java -XX:-UseContainerSupport Ask.java memory"),
    (Cpus, "`nproc`", "nproc", "nproc"),
    (
        Cpus,
        "Node `os.availableParallelism()`",
        "node",
        "node -p \"require(\\\"os\\\").availableParallelism()\"",
    ),
    (Cpus, "JVM `availableProcessors()`", "java", "java -XX:-UseContainerSupport Ask.java cpus"),
    (Load, "busybox `uptime`", "busybox", "busybox uptime | sed \"s/.*average: //\""),
    (
        Load,
        "Python `os.getloadavg()`",
        "/usr/bin/python3",
        "/usr/bin/python3 -c \"import os; print(*(\\\"%.2f\\\" % n for n in os.getloadavg()))\"",
    ),
    (Load, "JVM `getSystemLoadAverage()`", "java", "java -XX:-UseContainerSupport Ask.java load"),
];

/// With its own reading of cgroups off, these come from the kernel.
const ASK: &str = "
class Ask {
    public static void main(String[] words) {
        var system = (com.sun.management.OperatingSystemMXBean)
            java.lang.management.ManagementFactory.getOperatingSystemMXBean();
        System.out.println(switch (words[0]) {
            case \"memory\" -> (system.getTotalMemorySize() >> 20) + \" MiB\";
            case \"cpus\" -> Runtime.getRuntime().availableProcessors();
            default -> String.format(\"%.2f\", system.getSystemLoadAverage());
        });
    }
}";

/// What the programs print in a container of 512 MiB with a quota of one CPU, as a table in
/// Markdown. Those that are not installed are left out.
///
/// # Errors
/// When a container cannot be made, or a program fails.
pub fn by_system_call(tree: &Tree) -> Result<String> {
    let mut container = Container::limited(tree, |cgroup| {
        cgroup.set_memory(512 * MIB);
        cgroup.set_quota(100_000, 100_000);
    })?;
    let mut text = "| quantity | printed by | asks by | prints | the file says |\n\
        |---|---|---|---|---|\n"
        .to_owned();
    for (what, by, program, command) in ASKED {
        if installed(program).is_err() {
            continue;
        }
        let script = format!(
            "dir=$(mktemp -d) && cd $dir && cat >Ask.java <<\"EOF\"\n{ASK}\nEOF\n
            {command}; status=$?; rm -r $dir; exit $status"
        );
        let printed = container.sh(&script)?;
        let (quantity, call, file) = match what {
            Memory => {
                let total = meminfo(&container.read("/proc/meminfo")?, "MemTotal")?;
                ("memory", "sysinfo", format!("{} MiB", total >> 10))
            }
            Cpus => {
                let count = processors(&container.read("/proc/cpuinfo")?);
                ("CPUs", "sched_getaffinity", count.to_string())
            }
            Load => {
                let line = container.read("/proc/loadavg")?;
                let three: Vec<&str> = line.split(' ').take(3).collect();
                ("load", "sysinfo", three.join(" "))
            }
        };
        let _ = writeln!(text, "| {quantity} | {by} | {call}(2) | {} | {file} |", printed.trim());
    }
    Ok(text)
}
