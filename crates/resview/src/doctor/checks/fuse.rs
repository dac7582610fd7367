//! FUSE: the module, the device, its knobs.

use crate::doctor::finding::Finding;
use crate::doctor::machine::Machine;

/// Not zero: the kernel aborts a whole connection whose server is late once (Linux 6.15).
const TIMEOUTS: [&str; 2] = ["default_request_timeout", "max_request_timeout"];

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![module(machine), device(machine), connections(machine)];
    for knob in TIMEOUTS {
        let path = format!("/proc/sys/fs/fuse/{knob}");
        if let Some(seconds) = machine.number(&path).filter(|seconds| *seconds != 0) {
            findings.push(Finding::problem(
                format!(
                    "fs.fuse.{knob} is {seconds} s: the kernel aborts the view for good if an \
                     answer is late once, as while a worker is replaced"
                ),
                format!("sysctl fs.fuse.{knob}=0 before the daemon starts"),
            ));
        }
    }
    findings
}

fn module(machine: &Machine) -> Finding {
    let known = machine.text("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().last() == Some("fuse")) {
        return Finding::ok("the kernel knows FUSE");
    }
    Finding::problem(
        "the kernel does not know the fuse file system",
        "modprobe fuse; if there is no such module, run a kernel with CONFIG_FUSE_FS",
    )
}

fn device(machine: &Machine) -> Finding {
    if machine.has("/dev/fuse") {
        return Finding::ok("/dev/fuse is there");
    }
    Finding::problem(
        "/dev/fuse is missing",
        "modprobe fuse; for a daemon in a container: --device /dev/fuse",
    )
}

fn connections(machine: &Machine) -> Finding {
    let mounted = machine.mounts_of("self").iter().any(|mount| mount.fs_type == "fusectl");
    if mounted {
        return Finding::ok("fusectl is mounted");
    }
    Finding::note(
        "fusectl is not mounted: a hung connection could not be aborted by hand",
        "mount -t fusectl none /sys/fs/fuse/connections",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    const GOOD: [(&str, &str); 4] = [
        ("proc/filesystems", "nodev\tfuse\n\tfuseblk\n"),
        ("dev/fuse", ""),
        ("proc/self/mountinfo", "9 1 0:9 / /sys/fs/fuse/connections rw - fusectl none rw\n"),
        ("proc/sys/fs/fuse/default_request_timeout", "0\n"),
    ];

    #[test]
    fn nothing_is_said_of_a_good_machine() {
        assert_eq!(said(&look(&Fake::new(&GOOD).machine)), [""; 0]);
    }

    #[test]
    fn a_request_timeout_is_a_problem() {
        let fake = Fake::new(&GOOD);
        fake.file("proc/sys/fs/fuse/max_request_timeout", "600\n");
        let said = said(&look(&fake.machine));
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("Problem: fs.fuse.max_request_timeout is 600 s"), "{said:?}");
    }

    #[test]
    fn a_machine_without_fuse_is_told() {
        let said = said(&look(&Fake::new(&[("proc/filesystems", "\tfuseblk\n")]).machine));
        assert_eq!(said.iter().filter(|said| said.starts_with("Problem")).count(), 2, "{said:?}");
        assert!(said[2].contains("fusectl"));
    }
}
