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

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::abi::UNIQUE_RESEND;
use crate::mapping::PARKED;

/// How many classes are remembered from one busy period to the next.
const CLASSES: usize = 1024;
/// How much of its rate a class can save up.
const SAVED: Duration = Duration::from_secs(1);

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

#[derive(Debug)]
struct Queues {
    places: Box<[Place]>,
    /// Places without a request, the lowest last, so that few pages of the journal are used.
    free: Vec<usize>,
    classes: HashMap<u64, Class>,
    /// Classes with something parked, whose turn is next in front.
    turns: VecDeque<u64>,
    period: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// 0 when nothing is there, or somebody gave up waiting for it.
    unique: u64,
    old: bool,
    /// The place of the next one of the same class.
    next: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    period: u64,
    /// How many were answered at once in that period.
    at_once: u32,
    /// Whose the last of them was.
    thread: u32,
    first: Option<usize>,
    last: Option<usize>,
    /// When all that it has had would have been due at its rate.
    due: Option<Instant>,
}

impl Class {
    /// Counts one request against the rate; the time to wait where it is too early for one.
    fn spend(&mut self, per_second: Option<NonZeroU32>) -> Result<(), Duration> {
        per_second.map_or(Ok(()), |rate| self.spend_at(Instant::now(), rate))
    }

    fn spend_at(&mut self, now: Instant, per_second: NonZeroU32) -> Result<(), Duration> {
        let each = SAVED / per_second.get();
        let due = self.due.map_or(now, |due| due.max(now)) + each;
        let early = due.duration_since(now).saturating_sub(SAVED);
        if !early.is_zero() {
            return Err(early);
        }
        self.due = Some(due);
        Ok(())
    }
}

