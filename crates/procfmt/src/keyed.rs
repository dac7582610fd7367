//! The keyed forms of cgroup files.
//! Source: cgroup-v2.rst, section "Format"; cgroup-v1/blkio-controller.rst.

use crate::num::{fields, lines, parse_u64};

/// Flat keyed: `key value` on each line, as in `memory.stat`, `cpu.stat`, `cgroup.events`.
///
/// Yields `None` for a line of another form. Lines without a key (empty ones) are left out.
pub fn flat(text: &[u8]) -> impl Iterator<Item = Option<(&[u8], u64)>> {
    lines(text).filter_map(|line| {
        let mut fields = fields(line);
        let key = fields.next()?;
        Some(fields.next().and_then(parse_u64).map(|value| (key, value)))
    })
}

/// The value of one key of a flat keyed file; `None` if it is missing or no number.
#[must_use]
pub fn flat_value(text: &[u8], key: &[u8]) -> Option<u64> {
    flat(text).flatten().find_map(|(one, value)| (one == key).then_some(value))
}

/// The major and minor number of a block device, as cgroup files write them: `8:0`.
#[must_use]
pub fn device(field: &[u8]) -> Option<(u32, u32)> {
    let colon = field.iter().position(|&byte| byte == b':')?;
    let (major, minor) = field.split_at_checked(colon)?;
    let number = |digits| parse_u64(digits).and_then(|number| u32::try_from(number).ok());
    Some((number(major)?, number(minor.get(1..)?)?))
}

/// One line of a nested keyed file whose lines are about block devices: `io.stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLine<'text> {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    pairs: &'text [u8],
}

impl<'text> DeviceLine<'text> {
    /// The `key=value` pairs whose value is a number. Others are left out: controllers add keys of
    /// their own (`cost.vrate=100.00`).
    pub fn pairs(&self) -> impl Iterator<Item = (&'text [u8], u64)> {
        fields(self.pairs).filter_map(|pair| {
            let (key, value) =
                pair.split_at_checked(pair.iter().position(|&byte| byte == b'=')?)?;
            Some((key, parse_u64(value.get(1..)?)?))
        })
    }
}

/// Nested keyed by device, as in `io.stat`: `8:0 rbytes=1 wbytes=2`. A line may be a device alone.
///
/// Lines of a device without a number are passed over: the hidden paths of an NVMe disk with
/// multipath, which is nvme's default, are called `(unknown)`.
///
/// Yields `None` for a line that does not begin with a device.
pub fn by_device(text: &[u8]) -> impl Iterator<Item = Option<DeviceLine<'_>>> {
    lines(text).filter_map(|line| {
        let first = fields(line).next().filter(|first| *first != b"(unknown)")?;
        let rest = line.trim_ascii_start().get(first.len()..).unwrap_or_default();
        Some(device(first).map(|(major, minor)| DeviceLine { major, minor, pairs: rest }))
    })
}

/// One line of a cgroup v1 `blkio.*` file: `8:0 Read 4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlkioLine<'text> {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// `Read`, `Write`, `Discard`, and sums by other criteria: `Sync`, `Async`, `Total`.
    pub operation: &'text [u8],
    /// Bytes or operations, as the file counts.
    pub value: u64,
}

/// The device lines of a v1 `blkio.*` file. The sum over all devices at the end (`Total 0`) is left
/// out.
///
/// Yields `None` for a line of another form.
pub fn blkio(text: &[u8]) -> impl Iterator<Item = Option<BlkioLine<'_>>> {
    lines(text).filter_map(|line| {
        let mut fields = fields(line);
        let first = fields.next()?;
        if first == b"Total" {
            return None;
        }
        let line = device(first).zip(fields.next()).zip(fields.next().and_then(parse_u64));
        Some(line.map(|(((major, minor), operation), value)| BlkioLine {
            major,
            minor,
            operation,
            value,
        }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flat_files() {
        let text = b"anon 4096\nfile 0\n\nbroken\nbad x\n";
        let lines: Vec<_> = flat(text).collect();
        assert_eq!(lines, [Some((&b"anon"[..], 4096)), Some((&b"file"[..], 0)), None, None]);
        assert_eq!(flat_value(text, b"anon"), Some(4096));
        assert_eq!(flat_value(text, b"bad"), None);
        assert_eq!(flat_value(text, b"ano"), None);
    }

    #[test]
    fn io_stat_of_an_nvme_disk_with_multipath() {
        let lines: Vec<_> = by_device(b"(unknown) rbytes=1 rios=1\n259:1 rbytes=2\n").collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].as_ref().map(|line| (line.major, line.minor)), Some((259, 1)));
    }

    #[test]
    fn io_stat_with_a_device_alone_and_unknown_keys() {
        let text = b"8:16 rbytes=18446744073709551615 wios=2 cost.vrate=100.00 rbytes\n254:0 \nx\n";
        let lines: Vec<_> = by_device(text).collect();
        let first = lines[0].unwrap();
        assert_eq!((first.major, first.minor), (8, 16));
        let pairs: Vec<_> = first.pairs().collect();
        assert_eq!(pairs, [(&b"rbytes"[..], u64::MAX), (&b"wios"[..], 2)]);
        assert_eq!(lines[1].unwrap().pairs().count(), 0);
        assert_eq!(lines[2], None);
    }

    #[test]
    fn blkio_files() {
        let text = b"8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n8:0 Read\n";
        let lines: Vec<_> = blkio(text).collect();
        assert_eq!(lines.len(), 4, "the sum over all devices is left out");
        assert_eq!(lines[1].unwrap().value, 2);
        assert_eq!(lines[2].unwrap().operation, b"Total");
        assert_eq!(lines[3], None);
    }

    #[test]
    fn devices() {
        assert_eq!(device(b"259:4294967295"), Some((259, u32::MAX)));
        for text in ["8", "8:", ":0", "8:0:1", "8:4294967296", "a:b"] {
            assert_eq!(device(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = flat(&text).count();
            let _ = by_device(&text).flatten().flat_map(|line| line.pairs().collect::<Vec<_>>()).count();
            let _ = blkio(&text).count();
        }
    }
}
