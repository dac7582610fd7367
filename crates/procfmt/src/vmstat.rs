//! `/proc/vmstat`: `key value` on each line. Source: proc_vmstat(5), mm/vmstat.c.

use crate::num::{fields, lines, parse_u64, push_u64};

/// One line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The counter's name.
    pub key: &'a [u8],
    /// Its value; the key says in which unit.
    pub value: u64,
}

/// The lines in the kernel's order; lines that do not have the file's form are passed over.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    lines(text).filter_map(parse_line)
}

fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = fields(line);
    let key = fields.next()?;
    let value = parse_u64(fields.next()?)?;
    fields.next().is_none().then_some(Line { key, value })
}

impl Line<'_> {
    /// Appends the line as the kernel prints it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key);
        out.push(b' ');
        push_u64(out, self.value);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_and_print_give_the_same_bytes() {
        let sample = b"nr_free_pages 3500913\npgpgin 0\nnr_unstable 18446744073709551615\n";
        let mut out = Vec::new();
        parse(sample).for_each(|line| line.write(&mut out));
        assert_eq!(out, sample);
    }

    #[test]
    fn other_lines_are_passed_over() {
        assert_eq!(parse(b"\nkey\nkey value\nkey 1 2\nkey -1\n").count(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text).for_each(|line| line.write(&mut Vec::new()));
        }
    }
}
