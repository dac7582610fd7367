//! `/proc/partitions`: a header, a blank line, and a row per block device.
//! Source: proc_partitions(5), block/genhd.c.

use crate::num::{lines, parse_u64};

/// The header and the blank line after it.
pub const HEADER: &[u8] = b"major minor  #blocks  name\n\n";

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Size in blocks of 1024 bytes.
    pub blocks: u64,
    /// The device's name; it may hold blanks.
    pub name: &'a [u8],
    text: &'a [u8],
}

/// The rows in the kernel's order; lines of another form are passed over, and so the header.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Row<'_>> {
    lines(text).filter_map(parse_row)
}

fn parse_row(text: &[u8]) -> Option<Row<'_>> {
    let (major, rest) = number(text)?;
    let (minor, rest) = number(rest)?;
    let (blocks, rest) = number(rest)?;
    let name = rest.strip_prefix(b" ").filter(|name| !name.is_empty())?;
    Some(Row {
        major: u32::try_from(major).ok()?,
        minor: u32::try_from(minor).ok()?,
        blocks,
        name,
        text,
    })
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at_checked(end)?;
    Some((parse_u64(digits)?, rest))
}

impl Row<'_> {
    /// Appends the row as the kernel printed it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_and_print_give_the_same_bytes() {
        let rows = b" 259        0     655360 nvme0n1\n   8        1 18446744073709551615 c0!d 0\n";
        let text = [HEADER, rows].concat();
        let parsed: Vec<_> = parse(&text).collect();
        let [disk, odd] = parsed[..] else { panic!("{parsed:?}") };
        assert_eq!((disk.major, disk.minor, disk.blocks), (259, 0, 655_360));
        assert_eq!((odd.name, odd.blocks), (&b"c0!d 0"[..], u64::MAX));
        let mut out = HEADER.to_vec();
        parsed.iter().for_each(|row| row.write(&mut out));
        assert_eq!(out, text);
    }

    #[test]
    fn other_lines_are_passed_over() {
        assert_eq!(parse(b"\n8 0\n8 0 1\n8 0 1 \na b c d\n99999999999 0 1 sda\n").count(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text).for_each(|row| row.write(&mut Vec::new()));
        }
    }
}
