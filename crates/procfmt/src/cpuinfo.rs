//! `/proc/cpuinfo`: a stanza for each online CPU, and on some architectures lines about the whole
//! machine before, between or behind them. Source: proc_cpuinfo(5), arch/*/kernel in the kernel.
//!
//! | architecture | a CPU's stanza begins with | the machine's own lines |
//! |---|---|---|
//! | x86, arm64, arm, riscv64, ppc64le, loongarch64 | `processor : N` | arm, ppc: a tail; loongarch: a head |
//! | s390x | `cpu number : N` | a head with a `processor N:` line for each CPU |

use crate::num::{fields, parse_u64};

/// A run of lines up to and including the blank line behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stanza<'a> {
    /// The CPU that the stanza describes; `None` for lines about the machine.
    pub cpu: Option<u32>,
    /// The text, blank line included.
    pub text: &'a [u8],
}

/// Splits the file into its stanzas, which put together are the file again.
pub fn stanzas(text: &[u8]) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = stanza_end(rest)?;
        let (stanza, next) = rest.split_at(end);
        rest = next;
        Some(Stanza { cpu: described_cpu(stanza), text: stanza })
    })
}

/// Where the next stanza begins: behind the first run of blank lines, or at the end.
fn stanza_end(text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    let blank = text.windows(2).position(|pair| pair == b"\n\n");
    let mut end = blank.map_or(text.len(), |at| at + 2);
    while text.get(end) == Some(&b'\n') {
        end += 1;
    }
    Some(end)
}

fn described_cpu(stanza: &[u8]) -> Option<u32> {
    let first = stanza.split(|&byte| byte == b'\n').next()?;
    let (key, value) = key_value(first)?;
    matches!(key, b"processor" | b"cpu number").then(|| number(value))?
}

/// A `key : value` line taken apart; blanks and tabs round both are dropped.
#[must_use]
pub fn key_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((line[..colon].trim_ascii(), line.get(colon + 1..)?.trim_ascii()))
}

/// The CPU of a line `processor N: …` in the head of s390x.
#[must_use]
pub fn head_line_cpu(line: &[u8]) -> Option<u32> {
    let (key, _) = key_value(line)?;
    let mut words = fields(key);
    (words.next() == Some(b"processor")).then(|| number(words.next()?))?
}

/// Where a CPU sits: `physical id` and `core id` of an x86 stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The socket.
    pub package: u32,
    /// The core within the socket.
    pub core: u32,
}

impl Stanza<'_> {
    /// The CPU's place; `None` if the architecture does not print it.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let (mut package, mut core) = (None, None);
        for line in self.text.split(|&byte| byte == b'\n') {
            match key_value(line) {
                Some((b"physical id", value)) => package = number(value),
                Some((b"core id", value)) => core = number(value),
                _ => {}
            }
        }
        Some(Place { package: package?, core: core? })
    }
}

fn number(text: &[u8]) -> Option<u32> {
    u32::try_from(parse_u64(text)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn x86_and_arm_stanzas() {
        let text = b"processor\t: 0\nphysical id\t: 1\ncore id\t\t: 7\n\nprocessor\t: 9\n\nHardware\t: X\n";
        let found: Vec<_> = stanzas(text).collect();
        assert_eq!(found.iter().map(|s| s.cpu).collect::<Vec<_>>(), [Some(0), Some(9), None]);
        assert_eq!(found[0].place(), Some(Place { package: 1, core: 7 }));
        assert_eq!(found[1].place(), None);
    }

    #[test]
    fn s390x_head_and_stanzas() {
        let text = b"vendor_id       : IBM/S390\n# processors    : 2\nprocessor 0: version = FF\n\
            processor 1: version = FF\n\ncpu number      : 0\nversion : 1\n\ncpu number      : 1\n\n";
        let cpus: Vec<_> = stanzas(text).map(|stanza| stanza.cpu).collect();
        assert_eq!(cpus, [None, Some(0), Some(1)]);
        assert_eq!(head_line_cpu(b"processor 1: version = FF"), Some(1));
        assert_eq!(head_line_cpu(b"vendor_id : x"), None);
    }

    proptest! {
        #[test]
        fn stanzas_put_together_are_the_file(text in "[a\n: p0]{0,200}") {
            let joined: Vec<u8> = stanzas(text.as_bytes()).flat_map(|s| s.text.to_vec()).collect();
            prop_assert_eq!(joined, text.as_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = stanzas(&text).filter_map(|stanza| stanza.place()).count();
        }
    }
}
