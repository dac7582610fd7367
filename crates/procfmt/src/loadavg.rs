//! `/proc/loadavg`: three load averages, running and existing tasks, the newest pid.
//! Source: proc_loadavg(5).

use crate::num::{fields, parse_u64, push_hundredths, push_u64};

/// The file's one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loadavg {
    /// Averages over 1, 5 and 15 minutes, in hundredths of a task.
    pub averages: [u64; 3],
    /// Tasks that are running or ready to run.
    pub running: u64,
    /// Tasks that exist.
    pub total: u64,
    /// The pid that was given out last.
    pub last_pid: u64,
}

impl Loadavg {
    /// Parses the file; `None` if it has another form.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = fields(text);
        let mut average = || {
            let mut parts = fields.next()?.split(|&byte| byte == b'.');
            let whole = parse_u64(parts.next()?)?;
            let hundredths = parse_u64(parts.next().filter(|digits| digits.len() == 2)?)?;
            whole.checked_mul(100)?.checked_add(hundredths)
        };
        let averages = [average()?, average()?, average()?];
        let mut tasks = fields.next()?.split(|&byte| byte == b'/');
        let (running, total) = (parse_u64(tasks.next()?)?, parse_u64(tasks.next()?)?);
        Some(Self { averages, running, total, last_pid: parse_u64(fields.next()?)? })
    }

    /// Appends the line.
    pub fn write(&self, out: &mut Vec<u8>) {
        for average in self.averages {
            push_hundredths(out, average);
            out.push(b' ');
        }
        push_u64(out, self.running);
        out.push(b'/');
        push_u64(out, self.total);
        out.push(b' ');
        push_u64(out, self.last_pid);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_reads() {
        for text in ["0.00 0.01 0.05 1/79 4711\n", "120.99 3.50 64.00 12/30000 4194304\n"] {
            let mut out = Vec::new();
            Loadavg::parse(text.as_bytes()).unwrap().write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        for bad in ["", "0.00 0.01 0.05 1 4711", "0.0 0.01 0.05 1/79 4711", "0.00 0.01"] {
            assert_eq!(Loadavg::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
