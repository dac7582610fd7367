//! Where records lie: slots of fixed sizes, each size in a region of its own, so that a slot's
//! place says all about it and nothing has to be trusted to find it.
//!
//! A slot has two halves, which are written in turn. A process that is killed may leave a write of
//! several pages half done; the record in the other half is whole then.

use super::MOST_BYTES;

/// How many sizes there are: a half of 4 KiB, and each next one twice that, up to 4 MiB.
pub(super) const SIZES: usize = 11;
const SMALLEST: usize = 4096;
/// Where the last region ends, in bytes.
pub(super) const END: u64 = MOST_BYTES * (SIZES as u64 + 1);

/// A slot, and which of its halves was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) size: usize,
    pub(super) index: u64,
    pub(super) second: bool,
}

impl Slot {
    /// Where the half written last begins, in bytes.
    pub(super) fn offset(self) -> u64 {
        let half = half_bytes(self.size);
        let within = self.index * 2 * half + if self.second { half } else { 0 };
        region(self.size) + within
    }

    /// The slot as it is once the other half is written.
    pub(super) fn turned(self) -> Self {
        Self { second: !self.second, ..self }
    }

    /// Bytes of both halves.
    pub(super) fn bytes(self) -> u64 {
        slot_bytes(self.size)
    }

    /// Where the slot begins, in bytes.
    pub(super) fn start(self) -> u64 {
        Self { second: false, ..self }.offset()
    }

    /// Whether a record of so many bytes fits into a half.
    pub(super) fn fits(self, length: usize) -> bool {
        size_for(length).is_some_and(|size| size <= self.size)
    }
}

/// The smallest size whose half has room for so many bytes; `None`: none has.
pub(super) fn size_for(length: usize) -> Option<usize> {
    (0..SIZES).find(|size| length <= SMALLEST << size)
}

/// Bytes of one half.
pub(super) fn half_bytes(size: usize) -> u64 {
    (SMALLEST as u64) << size
}

fn slot_bytes(size: usize) -> u64 {
    half_bytes(size) * 2
}

/// Where the region of a size begins. The first is for the header and the names of nodes.
pub(super) fn region(size: usize) -> u64 {
    MOST_BYTES * (size as u64 + 1)
}

/// How many slots a region has room for.
pub(super) fn most_slots(size: usize) -> u64 {
    MOST_BYTES / slot_bytes(size)
}

/// The slots that no record needs.
#[derive(Debug)]
pub(super) struct Space {
    /// Bytes of all slots that have memory, free ones included.
    used: u64,
    most: u64,
    sizes: [Free; SIZES],
}

#[derive(Debug, Default)]
struct Free {
    /// How many slots there have been.
    count: u64,
    /// With memory, most recently used last.
    free: Vec<Slot>,
    /// Without memory.
    returned: Vec<Slot>,
}

impl Space {
    pub(super) fn new(most: u64) -> Self {
        Self { used: 0, most, sizes: Default::default() }
    }

    /// A slot of that size; `None` where there is no room.
    pub(super) fn take(&mut self, size: usize) -> Option<Slot> {
        let one = self.sizes.get_mut(size)?;
        if let Some(slot) = one.free.pop() {
            return Some(slot);
        }
        let used = self.used.checked_add(slot_bytes(size))?;
        if used > self.most {
            return None;
        }
        let slot = one.returned.pop().or_else(|| {
            let index = one.count;
            (index < most_slots(size)).then_some(Slot { size, index, second: false })
        })?;
        one.count = one.count.max(slot.index + 1);
        self.used = used;
        Some(slot)
    }

    /// The slot is free again.
    pub(super) fn give(&mut self, slot: Slot) {
        if let Some(one) = self.sizes.get_mut(slot.size) {
            one.free.push(slot);
        }
    }

    /// A free slot of another size, whose memory the caller gives back to the system.
    pub(super) fn give_back(&mut self, but: usize) -> Option<Slot> {
        let others = self.sizes.iter_mut().enumerate().filter(|(size, _)| *size != but);
        let (one, slot) = others.map(|(_, one)| one).find_map(|one| {
            let slot = one.free.pop()?;
            Some((one, slot))
        })?;
        one.returned.push(slot);
        self.used = self.used.saturating_sub(slot.bytes());
        Some(slot)
    }

    /// All slots of a size up to `count` have been found to exist; those that hold no record are to
    /// be given.
    pub(super) fn found(&mut self, size: usize, count: u64) {
        let count = count.min(most_slots(size));
        if let Some(one) = self.sizes.get_mut(size) {
            one.count = count;
            self.used = self.used.saturating_add(count * slot_bytes(size));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_slots_share_a_byte() {
        let mut space = Space::new(MOST_BYTES);
        let mut taken: Vec<_> = (0..SIZES).filter_map(|size| space.take(size)).collect();
        taken.extend((0..3).filter_map(|_| space.take(1)));
        let mut ranges: Vec<_> = taken
            .iter()
            .flat_map(|slot| [*slot, slot.turned()])
            .map(|slot| (slot.offset(), slot.offset() + half_bytes(slot.size)))
            .collect();
        ranges.sort_unstable();
        assert_eq!(ranges.len(), 28);
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
        assert!(ranges[0].0 >= MOST_BYTES, "behind the header");
        for size in 0..SIZES {
            let last = Slot { size, index: most_slots(size) - 1, second: true };
            assert!(last.offset() + half_bytes(size) <= region(size) + MOST_BYTES);
        }
    }

    #[test]
    fn sizes_fit() {
        assert_eq!(size_for(0), Some(0));
        assert_eq!(size_for(4096), Some(0));
        assert_eq!(size_for(4097), Some(1));
        assert_eq!(size_for(4 << 20), Some(10));
        assert_eq!(size_for((4 << 20) + 1), None);
    }

    #[test]
    fn memory_is_bounded_and_moves_between_sizes() {
        let mut space = Space::new(4 * 8192);
        let small: Vec<_> = std::iter::from_fn(|| space.take(0)).collect();
        assert_eq!(small.len(), 4);
        assert_eq!(space.take(1), None);
        small.into_iter().for_each(|slot| space.give(slot));
        assert_eq!(space.take(1), None, "not before their memory is given back");
        assert!(space.give_back(0).is_none());
        assert!(space.give_back(1).is_some() && space.give_back(1).is_some());
        assert!(space.take(1).is_some());
        assert!(space.take(0).is_some() && space.take(0).is_some());
        assert_eq!(space.take(0), None);
    }
}
