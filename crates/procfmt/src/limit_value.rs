//! Limits as cgroup files write them. Surrounding blanks and newlines are ignored.
//! Source: cgroup-v2.rst; cgroup-v1/memory.rst; scheduler/sched-bwc.rst.

use crate::limit::Limit;
use crate::num::{fields, parse_u64};

/// A single number, as in `memory.current`, `pids.current`, `cpu.shares`.
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    parse_u64(text.trim_ascii())
}

/// A number or the word `max`, as in `memory.max`, `memory.swap.max`, `pids.max`.
#[must_use]
pub fn number_or_max(text: &[u8]) -> Option<Limit<u64>> {
    match text.trim_ascii() {
        b"max" => Some(Limit::Max),
        digits => parse_u64(digits).map(Limit::Value),
    }
}

/// The lowest number that means "no limit" in a cgroup v1 memory file.
///
/// The kernel prints the highest multiple of the page size below 2^63, and pages have at most
/// 64 KiB; real limits that are only that far from 2^63 do not exist.
pub const V1_UNLIMITED: u64 = (1 << 63) - (64 << 10);

/// A number of bytes in a cgroup v1 memory file, where a huge number means no limit.
#[must_use]
pub fn v1_bytes(text: &[u8]) -> Option<Limit<u64>> {
    let bytes = number(text)?;
    Some(if bytes >= V1_UNLIMITED { Limit::Max } else { Limit::Value(bytes) })
}

/// `cpu.cfs_quota_us` of cgroup v1: microseconds per period, or a negative number for no limit.
#[must_use]
pub fn v1_quota(text: &[u8]) -> Option<Limit<u64>> {
    match text.trim_ascii() {
        [b'-', digits @ ..] => parse_u64(digits).map(|_| Limit::Max),
        digits => parse_u64(digits).map(Limit::Value),
    }
}

/// `cpu.max` of cgroup v2: quota or `max`, and period, both in microseconds. `None` for a period of
/// zero, which the kernel refuses as well.
#[must_use]
pub fn cpu_max(text: &[u8]) -> Option<(Limit<u64>, u64)> {
    let mut fields = fields(text);
    let quota = number_or_max(fields.next()?)?;
    let period = parse_u64(fields.next()?).filter(|&period| period != 0)?;
    fields.next().is_none().then_some((quota, period))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_is_a_limit_and_max_is_none() {
        assert_eq!(number_or_max(b"0\n"), Some(Limit::Value(0)));
        assert_eq!(number_or_max(b"max\n"), Some(Limit::Max));
        assert_eq!(number_or_max(b"18446744073709551615\n"), Some(Limit::Value(u64::MAX)));
        for bad in ["", "\n", "maxi", "-1", "1 2", "18446744073709551616"] {
            assert_eq!(number_or_max(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn v1_has_no_limit_from_the_last_page_below_two_to_the_63_on() {
        for unlimited in ["9223372036854771712\n", "9223372036854710272", "18446744073709551615"] {
            assert_eq!(v1_bytes(unlimited.as_bytes()), Some(Limit::Max), "{unlimited}");
        }
        assert_eq!(v1_bytes(b"9223372036854706175"), Some(Limit::Value(9_223_372_036_854_706_175)));
        assert_eq!(v1_bytes(b"0\n"), Some(Limit::Value(0)));
        assert_eq!(v1_quota(b"-1\n"), Some(Limit::Max));
        assert_eq!(v1_quota(b"50000\n"), Some(Limit::Value(50_000)));
        assert_eq!(v1_quota(b"-\n"), None);
    }

    #[test]
    fn cpu_max_max_is_no_limit() {
        assert_eq!(cpu_max(b"max 100000\n"), Some((Limit::Max, 100_000)));
        assert_eq!(cpu_max(b"50000 100000\n"), Some((Limit::Value(50_000), 100_000)));
        for bad in ["", "max", "max 0", "1 2 3", "x 1", "-1 100000"] {
            assert_eq!(cpu_max(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (number_or_max(&text), v1_bytes(&text), v1_quota(&text), cpu_max(&text));
        }
    }
}
