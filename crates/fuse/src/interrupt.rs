//! Which requests are being answered, and which of them the kernel wants back.
//!
//! The kernel queues an INTERRUPT only after its request was read, but another thread may read the
//! INTERRUPT before the request's own thread has noted it here. The protocol lets the server
//! answer such an INTERRUPT with EAGAIN to have it again, which spins when the request is nobody's
//! any more (its server died). So it is kept here instead until its request turns up, or
//! until enough others came by to show that the request had been answered already.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi::UNIQUE_RESEND;

/// Bit 63 of a slot: interrupted. Of a `unique` that bit only says "sent again", and is masked.
const INTERRUPTED: u64 = UNIQUE_RESEND;
/// How many INTERRUPTs may wait for their requests; the oldest gives way.
const EARLY: usize = 64;
/// How many requests an INTERRUPT waits for its own. More than any number of threads that can sit
/// between reading a request and noting it.
const CHANCES: u32 = 1024;

/// The requests in flight: one slot per thread, since a thread answers one request at a time.
#[derive(Debug)]
pub struct InFlight {
    slots: Box<[Slot]>,
    early: Mutex<VecDeque<Early>>,
    early_len: AtomicUsize,
}

/// 0 when idle, else the request's `unique`, with [`INTERRUPTED`] once the caller gave up.
#[derive(Debug, Default)]
pub(crate) struct Slot(AtomicU64);

#[derive(Debug)]
struct Early {
    key: u64,
    chances: u32,
}

/// Holds a slot while its request is being answered.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a Slot);

impl InFlight {
    /// A table for `threads` dispatchers.
    #[must_use]
    pub fn new(threads: NonZeroUsize) -> Self {
        let slots = (0..threads.get()).map(|_| Slot::default()).collect();
        Self { slots, early: Mutex::default(), early_len: AtomicUsize::new(0) }
    }

    /// The slot of dispatcher `index`; `None` beyond the number of threads.
    pub(crate) fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)
    }

    /// Notes that `unique` is being answered in `slot`, until the result is dropped.
    pub(crate) fn begin<'a>(&self, slot: &'a Slot, unique: u64) -> Held<'a> {
        let key = unique & !UNIQUE_RESEND;
        // Sequentially consistent, as are the stores in `interrupt`: of two threads that meet,
        // either this one sees the INTERRUPT or the other one sees the request.
        slot.0.store(key, Ordering::SeqCst);
        if self.came_early(key) {
            slot.0.fetch_or(INTERRUPTED, Ordering::SeqCst);
        }
        Held(slot)
    }

    /// Whether the request `unique`, which is in no slot yet, has been interrupted; asked once.
    pub(crate) fn came_early(&self, unique: u64) -> bool {
        self.early_len.load(Ordering::SeqCst) > 0 && self.take_early(unique & !UNIQUE_RESEND)
    }

    /// Marks the request `unique` as interrupted, now or when it turns up.
    pub(crate) fn interrupt(&self, unique: u64) {
        let key = unique & !UNIQUE_RESEND;
        let mut early = self.lock();
        if early.len() >= EARLY {
            early.pop_front();
        }
        early.push_back(Early { key, chances: CHANCES });
        self.early_len.store(early.len(), Ordering::SeqCst);
        if self.slots.iter().any(|slot| slot.interrupt(key)) {
            early.pop_back();
            self.early_len.store(early.len(), Ordering::SeqCst);
        }
    }

    fn take_early(&self, key: u64) -> bool {
        let mut early = self.lock();
        let before = early.len();
        let mut found = false;
        early.retain_mut(|entry| {
            found |= entry.key == key;
            entry.chances = entry.chances.saturating_sub(1);
            entry.key != key && entry.chances > 0
        });
        if early.len() != before {
            self.early_len.store(early.len(), Ordering::SeqCst);
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Early>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Whether the kernel wants the request in this slot back.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & INTERRUPTED != 0
    }

    /// Whether `key` was in this slot; uniques are never used twice, so it is still the same one.
    fn interrupt(&self, key: u64) -> bool {
        key != 0
            && self
                .0
                .compare_exchange(key, key | INTERRUPTED, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> InFlight {
        InFlight::new(NonZeroUsize::new(2).unwrap())
    }

    #[test]
    fn interrupt_reaches_the_request_in_flight_only() {
        let table = table();
        let (one, two) = (table.slot(0).unwrap(), table.slot(1).unwrap());
        let (held, _other) = (table.begin(one, 4), table.begin(two, 6));
        table.interrupt(4);
        assert!(one.is_interrupted());
        assert!(!two.is_interrupted());
        drop(held);
        assert!(!one.is_interrupted());
        assert_eq!(table.early_len.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn interrupt_before_its_request_is_not_lost() {
        let table = table();
        table.interrupt(8);
        let slot = table.slot(0).unwrap();
        drop(table.begin(slot, 6));
        let _held = table.begin(slot, 8);
        assert!(slot.is_interrupted());
        assert_eq!(table.early_len.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn resent_request_is_the_same_request() {
        let table = table();
        let slot = table.slot(0).unwrap();
        let _held = table.begin(slot, 10 | UNIQUE_RESEND);
        assert!(!slot.is_interrupted());
        table.interrupt(10 | UNIQUE_RESEND);
        assert!(slot.is_interrupted());
    }

    #[test]
    fn interrupt_racing_with_its_request_is_not_lost() {
        let table = table();
        let (slot, barrier) = (table.slot(0).unwrap(), std::sync::Barrier::new(2));
        let mut lost = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for unique in 1..5000 {
                    barrier.wait();
                    table.interrupt(unique);
                    barrier.wait();
                }
            });
            for unique in 1..5000 {
                barrier.wait();
                let _held = table.begin(slot, unique);
                barrier.wait();
                // Asserting here would leave the other thread at the barrier.
                lost += u32::from(!slot.is_interrupted());
            }
        });
        assert_eq!(lost, 0);
    }

    #[test]
    fn late_interrupts_do_not_pile_up() {
        let table = table();
        for unique in 1..1000 {
            table.interrupt(unique);
        }
        assert_eq!(table.lock().len(), EARLY);
        let slot = table.slot(0).unwrap();
        for unique in 2000..2000 + u64::from(CHANCES) {
            drop(table.begin(slot, unique));
        }
        assert_eq!(table.lock().len(), 0);
        assert_eq!(table.early_len.load(Ordering::SeqCst), 0);
    }
}
