//! One thread's work: from its ring to the file system, and back.

use std::sync::Arc;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::ThreadRing;
use super::ring::{Came, Ring};
use crate::dispatch::Dispatcher;
use crate::mapping::{Counter, Record, SLOT_BYTES};
use crate::serve::{Ended, Serving};

/// When told to stop, what is there is answered; each answer may bring the next request at once, so
/// that a busy queue would never be empty.
const LAST_ANSWERS: usize = 256;

/// What one thread works with.
struct Worker<'s> {
    serving: &'s Serving,
    dispatcher: Dispatcher<'s>,
    /// Where the supervisor sees what is in hand. Nothing is recovered from there.
    slot: &'s Record<{ SLOT_BYTES / 8 }>,
    answered: &'s Counter,
    request: Vec<u8>,
    ring: Ring,
}

/// Serves the queues of a ring, as thread number `index`, until told to stop or until there will be
/// no requests.
pub(crate) fn run(serving: &Serving, index: usize, rings: ThreadRing) -> Ended {
    let ThreadRing { ring, queues } = rings;
    pin(&queues);
    let Some(mut worker) = Worker::new(serving, index, ring) else {
        return Ended::Stopped; // as many slots as threads were made
    };
    let device = Arc::clone(&serving.device);
    let started = worker.ring.start(device, serving.stopper.event());
    match started.and_then(|()| worker.work()) {
        Ok(ended) => ended,
        Err(errno) => {
            tracing::error!("cannot serve FUSE requests over io_uring: {errno}");
            serving.stopper.stop();
            Ended::Error(errno)
        }
    }
}

/// Puts this thread where its callers are: then neither a reply nor a request has to wake another
/// CPU. Where that is refused, or the CPU is not there, it serves from anywhere.
fn pin(queues: &[u16]) {
    let mut cpus = CpuSet::new();
    for &queue in queues.iter().filter(|&&queue| usize::from(queue) < CpuSet::MAX_CPU) {
        cpus.set(queue.into());
    }
    if let Err(errno) = sched_setaffinity(None, &cpus) {
        tracing::debug!(?queues, "this thread may run anywhere: {errno}");
    }
}

impl<'s> Worker<'s> {
    fn new(serving: &'s Serving, index: usize, ring: Ring) -> Option<Self> {
        let dispatcher = Dispatcher::new(serving.fs.as_ref(), &serving.in_flight, index)?;
        let memory = serving.journal.memory();
        let (slot, answered) = (memory.threads.get(index)?, memory.head.answered.get(index)?);
        let request = vec![0; SLOT_BYTES];
        Some(Self { serving, dispatcher, slot, answered, request, ring })
    }

    fn work(&mut self) -> Result<Ended, Errno> {
        while !self.serving.stopper.asked() {
            if let Some(ended) = self.turn(true)?.1 {
                return Ok(ended);
            }
        }
        for _ in 0..LAST_ANSWERS {
            if let (false, _) | (_, Some(_)) = self.turn(false)? {
                break;
            }
        }
        Ok(Ended::Stopped)
    }

    /// Does the next thing: whether there was one, and whether it was the last.
    fn turn(&mut self, wait: bool) -> Result<(bool, Option<Ended>), Errno> {
        match self.ring.next(wait)? {
            Came::Request(entry) => {
                self.answer(entry);
                Ok((true, None))
            }
            Came::Other => Ok((false, None)),
            // Unmounted, or aborted by the administrator.
            Came::Failed(Errno::NOTCONN | Errno::CONNABORTED | Errno::NODEV) => {
                Ok((true, Some(Ended::Unmounted)))
            }
            // An entry is lost, and its reader with it: better the whole connection ends.
            Came::Failed(errno) => Err(errno),
        }
    }

    fn answer(&mut self, entry: usize) {
        let len = self.ring.request(entry, &mut self.request);
        let request = len.and_then(|len| self.request.get(..len)).unwrap_or_default();
        self.slot.store(request);
        let reply = self.dispatcher.handle(request).unwrap_or_default();
        if self.ring.commit(entry, reply).is_none() {
            tracing::error!(?len, reply = reply.len(), "a FUSE request that cannot be answered");
            self.ring.fail(entry, Errno::IO);
        }
        self.slot.clear();
        self.answered.raise();
    }
}
