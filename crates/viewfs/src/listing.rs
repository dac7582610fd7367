//! Listing a directory in as many requests as the reader's buffer needs.

use std::ffi::OsStr;

use fuse::{DirSink, FileType, NodeId};

/// Adds the entries from `offset` on, until there is no more room. An entry's offset is the number
/// of entries up to and including it, so they must come in the same order each time.
pub(crate) fn list<N: AsRef<OsStr>>(
    entries: impl Iterator<Item = (NodeId, FileType, N)>,
    offset: u64,
    out: &mut DirSink<'_>,
) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    for ((node, kind, name), next) in entries.zip(1..).skip(start) {
        if !out.add(node.0, next, kind, name.as_ref()) {
            break;
        }
    }
}
