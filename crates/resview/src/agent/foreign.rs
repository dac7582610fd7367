//! Containers that an engine tells of and that are none of this kernel's: virtual machines, whose
//! process is the hypervisor, and sandboxes that answer system calls themselves.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use api::Created;

use super::Agent;
use crate::mountinfo;

/// Why such a container is left alone; `None`: it has the host's kernel. Before its runtime has
/// changed its root that cannot be told, but then only runtimes with the host's kernel ask.
pub(super) fn why_left_alone(agent: &Agent, created: &Created) -> Option<String> {
    if created.root.is_some() {
        return None;
    }
    let pid = created.pid;
    if mount_namespace(&pid.to_string()).is_some_and(|of| Some(of) == mount_namespace("self")) {
        return Some("its process sees the host's own mounts: a virtual machine?".to_owned());
    }
    let mut text = Vec::new();
    // One that has ended is told of by whoever attaches.
    agent.host.proc.read(format!("{pid}/mountinfo"), &mut text).ok()?;
    (!has_procfs(&text))
        .then(|| "it has no procfs at /proc: another kernel's container?".to_owned())
}

fn mount_namespace(pid: &str) -> Option<u64> {
    Some(std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino())
}

fn has_procfs(table: &[u8]) -> bool {
    mountinfo::at(&mountinfo::parse(table), Path::new("/proc"))
        .is_some_and(|mount| mount.fs_type == "proc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_procfs_at_proc_counts() {
        let table = |rest: &str| {
            let root = "20 1 0:20 / / rw - overlay overlay rw\n";
            has_procfs(format!("{root}{rest}").as_bytes())
        };
        assert!(table("21 20 0:21 / /proc rw - proc proc rw\n"));
        assert!(!table("21 20 0:21 / /proc rw - tmpfs tmpfs rw\n"));
        assert!(!table("21 20 0:21 / /mnt/proc rw - proc proc rw\n"));
        // Something lies on it.
        let both = "21 20 0:21 / /proc rw - proc proc rw\n22 21 0:22 / /proc rw - tmpfs t rw\n";
        assert!(!table(both));
        assert!(!has_procfs(b""));
    }
}
