//! What was found out a moment ago, and still holds.
//!
//! A program that reads one file after the other, and many that read the same one, would have the
//! same questions answered over and over. An answer is used again for a millisecond, counted from
//! before its making began. A reader cannot tell it from a read that came a millisecond earlier, with
//! one exception: a limit that was changed, or a thread that was moved, within that millisecond still
//! shows as before. As the kernel numbers threads in turn, none gets the number of another that fast.
//!
//! Content that is dear to make is used for longer: for twice the CPU time that it took, again counted from
//! before. So no file, however often it is read, costs more than half of a CPU. (The kernel's own
//! `/proc/slabinfo` takes up to 25 ms where there are many caches.) Time that the maker was held up does
//! not count, or a busy machine would show old content. As it takes a system call to tell, that is only
//! asked where the content before was long in the making.
//!
//! What readers see never goes back. An answer is noted only if its making began when the one before
//! it was finished, for else it may be of an earlier moment: a maker may be held up. No lock is held
//! while an answer is made, so nobody waits for a maker that is stuck.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use container::Container;
use procfmt::units::Usec;

use crate::clocks::{monotonic, thread_cpu};
use crate::handles::{Built, Content};

/// How long an answer is used that is quickly made, unless told otherwise.
pub(crate) const MOMENT: Usec = Usec(1000);
/// What takes longer may be dear.
const LONG: Usec = Usec(500);
/// The longest that anything is used for being dear.
const LONGEST: Usec = Usec(50_000);
/// How many answers are remembered; each has one place, which it shares with others.
const PLACES: usize = 512;
/// The longest content that is remembered, in bytes: 16 MiB in all.
const MOST_BYTES: usize = 32 << 10;

/// Answers by a number that is spread evenly.
#[derive(Debug)]
struct Recent<T> {
    places: Box<[Mutex<Option<Answer<T>>>]>,
    moment: Usec,
}

#[derive(Debug)]
struct Answer<T> {
    /// When its making began.
    asked: Usec,
    /// When it was finished.
    given: Usec,
    /// How long it is used, from `asked`.
    holds: Usec,
    said: T,
}

/// An answer in the making.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Usec,
    /// The CPU time that the thread had used then; `None`: the answer is not dear.
    cpu: Option<Usec>,
}

impl Asked {
    fn answered<T>(self, said: T, moment: Usec) -> Answer<T> {
        let spent = |before: Usec| thread_cpu().0.saturating_sub(before.0);
        let dear = self.cpu.map_or(0, |before| spent(before).saturating_mul(2).min(LONGEST.0));
        Answer { asked: self.at, given: monotonic(), holds: Usec(dear.max(moment.0)), said }
    }
}

impl<T> Recent<T> {
    fn new(moment: Usec) -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect(), moment }
    }

    /// What `look` finds in a recent answer.
    fn get<R>(&self, number: u64, now: Usec, look: impl FnOnce(&T) -> Option<R>) -> Option<R> {
        let place = self.place(number)?;
        let answer = place.as_ref()?;
        if now >= answer.asked + answer.holds { None } else { look(&answer.said) }
    }

    /// An answer begins to be made, for a place whose last one may have been dear.
    fn ask(&self, number: u64, at: Usec) -> Asked {
        let was_long = |answer: &Answer<T>| answer.given >= answer.asked + LONG;
        let is_dear = self.place(number).is_some_and(|place| place.as_ref().is_some_and(was_long));
        Asked { at, cpu: is_dear.then(thread_cpu) }
    }

    /// Remembers an answer, unless another one that has this place was given since it was asked.
    fn note(&self, number: u64, answer: Answer<T>) {
        let place = self.place(number);
        let Some(mut place) = place else { return };
        if place.as_ref().is_some_and(|before| before.given > answer.asked) {
            return;
        }
        let before = place.replace(answer);
        drop(place);
        drop(before); // outside the lock
    }

    fn place(&self, number: u64) -> Option<MutexGuard<'_, Option<Answer<T>>>> {
        let place = self.places.get(usize::try_from(number).unwrap_or(0) % PLACES)?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A container, or the host, that is remembered no longer than it is there.
#[derive(Debug)]
enum Who {
    Host,
    Container(Weak<Container>),
}

impl Who {
    fn new(container: Option<&Arc<Container>>) -> Self {
        container.map_or(Self::Host, |one| Self::Container(Arc::downgrade(one)))
    }

    /// `None`: it is gone.
    fn get(&self) -> Option<Option<Arc<Container>>> {
        match self {
            Self::Host => Some(None),
            Self::Container(one) => one.upgrade().map(Some),
        }
    }

    fn is(&self, container: Option<&Arc<Container>>) -> bool {
        match (self, container) {
            (Self::Host, None) => true,
            (Self::Container(one), Some(other)) => one.as_ptr() == Arc::as_ptr(other),
            _ => false,
        }
    }
}

