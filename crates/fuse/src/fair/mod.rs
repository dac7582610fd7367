//! Whose turn it is: a class of callers that asks for much waits for itself, not the others.
//!
//! The kernel hands out requests in the order in which they came. A class may have a few of them
//! answered at once in a busy period, which lasts until nothing waits any more; the rest is *parked*
//! and answered, one of each class in turn, when the device has nothing to read. So no
//! time is wasted, and a thousand requests of one class come after the single one of another. The
//! requests themselves are in the journal, and survive this process there.
//!
//! What the same thread asks one after the other counts once: a thread waits for its answer before it
//! asks again. (The kernel reads ahead for a thread that does not wait, but never much.)

mod queues;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queues::{Place, Queues};

use crate::abi::UNIQUE_RESEND;

/// How requests are shared out among the classes of
/// [`Filesystem::class`](crate::Filesystem::class).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fairness {
    /// How many requests of a class are answered in the order of their coming, until nothing waits
    /// any more. What comes on top is answered in turn with the other classes.
    pub burst: NonZeroU32,
    /// The most that are answered per second and class, after a pause up to twice as many within
    /// one second. `None`: as many as there is time for.
    pub per_second: Option<NonZeroU32>,
}

impl Default for Fairness {
    /// 32 at once, and no limit.
    fn default() -> Self {
        const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);
        Self { burst: BURST, per_second: None }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    pub(crate) class: u64,
    pub(crate) thread: u32,
    pub(crate) unique: u64,
}

/// What to do with a request that was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Answer it.
    Now,
    /// It is parked.
    Parked,
    /// Answer it `EINTR`: its caller has given up.
    Interrupted,
}

/// What to do when the device has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Answer what is parked there.
    Parked(Ticket),
    /// Wait, but no longer than this: then a class may go on.
    Wait(Option<Duration>),
}

/// A parked request that has been taken out, and whose place is still to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) place: usize,
    /// Left behind by the server before this one.
    pub(crate) old: bool,
}

/// The requests that wait for their class's turn.
#[derive(Debug)]
pub(crate) struct Parking {
    fairness: Fairness,
    /// How many are parked.
    waiting: AtomicUsize,
    /// Whether a class has been counted since the busy period began.
    counted: AtomicBool,
    /// How many requests without a class came in the busy period.
    strangers: AtomicU32,
    queues: Mutex<Queues>,
}

impl Parking {
    pub(crate) fn new(fairness: Fairness) -> Self {
        let (waiting, counted) = (AtomicUsize::new(0), AtomicBool::new(false));
        let strangers = AtomicU32::new(0);
        Self { fairness, waiting, counted, strangers, queues: Mutex::new(Queues::new()) }
    }

    /// Whether a request without a class is answered at once, and its class need not be found out:
    /// for a few of them, as for those of a class. A rate holds for every request. `is_idle` as for
    /// [`arrive`](Self::arrive).
    pub(crate) fn lets_stranger_pass(&self, is_idle: impl FnOnce() -> bool) -> bool {
        if self.fairness.per_second.is_some() {
            return false;
        }
        let passes = || {
            self.counted.store(true, Ordering::Relaxed);
            self.strangers.fetch_add(1, Ordering::Relaxed) < self.fairness.burst.get()
        };
        passes()
            || (self.is_empty() && is_idle() && {
                self.end_period(&mut self.lock());
                passes()
            })
    }

    /// Whether anything is parked.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on a request. `is_idle` says whether nothing waits in the device, so that the busy
    /// period is over where nothing is parked either; `false` where [`next`](Self::next) will be
    /// asked then. To be parked, `store` puts it at that place of the journal, and then
    /// `interrupted` says whether its caller gave up before it was there.
    pub(crate) fn arrive(
        &self,
        asks: Asks,
        is_idle: impl FnOnce() -> bool,
        store: impl FnOnce(usize),
        interrupted: impl FnOnce() -> bool,
    ) -> Arrival {
        let Asks { class, unique, .. } = asks;
        self.counted.store(true, Ordering::Relaxed);
        let mut queues = self.lock();
        if queues.may_pass(asks, self.fairness) {
            return Arrival::Now;
        }
        if self.is_empty() && is_idle() {
            self.end_period(&mut queues);
            if queues.may_pass(asks, self.fairness) {
                return Arrival::Now;
            }
        }
        let Some(place) = queues.free.pop() else { return Arrival::Now };
        // From here on, whoever has noted an INTERRUPT looks in here, and waits for the lock. One
        // that was noted before is seen.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if interrupted() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            queues.free.push(place);
            return Arrival::Interrupted;
        }
        store(place);
        queues.append(class, place, Place { unique, old: false, next: None });
        Arrival::Parked
    }

    /// Takes in what the server before this one had parked at `place`.
    pub(crate) fn restore(&self, class: u64, unique: u64, place: usize) {
        let mut queues = self.lock();
        queues.free.retain(|&free| free != place);
        queues.append(class, place, Place { unique, old: true, next: None });
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// Whose turn it is; with `stopping` regardless of any rate. Where nothing is parked, the busy
    /// period ends.
    pub(crate) fn next(&self, stopping: bool) -> Next {
        if self.is_empty() {
            if self.counted.swap(false, Ordering::Relaxed) {
                self.end_period(&mut self.lock());
            }
            return Next::Wait(None);
        }
        let per_second = self.fairness.per_second.filter(|_| !stopping);
        let next = self.lock().next(per_second);
        if let Next::Parked(_) = next {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        next
    }

    fn end_period(&self, queues: &mut Queues) {
        self.strangers.store(0, Ordering::Relaxed);
        queues.end_period();
    }

    /// Gives back the place of a request that [`next`](Self::next) or
    /// [`interrupt`](Self::interrupt) has taken out.
    pub(crate) fn free(&self, place: usize) {
        self.lock().free.push(place);
    }

    /// Takes out the request `unique`, whose caller has given up: its number as it was received,
    /// and its place, which is to be emptied and remains taken until its turn comes.
    pub(crate) fn interrupt(&self, unique: u64, empty: impl FnOnce(usize)) -> Option<u64> {
        let key = unique & !UNIQUE_RESEND;
        if key == 0 || self.is_empty() {
            return None;
        }
        let mut queues = self.lock();
        let mut places = queues.places.iter_mut().enumerate();
        let (at, place) = places.find(|(_, place)| place.unique & !UNIQUE_RESEND == key)?;
        let unique = std::mem::take(&mut place.unique);
        empty(at);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(unique)
    }
}
