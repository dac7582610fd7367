//! `/sys/devices/system/node/nodeN/meminfo`: the lines of `/proc/meminfo`, each after `Node N `.
//! Source: drivers/base/node.c in the kernel.

use crate::meminfo::{self, Unit};
use crate::num::{lines, parse_u64, push_right, push_u64};
use crate::units::Kib;

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The node's number.
    pub node: u32,
    /// The name before the colon. Some names are this file's own: `MemUsed`, `FilePages`.
    pub key: &'a [u8],
    /// The number, in kibibytes if `unit` says so.
    pub value: u64,
    /// What the number counts.
    pub unit: Unit,
    /// Blanks between the colon and the column of numbers. Most names are padded to 16 columns, but
    /// not all of them on all kernels.
    pub padding: usize,
}

/// The lines in the kernel's order; lines that do not have the file's form are passed over.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    lines(text).filter_map(parse_line)
}

fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let rest = line.strip_prefix(b"Node ")?;
    let blank = rest.iter().position(|&byte| byte == b' ')?;
    let (node, rest) = rest.split_at(blank);
    let node = parse_u64(node).and_then(|node| u32::try_from(node).ok())?;
    let rest = rest.trim_ascii_start();
    let meminfo::Line { key, value, unit } = meminfo::parse_line(rest)?;
    let number = rest.get(key.len() + 1..)?;
    let blanks = number.iter().take_while(|&&byte| byte == b' ').count();
    let digits = number.iter().skip(blanks).take_while(|byte| byte.is_ascii_digit()).count();
    let padding = blanks.saturating_sub(number_width(key).saturating_sub(digits));
    Some(Line { node, key, value, unit, padding })
}

/// How many columns a number gets: `%8lu`, and `%5u` for huge pages.
fn number_width(key: &[u8]) -> usize {
    if key.starts_with(b"HugePages_") { 5 } else { 8 }
}

/// The value of one key; `None` if there is no such line.
#[must_use]
pub fn value(text: &[u8], key: &[u8]) -> Option<u64> {
    parse(text).find_map(|line| (line.key == key).then_some(line.value))
}

/// What of a node's memory there is, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `MemTotal`; 0 for a node without memory.
    pub mem_total: Kib,
    /// `MemFree`.
    pub mem_free: Kib,
    /// Page cache on the LRU lists (`Active(file)`, `Inactive(file)`) and what else the kernel can
    /// reclaim (`KReclaimable`; before 4.20 `SReclaimable`).
    pub reclaimable: Kib,
    /// `HugePages_Total`, in pages of the default size.
    pub huge_pages_total: u64,
    /// `HugePages_Free`, in pages of the default size.
    pub huge_pages_free: u64,
}

impl Totals {
    /// Picks the totals out of a node's text; what is missing is zero.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let value = |key: &[u8]| value(text, key);
        let kib = |key: &[u8]| Kib(value(key).unwrap_or(0));
        let objects = value(b"KReclaimable").or_else(|| value(b"SReclaimable")).unwrap_or(0);
        Self {
            mem_total: kib(b"MemTotal"),
            mem_free: kib(b"MemFree"),
            reclaimable: kib(b"Active(file)") + kib(b"Inactive(file)") + Kib(objects),
            huge_pages_total: value(b"HugePages_Total").unwrap_or(0),
            huge_pages_free: value(b"HugePages_Free").unwrap_or(0),
        }
    }
}

impl Line<'_> {
    /// Appends the line as the kernel prints it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Node ");
        push_u64(out, u64::from(self.node));
        out.push(b' ');
        out.extend_from_slice(self.key);
        out.push(b':');
        out.resize(out.len() + self.padding, b' ');
        push_right(out, self.value, number_width(self.key));
        if self.unit == Unit::Kib {
            out.extend_from_slice(b" kB");
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"Node 12 MemTotal:        1022536 kB\n\
        Node 12 ShmemPmdMapped:        0 kB\n\
        Node 12 FileHugePages:        0 kB\n\
        Node 12 HugePages_Free:      3\n";

    #[test]
    fn lines_print_as_they_were_read() {
        // 6.1 has one blank less after FileHugePages.
        let mut out = Vec::new();
        parse(TEXT).for_each(|line| line.write(&mut out));
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(TEXT));
        assert!(parse(TEXT).all(|line| line.node == 12));
        assert_eq!(value(TEXT, b"MemTotal"), Some(1_022_536));
        assert_eq!(value(TEXT, b"MemFree"), None);
    }

    #[test]
    fn other_lines_are_passed_over() {
        let text = b"MemTotal: 1 kB\nNode x MemTotal: 1 kB\nNode 0\nNode 0 MemTotal 1 kB\n";
        assert_eq!(parse(text).count(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let text = [b"Node ", &bytes[..]].concat();
            let mut out = Vec::new();
            parse(&text).for_each(|line| line.write(&mut out));
        }

        #[test]
        fn every_number_round_trips(node: u32, value: u64, padding in 0usize..20) {
            let line = Line { node, key: b"MemFree", value, unit: Unit::Kib, padding };
            let mut out = Vec::new();
            line.write(&mut out);
            prop_assert_eq!(parse(&out).collect::<Vec<_>>(), [line]);
        }
    }
}
