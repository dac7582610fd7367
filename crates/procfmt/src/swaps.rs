//! `/proc/swaps`: a header and one row per swap area. Source: proc_swaps(5), mm/swapfile.c.

use crate::num::{fields, lines, push_u64};
use crate::units::Kib;

/// The header, which is there even without swap.
pub const HEADER: &[u8] = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

/// From this size on the kernel leaves out the second tab behind a number.
const WIDE: u64 = 10_000_000;

/// One swap area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area<'a> {
    /// The device or file.
    pub name: &'a str,
    /// `partition`, `file`, or `virtual` for a container's.
    pub kind: &'a str,
    /// Its size.
    pub size: Kib,
    /// How much of it is in use.
    pub used: Kib,
    /// Its priority.
    pub priority: i32,
}

/// The devices that serve as swap as a whole or in part: the names of the rows of type `partition`.
pub fn devices(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(text).skip(1).filter_map(|line| {
        let mut fields = fields(line);
        let name = fields.next()?;
        (fields.next()? == b"partition").then_some(name)
    })
}

impl Area<'_> {
    /// Appends the row: the name padded to 40 columns (one blank behind a longer one), the rest
    /// separated by tabs so that short values keep the columns.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        let padding = 40usize.saturating_sub(self.name.len()).max(1);
        out.resize(out.len() + padding, b' ');
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(if self.kind.len() < 8 { b"\t\t" } else { b"\t" });
        for value in [self.size.0, self.used.0] {
            push_u64(out, value);
            out.extend_from_slice(if value < WIDE { b"\t\t" } else { b"\t" });
        }
        out.extend_from_slice(self.priority.to_string().as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_kernels_tabs() {
        let mut out = HEADER.to_vec();
        let small = Area {
            name: "/dev/vda",
            kind: "partition",
            size: Kib(1_048_572),
            used: Kib(0),
            priority: -2,
        };
        let large =
            Area { name: "none", kind: "virtual", size: Kib(WIDE), used: Kib(5), priority: 0 };
        small.write(&mut out);
        large.write(&mut out);
        let expected = format!(
            "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
             /dev/vda{}partition\t1048572\t\t0\t\t-2\nnone{}virtual\t\t10000000\t5\t\t0\n",
            " ".repeat(32),
            " ".repeat(36),
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn swap_files_are_no_devices() {
        let text =
            [HEADER, b"/swap.img\tfile\t\t1\t\t0\t\t-2\n/dev/vdb    partition\t1\t\t0\t\t-3\n"];
        assert!(devices(&text.concat()).eq([b"/dev/vdb"]));
        assert_eq!(devices(b"\n\n/dev/sda\n").count(), 0);
    }
}
