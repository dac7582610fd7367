//! Reading what the process before this one has left.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::index::{Held, Index, file_of};
use super::meta::Meta;
use super::names::{self, Names};
use super::record::{self, Found, HEADER, Record, State};
use super::space::{SIZES, Slot, Space, half_bytes, most_slots, region};
use super::{Adopted, EPOCH_AT, EPOCH_BIT, Keep, Taken};

/// A slot with a record.
struct Located {
    slot: Slot,
    record: Box<Record>,
}

impl Keep {
    /// Reads all there is, and begins a new epoch of handles.
    pub(super) fn take_over(&self) -> Taken {
        let epoch = self.begin_epoch();
        let mut index = Index::new(self.limits);
        let mut newest: HashMap<u64, Located> = HashMap::new();
        let located: Vec<_> =
            (0..SIZES).flat_map(|size| self.located(index.space(), size)).collect();
        for located in located {
            index.seen(located.record.sequence);
            // A file that has outgrown its slot may be found in both.
            let before = newest.get(&located.record.meta.fh);
            let is_newer = before.is_none_or(|one| one.record.sequence < located.record.sequence);
            let older = if is_newer {
                newest.insert(located.record.meta.fh, located)
            } else {
                Some(located)
            };
            if let Some(older) = older {
                index.space().give(older.slot);
            }
        }
        let mut adopted = Vec::new();
        for Located { slot, record } in newest.into_values() {
            let Meta { is_good, .. } = record.meta;
            let (file, sequence) = (file_of(&record.meta), record.sequence);
            let held = Held { slot, file, sequence, is_good };
            match record.state {
                State::Open => {
                    index.hold(record.meta.fh, held);
                    adopted.push(Adopted { meta: record.meta, content: record.content });
                }
                State::Closed => index.keep_closed(held),
                State::Freed => index.space().give(slot),
            }
        }
        Taken {
            next: AtomicU64::new((epoch << EPOCH_BIT) + 1),
            index: Mutex::new(index),
            names: Mutex::new(self.names()),
            adopted: Mutex::new(adopted),
        }
    }

    /// 24 bits; after 16 million workers, numbers begin anew.
    fn begin_epoch(&self) -> u64 {
        let mut last = [0; 8];
        let read = self.file.read_exact_at(&mut last, EPOCH_AT);
        let epoch = u64::from_le_bytes(last).wrapping_add(1) % (1 << (u64::BITS - EPOCH_BIT));
        let written = read.and_then(|()| self.file.write_all_at(&epoch.to_le_bytes(), EPOCH_AT));
        if let Err(error) = written {
            self.log_failed(&error);
        }
        epoch
    }

    /// The records in the slots of one size.
    fn located(&self, space: &mut Space, size: usize) -> Vec<Located> {
        let (mut located, mut damaged) = (Vec::new(), 0_usize);
        let slots = self.slots(size);
        space.found(size, slots);
        for number in 0..slots {
            let first = Slot { size, index: number, second: false };
            let found = [first, first.turned()].map(|slot| (slot, self.found(slot)));
            damaged += found.iter().filter(|(_, found)| *found == Found::Damaged).count();
            let newest = found
                .into_iter()
                .filter_map(|(slot, found)| match found {
                    Found::Record(record) => Some(Located { slot, record }),
                    Found::Nothing | Found::Damaged => None,
                })
                .max_by_key(|one| one.record.sequence);
            match newest {
                Some(one) if one.record.state != State::Freed => located.push(one),
                freed => space.give(freed.map_or(first, |one| one.slot)),
            }
        }
        if damaged > 0 {
            // One is the usual end of a write during which the process was killed.
            tracing::warn!(size, damaged, "records of open files are damaged and left out");
        }
        located
    }

    /// How many slots of a size may hold something: up to the last that has memory.
    fn slots(&self, size: usize) -> u64 {
        let (begin, slot) = (region(size), half_bytes(size) * 2);
        let end = begin + most_slots(size) * slot;
        let (mut at, mut data) = (begin, begin);
        while at < end {
            let Ok(from) = seek(&self.file, SeekFrom::Data(at)) else { break };
            if from >= end {
                break;
            }
            at = seek(&self.file, SeekFrom::Hole(from)).unwrap_or(end).min(end);
            data = at;
            if at <= from {
                break;
            }
        }
        (data - begin).div_ceil(slot)
    }

    /// What is in the half of a slot that it names.
    fn found(&self, slot: Slot) -> Found {
        let mut header = [0; HEADER];
        match self.file.read_at(&mut header, slot.offset()) {
            Ok(HEADER) => {}
            Ok(_) => return Found::Nothing,
            Err(error) => {
                self.log_failed(&error);
                return Found::Nothing;
            }
        }
        let fits = |&length: &usize| length as u64 <= half_bytes(slot.size);
        let Some(length) = record::length(&header).filter(fits) else {
            return if record::word(&header, 0) == Some(0) {
                Found::Nothing
            } else {
                Found::Damaged
            };
        };
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, slot.offset()) {
            Ok(()) => Found::parse(&bytes),
            Err(_) => Found::Damaged,
        }
    }

    /// The record that a slot was last written with.
    pub(super) fn read(&self, slot: Slot) -> Option<Box<Record>> {
        match self.found(slot) {
            Found::Record(record) => Some(record),
            Found::Nothing | Found::Damaged => None,
        }
    }

    fn names(&self) -> Names {
        let mut bytes = Vec::new();
        let end = match seek(&self.file, SeekFrom::Hole(names::BEGIN)) {
            Ok(end) => end.clamp(names::BEGIN, names::END),
            Err(Errno::NXIO) => return Names::new(),
            Err(errno) => {
                self.log_failed(&errno.into());
                return Names::new();
            }
        };
        bytes.resize(usize::try_from(end - names::BEGIN).unwrap_or(0), 0);
        match self.file.read_at(&mut bytes, names::BEGIN) {
            Ok(length) => Names::found(bytes.get(..length).unwrap_or_default()),
            Err(error) => {
                self.log_failed(&error);
                Names::new()
            }
        }
    }
}
