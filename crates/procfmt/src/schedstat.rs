//! `/proc/schedstat`: the scheduler's statistics. Source: sched-stats.rst, kernel/sched/stats.c.

use crate::num::{fields, lines, push_u64};

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `version N`: the whole line. The version says what the numbers mean.
    Version(&'a [u8]),
    /// `timestamp N`, in jiffies.
    Timestamp,
    /// `cpuN …`, with how many numbers.
    Cpu(usize),
    /// `domainN …`, a scheduling domain of the CPU before, or anything else.
    Other,
}

/// The lines in the kernel's order.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    lines(text).map(|line| {
        let mut fields = fields(line);
        match fields.next() {
            Some(b"version") => Line::Version(line),
            Some(b"timestamp") => Line::Timestamp,
            Some(name) if is_cpu(name) => Line::Cpu(fields.count()),
            _ => Line::Other,
        }
    })
}

fn is_cpu(name: &[u8]) -> bool {
    name.strip_prefix(b"cpu")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Appends the line of a CPU of which nothing is known but how long it ran tasks (the seventh
/// number, in nanoseconds), with as many numbers as the host prints.
pub fn write_cpu(cpu: u32, columns: usize, busy_nanos: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"cpu");
    push_u64(out, cpu.into());
    for column in 0..columns {
        out.push(b' ');
        push_u64(out, if column == 6 { busy_nanos } else { 0 });
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let text =
            b"version 16\ntimestamp 4294898573\ncpu0 0 0 0 0 0 0 7 8 9\ndomain0 03 0\n\ncpu 1\n";
        let parsed: Vec<_> = parse(text).collect();
        let expected = [
            Line::Version(b"version 16"),
            Line::Timestamp,
            Line::Cpu(9),
            Line::Other,
            Line::Other,
            Line::Other,
        ];
        assert_eq!(parsed, expected);
    }

    #[test]
    fn the_busy_time_is_the_seventh_number() {
        let mut out = Vec::new();
        write_cpu(3, 9, 70, &mut out);
        assert_eq!(out, b"cpu3 0 0 0 0 0 0 70 0 0\n");
        assert!(parse(&out).eq([Line::Cpu(9)]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text).for_each(drop);
        }
    }
}
