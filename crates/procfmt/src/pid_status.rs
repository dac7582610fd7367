//! `/proc/PID/status`: who a process is, line by line.
//! Source: proc_pid_status(5), `proc_pid_status` in fs/proc/array.c.

use crate::num::{fields, lines, parse_u64};

/// The lines of the file that Resview uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidStatus {
    /// `Tgid`: the process that the thread belongs to.
    pub tgid: u64,
    /// `PPid`: its parent; 0 if that lies outside the pid namespace of the procfs instance.
    pub ppid: u64,
    /// `NSpid`: the thread's id in the procfs instance's pid namespace and in each one further
    /// in; the last is that of its own namespace. Empty before Linux 4.1.
    pub ns_pid: Vec<u64>,
}

impl PidStatus {
    /// Parses the file; `None` if a line that is needed is missing or has another form.
    ///
    /// The name cannot be mistaken for another line: the kernel escapes the newlines in it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let value = |key: &[u8]| lines(text).find_map(|line| line.strip_prefix(key));
        let ns_pid = value(b"NSpid:").unwrap_or_default();
        Some(Self {
            tgid: parse_u64(value(b"Tgid:")?.trim_ascii())?,
            ppid: parse_u64(value(b"PPid:")?.trim_ascii())?,
            ns_pid: fields(ns_pid).map(parse_u64).collect::<Option<_>>()?,
        })
    }

    /// Whether the process is the first of its pid namespace: its init.
    #[must_use]
    pub fn is_namespace_init(&self) -> bool {
        self.ns_pid.last() == Some(&1)
    }
}

/// The letter of the line `State`, as in field 3 of `/proc/PID/stat`: `R` running, `D`
/// uninterruptible sleep, `S`, `Z`, `T` and others. `None` if there is no such line.
#[must_use]
pub fn state(text: &[u8]) -> Option<u8> {
    let line = lines(text).find_map(|line| line.strip_prefix(b"State:"))?;
    line.trim_ascii_start().first().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_by_namespace() {
        let text = b"Name:\tPPid: 9\nUmask:\t0022\nTgid:\t11139\nPPid:\t7\nNSpid:\t11139\t5\t1\n";
        let status = PidStatus::parse(text).unwrap();
        assert_eq!(status, PidStatus { tgid: 11139, ppid: 7, ns_pid: vec![11139, 5, 1] });
        assert!(status.is_namespace_init());
        assert_eq!(PidStatus::parse(b"Tgid:\t1\nPPid:\t0\n").unwrap().ns_pid, []);
        for text in ["", "Tgid:\t1\n", "Tgid:\tx\nPPid:\t0\n", "Tgid:\t1\nPPid:\t0\nNSpid:\tx\n"] {
            assert_eq!(PidStatus::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_state_is_a_letter() {
        let text = b"Name:\tState: R\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t1\n";
        assert_eq!(state(text), Some(b'D'));
        assert_eq!((state(b""), state(b"State:\n"), state(b"Name:\tsh\n")), (None, None, None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = state(&text);
            let _ = PidStatus::parse(&text);
        }
    }
}
