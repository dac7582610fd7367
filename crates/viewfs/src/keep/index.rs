//! Which record lies where, and which may give way to others.

use std::collections::{BTreeMap, HashMap};

use super::Limits;
use super::meta::{Meta, What};
use super::space::{Slot, Space};

/// Whose, which file, and whether the text is that for 32-bit programs: what one last good content
/// is kept for.
pub(super) type File = (Option<u64>, u64, bool);

pub(super) fn file_of(meta: &Meta) -> File {
    let is_linux32 = matches!(meta.what, What::File { is_linux32: true });
    (meta.owner.as_ref().map(|owner| owner.key), meta.node, is_linux32)
}

/// The record of an open file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) slot: Slot,
    pub(super) file: File,
    pub(super) sequence: u64,
    /// Whether it may serve as the last good one.
    pub(super) is_good: bool,
}

#[derive(Debug)]
pub(super) struct Index {
    limits: Limits,
    space: Space,
    sequence: u64,
    open: HashMap<u64, Held>,
    /// Bytes of open files' slots, by container.
    open_bytes: HashMap<Option<u64>, u64>,
    /// Records of closed files, the oldest first.
    closed: BTreeMap<u64, Held>,
    /// The newest of them for each file.
    last_good: HashMap<File, u64>,
}

/// A slot to write to; its memory, where it is another one's, has to be given back first.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) slot: Slot,
    pub(super) sequence: u64,
    pub(super) give_back: Vec<Slot>,
}

impl Index {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            space: Space::new(limits.all),
            sequence: 0,
            open: HashMap::new(),
            open_bytes: HashMap::new(),
            closed: BTreeMap::new(),
            last_good: HashMap::new(),
        }
    }

    pub(super) fn space(&mut self) -> &mut Space {
        &mut self.space
    }

    fn next(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    /// Sequence numbers go on after this one.
    pub(super) fn seen(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Room for a record of the container `owner`. Closed files give way, the oldest first; open
    /// ones never do. `None`: there is none, or the container has its share.
    pub(super) fn room(&mut self, owner: Option<u64>, size: usize) -> Option<Room> {
        let bytes = Slot { size, index: 0, second: false }.bytes();
        let has = self.open_bytes.get(&owner).copied().unwrap_or(0);
        if has.saturating_add(bytes) > self.limits.each {
            return None;
        }
        let mut give_back = Vec::new();
        loop {
            if let Some(slot) = self.space.take(size) {
                let sequence = self.next();
                // The half that is not the newest: should this write be torn, nothing is lost.
                return Some(Room { slot: slot.turned(), sequence, give_back });
            }
            if let Some(slot) = self.space.give_back(size) {
                give_back.push(slot);
            } else {
                let (_, oldest) = self.closed.pop_first()?;
                self.last_good.remove(&oldest.file);
                self.space.give(oldest.slot);
            }
        }
    }

    /// Where the next record of an open file goes, if it fits into the same slot.
    pub(super) fn turn(&mut self, meta: &Meta, length: usize) -> Option<Held> {
        let sequence = self.next();
        let held = self.open.get(&meta.fh)?;
        let turned = Held { slot: held.slot.turned(), sequence, is_good: meta.is_good, ..*held };
        held.slot.fits(length).then_some(turned)
    }

    /// The record of an open file is written, or found.
    pub(super) fn hold(&mut self, fh: u64, held: Held) {
        let bytes = self.open_bytes.entry(held.file.0).or_default();
        *bytes = bytes.saturating_add(held.slot.bytes());
        if let Some(before) = self.open.insert(fh, held) {
            self.leave(before);
        }
    }

    fn leave(&mut self, held: Held) {
        if let Some(bytes) = self.open_bytes.get_mut(&held.file.0) {
            *bytes = bytes.saturating_sub(held.slot.bytes());
            if *bytes == 0 {
                self.open_bytes.remove(&held.file.0);
            }
        }
    }

    pub(super) fn get(&self, fh: u64) -> Option<Held> {
        self.open.get(&fh).copied()
    }

    /// The file is not open any more. Its slot is the caller's.
    pub(super) fn release(&mut self, fh: u64) -> Option<Held> {
        let held = self.open.remove(&fh)?;
        self.leave(held);
        Some(held)
    }

    /// The record of a closed file may serve as the last good one of its container and file.
    pub(super) fn keep_closed(&mut self, held: Held) {
        let newest = self.last_good.get(&held.file).copied();
        if newest.is_some_and(|newest| newest > held.sequence) {
            self.space.give(held.slot);
            return;
        }
        if let Some(before) = newest.and_then(|newest| self.closed.remove(&newest)) {
            self.space.give(before.slot);
        }
        self.last_good.insert(held.file, held.sequence);
        self.closed.insert(held.sequence, held);
    }

    /// The newest record of a file, of an open or a closed one.
    pub(super) fn newest(&self, file: File) -> Option<Held> {
        let closed = self.last_good.get(&file).and_then(|newest| self.closed.get(newest));
        let open = self.open.values().filter(|held| held.file == file && held.is_good);
        open.chain(closed).max_by_key(|held| held.sequence).copied()
    }
}
