//! Decimal numbers as the kernel reads and prints them.

/// Parses decimal digits and nothing else; `None` for empty text, other characters or overflow.
#[must_use]
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Appends `number` in decimal.
pub fn push_u64(out: &mut Vec<u8>, number: u64) {
    push_padded(out, number, 0, b' ');
}

/// Appends `number` right-aligned in `width` columns, more if it needs more (`%*lu`).
pub fn push_right(out: &mut Vec<u8>, number: u64, width: usize) {
    push_padded(out, number, width, b' ');
}

/// Appends `hundredths` as the kernel prints load averages and uptimes: `%lu.%02lu`.
pub fn push_hundredths(out: &mut Vec<u8>, hundredths: u64) {
    push_u64(out, hundredths / 100);
    out.push(b'.');
    push_padded(out, hundredths % 100, 2, b'0');
}

fn push_padded(out: &mut Vec<u8>, mut number: u64, width: usize, fill: u8) {
    // u64::MAX has 20 digits.
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    for (index, slot) in digits.iter_mut().enumerate().rev() {
        // The remainder of a division by ten fits into a byte.
        *slot = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        start = index;
        if number == 0 {
            break;
        }
    }
    let length = digits.len() - start;
    if length < width {
        out.resize(out.len() + width - length, fill);
    }
    out.extend_from_slice(&digits[start..]);
}

/// The lines of a text, each without its newline; a last line without one counts.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// The fields of a line, separated by blanks or tabs.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_print_as_printf_does() {
        assert_eq!(text(|out| push_u64(out, 0)), "0");
        assert_eq!(text(|out| push_u64(out, u64::MAX)), "18446744073709551615");
        assert_eq!(text(|out| push_right(out, 42, 8)), "      42");
        assert_eq!(text(|out| push_right(out, 123_456_789, 8)), "123456789");
        assert_eq!(text(|out| push_hundredths(out, 95)), "0.95");
        assert_eq!(text(|out| push_hundredths(out, 12_305)), "123.05");
    }

    #[test]
    fn only_digits_are_numbers() {
        for bad in ["", "-1", "+1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(parse_u64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number: u64, width in 0usize..30) {
            let mut out = Vec::new();
            push_right(&mut out, number, width);
            prop_assert_eq!(out.len().max(width), out.len());
            prop_assert_eq!(parse_u64(out.trim_ascii_start()), Some(number));
        }
    }
}
