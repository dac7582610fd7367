//! What is parked, class by class, and whose turn is next.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{Asks, Fairness, Next, Ticket};
use crate::mapping::PARKED;

/// How many classes are remembered from one busy period to the next.
const CLASSES: usize = 1024;
/// How much of its rate a class can save up.
const SAVED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Queues {
    pub(super) places: Box<[Place]>,
    /// Places without a request, the lowest last, so that few pages of the journal are used.
    pub(super) free: Vec<usize>,
    pub(super) classes: HashMap<u64, Class>,
    /// Classes with something parked, whose turn is next in front.
    turns: VecDeque<u64>,
    period: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// 0 when nothing is there, or somebody gave up waiting for it.
    pub(super) unique: u64,
    pub(super) old: bool,
    /// The place of the next one of the same class.
    pub(super) next: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Class {
    period: u64,
    /// How many were answered at once in that period.
    at_once: u32,
    /// Whose the last of them was.
    thread: u32,
    first: Option<usize>,
    last: Option<usize>,
    /// When all that it has had would have been due at its rate.
    pub(super) due: Option<Instant>,
}

impl Class {
    /// Counts one request against the rate; the time to wait where it is too early for one.
    fn spend(&mut self, per_second: Option<NonZeroU32>) -> Result<(), Duration> {
        per_second.map_or(Ok(()), |rate| self.spend_at(Instant::now(), rate))
    }

    pub(super) fn spend_at(
        &mut self,
        now: Instant,
        per_second: NonZeroU32,
    ) -> Result<(), Duration> {
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

impl Queues {
    pub(super) fn new() -> Self {
        Self {
            places: vec![Place::default(); PARKED].into_boxed_slice(),
            free: (0..PARKED).rev().collect(),
            classes: HashMap::with_capacity(2 * CLASSES),
            turns: VecDeque::with_capacity(CLASSES),
            period: 0,
        }
    }

    /// Whether a request is answered at once, and if so counts it.
    pub(super) fn may_pass(&mut self, asks: Asks, fairness: Fairness) -> bool {
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

    pub(super) fn append(&mut self, id: u64, at: usize, request: Place) {
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
    pub(super) fn next(&mut self, per_second: Option<NonZeroU32>) -> Next {
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
    pub(super) fn end_period(&mut self) {
        self.period = self.period.wrapping_add(1);
        if self.classes.len() > CLASSES {
            // Those that stood in line but were given up are in there as well.
            self.classes.retain(|_, class| class.first.is_some());
        }
    }
}
