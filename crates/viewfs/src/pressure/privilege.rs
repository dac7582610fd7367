//! Whether a caller may have triggers with windows of any length.

use hostfs::Dir;

/// Bit of CAP_SYS_RESOURCE, capabilities(7).
const CAP_SYS_RESOURCE: u32 = 24;
/// The link of the host's user namespace: `PROC_USER_INIT_INO` of include/linux/proc_ns.h.
const HOST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Whether the thread `tid` has CAP_SYS_RESOURCE in the host's user namespace: each trigger with a
/// window of its own costs the host a real-time thread. No, where that may not be known.
pub(crate) fn has_sys_resource(proc: &Dir, tid: u32) -> bool {
    let namespace = proc.read_link(format!("{tid}/ns/user"));
    if !namespace.is_ok_and(|link| link.as_os_str() == HOST_USER_NAMESPACE) {
        return false;
    }
    let mut status = Vec::new();
    proc.read_one(format!("{tid}/status"), &mut status).is_ok()
        && effective_capabilities(&status).is_some_and(|set| set & (1 << CAP_SYS_RESOURCE) != 0)
}

/// `CapEff` of a `/proc/PID/status`, a mask in hexadecimal. proc_pid_status(5).
fn effective_capabilities(status: &[u8]) -> Option<u64> {
    let value = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"CapEff:"));
    let digits = std::str::from_utf8(value?).ok()?.trim();
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn allowed(namespace: &str, status: &str) -> bool {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(proc.path().join("7/ns")).unwrap();
        symlink(namespace, proc.path().join("7/ns/user")).unwrap();
        std::fs::write(proc.path().join("7/status"), status).unwrap();
        has_sys_resource(&Dir::open(proc.path()).unwrap(), 7)
    }

    #[test]
    fn root_of_the_host_may_and_others_may_not() {
        let root = "Name:\tCapEff:\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nX:\t1\n";
        assert!(allowed(HOST_USER_NAMESPACE, root));
        assert!(allowed(HOST_USER_NAMESPACE, "CapEff:\t0000000001000000\n"));
        assert!(!allowed(HOST_USER_NAMESPACE, "CapEff:\t000001fffeffffff\n"), "all but this one");
        assert!(!allowed("user:[4026532000]", root), "root of a namespace of its own");
    }

    #[test]
    fn what_cannot_be_known_is_no() {
        for status in ["", "CapEff:\n", "CapEff:\t-1\n", "CapEff:\tx\n", "CapPrm:\tff000000\n"] {
            assert!(!allowed(HOST_USER_NAMESPACE, status), "{status:?}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(!has_sys_resource(&Dir::open(empty.path()).unwrap(), 7));
    }
}
