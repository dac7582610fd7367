//! Amounts as Docker's command line takes them: `50m`, `1.5g`, `0.25` CPUs.

use procfmt::units::{Bytes, Usec};

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    /// It does not look like a number with a unit.
    #[error("{0:?} is no size: give a number with b, k, m, g or t, such as 50m or 1.5g")]
    NotASize(String),
    /// It is zero.
    #[error("a size of 0 leaves nothing to run in; leave the option out for no limit")]
    Zero,
    /// It does not fit 63 bits, the kernel's own bound.
    #[error("{0} is more than the kernel can count (8388607t)")]
    TooBig(String),
    /// It is no number of CPUs.
    #[error("{0:?} is no number of CPUs: give a decimal number above 0, such as 0.5 or 2")]
    NotCpus(String),
    /// The kernel's smallest quota is a millisecond in 100.
    #[error("{0} CPUs is less than the kernel can give; the least is 0.01")]
    TooFewCpus(String),
    /// More than any machine has.
    #[error("{0} CPUs is more than the kernel knows (8192)")]
    TooManyCpus(String),
}

/// What `--memory-swap` says: memory and swap together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemorySwap {
    /// `-1`: swap without limit.
    Unlimited,
    /// So much memory and swap together.
    Total(Bytes),
}

/// The length of a quota's period: what Docker uses, and the kernel's default.
pub(crate) const PERIOD: Usec = Usec(100_000);

/// Parses `-m`: a decimal number, fractions allowed, and one of the units b, k, m, g, t in either
/// case, which may be written out (`kb`, `KiB`); units are powers of 1024, none is bytes.
pub(crate) fn parse_size(text: &str) -> Result<Bytes, SizeError> {
    let not_a_size = || SizeError::NotASize(text.to_owned());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(not_a_size()),
    };
    let decimal = Decimal::parse(digits).ok_or_else(not_a_size)?;
    let bytes = decimal.times(1 << shift).ok_or_else(|| SizeError::TooBig(text.to_owned()))?;
    match bytes {
        0 => Err(SizeError::Zero),
        // The kernel keeps limits in a signed long.
        bytes if bytes > i64::MAX.unsigned_abs() => Err(SizeError::TooBig(text.to_owned())),
        bytes => Ok(Bytes(bytes)),
    }
}

/// Parses `--memory-swap`: a size, or `-1` for no limit.
pub(crate) fn parse_memory_swap(text: &str) -> Result<MemorySwap, SizeError> {
    if text == "-1" {
        return Ok(MemorySwap::Unlimited);
    }
    parse_size(text).map(MemorySwap::Total)
}

/// Parses `--cpus` into the CPU time per [`PERIOD`].
pub(crate) fn parse_cpus(text: &str) -> Result<Usec, SizeError> {
    let not_cpus = || SizeError::NotCpus(text.to_owned());
    let decimal = Decimal::parse(text).ok_or_else(not_cpus)?;
    let quota = decimal.times(PERIOD.0).ok_or_else(|| SizeError::TooManyCpus(text.to_owned()))?;
    match quota {
        0 if decimal.is_zero() => Err(not_cpus()),
        0..1_000 => Err(SizeError::TooFewCpus(text.to_owned())),
        quota if quota > 8192 * PERIOD.0 => Err(SizeError::TooManyCpus(text.to_owned())),
        quota => Ok(Usec(quota)),
    }
}

/// A decimal fraction, exact: binary floating point would turn 0.7 CPUs into 69999 µs.
struct Decimal {
    digits: u128,
    /// `digits / 10^scale` is the value.
    scale: u32,
}

/// More digits after the point than this cannot change a byte or a microsecond.
const MOST_DECIMALS: usize = 18;

impl Decimal {
    /// `12`, `1.5`, `.5`, `2.`; no sign, no exponent.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        if !all_digits || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let fraction = fraction.get(..MOST_DECIMALS).unwrap_or(fraction);
        let digits = [whole, fraction].concat();
        // 38 digits fit 128 bits; a number that does not is too big for everything it is used for.
        let digits = digits.parse().unwrap_or(u128::MAX);
        Some(Self { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// `self * factor`, truncated; `None` if that is more than 64 bits hold.
    fn times(&self, factor: u64) -> Option<u64> {
        let product = self.digits.checked_mul(u128::from(factor))?;
        u64::try_from(product / 10u128.pow(self.scale)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("50m", 50 << 20),
            ("1g", 1 << 30),
            ("1G", 1 << 30),
            ("64k", 64 << 10),
            ("512b", 512),
            ("4096", 4096),
            ("1.5g", 3 << 29),
            (".5m", 1 << 19),
            ("1KiB", 1024),
            ("2tb", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["lots", "", "m", "-1", "-5m", "+5m", "1e3", "1 m", "1x", "0x10", "1.2.3", "."]
        {
            assert_eq!(parse_size(text), Err(SizeError::NotASize(text.to_owned())), "{text}");
        }
        assert_eq!(parse_size("0"), Err(SizeError::Zero));
        assert_eq!(parse_size("0.0g"), Err(SizeError::Zero));
        for text in ["8388608t", "99999999999999999999999999999999999999999999g"] {
            assert_eq!(parse_size(text), Err(SizeError::TooBig(text.to_owned())));
        }
    }

    #[test]
    fn memory_swap_may_be_unlimited() {
        assert_eq!(parse_memory_swap("-1"), Ok(MemorySwap::Unlimited));
        assert_eq!(parse_memory_swap("1g"), Ok(MemorySwap::Total(Bytes(1 << 30))));
        assert!(parse_memory_swap("-2").is_err());
    }

    #[test]
    fn cpus_are_exact_decimals() {
        for (text, quota) in
            [("1", 100_000), ("1.5", 150_000), ("0.7", 70_000), (".01", 1_000), ("0.29", 29_000)]
        {
            assert_eq!(parse_cpus(text), Ok(Usec(quota)), "{text}");
        }
        for text in ["-1", "", "two", "nan", "inf", "1e1", "0", "0.0"] {
            assert_eq!(parse_cpus(text), Err(SizeError::NotCpus(text.to_owned())), "{text}");
        }
        assert_eq!(parse_cpus("0.001"), Err(SizeError::TooFewCpus("0.001".to_owned())));
        assert_eq!(parse_cpus("9000"), Err(SizeError::TooManyCpus("9000".to_owned())));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}") {
            let _ = parse_size(&text);
            let _ = parse_memory_swap(&text);
            let _ = parse_cpus(&text);
        }

        #[test]
        fn whole_bytes_come_back(bytes in 1..=i64::MAX.unsigned_abs()) {
            prop_assert_eq!(parse_size(&bytes.to_string()), Ok(Bytes(bytes)));
        }
    }
}
