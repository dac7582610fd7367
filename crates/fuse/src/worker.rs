//! One thread's work: from the device into its slot of the journal, to the file system, back.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use crate::device::{self, Incoming, Sent};
use crate::dispatch::Dispatcher;
use crate::doze::Waiter;
use crate::fair::{Arrival, Asks, Next, Ticket};
use crate::mapping::{Counter, PARKED_BYTES, Record, SLOT_BYTES};
use crate::request;
use crate::serve::{Ended, Serving};
use crate::wake::own_tid;

/// The smallest request: a header alone.
const SMALLEST: usize = size_of::<crate::abi::InHeader>();

/// What one thread works with.
pub(crate) struct Worker<'s> {
    serving: &'s Serving,
    dispatcher: Dispatcher<'s>,
    index: usize,
    tid: i32,
    slot: &'s Record<{ SLOT_BYTES / 8 }>,
    answered: &'s Counter,
    /// The request in hand. Taken out of the slot first: what others can write is not parsed.
    request: Vec<u8>,
}

/// Whether a server before this one may have answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    New,
    Old,
}

impl<'s> Worker<'s> {
    /// Thread number `index`, which is the calling one; `None` where there are not so many.
    pub(crate) fn new(serving: &'s Serving, index: usize) -> Option<Self> {
        let dispatcher = Dispatcher::new(serving.fs.as_ref(), &serving.in_flight, index)?;
        let memory = serving.journal.memory();
        let slot = memory.threads.get(index)?;
        let answered = memory.head.answered.get(index)?;
        let request = vec![0; SLOT_BYTES];
        serving.quiet.join();
        Some(Self { serving, dispatcher, index, tid: own_tid(), slot, answered, request })
    }

    /// Answers requests until told to stop or until there will be none.
    pub(crate) fn run(&mut self, waiter: &Waiter) -> Ended {
        loop {
            if self.serving.stopper.asked() {
                self.finish_parked();
                return Ended::Stopped;
            }
            let quiet = &self.serving.quiet;
            let incoming = self.slot.fill(|bytes| quiet.read(self.index, self.tid, bytes));
            if let Incoming::Request(len) = incoming {
                self.arrived(len);
                continue;
            }
            self.slot.clear(); // a read that failed may have left half a request
            match incoming {
                Incoming::Request(_) | Incoming::Again => {}
                Incoming::Nothing => {
                    if let Err(errno) = self.nothing_came(waiter) {
                        return Ended::Error(errno);
                    }
                }
                Incoming::Gone => return Ended::Unmounted,
                Incoming::Failed(errno) => return Ended::Error(errno),
            }
        }
    }

    /// Answers the `len` bytes in the slot, or puts them off.
    fn arrived(&mut self, len: usize) {
        let Some(request) = self.request.get_mut(..len) else { return };
        self.slot.load(request);
        match self.arrival(len) {
            Arrival::Now => self.answer(len, Age::New),
            Arrival::Parked => {
                self.slot.clear();
                self.serving.quiet.leave(); // others may be free to do it
            }
            Arrival::Interrupted => {
                if let Some((unique, _)) = self.request.get(..len).and_then(request::peek) {
                    self.refuse_interrupted(unique);
                }
                self.done();
            }
        }
    }

    fn arrival(&self, len: usize) -> Arrival {
        let Some(request) = self.request.get(..len) else { return Arrival::Now };
        let Some((unique, peek)) = request::peek(request) else { return Arrival::Now };
        let class = match self.serving.class(&peek) {
            0 if self.serving.parking.lets_stranger_pass(|| self.is_idle()) => 0,
            0 => self.serving.class_of_stranger(&peek),
            class => class,
        };
        if class == 0 || len > PARKED_BYTES {
            return Arrival::Now;
        }
        let store = |place| self.serving.journal.memory().park(place, request);
        let interrupted = || self.serving.in_flight.came_early(unique);
        let asks = Asks { class, thread: peek.caller.tid, unique };
        self.serving.parking.arrive(asks, || self.is_idle(), store, interrupted)
    }

    /// Whether nothing waits in the device. Where nobody would be told, it has to be asked.
    fn is_idle(&self) -> bool {
        self.serving.quiet.is_on() && device::has_pending(self.serving.device.as_fd()) == Ok(false)
    }

    /// Does what was put off, or waits.
    fn nothing_came(&mut self, waiter: &Waiter) -> Result<(), Errno> {
        let dozing = self.serving.nudge.doze();
        match self.serving.parking.next(false) {
            Next::Parked(ticket) => {
                drop(dozing);
                self.answer_parked(ticket);
                Ok(())
            }
            Next::Wait(None) if self.serving.quiet.enter(|| self.has_nothing_else()) => Ok(()),
            Next::Wait(limit) => waiter.wait(limit),
        }
    }

    /// Whether a request is all there can be to wait for.
    fn has_nothing_else(&self) -> bool {
        self.serving.parking.is_empty() && !self.serving.stopper.asked()
    }

    /// Answers all that was put off.
    fn finish_parked(&mut self) {
        while let Next::Parked(ticket) = self.serving.parking.next(true) {
            self.answer_parked(ticket);
        }
    }

