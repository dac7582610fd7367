//! The cgroup layout: which controllers there are, and what they leave out.

use std::path::Path;

use cgroup::{Controller, Layout, Version};
use hostfs::Kept;

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;

/// What containers see of the host without a controller.
const NEEDED: [(Controller, &str, bool); 6] = [
    (Controller::Memory, "memory and swap in meminfo", true),
    (Controller::Cpu, "CPU quotas, so all CPUs of the cpuset", true),
    (Controller::Cpuset, "all online CPUs, whatever the cpuset", true),
    (Controller::Cpuacct, "CPU time in stat and uptime", true),
    (Controller::Io, "I/O in diskstats", false),
    (Controller::Pids, "nothing; tasks are counted one by one", false),
];

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let text = std::fs::read(machine.path("proc/self/mountinfo")).unwrap_or_default();
    let layout = match Layout::from_mountinfo(&text, &Kept::new(64)) {
        Ok(layout) => layout,
        Err(error) => {
            return vec![Finding::problem(
                format!("the cgroup hierarchies cannot be used: {error}"),
                "mount -t cgroup2 none /sys/fs/cgroup",
            )];
        }
    };
    let mut findings = vec![Finding::ok(described(&layout))];
    for (controller, what, is_needed) in NEEDED {
        if layout.hierarchy_of(controller).is_some() {
            continue;
        }
        let name = controller.v1_name();
        let found = format!("no {name} controller: containers see the host's {what}");
        let advice = format!(
            "mount it, or boot with cgroup_enable={name} and without cgroup_disable={name}, \
             cgroup_no_v1={name}"
        );
        findings.push(match is_needed {
            true => Finding::problem(found, advice),
            false => Finding::note(found, advice),
        });
    }
    findings.extend(memory(&layout));
    findings.extend(delegated(&layout));
    findings.extend(block_io(&layout));
    findings.push(pressure(machine, &layout));
    findings
}

fn described(layout: &Layout) -> String {
    let has = |version| layout.hierarchies().iter().any(|one| one.version() == version);
    match (has(Version::V1), has(Version::V2)) {
        (true, true) => "cgroup v1 and v2 (hybrid)".to_owned(),
        (true, false) => "cgroup v1".to_owned(),
        _ => "cgroup v2".to_owned(),
    }
}

/// Without swap accounting, containers have no swap.
fn memory(layout: &Layout) -> Option<Finding> {
    let hierarchy = layout.hierarchy_of(Controller::Memory)?;
    let top = hierarchy.mount_point();
    let counts = match hierarchy.version() {
        Version::V1 => top.join("memory.memsw.usage_in_bytes").exists(),
        // The root has no limits; a cgroup below that has one tells.
        Version::V2 => {
            let limited =
                cgroups_below(top).into_iter().find(|dir| dir.join("memory.max").exists())?;
            limited.join("memory.swap.max").exists()
        }
    };
    (!counts).then(|| {
        Finding::note(
            "swap is not accounted per cgroup: containers see no swap",
            "boot with swapaccount=1 (a kernel with CONFIG_SWAP)",
        )
    })
}

