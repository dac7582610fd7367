//! `/proc/stat`: CPU time and system counters. Source: proc_stat(5), fs/proc/stat.c.

use crate::num::{fields, lines, parse_u64, push_u64};
use crate::units::Ticks;

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `cpu  …`: the sum over all CPUs, with the number of its columns.
    Total(usize),
    /// `cpuN …`: one online CPU.
    Cpu(u32),
    /// `intr …`: interrupts.
    Intr,
    /// `ctxt …`: context switches.
    Ctxt,
    /// `btime …`: seconds from the epoch to boot.
    Btime,
    /// `processes …`: forks since boot.
    Processes,
    /// `procs_running …`.
    ProcsRunning,
    /// `procs_blocked …`.
    ProcsBlocked,
    /// `softirq …`, with the number of its columns.
    Softirq(usize),
    /// A line of a newer kernel.
    Unknown(&'a [u8]),
}

/// The lines in the kernel's order, each with its text (without the newline).
pub fn parse(text: &[u8]) -> impl Iterator<Item = (Line<'_>, &[u8])> {
    lines(text).map(|line| (classify(line), line))
}

fn classify(line: &[u8]) -> Line<'_> {
    let mut words = fields(line);
    let key = words.next().unwrap_or_default();
    match key {
        b"cpu" => Line::Total(words.count()),
        b"intr" => Line::Intr,
        b"ctxt" => Line::Ctxt,
        b"btime" => Line::Btime,
        b"processes" => Line::Processes,
        b"procs_running" => Line::ProcsRunning,
        b"procs_blocked" => Line::ProcsBlocked,
        b"softirq" => Line::Softirq(words.count()),
        _ => cpu_number(key).map_or(Line::Unknown(key), Line::Cpu),
    }
}

fn cpu_number(key: &[u8]) -> Option<u32> {
    u32::try_from(parse_u64(key.strip_prefix(b"cpu")?)?).ok()
}

/// The columns of a `cpu` row that a cgroup accounts for, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Time in user mode, niced tasks excluded.
    pub user: Ticks,
    /// Time of niced tasks in user mode.
    pub nice: Ticks,
    /// Time in the kernel.
    pub system: Ticks,
    /// Time in which nothing ran.
    pub idle: Ticks,
    /// Time in which something wanted to run and was not allowed to.
    pub steal: Ticks,
}

impl CpuTicks {
    /// Appends a row with `columns` numbers: user nice system idle iowait irq softirq steal guest
    /// `guest_nice`, as far as the host's kernel has them. The total's label is followed by two
    /// blanks.
    pub fn write(&self, cpu: Option<u32>, columns: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"cpu");
        match cpu {
            Some(number) => push_u64(out, number.into()),
            None => out.push(b' '),
        }
        let Ticks(steal) = self.steal;
        let row = [self.user.0, self.nice.0, self.system.0, self.idle.0, 0, 0, 0, steal, 0, 0];
        for value in row.into_iter().chain(std::iter::repeat(0)).take(columns) {
            out.push(b' ');
            push_u64(out, value);
        }
        out.push(b'\n');
    }

    /// Sums column by column.
    pub fn add(&mut self, other: &Self) {
        self.user += other.user;
        self.nice += other.nice;
        self.system += other.system;
        self.idle += other.idle;
        self.steal += other.steal;
    }
}

/// How long each CPU of the host was busy since boot (all columns but idle and iowait), by kernel
/// CPU number. `guest` is part of `user` and not counted twice.
pub fn busy_ticks(text: &[u8]) -> impl Iterator<Item = (u32, Ticks)> + '_ {
    lines(text).filter_map(|line| {
        let mut words = fields(line);
        let cpu = cpu_number(words.next()?)?;
        let columns = words.take(8).map(|word| parse_u64(word).unwrap_or(0));
        let busy = columns.enumerate().filter(|(column, _)| !matches!(column, 3 | 4));
        Some((cpu, busy.map(|(_, ticks)| Ticks(ticks)).sum()))
    })
}

/// The `btime` line's value: seconds from the epoch to boot.
#[must_use]
pub fn btime(text: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| parse_u64(line.strip_prefix(b"btime ")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = b"cpu  10 1 5 100 2 0 3 4 9 0\ncpu0 10 1 5 100 2 0 3 4 9 0\n\
        intr 33 0 5\nctxt 99\nbtime 1700000000\nprocesses 7\nprocs_running 1\nprocs_blocked 0\n\
        softirq 5 1 2 3\nnewline 1\n";

    #[test]
    fn lines_are_told_apart() {
        let kinds: Vec<_> = parse(SAMPLE).map(|(line, _)| line).collect();
        assert_eq!(kinds[..3], [Line::Total(10), Line::Cpu(0), Line::Intr]);
        assert_eq!(kinds[8..], [Line::Softirq(4), Line::Unknown(b"newline")]);
        assert_eq!(btime(SAMPLE), Some(1_700_000_000));
    }

    #[test]
    fn guest_time_counted_once() {
        assert_eq!(busy_ticks(SAMPLE).collect::<Vec<_>>(), [(0, Ticks(10 + 1 + 5 + 3 + 4))]);
    }

    #[test]
    fn rows_have_the_hosts_columns() {
        let ticks =
            CpuTicks { user: Ticks(1), idle: Ticks(4), steal: Ticks(8), ..Default::default() };
        let mut out = Vec::new();
        ticks.write(None, 10, &mut out);
        ticks.write(Some(12), 4, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "cpu  1 0 0 4 0 0 0 8 0 0\ncpu12 1 0 0 4\n");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse(&text).count(), busy_ticks(&text).count(), btime(&text));
        }
    }
}
