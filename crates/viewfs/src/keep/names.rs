//! The names behind node numbers of `/sys`, one after another in the order in which they were
//! given out: the kernel may name a node long after it was looked up.
//!
//! An entry is the length of the path in two bytes, the node's number in eight, and the path. The
//! number is a hash of the path, so it is its checksum as well.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::nodes::sys_number;

/// Where the entries begin and end, in bytes.
pub(super) const BEGIN: u64 = 4096;
pub(super) const END: u64 = 16 << 20;
const HEADER: usize = 10;

/// Which names are written down, and where.
#[derive(Debug)]
pub(super) struct Names {
    end: u64,
    /// Where the path of a node is, and how long.
    at: HashMap<u64, (u64, u16)>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { end: BEGIN, at: HashMap::new() }
    }

    /// The names in `bytes`, which were read from [`BEGIN`] on; those behind one that is damaged
    /// are lost.
    pub(super) fn found(bytes: &[u8]) -> Self {
        let mut names = Self::new();
        let mut rest = bytes;
        while let Some((node, path, after)) = entry(rest) {
            names.add(node, path.len());
            rest = after;
        }
        names
    }

    pub(super) fn has(&self, node: u64) -> bool {
        self.at.contains_key(&node)
    }

    /// Where a path is, and how long.
    pub(super) fn get(&self, node: u64) -> Option<(u64, u16)> {
        self.at.get(&node).copied()
    }

    /// Writes a name down; `false` where there is no room for it.
    pub(super) fn write(&mut self, file: &File, node: u64, path: &str) -> std::io::Result<bool> {
        let Some(entry) = to_bytes(node, path) else { return Ok(false) };
        if self.end.saturating_add(entry.len() as u64) > END {
            return Ok(false);
        }
        file.write_all_at(&entry, self.end)?;
        self.add(node, path.len());
        Ok(true)
    }

    fn add(&mut self, node: u64, length: usize) {
        let begin = self.end.saturating_add(HEADER as u64);
        self.end = begin.saturating_add(length as u64);
        self.at.insert(node, (begin, u16::try_from(length).unwrap_or(u16::MAX)));
    }
}

fn to_bytes(node: u64, path: &str) -> Option<Vec<u8>> {
    let length = u16::try_from(path.len()).ok()?;
    Some([&length.to_le_bytes()[..], &node.to_le_bytes(), path.as_bytes()].concat())
}

/// The first entry and what follows it.
fn entry(bytes: &[u8]) -> Option<(u64, &str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (node, rest) = rest.split_first_chunk()?;
    let (path, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let (path, node) = (std::str::from_utf8(path).ok()?, u64::from_le_bytes(*node));
    is_name_of(node, path).then_some((node, path, rest))
}

/// Whether a path is that of the node.
pub(super) fn is_name_of(node: u64, path: &str) -> bool {
    !path.is_empty() && sys_number(path).0 == node
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(paths: &[&str]) -> Vec<u8> {
        paths.iter().flat_map(|path| to_bytes(sys_number(path).0, path).unwrap()).collect()
    }

    #[test]
    fn names_end_where_one_is_damaged() {
        let whole = bytes(&["cpu/cpu0", "cpu/cpu1", "node/node0"]);
        assert_eq!(Names::found(&whole).at.len(), 3);
        let mut padded = whole.clone();
        padded.resize(9000, 0);
        assert_eq!(Names::found(&padded).end, BEGIN + whole.len() as u64);
        for cut in 0..whole.len() {
            let names = Names::found(&whole[..cut]);
            assert_eq!(
                names.at.len(),
                [18, 36, usize::MAX].iter().filter(|&&end| end <= cut).count()
            );
        }
        let mut changed = whole;
        changed[30] ^= 1;
        assert_eq!(Names::found(&changed).at.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Names::found(&bytes);
        }
    }
}