    fn answer_parked(&mut self, ticket: Ticket) {
        let Some(parked) = self.serving.journal.memory().parked.get(ticket.place) else { return };
        let len = parked.len();
        if let Some(request) = self.request.get_mut(..len) {
            parked.load(request);
            // In the slot before it leaves its place: it is in one of them at any time.
            self.slot.store(request);
        }
        parked.clear();
        self.parked().fetch_sub(1, Ordering::Relaxed);
        self.serving.parking.free(ticket.place);
        self.answer(len, if ticket.old { Age::Old } else { Age::New });
    }

    /// Answers the `len` bytes taken out of the slot, and empties it.
    fn answer(&mut self, len: usize, age: Age) {
        if !self.serving.parking.is_empty() {
            self.serving.nudge.give(); // this may take long, and others can do what was put off
        }
        let Some(request) = self.request.get(..len) else { return };
        let sent = match self.dispatcher.handle(request) {
            Some(reply) => self.serving.send(reply),
            None => {
                let interrupted = request::interrupted(request);
                interrupted.into_iter().for_each(|unique| self.interrupt_parked(unique));
                Sent::Taken
            }
        };
        // What a server before this one answered is not refused for being unwanted: what was given
        // with it is in use.
        if sent == Sent::Unwanted && age == Age::New {
            self.dispatcher.take_back();
        }
        self.done();
    }

    /// The dispatcher has noted that `unique` is interrupted; if it is parked, that is its answer.
    fn interrupt_parked(&mut self, unique: u64) {
        // Until it is answered it has to be in the journal: in the slot, whose INTERRUPT is done.
        let (memory, slot) = (self.serving.journal.memory(), self.slot);
        let move_here = |place: usize| {
            let Some(parked) = memory.parked.get(place) else { return };
            let mut bytes = [0; PARKED_BYTES];
            if let Some(request) = bytes.get_mut(..parked.len()) {
                parked.load(request);
                slot.store(request);
            }
            parked.clear();
        };
        if let Some(unique) = self.serving.parking.interrupt(unique, move_here) {
            self.parked().fetch_sub(1, Ordering::Relaxed);
            self.serving.in_flight.came_early(unique); // it will not come
            self.refuse_interrupted(unique);
        }
    }

    fn refuse_interrupted(&mut self, unique: u64) {
        self.serving.send(self.dispatcher.refuse(unique, Errno::INTR));
    }

    /// How many are parked, for others to see.
    fn parked(&self) -> &AtomicU32 {
        &self.serving.journal.memory().head.parked
    }

    /// Empties the slot: its request is dealt with.
    fn done(&self) {
        self.slot.clear();
        self.answered.raise();
    }

    /// Answers what a dead server had in hand: the slot of this thread, and of every `step`th one
    /// from there.
    pub(crate) fn replay(&mut self, step: usize) {
        let own = self.slot;
        let slots = self.serving.journal.memory().threads.iter();
        for slot in slots.skip(self.index).step_by(step) {
            let len = slot.len();
            if let Some(request) = readable(len).and_then(|len| self.request.get_mut(..len)) {
                slot.load(request);
                tracing::debug!(len, "answering a request of the server before");
                self.slot = slot;
                self.answer(len, Age::Old);
            } else if len != 0 {
                tracing::error!(len, "a record of the FUSE journal is damaged, and dropped");
                slot.clear();
            }
        }
        self.slot = own;
    }
}

/// A length that a request can have.
fn readable(len: usize) -> Option<usize> {
    (SMALLEST..=SLOT_BYTES).contains(&len).then_some(len)
}

impl Serving {
    /// Sends a reply. That the kernel does not like it is our mistake, and its caller's bad luck.
    fn send(&self, reply: &[u8]) -> Sent {
        let len = reply.len();
        self.device.write(reply).unwrap_or_else(|errno| {
            tracing::error!(len, "the kernel does not take a FUSE reply: {errno}");
            Sent::Taken
        })
    }

    /// Whose request it is; a panic in the guess is the same as no guess.
    fn class(&self, peek: &crate::Peek) -> u64 {
        catch_unwind(AssertUnwindSafe(|| self.fs.class(peek))).unwrap_or_default()
    }

    fn class_of_stranger(&self, peek: &crate::Peek) -> u64 {
        catch_unwind(AssertUnwindSafe(|| self.fs.class_of_stranger(peek))).unwrap_or_default()
    }

    /// Takes in what the server before this one had put off, before any thread starts.
    pub(crate) fn restore_parked(&self) {
        let memory = self.journal.memory();
        memory.head.parked.store(0, Ordering::Relaxed);
        let mut bytes = [0; PARKED_BYTES];
        for (place, parked) in memory.parked().iter().enumerate() {
            let request = readable(parked.len()).and_then(|len| bytes.get_mut(..len));
            let peeked = request.and_then(|request| {
                parked.load(request);
                request::peek(request)
            });
            match peeked {
                // The server before died when it had just taken it up.
                Some((unique, _)) if unique == 0 || self.in_a_slot(unique) => parked.clear(),
                Some((unique, peek)) => {
                    self.parking.restore(self.class(&peek), unique, place);
                    memory.head.parked.fetch_add(1, Ordering::Relaxed);
                }
                None => parked.clear(),
            }
        }
    }

    fn in_a_slot(&self, unique: u64) -> bool {
        let mut head = [0; 16];
        self.journal.memory().threads.iter().filter(|slot| slot.len() != 0).any(|slot| {
            slot.load(&mut head);
            let [.., a, b, c, d, e, f, g, h] = head;
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]) == unique
        })
    }
}
