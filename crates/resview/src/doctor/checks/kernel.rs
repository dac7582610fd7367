//! The kernel's version, and what follows from it.

use crate::doctor::finding::Finding;
use crate::doctor::machine::{Machine, version_in};

/// What came with a version, and what is missing without it.
struct Feature {
    since: [u32; 2],
    name: &'static str,
    without: &'static str,
}

const fn feature(since: [u32; 2], name: &'static str, without: &'static str) -> Feature {
    Feature { since, name, without }
}

/// Needed for anything at all: private mounts of procfs (fsopen, fsmount).
const LEAST: [u32; 2] = [5, 2];
/// Needed to attach running containers.
const LEAST_TO_ATTACH: [u32; 2] = [5, 12];

const FEATURES: [Feature; 9] = [
    feature([5, 2], "open_tree, move_mount", "no view can be attached"),
    feature([5, 6], "openat2", "targets in containers cannot be opened safely: no attach"),
    feature([5, 8], "STATX_MNT_ID", "mounts cannot be told apart: no attach"),
    feature([5, 12], "mount_setattr", "mounts cannot be made slaves or read-only: no attach"),
    feature(
        [6, 5],
        "MOVE_MOUNT_BENEATH",
        "a dead view is covered instead of replaced, and shows for a moment",
    ),
    feature([6, 6], "cpu.stat.local", "a parent's throttling is missing in steal time"),
    feature([6, 9], "FUSE_NOTIFY_RESEND", "requests of a dead worker come from the journal alone"),
    feature([6, 11], "pid namespace ioctls", "a container's init is searched in its cgroup"),
    feature([6, 12], "FUSE_ALLOW_IDMAP", "engines cannot id-map volumes of the view"),
];

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let release = machine.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let Some([major, minor, _]) = version_in(release) else {
        return vec![Finding::problem(
            format!("the kernel's version {release:?} is not understood"),
            "is /proc mounted?",
        )];
    };
    let version = [major, minor];
    let mut findings = Vec::new();
    if version < LEAST {
        findings.push(Finding::problem(
            format!("Linux {release} is too old for Resview"),
            "run Linux 5.2 or later; 6.9 or later is best",
        ));
    } else if version < LEAST_TO_ATTACH {
        findings.push(Finding::problem(
            format!("Linux {release} cannot attach a running container"),
            "run Linux 5.12 or later, or mount the view by the engine's volume options",
        ));
    }
    let (has, lacks): (Vec<_>, Vec<_>) = FEATURES.iter().partition(|one| version >= one.since);
    let names: Vec<_> = has.iter().map(|one| one.name).collect();
    findings.push(Finding::ok(format!("Linux {release}: {}", names.join(", "))));
    findings.extend(lacks.iter().map(|one| {
        let [major, minor] = one.since;
        Finding::note(
            format!("no {} before Linux {major}.{minor}: {}", one.name, one.without),
            format!("run Linux {major}.{minor} or later if that matters"),
        )
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::said;
    use crate::doctor::machine::fake::Fake;

    fn on(release: &str) -> Vec<String> {
        said(&look(&Fake::new(&[("proc/sys/kernel/osrelease", release)]).machine))
    }

    #[test]
    fn what_a_kernel_lacks_follows_from_its_version() {
        assert_eq!(on("6.18.44-x\n"), [""; 0]);
        assert_eq!(on("6.12.1\n"), [""; 0]);
        let debian_12 = on("6.1.0-44-amd64\n");
        assert_eq!(debian_12.len(), 5);
        assert!(debian_12.iter().all(|said| said.starts_with("Note")), "{debian_12:?}");
        assert!(on("5.10.0\n")[0].contains("Problem: Linux 5.10.0 cannot attach"));
        assert!(on("4.19.0\n")[0].contains("too old"));
        assert!(on("unknown")[0].contains("not understood"));
    }
}