impl Parking {
    pub(crate) fn new(fairness: Fairness) -> Self {
        let queues = Queues {
            places: vec![Place::default(); PARKED].into_boxed_slice(),
            free: (0..PARKED).rev().collect(),
            classes: HashMap::with_capacity(2 * CLASSES),
            turns: VecDeque::with_capacity(CLASSES),
            period: 0,
        };
        let (waiting, counted) = (AtomicUsize::new(0), AtomicBool::new(false));
        let strangers = AtomicU32::new(0);
        Self { fairness, waiting, counted, strangers, queues: Mutex::new(queues) }
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

impl Queues {
    /// Whether a request is answered at once, and if so counts it.
    fn may_pass(&mut self, asks: Asks, fairness: Fairness) -> bool {
        let period = self.period;
        let class = self.classes.entry(asks.class).or_default();
        if class.period != period {
            class.period = period;
            class.at_once = 0;
        }
        // Nothing overtakes what is parked of the same class: programs rely on no order, but a
        // reader that asks again and again would always win against one that waits.
        let is_same = class.at_once > 0 && class.thread == asks.thread;
        let passes = (is_same || class.at_once < fairness.burst.get())
            && class.first.is_none()
            && class.spend(fairness.per_second).is_ok();
        if passes && !is_same {
            class.at_once = class.at_once.saturating_add(1);
            class.thread = asks.thread;
        }
        passes
    }

    fn append(&mut self, id: u64, at: usize, request: Place) {
        if let Some(place) = self.places.get_mut(at) {
            *place = request;
        }
        let class = self.classes.entry(id).or_default();
        let before = class.last.replace(at);
        if class.first.is_none() {
            class.first = Some(at);
            self.turns.push_back(id);
        } else if let Some(before) = before.and_then(|before| self.places.get_mut(before)) {
            before.next = Some(at);
        }
    }

    /// The first request of the class whose turn it is, if it may go on.
    fn next(&mut self, per_second: Option<NonZeroU32>) -> Next {
        let mut wait: Option<Duration> = None;
        for _ in 0..self.turns.len() {
            self.drop_those_given_up();
            let Some(id) = self.turns.pop_front() else { break };
            self.turns.push_back(id);
            let Some(class) = self.classes.get_mut(&id) else { continue };
            match class.spend(per_second) {
                Ok(()) => {}
                Err(early) => {
                    wait = Some(wait.map_or(early, |wait| wait.min(early)));
                    continue;
                }
            }
            if let Some((at, place)) = self.take_first(id) {
                return Next::Parked(Ticket { place: at, old: place.old });
            }
        }
        Next::Wait(wait)
    }

    /// Takes out what nobody waits for any more, as far as it stands first in the class whose turn
    /// it is.
    fn drop_those_given_up(&mut self) {
        while let Some(&id) = self.turns.front() {
            let first = self.classes.get(&id).and_then(|class| class.first);
            let given_up = |at: usize| self.places.get(at).is_none_or(|place| place.unique == 0);
            if first.is_some_and(|at| !given_up(at)) {
                return;
            }
            match self.take_first(id) {
                Some((at, _)) => self.free.push(at),
                None => drop(self.turns.pop_front()),
            }
        }
    }

    /// Takes the first place out of a class. A class without any more loses its turn.
    fn take_first(&mut self, id: u64) -> Option<(usize, Place)> {
        let class = self.classes.get_mut(&id)?;
        let at = class.first?;
        let place = self.places.get_mut(at).map(std::mem::take).unwrap_or_default();
        class.first = place.next;
        if class.first.is_none() {
            class.last = None;
            self.turns.retain(|&turn| turn != id);
        }
        Some((at, place))
    }

    /// Nothing is parked: every class has its burst again.
    fn end_period(&mut self) {
        self.period = self.period.wrapping_add(1);
        if self.classes.len() > CLASSES {
            // Those that stood in line but were given up are in there as well.
            self.classes.retain(|_, class| class.first.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parking(burst: u32, per_second: Option<u32>) -> Parking {
        let burst = NonZeroU32::new(burst).unwrap();
        Parking::new(Fairness { burst, per_second: per_second.and_then(NonZeroU32::new) })
    }

    /// Each of a thread of its own.
    fn asks(class: u64, unique: u64) -> Asks {
        let thread = u32::try_from(unique & u64::from(u32::MAX)).unwrap();
        Asks { class, thread, unique }
    }

    fn arrive(parking: &Parking, class: u64, unique: u64) -> Arrival {
        parking.arrive(asks(class, unique), || false, |_| {}, || false)
    }

    /// Takes out everything; the numbers, in order.
    fn drain(parking: &Parking) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let uniques: Vec<u64> =
                parking.lock().places.iter().map(|place| place.unique).collect();
            match parking.next(true) {
                Next::Parked(ticket) => {
                    order.push(uniques[ticket.place]);
                    parking.free(ticket.place);
                }
                Next::Wait(_) => return order,
            }
        }
    }

    #[test]
    fn what_is_parked_is_taken_in_turns() {
        let parking = parking(1, None);
        for (class, unique) in [(1, 2), (2, 4)] {
            assert_eq!(arrive(&parking, class, unique), Arrival::Now);
        }
        for (class, unique) in [(1, 6), (1, 8), (1, 10), (2, 12), (3, 14), (2, 16)] {
            let arrival = if class == 3 { Arrival::Now } else { Arrival::Parked };
            assert_eq!(arrive(&parking, class, unique), arrival);
        }
        assert_eq!(drain(&parking), [6, 12, 8, 16, 10]);
        assert_eq!(arrive(&parking, 1, 18), Arrival::Now, "a new period");
        assert_eq!(parking.lock().free.len(), PARKED);
    }

    #[test]
    fn who_gave_up_is_not_answered_in_turn() {
        let parking = parking(1, None);
        arrive(&parking, 1, 2);
        for unique in [4, 6 | UNIQUE_RESEND, 8] {
            assert_eq!(arrive(&parking, 1, unique), Arrival::Parked);
        }
        let mut emptied = Vec::new();
        assert_eq!(parking.interrupt(6, |place| emptied.push(place)), Some(6 | UNIQUE_RESEND));
        assert_eq!(parking.interrupt(6, |place| emptied.push(place)), None);
        assert_eq!(parking.interrupt(4, |place| emptied.push(place)), Some(4));
        assert_eq!(emptied, [1, 0]);
        assert_eq!(drain(&parking), [8]);
        // Interrupted between being read and being parked.
        arrive(&parking, 2, 10);
        let stored = |_| panic!("not to be parked");
        assert_eq!(parking.arrive(asks(2, 12), || false, stored, || true), Arrival::Interrupted);
        assert!(parking.is_empty());
        assert_eq!(parking.lock().free.len(), PARKED);
    }

    #[test]
    fn strangers_pass_until_they_are_many() {
        let busy = parking(2, None);
        let passed = |parking: &Parking| [(); 3].map(|()| parking.lets_stranger_pass(|| false));
        assert_eq!(passed(&busy), [true, true, false]);
        assert_eq!(busy.next(false), Next::Wait(None));
        assert_eq!(passed(&busy), [true, true, false], "a new period");
        assert_eq!(passed(&parking(2, Some(1))), [false; 3], "a rate holds for them as well");
        let idle = [(); 9].map(|()| busy.lets_stranger_pass(|| true));
        assert_eq!(idle, [true; 9], "there is nobody to wait for");
    }

    #[test]
    fn one_thread_alone_does_not_wait_and_many_do_unless_the_device_is_empty() {
        let parking = parking(2, None);
        let arrive = |thread, is_idle| {
            let asks = Asks { class: 7, thread, unique: 2 };
            parking.arrive(asks, || is_idle, |_| {}, || false)
        };
        assert_eq!([(); 99].map(|()| arrive(20, false)), [Arrival::Now; 99]);
        assert_eq!(arrive(21, false), Arrival::Now);
        assert_eq!([20, 21, 22].map(|thread| arrive(thread, true)), [Arrival::Now; 3]);
        assert_eq!([20, 21].map(|thread| arrive(thread, false)), [Arrival::Now, Arrival::Parked]);
        assert_eq!(arrive(20, true), Arrival::Parked, "something is parked: the period goes on");
    }

    #[test]
    fn all_given_up_leaves_nothing_behind() {
        let parking = parking(1, None);
        for unique in 1..=5 {
            arrive(&parking, 7, unique);
        }
        for unique in 2..=5 {
            assert!(parking.interrupt(unique, |_| {}).is_some());
        }
        assert_eq!(parking.next(false), Next::Wait(None));
        // The class stands in line with places that nobody waits for; they go with the next turn.
        assert_eq!(arrive(&parking, 7, 6), Arrival::Parked);
        assert_eq!(drain(&parking), [6]);
        assert_eq!(parking.lock().free.len(), PARKED);
    }

    #[test]
    fn without_a_place_requests_are_answered_as_they_come() {
        let parking = parking(1, None);
        arrive(&parking, 1, 1);
        for unique in 0..PARKED as u64 {
            assert_eq!(arrive(&parking, 1, 2 + unique), Arrival::Parked);
        }
        assert_eq!(arrive(&parking, 1, 9999), Arrival::Now);
        assert_eq!(drain(&parking).len(), PARKED);
    }

    #[test]
    fn a_rate_holds_back_its_own_class_only() {
        let parking = parking(1000, Some(1));
        assert_eq!(arrive(&parking, 1, 1), Arrival::Now);
        let hour = Duration::from_secs(3600);
        parking.lock().classes.get_mut(&1).unwrap().due = Some(Instant::now() + hour);
        assert_eq!(arrive(&parking, 1, 3), Arrival::Parked);
        assert_eq!(arrive(&parking, 2, 4), Arrival::Now);
        let Next::Wait(Some(wait)) = parking.next(false) else { panic!("no wait") };
        assert!(wait <= hour, "{wait:?}");
        assert_eq!(drain(&parking), [3], "stopping, all are answered");
    }

    #[test]
    fn one_second_of_a_rate_is_saved_up() {
        let (mut class, rate) = (Class::default(), NonZeroU32::new(4).unwrap());
        let (now, quarter) = (Instant::now(), Duration::from_millis(250));
        for _ in 0..4 {
            assert_eq!(class.spend_at(now, rate), Ok(()));
        }
        assert_eq!(class.spend_at(now, rate), Err(quarter));
        assert_eq!(class.spend_at(now + quarter, rate), Ok(()));
        assert_eq!(class.spend_at(now + quarter, rate), Err(quarter));
        for _ in 0..4 {
            assert_eq!(class.spend_at(now + quarter * 40, rate), Ok(()));
        }
        assert_eq!(class.spend_at(now + quarter * 40, rate), Err(quarter));
    }

    #[test]
    fn the_old_ones_are_known() {
        let parking = parking(1, None);
        parking.restore(1, 2, 1);
        arrive(&parking, 1, 4);
        let Next::Parked(old) = parking.next(false) else { panic!("nothing there") };
        assert_eq!(old, Ticket { place: 1, old: true });
    }
}