/// Controllers that v2 has and does not give to the cgroups below its root.
fn delegated(layout: &Layout) -> Option<Finding> {
    let is_v2 = |one: &&cgroup::Hierarchy| one.version() == Version::V2;
    let top = layout.hierarchies().iter().find(is_v2)?.mount_point();
    let words = |file: &str| {
        let text = std::fs::read_to_string(top.join(file)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let given = words("cgroup.subtree_control");
    let wanted = ["memory", "cpu", "cpuset", "io", "pids"];
    let kept = words("cgroup.controllers").into_iter();
    let kept: Vec<_> =
        kept.filter(|name| wanted.contains(&name.as_str()) && !given.contains(name)).collect();
    (!kept.is_empty()).then(|| {
        Finding::note(
            format!("cgroup v2 has {} and gives it to no cgroup yet", kept.join(", ")),
            format!(
                "most engines do that themselves; else echo +{} > {}/cgroup.subtree_control",
                kept.join(" +"),
                top.display()
            ),
        )
    })
}

/// v1 counts no I/O before a throttling rule was set once.
fn block_io(layout: &Layout) -> Option<Finding> {
    let hierarchy = layout.hierarchy_of(Controller::Io)?;
    if hierarchy.version() == Version::V2 {
        return None;
    }
    let names = ["blkio.throttle.io_serviced_recursive", "blkio.bfq.io_serviced_recursive"];
    let counts = |name: &&str| {
        let text = std::fs::read_to_string(hierarchy.mount_point().join(name));
        text.is_ok_and(|text| text.contains(':'))
    };
    (!names.iter().any(counts)).then(|| {
        Finding::note(
            "cgroup v1 counts no disk I/O yet: diskstats of containers stay 0",
            "start the daemon with --blkio-accounting",
        )
    })
}

fn pressure(machine: &Machine, layout: &Layout) -> Finding {
    if let Err(error) = machine.read("/proc/pressure/cpu") {
        return Finding::note(
            format!("the kernel keeps no pressure information ({error})"),
            "boot with psi=1 (CONFIG_PSI)",
        );
    }
    if layout.hierarchies().iter().all(|one| one.version() == Version::V1) {
        return Finding::note(
            "pressure per container needs cgroup v2, which is not mounted",
            "mount -t cgroup2 none /sys/fs/cgroup/unified",
        );
    }
    Finding::ok("pressure information is kept")
}

fn cgroups_below(top: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(top).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    /// A machine with v2 alone, whose root has these controllers.
    fn v2(controllers: &str, given: &str) -> Fake {
        let fake = Fake::new(&[
            ("proc/pressure/cpu", "some avg10=0.00\n"),
            ("cg/cgroup.procs", ""),
            ("cg/cgroup.controllers", controllers),
            ("cg/cgroup.subtree_control", given),
            ("cg/a/memory.max", "max\n"),
            ("cg/a/memory.swap.max", "max\n"),
        ]);
        let top = fake.root().join("cg");
        let line = format!("9 1 0:9 / {} rw - cgroup2 none rw\n", top.display());
        fake.file("proc/self/mountinfo", &line);
        fake
    }

    const ALL: &str = "cpuset cpu io memory pids\n";

    #[test]
    fn a_good_machine_has_all_controllers() {
        let fake = v2(ALL, ALL);
        assert_eq!(said(&look(&fake.machine)), [""; 0]);
        assert_eq!(look(&fake.machine)[0].found, "cgroup v2");
    }

    #[test]
    fn a_missing_controller_is_named_with_what_it_costs() {
        let said = said(&look(&v2("cpu io memory pids\n", ALL).machine));
        assert!(said[0].starts_with("Problem: no cpuset controller"), "{said:?}");
        let without_pids = v2("cpuset cpu io memory\n", ALL);
        let said = super::super::said(&look(&without_pids.machine));
        assert!(said[0].starts_with("Note: no pids controller"), "{said:?}");
    }

    #[test]
    fn what_is_not_delegated_swap_and_pressure_are_notes() {
        let fake = v2(ALL, "cpu io pids\n");
        std::fs::remove_file(fake.machine.path("cg/a/memory.swap.max")).unwrap();
        std::fs::remove_file(fake.machine.path("proc/pressure/cpu")).unwrap();
        let said = said(&look(&fake.machine));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("swap is not accounted"));
        assert!(said[1].contains("cpuset, memory and gives it to no cgroup"));
        assert!(said[2].contains("no pressure information"));
    }

    #[test]
    fn v1_says_why_diskstats_are_0() {
        let fake = Fake::new(&[("proc/pressure/cpu", "")]);
        let mut lines = String::new();
        for name in ["memory", "cpu", "cpuset", "cpuacct", "blkio", "pids"] {
            let dir = fake.root().join(name);
            fake.file(&format!("{name}/cgroup.procs"), "");
            lines += &format!("9 1 0:9 / {} rw - cgroup none rw,{name}\n", dir.display());
        }
        fake.file("proc/self/mountinfo", &lines);
        fake.file("memory/memory.memsw.usage_in_bytes", "0\n");
        let said = said(&look(&fake.machine));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("--blkio-accounting") || said[0].contains("no disk I/O"));
        fake.file("blkio/blkio.throttle.io_serviced_recursive", "8:0 Read 1\n");
        assert_eq!(super::super::said(&look(&fake.machine)).len(), 1);
    }

    #[test]
    fn no_cgroups_at_all_are_a_problem() {
        let said = said(&look(&Fake::new(&[]).machine));
        assert!(said[0].starts_with("Problem: the cgroup hierarchies"), "{said:?}");
    }
}
