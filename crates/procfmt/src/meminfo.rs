//! `/proc/meminfo`: one `Key:   value kB` to a line. Source: proc_meminfo(5), fs/proc/meminfo.c.

use crate::num::{fields, lines, parse_u64, push_right};
use crate::units::Kib;

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The name before the colon.
    pub key: &'a [u8],
    /// The number, in kibibytes if `unit` says so.
    pub value: u64,
    /// What the number counts.
    pub unit: Unit,
}

/// What a line's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Kibibytes: the line ends in ` kB`.
    Kib,
    /// Things (`HugePages_Total`): the line ends with the number.
    Count,
}

/// The lines in the kernel's order; lines that do not have the file's form are passed over.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    lines(text).filter_map(parse_line)
}

pub(crate) fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (key, rest) = line.split_at(colon);
    let mut rest = fields(rest.get(1..)?);
    let value = parse_u64(rest.next()?)?;
    let unit = match rest.next() {
        Some(b"kB") => Unit::Kib,
        None => Unit::Count,
        Some(_) => return None,
    };
    Some(Line { key, value, unit })
}

impl Line<'_> {
    /// Appends the line as the kernel prints it.
    ///
    /// The kernel pads names to 16 columns and right-aligns numbers in 8, but for huge pages and
    /// `HardwareCorrupted`, which get 19 and 5; the difference shows when numbers are long.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (name_width, number_width): (usize, usize) = match self.key {
            // powerpc has one blank more here than anywhere else.
            b"DirectMap64k" => (17, 8),
            key if key.starts_with(b"HugePages_") || key.len() > 15 => (19, 5),
            _ => (16, 8),
        };
        out.extend_from_slice(self.key);
        out.push(b':');
        let padding = name_width.saturating_sub(self.key.len() + 1);
        out.resize(out.len() + padding, b' ');
        push_right(out, self.value, number_width);
        if self.unit == Unit::Kib {
            out.extend_from_slice(b" kB");
        }
        out.push(b'\n');
    }
}

/// The numbers of the host that bound a container's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// `MemTotal`.
    pub mem_total: Kib,
    /// `MemFree`.
    pub mem_free: Kib,
    /// `MemAvailable`; kernels before 3.14 lack it: `MemFree` then.
    pub mem_available: Kib,
    /// `SwapTotal`.
    pub swap_total: Kib,
    /// `SwapFree`.
    pub swap_free: Kib,
    /// `Hugepagesize`: the default huge page.
    pub huge_page_size: Kib,
    /// `HugePages_Total`, in pages of that size.
    pub huge_pages_total: u64,
    /// `HugePages_Free`, in pages of that size.
    pub huge_pages_free: u64,
}

impl Totals {
    /// Picks the totals out of the host's text; what is missing is zero.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut totals = Self::default();
        let mut available = None;
        for Line { key, value, .. } in parse(text) {
            match key {
                b"MemTotal" => totals.mem_total = Kib(value),
                b"MemFree" => totals.mem_free = Kib(value),
                b"MemAvailable" => available = Some(Kib(value)),
                b"SwapTotal" => totals.swap_total = Kib(value),
                b"SwapFree" => totals.swap_free = Kib(value),
                b"Hugepagesize" => totals.huge_page_size = Kib(value),
                b"HugePages_Total" => totals.huge_pages_total = value,
                b"HugePages_Free" => totals.huge_pages_free = value,
                _ => {}
            }
        }
        totals.mem_available = available.unwrap_or(totals.mem_free);
        totals
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "MemTotal:       24684084 kB\nMemFree:        24533028 kB\n\
        MemAvailable:   24452448 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n\
        VmallocTotal:   34359738367 kB\nHardwareCorrupted:     0 kB\nHugePages_Total:       0\n\
        HugePages_Free:   123456\nHugepagesize:       2048 kB\n";

    #[test]
    fn parse_and_print_give_the_same_bytes() {
        // The huge page line as the kernel prints six digits: one column further right.
        let sample = SAMPLE.replace("Free:   123456", "Free:    123456");
        let mut out = Vec::new();
        parse(sample.as_bytes()).for_each(|line| line.write(&mut out));
        assert_eq!(String::from_utf8(out).unwrap(), sample);
    }

    #[test]
    fn totals_of_an_old_kernel_without_memavailable() {
        let totals = Totals::parse(b"MemTotal: 10 kB\nMemFree: 4 kB\n");
        assert_eq!(totals.mem_available, Kib(4));
        assert_eq!(Totals::parse(SAMPLE.as_bytes()).mem_available, Kib(24_452_448));
        assert_eq!(Totals::parse(SAMPLE.as_bytes()).huge_page_size, Kib(2048));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Totals::parse(&text);
            parse(&text).for_each(|line| line.write(&mut Vec::new()));
        }
    }
}
