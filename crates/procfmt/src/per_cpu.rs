//! `/proc/interrupts` and `/proc/softirqs`: tables with a column per CPU.
//! Source: kernel/irq/proc.c, fs/proc/softirqs.c.

use crate::num::{fields, lines, parse_u64, push_right};

/// The blanks before the first CPU in the header of one of the tables. `/proc/softirqs` has 20;
/// `/proc/interrupts` has 11, 12 in 7.2, and more on machines with a thousand and more interrupt
/// lines. `None`: the text does not begin with a header.
#[must_use]
pub fn indent(text: &[u8]) -> Option<usize> {
    let header = lines(text).next()?;
    let blanks = header.iter().take_while(|&&byte| byte == b' ').count();
    header.get(blanks..)?.starts_with(b"CPU").then_some(blanks)
}

/// The names of the rows of `/proc/softirqs`, in the kernel's order.
pub fn softirqs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(text).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, counts) = line.split_at_checked(colon)?;
        let name = name.trim_ascii_start();
        let is_row = fields(counts.get(1..)?).all(|count| parse_u64(count).is_some());
        (is_row && !name.is_empty() && !name.contains(&b' ')).then_some(name)
    })
}

/// Appends the header: the names of these CPUs, each as wide as a column.
pub fn write_header(indent: usize, cpus: impl Iterator<Item = u32>, out: &mut Vec<u8>) {
    out.resize(out.len() + indent, b' ');
    for cpu in cpus {
        let cpu = cpu.to_string();
        out.extend_from_slice(b"CPU");
        out.extend_from_slice(cpu.as_bytes());
        out.resize(out.len() + 8usize.saturating_sub(cpu.len()), b' ');
    }
    out.push(b'\n');
}

/// Appends a row of `/proc/softirqs`.
pub fn write_softirq(name: &[u8], counts: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    out.resize(out.len() + 12usize.saturating_sub(name.len()), b' ');
    out.extend_from_slice(name);
    out.push(b':');
    for count in counts {
        out.push(b' ');
        push_right(out, count, 10);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_and_print_give_the_same_bytes() {
        let text = b"                    CPU0       CPU10      \n          HI:          0          0\n    \
            IRQ_POLL:          0          0\n";
        let mut out = Vec::new();
        write_header(indent(text).unwrap(), [0, 10].into_iter(), &mut out);
        for name in softirqs(text) {
            write_softirq(name, [0, 0].into_iter(), &mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(text));
    }

    #[test]
    fn only_a_header_has_an_indent() {
        assert_eq!(indent(b"            CPU0       \n"), Some(12));
        assert_eq!(indent(b"CPU0       CPU1       "), Some(0));
        for text in [&b""[..], b"\n", b"      \n", b"  0:  1\n           CPU0\n", b"  CP"] {
            assert_eq!(indent(text), None, "{text:?}");
        }
    }

    #[test]
    fn long_names_and_counts_widen_their_column() {
        let mut out = Vec::new();
        write_softirq(b"A_NAME_TOO_LONG", [u64::MAX].into_iter(), &mut out);
        assert_eq!(out, b"A_NAME_TOO_LONG: 18446744073709551615\n");
    }

    #[test]
    fn other_lines_are_passed_over() {
        assert_eq!(softirqs(b"\n:\n: 0\nRCU\nRCU: x\ntwo words: 1\n").count(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = indent(&text);
            softirqs(&text).for_each(|name| write_softirq(name, std::iter::once(0), &mut Vec::new()));
        }
    }
}
