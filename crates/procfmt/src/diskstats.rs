//! `/proc/diskstats`: one row of counters per block device.
//! Source: Documentation/admin-guide/iostats.rst.

use crate::num::{fields, lines, parse_u64, push_right, push_u64};

/// One row, split into the device and its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// The device's name; it may hold blanks.
    pub name: &'a [u8],
    /// How many counters the kernel prints: 11, from 4.18 on 15, from 5.5 on 17.
    pub columns: usize,
    /// The whole line, without its newline.
    pub text: &'a [u8],
}

/// The counters that a cgroup keeps per device; those that it does not keep are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads, writes and discards completed.
    pub completed: [u64; 3],
    /// Sectors of 512 bytes read, written and discarded.
    pub sectors: [u64; 3],
}

/// The rows in the kernel's order; lines of another form are passed over.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Row<'_>> {
    lines(text).filter_map(parse_row)
}

fn parse_row(line: &[u8]) -> Option<Row<'_>> {
    let (major, rest) = first_number(line)?;
    let (minor, rest) = first_number(rest)?;
    let rest = rest.strip_prefix(b" ")?;
    // The counters are the run of numbers at the end; 17 is the most that a kernel prints, so a
    // name made of digits is still a name.
    let mut columns = 0;
    let mut end = rest.len();
    while columns < 17 {
        let Some(blank) = rest.get(..end)?.iter().rposition(|&byte| byte == b' ') else { break };
        if parse_u64(&rest[blank + 1..end]).is_none() {
            break;
        }
        columns += 1;
        end = blank;
    }
    let name = rest.get(..end).filter(|name| !name.is_empty() && columns > 0)?;
    Some(Row { major, minor, name, columns, text: line })
}

fn first_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((u32::try_from(parse_u64(digits)?).ok()?, rest))
}

impl Row<'_> {
    /// Appends the row with other counters, in as many columns as the host prints.
    pub fn write_with(&self, counters: &Counters, out: &mut Vec<u8>) {
        push_right(out, self.major.into(), 4);
        out.push(b' ');
        push_right(out, self.minor.into(), 7);
        out.push(b' ');
        out.extend_from_slice(self.name);
        for value in counters.columns().into_iter().take(self.columns) {
            out.push(b' ');
            push_u64(out, value);
        }
        out.push(b'\n');
    }
}

impl Counters {
    /// The numbers of a row, in the kernel's order: reads merged sectors ms, writes merged sectors
    /// ms, in flight, io ms, weighted ms, discards merged sectors ms, flushes ms.
    fn columns(&self) -> [u64; 17] {
        let [reads, writes, discards] = self.completed;
        let [read, written, discarded] = self.sectors;
        [reads, 0, read, 0, writes, 0, written, 0, 0, 0, 0, discards, 0, discarded, 0, 0, 0]
    }

    /// Appends `/sys/block/NAME/stat`: the same numbers, in as many columns as the host's text of
    /// that file has. Source: Documentation/block/stat.rst.
    pub fn write_stat(&self, host: &[u8], out: &mut Vec<u8>) {
        for (index, (value, _)) in self.columns().into_iter().zip(fields(host)).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            push_right(out, value, 8);
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VDA: &str = " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17";

    #[test]
    fn rows_of_every_kernel_generation() {
        let row = parse_row(VDA.as_bytes()).unwrap();
        assert_eq!((row.major, row.minor, row.name, row.columns), (254, 0, &b"vda"[..], 17));
        let old = parse_row(b"   8       1 sda1 1 2 3 4 5 6 7 8 9 10 11").unwrap();
        assert_eq!(old.columns, 11);
        let odd = parse_row(b" 259       3 my disk!c0 1 2 3 4 5 6 7 8 9 10 11").unwrap();
        assert_eq!(odd.name, b"my disk!c0");
        for bad in ["", "8", "8 0", "8 0 sda", "a b sda 1 2", "8 99999999999 sda 1"] {
            assert_eq!(parse_row(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn foreign_counters_keep_the_hosts_columns() {
        let counters = Counters { completed: [7, 8, 9], sectors: [70, 80, 90] };
        let mut out = Vec::new();
        parse_row(VDA.as_bytes()).unwrap().write_with(&counters, &mut out);
        let expected = " 254       0 vda 7 0 70 0 8 0 80 0 0 0 0 9 0 90 0 0 0\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn stat_in_sysfs_is_padded_and_keeps_the_hosts_columns() {
        let counters = Counters { completed: [7, 8, 9], sectors: [70, 123_456_789, 90] };
        let stat = |host: &str| {
            let mut out = Vec::new();
            counters.write_stat(host.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        let old = "       7        0       70        0        8        0 123456789        0        \
                   0        0        0";
        assert_eq!(stat("1 2 3 4 5 6 7 8 9 10 11\n"), format!("{old}\n"));
        let discards = format!("{old}        9        0       90        0");
        assert_eq!(stat(&"       1 ".repeat(15)), format!("{discards}\n"));
        assert_eq!(stat(&"       1 ".repeat(17)), format!("{discards}        0        0\n"));
    }

    proptest! {
        #[test]
        fn stat_agrees_with_the_row(completed: [u64; 3], sectors: [u64; 3], columns in 1..=17_usize) {
            let counters = Counters { completed, sectors };
            let host = "5 ".repeat(columns);
            let (mut row, mut stat) = (Vec::new(), Vec::new());
            let text = format!("   8       0 sda {}", host.trim_end());
            parse_row(text.as_bytes()).unwrap().write_with(&counters, &mut row);
            counters.write_stat(host.as_bytes(), &mut stat);
            prop_assert!(fields(&row).skip(3).eq(fields(&stat)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text).for_each(|row| row.write_with(&Counters::default(), &mut Vec::new()));
        }
    }
}
