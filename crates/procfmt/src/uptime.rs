//! `/proc/uptime`: seconds since boot and seconds that all CPUs were idle. Source: proc_uptime(5).

use crate::num::{fields, parse_u64, push_hundredths};

/// The two numbers, in hundredths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uptime {
    /// Time since boot, suspend included.
    pub up: u64,
    /// Sum over the CPUs of their idle time.
    pub idle: u64,
}

impl Uptime {
    /// Parses the file; `None` if it has another form.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = fields(text);
        Some(Self { up: hundredths(fields.next()?)?, idle: hundredths(fields.next()?)? })
    }

    /// Appends the file's one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        push_hundredths(out, self.up);
        out.push(b' ');
        push_hundredths(out, self.idle);
        out.push(b'\n');
    }
}

fn hundredths(field: &[u8]) -> Option<u64> {
    let dot = field.iter().position(|&byte| byte == b'.')?;
    let fraction = field.get(dot + 1..).filter(|digits| digits.len() == 2)?;
    parse_u64(&field[..dot])?.checked_mul(100)?.checked_add(parse_u64(fraction)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_reads() {
        for text in ["0.95 1.00\n", "3735.41 7392.08\n", "123456789.00 0.09\n"] {
            let mut out = Vec::new();
            Uptime::parse(text.as_bytes()).unwrap().write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        for bad in ["", "1.0 2.00", "1 2", "a.00 b.00", "184467440737095516.16 0.00"] {
            assert_eq!(Uptime::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
