//! Who runs the plugin's methods: some threads, and an order for each container.
//!
//! Tasks of one lane run one after the other, those of different lanes side by side. Tasks that
//! somebody waits for go before those of a listing. All is bounded: threads, and what waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The most threads. A method that hangs keeps one of them.
const THREADS: usize = 32;
/// The most threads that work on a listing, so that others are left for what just happens.
const LISTING_THREADS: usize = 8;
/// The most events that wait.
const EVENTS: usize = 4096;
/// The most containers of listings that wait.
const LISTED: usize = 100_000;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Why something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It just happened.
    Event,
    /// It is so according to a listing. Of one lane, the newest such task replaces one that waits.
    Listing,
}

type Work = Box<dyn FnOnce() + Send>;

/// Threads that are there when needed. Dropped, it forgets what has not begun.
pub(crate) struct Lanes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that run or have something to run.
    lanes: HashMap<String, Lane>,
    /// Lanes that can run next, by the cause of what was put in. A lane may be in both or twice:
    /// what cannot run any more is skipped.
    events: VecDeque<String>,
    listings: VecDeque<String>,
    waiting_events: usize,
    waiting_listed: usize,
    threads: usize,
    idle_threads: usize,
    listing_threads: usize,
    closed: bool,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<(Cause, Work)>,
    running: bool,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Has `work` done in its turn. False: too much waits already, and it is dropped.
    #[must_use]
    pub(crate) fn put(&self, lane: &str, cause: Cause, work: Work) -> bool {
        let mut state = self.shared.lock();
        let full = match cause {
            Cause::Event => state.waiting_events >= EVENTS,
            Cause::Listing => state.waiting_listed >= LISTED,
        };
        if full {
            return false;
        }
        state.put(lane, cause, work);
        if state.idle_threads < state.runnable() && state.threads < THREADS {
            state.threads += 1;
            // Until it runs; so the next task knows that this thread is not for it.
            state.idle_threads += 1;
            drop(state);
            self.add_thread();
        }
        self.shared.work.notify_one();
        true
    }

    /// Whether nothing waits to be begun.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.waiting_events == 0 && state.waiting_listed == 0
    }

    fn add_thread(&self) {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("nri-plugin".to_owned());
        if let Err(error) = thread.spawn(move || shared.work_off()) {
            // The task stays where it is: another thread takes it, or the next task brings one.
            tracing::warn!(%error, "cannot start a thread for the plugin's work");
            let mut state = self.shared.lock();
            state.threads -= 1;
            state.idle_threads -= 1;
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.lanes.retain(|_, lane| {
            lane.waiting.clear();
            lane.running
        });
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_off(&self) {
        let mut state = self.lock();
        state.idle_threads -= 1;
        loop {
            if let Some((lane, cause, work)) = state.take() {
                drop(state);
                // What it does is the plugin's, and reports its own panics.
                work();
                state = self.lock();
                state.done(&lane, cause);
                // What this made way for need not be what this thread takes next.
                self.work.notify_one();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle_threads += 1;
            let waited = self.work.wait_timeout(state, IDLE);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle_threads -= 1;
            if timeout.timed_out() && state.runnable() == 0 {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl State {
    fn put(&mut self, name: &str, cause: Cause, work: Work) {
        let lane = self.lanes.entry(name.to_owned()).or_default();
        match (cause, lane.waiting.back_mut()) {
            (Cause::Listing, Some(last)) if last.0 == Cause::Listing => {
                last.1 = work;
                return;
            }
            _ => lane.waiting.push_back((cause, work)),
        }
        if !lane.running {
            self.ready(name, cause);
        }
        *self.waiting(cause) += 1;
    }

    fn ready(&mut self, lane: &str, cause: Cause) {
        match cause {
            Cause::Event => self.events.push_back(lane.to_owned()),
            Cause::Listing => self.listings.push_back(lane.to_owned()),
        }
    }

    fn waiting(&mut self, cause: Cause) -> &mut usize {
        match cause {
            Cause::Event => &mut self.waiting_events,
            Cause::Listing => &mut self.waiting_listed,
        }
    }

    /// How many lanes could be run now, or more.
    fn runnable(&self) -> usize {
        let listing_threads_left = LISTING_THREADS.saturating_sub(self.listing_threads);
        self.events.len() + self.listings.len().min(listing_threads_left)
    }

    fn take(&mut self) -> Option<(String, Cause, Work)> {
        while self.runnable() > 0 {
            let name = self.events.pop_front().or_else(|| self.listings.pop_front())?;
            let Some(lane) = self.lanes.get_mut(&name).filter(|lane| !lane.running) else {
                continue;
            };
            let Some((cause, work)) = lane.waiting.pop_front() else { continue };
            lane.running = true;
            *self.waiting(cause) -= 1;
            if cause == Cause::Listing {
                self.listing_threads += 1;
            }
            return Some((name, cause, work));
        }
        None
    }

    fn done(&mut self, name: &str, cause: Cause) {
        if cause == Cause::Listing {
            self.listing_threads -= 1;
        }
        let Some(lane) = self.lanes.get_mut(name) else { return };
        lane.running = false;
        // An event behind a task of the listing is what makes the lane urgent.
        let urgent = lane.waiting.iter().any(|(cause, _)| *cause == Cause::Event);
        if lane.waiting.is_empty() {
            self.lanes.remove(name);
        } else {
            self.ready(name, if urgent { Cause::Event } else { Cause::Listing });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// Work that says its number and waits to be let go.
    struct Gate {
        began: mpsc::Receiver<usize>,
        say: mpsc::Sender<usize>,
    }

    impl Gate {
        fn new() -> Self {
            let (say, began) = mpsc::channel();
            Self { began, say }
        }

        fn held(&self, number: usize) -> (Work, mpsc::Sender<()>) {
            let (go, wait) = mpsc::channel();
            let say = self.say.clone();
            let work = Box::new(move || {
                let _ = say.send(number);
                let _ = wait.recv();
            });
            (work, go)
        }

        fn free(&self, number: usize) -> Work {
            self.held(number).0
        }

        fn next(&self) -> usize {
            self.began.recv_timeout(SOON).expect("work that should begin")
        }

        /// So many threads that work until what is returned is dropped.
        fn occupy(&self, lanes: &Lanes, threads: usize, cause: Cause) -> Vec<mpsc::Sender<()>> {
            let occupy = |number: usize| {
                let (work, go) = self.held(number);
                assert!(lanes.put(&number.to_string(), cause, work));
                self.next();
                go
            };
            (0..threads).map(occupy).collect()
        }
    }

    #[test]
    fn one_lane_keeps_its_order_and_slow_ones_hold_up_nobody_else() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        let (slow, go) = gate.held(0);
        assert!(lanes.put("a", Cause::Event, slow));
        assert!(lanes.put("a", Cause::Event, gate.free(1)));
        assert_eq!(gate.next(), 0);
        // More than once, with threads that idle and threads that start.
        for number in 10..100 {
            assert!(lanes.put("b", Cause::Event, gate.free(number)));
            assert_eq!(gate.next(), number);
        }
        go.send(()).unwrap();
        assert_eq!(gate.next(), 1);
    }

    #[test]
    fn two_tasks_at_once_do_not_share_the_one_thread_that_idles() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        for round in 0..200 {
            let (slow, go) = gate.held(0);
            assert!(lanes.put("slow", Cause::Event, slow));
            assert!(lanes.put("quick", Cause::Event, gate.free(1)));
            let both = [gate.next(), gate.next()];
            assert!(both.contains(&0) && both.contains(&1), "round {round}: {both:?}");
            go.send(()).unwrap();
        }
    }

    #[test]
    fn a_long_listing_leaves_threads_for_what_just_happens() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        let mut held = Vec::new();
        for number in 0..100 {
            let (work, go) = gate.held(number);
            assert!(lanes.put(&number.to_string(), Cause::Listing, work));
            held.push(go);
        }
        for _ in 0..LISTING_THREADS {
            assert!(gate.next() < 100);
        }
        assert!(lanes.put("event", Cause::Event, gate.free(1000)));
        assert_eq!(gate.next(), 1000);
        assert!(!lanes.is_idle());
        drop(held);
        for _ in LISTING_THREADS..100 {
            assert!(gate.next() < 100);
        }
    }

    #[test]
    fn an_event_does_not_wait_for_the_whole_listing_before_its_own_container() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        let _held = gate.occupy(&lanes, LISTING_THREADS, Cause::Listing);
        assert!(lanes.put("mine", Cause::Listing, gate.free(100)));
        assert!(lanes.put("mine", Cause::Event, gate.free(101)));
        assert_eq!([gate.next(), gate.next()], [100, 101], "in order, and now");
    }

    #[test]
    fn listings_that_follow_each_other_do_not_pile_up() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        let (slow, go) = gate.held(0);
        assert!(lanes.put("a", Cause::Event, slow));
        assert_eq!(gate.next(), 0);
        for number in 1..1000 {
            assert!(lanes.put("a", Cause::Listing, gate.free(number)));
        }
        assert!(lanes.put("a", Cause::Event, gate.free(1000)));
        go.send(()).unwrap();
        assert_eq!([gate.next(), gate.next()], [999, 1000]);
    }

    #[test]
    fn what_waits_and_who_works_is_bounded() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        let held = gate.occupy(&lanes, THREADS, Cause::Event);
        for number in 0..EVENTS {
            assert!(lanes.put(&format!("w{number}"), Cause::Event, gate.free(number)));
        }
        assert!(!lanes.put("one more", Cause::Event, gate.free(0)));
        assert_eq!(lanes.shared.lock().threads, THREADS);
        drop(held);
        for _ in 0..EVENTS {
            gate.next();
        }
        assert!(lanes.put("again", Cause::Event, gate.free(0)));
    }

    #[test]
    fn dropped_lanes_forget_what_has_not_begun() {
        let (lanes, gate) = (Lanes::new(), Gate::new());
        let (slow, go) = gate.held(0);
        assert!(lanes.put("a", Cause::Event, slow));
        assert!(lanes.put("a", Cause::Event, gate.free(1)));
        assert_eq!(gate.next(), 0);
        drop(lanes);
        drop(go);
        let Gate { began, say } = gate;
        drop(say);
        assert!(began.recv_timeout(SOON).is_err(), "the sender of what waited is gone");
    }
}
