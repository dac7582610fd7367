//! `/proc/PID/stat` and `/proc/PID/task/TID/stat`: one line about a process or a thread.
//! Source: proc_pid_stat(5), `do_task_stat` in fs/proc/array.c.

use crate::num::{fields, parse_u64};
use crate::units::Ticks;

/// The fields of the line that Resview uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidStat<'text> {
    /// Field 1: the process or thread, in the pid namespace of the procfs instance.
    pub pid: u64,
    /// Field 2: its name, up to 15 bytes, which may hold blanks and brackets.
    pub comm: &'text [u8],
    /// Field 3: `R` running, `D` uninterruptible sleep, `S`, `Z`, `T` and others.
    pub state: u8,
    /// Field 4: the parent; 0 if that lies outside the pid namespace.
    pub ppid: u64,
    /// Field 14: user time.
    pub utime: Ticks,
    /// Field 15: system time.
    pub stime: Ticks,
    /// Field 20: how many threads the process has.
    pub num_threads: u64,
    /// Field 22: when it was started, in ticks since boot (of the reader's time namespace).
    pub start_time: Ticks,
}

impl<'text> PidStat<'text> {
    /// Parses the file; `None` if it has another form.
    #[must_use]
    pub fn parse(text: &'text [u8]) -> Option<Self> {
        let (pid, rest) = text.split_at_checked(text.iter().position(|&byte| byte == b'(')?)?;
        // The name may hold anything, `) S 1` included; what follows it holds no bracket.
        let (comm, rest) = rest.split_at_checked(rest.iter().rposition(|&byte| byte == b')')?)?;
        let mut fields = fields(rest).skip(1);
        // After the bracket: field 3 first. `nth` counts from what has been taken already.
        let state = fields.next().and_then(|state| state.first().copied())?;
        let ppid = parse_u64(fields.next()?)?;
        let utime = parse_u64(fields.nth(9)?)?;
        let stime = parse_u64(fields.next()?)?;
        let num_threads = parse_u64(fields.nth(4)?)?;
        let start_time = parse_u64(fields.nth(1)?)?;
        Some(Self {
            pid: parse_u64(pid.trim_ascii())?,
            comm: comm.get(1..)?,
            state,
            ppid,
            utime: Ticks(utime),
            stime: Ticks(stime),
            num_threads,
            start_time: Ticks(start_time),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAIL: &str = "S 1 2 3 0 -1 4194560 205 0 0 0 7 8 0 0 20 0 3 0 4711 2605056 123 184467";

    fn stat(comm: &str) -> String {
        format!("42 ({comm}) {TAIL}\n")
    }

    #[test]
    fn comm_with_space_in_uptime() {
        for comm in ["sh", "a b", "a) b (c", ") S 9 9 9", "(", ")", ""] {
            let text = stat(comm);
            let stat = PidStat::parse(text.as_bytes()).unwrap();
            assert_eq!(stat.comm, comm.as_bytes());
            assert_eq!((stat.pid, stat.state, stat.ppid), (42, b'S', 1));
            assert_eq!((stat.utime, stat.stime), (Ticks(7), Ticks(8)));
            assert_eq!((stat.num_threads, stat.start_time), (3, Ticks(4711)));
        }
    }

    #[test]
    fn other_text_is_refused() {
        let cut = stat("x").replace(" 4711", "");
        let cut = cut.split(" 2605056").next().unwrap();
        for text in ["", "42", "42 (sh", "42 (sh)", "x (sh) S 1", ")(", cut] {
            assert_eq!(PidStat::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_comm_gives_the_same_numbers(comm in "[^\0]{0,15}") {
            let text = stat(&comm);
            prop_assert_eq!(PidStat::parse(text.as_bytes()).unwrap().start_time, Ticks(4711));
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PidStat::parse(&text);
        }
    }
}
