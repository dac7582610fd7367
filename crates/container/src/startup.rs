//! What must hold where the daemon runs.

use hostfs::HostFs;

use crate::error::Error;
use crate::process::{inode, offset};

/// Inode numbers that the kernel gives to the first namespace of each kind, on every machine
/// (include/linux/proc_ns.h).
const FIRST: [(&str, u64); 3] =
    [("cgroup", 0xEFFF_FFFB), ("pid", 0xEFFF_FFFC), ("time", 0xEFFF_FFFA)];

/// Refuses to run in a cgroup, pid or time namespace other than the host's: there, paths of
/// cgroups, ids of callers or clocks read differently, and every answer would be wrong.
///
/// # Errors
/// [`Error::Namespace`], which says what to change; or why procfs could not be read.
pub fn check_namespaces(host: &HostFs) -> Result<(), Error> {
    for (kind, first) in FIRST {
        // A kernel without namespaces of a kind has no other than the first one.
        if own_namespace(host, kind)?.is_some_and(|own| own != first) {
            return Err(Error::Namespace(advice(kind)));
        }
    }
    let mut text = Vec::new();
    let known = host.proc.read_one("self/timens_offsets", &mut text).is_ok();
    let is_shifted = |clock: &&str| offset(&text, clock).is_some_and(|shift| shift != 0);
    if known && ["monotonic", "boottime"].iter().any(is_shifted) {
        return Err(Error::Namespace(advice("time")));
    }
    Ok(())
}

fn advice(kind: &str) -> String {
    let (why, how) = match kind {
        "cgroup" => (
            "the cgroup paths of containers cannot be seen from there",
            "docker run --cgroupns=host; in a unit no ProtectControlGroups=private or strict; in \
             Kubernetes start through nsenter --cgroup=/proc/1/ns/cgroup",
        ),
        "pid" => (
            "callers in other containers have no process id there",
            "hostPID: true, docker run --pid=host",
        ),
        _ => (
            "clocks and start times are shifted there",
            "start it without unshare --time, and without timeOffsets in config.json",
        ),
    };
    format!(
        "this daemon runs in a {kind} namespace of its own, and {why}; run it in the host's \
         ({how})"
    )
}

/// The namespace of the daemon itself, for comparison; `None` if this kernel has none of the kind.
pub(crate) fn own_namespace(host: &HostFs, kind: &str) -> Result<Option<u64>, Error> {
    match host.proc.read_link(format!("self/ns/{kind}")) {
        Ok(link) => Ok(inode(&link)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(cgroup: u64, pid: u64, time: u64, offsets: &str) -> Result<(), Error> {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("self/ns")).unwrap();
        for (kind, inode) in [("cgroup", cgroup), ("pid", pid), ("time", time)] {
            if inode != 0 {
                let link = tree.path().join("self/ns").join(kind);
                symlink(format!("{kind}:[{inode}]"), link).unwrap();
            }
        }
        fs::write(tree.path().join("self/timens_offsets"), offsets).unwrap();
        check_namespaces(&HostFs::at(tree.path(), tree.path()).unwrap())
    }

    const ZERO: &str = "monotonic           0         0\nboottime            0         0\n";

    #[test]
    fn daemon_in_another_namespace_refuses_and_says_what_to_change() {
        let (cgroup, pid, time) = (4_026_531_835, 4_026_531_836, 4_026_531_834);
        assert_eq!(check(cgroup, pid, time, ZERO), Ok(()));
        assert_eq!(check(cgroup, pid, 0, ""), Ok(()), "a kernel without time namespaces");
        let message = |result: Result<(), Error>| result.unwrap_err().to_string();
        assert!(message(check(7, pid, time, ZERO)).contains("--cgroupns=host"));
        assert!(message(check(cgroup, 7, time, ZERO)).contains("--pid=host"));
        assert!(message(check(cgroup, pid, 7, ZERO)).contains("a time namespace of its own"));
        let shifted = ZERO.replace("boottime            0", "boottime           -5");
        assert!(message(check(cgroup, pid, time, &shifted)).contains("a time namespace"));
    }
}