/// Threads: whose they are, and whether they get the text for 32-bit programs.
#[derive(Debug)]
pub(crate) struct Callers {
    whose: Recent<(u32, Who)>,
    linux32: Recent<(u32, bool)>,
}

impl Callers {
    pub(crate) fn new(moment: Usec) -> Self {
        Self { whose: Recent::new(moment), linux32: Recent::new(moment) }
    }

    /// Whether a thread gets the text for 32-bit programs; what `look` says, unless that was asked a
    /// moment ago.
    pub(crate) fn is_linux32(&self, tid: u32, look: impl FnOnce() -> bool) -> bool {
        let now = monotonic();
        let known = self.linux32.get(tid.into(), now, |(of, is)| (*of == tid).then_some(*is));
        known.unwrap_or_else(|| {
            let asked = Asked { at: now, cpu: None };
            let is = look();
            self.linux32.note(tid.into(), asked.answered((tid, is), self.linux32.moment));
            is
        })
    }

    /// The container of a thread, `None` inside for the host; what `identify` says, unless that was
    /// asked a moment ago.
    pub(crate) fn of<E>(
        &self,
        tid: u32,
        identify: impl FnOnce() -> Result<Option<Arc<Container>>, E>,
    ) -> Result<Option<Arc<Container>>, E> {
        let now = monotonic();
        let known = self.whose.get(tid.into(), now, |(of, who)| (*of == tid).then(|| who.get())?);
        if let Some(container) = known {
            return Ok(container);
        }
        let asked = Asked { at: now, cpu: None };
        let container = identify()?;
        let said = (tid, Who::new(container.as_ref()));
        self.whose.note(tid.into(), asked.answered(said, self.whose.moment));
        Ok(container)
    }
}

/// What was found out about containers. A path is looked up before it is opened, and both ask.
#[derive(Debug)]
pub(crate) struct About<T>(Recent<(Weak<Container>, T)>);

impl<T: Clone> About<T> {
    pub(crate) fn new(moment: Usec) -> Self {
        Self(Recent::new(moment))
    }

    /// What `find` finds, unless that was asked a moment ago.
    pub(crate) fn of<E>(
        &self,
        container: &Arc<Container>,
        find: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let (now, number) = (monotonic(), spread(container));
        let is_it = |of: &Weak<Container>| of.as_ptr() == Arc::as_ptr(container);
        let known = self.0.get(number, now, |(of, said)| is_it(of).then(|| said.clone()));
        if let Some(said) = known {
            return Ok(said);
        }
        let asked = Asked { at: now, cpu: None };
        let said = find()?;
        let noted = (Arc::downgrade(container), said.clone());
        self.0.note(number, asked.answered(noted, self.0.moment));
        Ok(said)
    }
}

/// Containers lie anywhere in memory, at multiples of a few words.
fn spread(container: &Arc<Container>) -> u64 {
    u64::try_from(Arc::as_ptr(container).addr() >> 6).unwrap_or(0)
}

/// Which content is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    pub(crate) node: u64,
    pub(crate) is_linux32: bool,
    pub(crate) container: Option<&'a Arc<Container>>,
}

impl Which<'_> {
    /// Nodes are hashes.
    fn number(&self) -> u64 {
        self.node ^ self.container.map_or(0, spread) ^ u64::from(self.is_linux32)
    }
}

/// Files' content.
#[derive(Debug)]
pub(crate) struct Made(Recent<Kept>);

#[derive(Debug)]
struct Kept {
    node: u64,
    is_linux32: bool,
    who: Who,
    content: Content,
    is_good: bool,
}

impl Made {
    pub(crate) fn new(moment: Usec) -> Self {
        Self(Recent::new(moment))
    }

