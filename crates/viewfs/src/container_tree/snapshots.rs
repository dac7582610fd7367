//! The content of all files that somebody reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuse::{Fh, NodeId};
use procfmt::units::Usec;

use super::snapshot::Snapshot;
use crate::keep::{Adopted, Keep, What};

/// Content that nobody has asked for since is dropped.
const IDLE: Usec = Usec(10_000_000);
/// How often it is looked for.
const EVERY: Usec = Usec(1_000_000);
/// How many files' content is held at once, and how many bytes of it; the least recently used goes
/// first.
const MOST: usize = 16_384;
const MOST_BYTES: usize = 64 << 20;

/// Snapshots by node.
///
/// They are swept once a second as long as somebody asks; what nobody asks about any more stays, but
/// there is never more of it than the bounds above.
#[derive(Debug)]
pub(super) struct Snapshots {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_node: HashMap<u64, Arc<Snapshot>>,
    swept_at: Usec,
}

impl Snapshots {
    /// Those that the last worker has written down.
    pub(super) fn adopted(keep: &Keep) -> Self {
        let adopted = keep.adopted(|what| matches!(what, What::Snapshot { .. }));
        let mut state = State::default();
        for Adopted { meta, content } in adopted {
            let What::Snapshot { mtime } = meta.what else { continue };
            let (built_at, mtime) = (Usec(meta.opened_at), Duration::from_nanos(mtime));
            let snapshot = Snapshot::adopted(content, built_at, mtime, Fh(meta.fh));
            state.by_node.insert(meta.node, Arc::new(snapshot));
        }
        Self { state: Mutex::new(state) }
    }

    /// That of a file; an empty one if there is none yet.
    pub(super) fn get(&self, node: NodeId, now: Usec, keep: &Keep) -> Arc<Snapshot> {
        let mut state = self.lock();
        if now >= state.swept_at + EVERY || state.by_node.len() >= MOST {
            state.sweep(now, keep, MOST, MOST_BYTES);
        }
        Arc::clone(state.by_node.entry(node.0).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sweep(&mut self, now: Usec, keep: &Keep, most: usize, most_bytes: usize) {
        self.swept_at = now;
        let mut all: Vec<_> = self.by_node.iter().filter_map(in_no_use).collect();
        all.sort_unstable();
        let mut count = self.by_node.len();
        let mut bytes = all.iter().map(|one| one.2).sum::<usize>();
        for (used_at, node, length, kept) in all {
            // One place is left for the file that is asked for.
            if used_at + IDLE > now && count < most && bytes <= most_bytes {
                break;
            }
            self.by_node.remove(&node);
            count = count.saturating_sub(1);
            bytes = bytes.saturating_sub(length);
            if let Some(kept) = kept {
                keep.close(kept);
            }
        }
    }
}

/// A snapshot that nobody is at, with its use and length. Who has got hold of one must find it here
/// again, or there would be two for one file.
fn in_no_use((node, snapshot): (&u64, &Arc<Snapshot>)) -> Option<(Usec, u64, usize, Option<Fh>)> {
    if Arc::strong_count(snapshot) > 1 {
        return None;
    }
    let (used_at, length, kept) = snapshot.use_of()?;
    Some((used_at, *node, length, kept))
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Now;
    use super::*;

    fn fill(state: &mut State, node: u64, used_at: u64, keep: &Keep) {
        let snapshot = state.by_node.entry(node).or_default();
        let now = Now { monotonic: Usec(used_at), time: Duration::ZERO };
        let build = |_: Option<&[u8]>| Ok::<_, ()>(vec![b'x'; 100]);
        snapshot.tell(1, now, || keep.new_fh(), build, |_, _, _| {}).unwrap();
    }

    fn left(state: &State) -> Vec<u64> {
        let mut left: Vec<_> = state.by_node.keys().copied().collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn what_nobody_asks_for_is_dropped() {
        let keep = Keep::create().unwrap();
        let mut state = State::default();
        for node in 1..=5 {
            fill(&mut state, node, node * 5_000_000, &keep);
        }
        let held = Arc::clone(state.by_node.get(&1).unwrap());
        state.sweep(Usec(25_000_000), &keep, 100, 1 << 20);
        assert_eq!(left(&state), [1, 4, 5], "somebody is at 1");
        drop(held);
        state.sweep(Usec(25_000_000), &keep, 100, 150);
        assert_eq!(left(&state), [5], "too many bytes");
        state.sweep(Usec(25_000_000), &keep, 1, 1 << 20);
        assert!(left(&state).is_empty(), "too many");
    }
}