    /// The content; what `make` makes, unless it was made a moment ago.
    pub(crate) fn of<E>(
        &self,
        which: Which<'_>,
        make: impl FnOnce() -> Result<Built, E>,
    ) -> Result<Built, E> {
        let now = monotonic();
        let Which { node, is_linux32, container } = which;
        let known = self.0.get(which.number(), now, |kept| {
            let is_it = kept.node == node && kept.is_linux32 == is_linux32;
            (is_it && kept.who.is(container))
                .then(|| Built { content: Arc::clone(&kept.content), is_good: kept.is_good })
        });
        if let Some(built) = known {
            return Ok(built);
        }
        let asked = self.0.ask(which.number(), now);
        let Built { content, is_good } = make()?;
        if content.len() <= MOST_BYTES {
            let who = Who::new(container);
            let said = Kept { node, is_linux32, who, content: Arc::clone(&content), is_good };
            self.0.note(which.number(), asked.answered(said, self.0.moment));
        }
        Ok(Built { content, is_good })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes an answer that took no time to make.
    fn note(recent: &Recent<char>, number: u64, at: u64, said: char) {
        recent.note(number, Answer { asked: Usec(at), given: Usec(at), holds: MOMENT, said });
    }

    #[test]
    fn an_answer_holds_for_a_moment() {
        let recent = Recent::new(MOMENT);
        let get = |number, now| recent.get(number, Usec(now), |answer| Some(*answer));
        assert_eq!(get(7, 0), None);
        note(&recent, 7, 5000, 'a');
        assert_eq!((get(7, 5000), get(7, 5999), get(7, 6000)), (Some('a'), Some('a'), None));
        assert_eq!(get(8, 5000), None);
        note(&recent, 7, 6000, 'b');
        assert_eq!(get(7, 6500), Some('b'));
    }

    #[test]
    fn what_is_dear_holds_longer() {
        let asked = Asked { at: monotonic(), cpu: Some(thread_cpu()) };
        assert_eq!(asked.answered((), MOMENT).holds, MOMENT);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(asked.answered((), MOMENT).holds < Usec(3000), "waiting costs nothing");
        while thread_cpu() < asked.cpu.unwrap() + Usec(2000) {}
        let dear = asked.answered((), MOMENT);
        assert!((Usec(4000)..=LONGEST).contains(&dear.holds), "{dear:?}");
        while thread_cpu() < LONGEST {}
        let ages_ago = Asked { at: Usec(0), cpu: Some(Usec(0)) };
        assert_eq!(ages_ago.answered((), MOMENT).holds, LONGEST);
        assert_eq!(Asked { cpu: None, ..ages_ago }.answered((), MOMENT).holds, MOMENT);
    }

    #[test]
    fn cpu_time_is_asked_for_where_the_last_answer_took_long() {
        let recent = Recent::new(MOMENT);
        let asks = |given| {
            *recent.place(7).unwrap() = None;
            recent.note(7, Answer { asked: Usec(0), given: Usec(given), holds: MOMENT, said: 'a' });
            recent.ask(7, Usec(9000)).cpu.is_some()
        };
        assert_eq!((recent.ask(7, Usec(0)).cpu, asks(499), asks(500)), (None, false, true));
    }

    #[test]
    fn what_is_seen_never_goes_back() {
        let recent = Recent::new(MOMENT);
        let get = |now| recent.get(7, Usec(now), |answer| Some(*answer));
        note(&recent, 7, 5500, 'n');
        // Asked before that one was given, and made who knows when.
        let asked = |asked, given| Answer { asked, given, holds: MOMENT, said: 'o' };
        recent.note(7, asked(Usec(5400), Usec(5900)));
        assert_eq!(get(5950), Some('n'));
        // Held up for so long that the other one is out of date: neither is used.
        recent.note(7, asked(Usec(5499), Usec(9000)));
        assert_eq!(get(9000), None);
    }

    #[test]
    fn long_content_is_not_kept_in_memory() {
        let which = Which { node: 1, is_linux32: false, container: None };
        for (length, holders) in [(MOST_BYTES, 2), (MOST_BYTES + 1, 1)] {
            let (made, content) = (Made::new(MOMENT), Arc::new(vec![b'x'; length]));
            let built = Built { content: Arc::clone(&content), is_good: true };
            drop(made.of(which, || Ok::<_, ()>(built)).unwrap());
            assert_eq!(Arc::strong_count(&content), holders);
        }
    }

    #[test]
    fn what_shares_a_place_is_told_apart() {
        let callers = Callers::new(MOMENT);
        let places = u32::try_from(PLACES).unwrap();
        let mut asked = Vec::new();
        for tid in [3, 3 + places, 3] {
            callers
                .of(tid, || {
                    Ok::<_, ()>({
                        asked.push(tid);
                        None
                    })
                })
                .unwrap();
        }
        assert_eq!(asked, [3, 3 + places, 3]);
        let made = Made::new(MOMENT);
        let built = |text: &str| Built { content: Arc::new(text.into()), is_good: true };
        let which = |node| Which { node, is_linux32: false, container: None };
        let of = |node, text: &str| made.of(which(node), || Ok::<_, ()>(built(text))).unwrap();
        assert_eq!(*of(1, "one").content, b"one");
        assert_eq!(*of(1 + u64::from(places), "other").content, b"other");
        assert_eq!(*of(1, "one again").content, b"one again");
    }

    #[test]
    fn an_error_is_not_remembered() {
        let callers = Callers::new(MOMENT);
        assert_eq!(callers.of(1, || Err("gone")).unwrap_err(), "gone");
        assert!(callers.of(1, || Ok::<_, ()>(None)).is_ok());
    }

    #[test]
    fn each_thread_has_its_own_personality() {
        let callers = Callers::new(MOMENT);
        assert!(callers.is_linux32(1, || true));
        assert!(!callers.is_linux32(2, || false));
        assert!(!callers.is_linux32(1 + u32::try_from(PLACES).unwrap(), || false));
    }
}
