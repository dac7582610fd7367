//! The threads that serve a connection, each reading, answering, reading again.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::device::Device;
use crate::doze::{Nudge, Waiter};
use crate::fair::Parking;
use crate::filesystem::Filesystem;
use crate::interrupt::InFlight;
use crate::journal::Journal;
use crate::mapping::MAX_THREADS;
use crate::notify;
use crate::quiet::Quiet;
use crate::session::{Recovery, Serve, ServeError};
use crate::uring::{self, DEVICE_THREADS, Rings, ThreadRing};
use crate::worker::Worker;

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// [`ServeHandle::stop`] was called.
    Stopped,
    /// The tree was unmounted, or its connection aborted.
    Unmounted,
    /// The device failed.
    Error(Errno),
}

impl Ended {
    /// Of two threads' ends, the one to report.
    fn graver(self, other: Self) -> Self {
        match (self, other) {
            (Self::Error(errno), _) | (_, Self::Error(errno)) => Self::Error(errno),
            (Self::Unmounted, _) | (_, Self::Unmounted) => Self::Unmounted,
            (Self::Stopped, Self::Stopped) => Self::Stopped,
        }
    }
}

/// Threads that serve. Dropping it leaves them serving.
#[derive(Debug)]
pub struct ServeHandle {
    stopper: Stopper,
    ends: Arc<Ends>,
}

impl ServeHandle {
    /// Waits until all threads have ended, and says why.
    #[must_use]
    pub fn wait(self) -> Ended {
        self.ends.wait()
    }

    /// Stops at a request boundary and waits: what was read is answered, also what was put off to
    /// wait for its turn; what was not read waits in the kernel for the next session. The journal is
    /// empty then. Nothing is unmounted.
    pub fn stop(self) -> Ended {
        self.stopper.stop();
        self.wait()
    }

    /// As [`stop`](Self::stop), but waits for `limit` at most. `None`: a handler has not come back.
    /// Its request is in the journal; the process should end, and the next server recover it.
    pub fn stop_within(self, limit: Duration) -> Option<Ended> {
        self.stopper.stop();
        self.ends.wait_for(limit)
    }

    /// A way to stop from elsewhere, while this handle waits.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

/// Makes the threads of one [`ServeHandle`] stop.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Stop>);

#[derive(Debug)]
struct Stop {
    asked: AtomicBool,
    event: OwnedFd,
    quiet: Arc<Quiet>,
}

impl Stopper {
    fn new(quiet: Arc<Quiet>) -> Result<Self, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Stop { asked: AtomicBool::new(false), event, quiet })))
    }

    /// Asks the threads to end after the request they have in hand; does not wait for them.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::Release);
        // Never read, so it stays readable and wakes every thread. EAGAIN: it is at its maximum.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
        self.0.quiet.stop();
    }

    /// Readable from [`stop`](Self::stop) on.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }

    pub(crate) fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }
}

/// How many threads are at work, and how the others ended.
#[derive(Debug, Default)]
struct Ends {
    state: Mutex<EndState>,
    last: Condvar,
}

#[derive(Debug, Default)]
struct EndState {
    at_work: usize,
    ended: Option<Ended>,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, EndState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, ended: Ended) {
        let mut state = self.lock();
        state.at_work = state.at_work.saturating_sub(1);
        state.ended = Some(state.ended.map_or(ended, |before| before.graver(ended)));
        if state.at_work == 0 {
            self.last.notify_all();
        }
    }

    fn wait(&self) -> Ended {
        let working = |state: &mut EndState| state.at_work > 0;
        let state = self.last.wait_while(self.lock(), working);
        state.unwrap_or_else(PoisonError::into_inner).ended.unwrap_or(Ended::Stopped)
    }

    fn wait_for(&self, limit: Duration) -> Option<Ended> {
        let working = |state: &mut EndState| state.at_work > 0;
        let waited = self.last.wait_timeout_while(self.lock(), limit, working);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (!timeout.timed_out()).then(|| state.ended.unwrap_or(Ended::Stopped))
    }
}

/// Counts a thread as ended, by panic as well: one ends so only where a reply could not even be
/// encoded.
struct AtWork {
    ends: Arc<Ends>,
    ended: Ended,
}

impl AtWork {
    fn end(mut self, ended: Ended) {
        self.ended = ended;
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.ends.add(self.ended);
    }
}

/// What the threads share.
pub(crate) struct Serving {
    pub(crate) device: Arc<Device>,
    pub(crate) fs: Arc<dyn Filesystem>,
    pub(crate) in_flight: InFlight,
    pub(crate) journal: Claimed,
    pub(crate) parking: Parking,
    pub(crate) nudge: Nudge,
    pub(crate) quiet: Arc<Quiet>,
    pub(crate) stopper: Stopper,
    pub(crate) threads: NonZeroUsize,
}

/// A journal whose slots nobody else of this process uses.
pub(crate) struct Claimed(Arc<Journal>);

impl Claimed {
    fn new(journal: Option<Arc<Journal>>) -> Result<Self, ServeError> {
        let journal = match journal {
            Some(journal) => journal,
            None => Arc::new(Journal::create()?),
        };
        if journal.claim() { Ok(Self(journal)) } else { Err(ServeError::JournalInUse) }
    }
}

impl std::ops::Deref for Claimed {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        &self.0
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What a thread waits on.
enum Source {
    Device(Waiter),
    Ring(Box<ThreadRing>),
}

/// Recovers what there is to recover and starts the threads: as many as asked for, or those of the
/// rings and one beside them.
pub(crate) fn start(
    device: Arc<Device>,
    fs: Arc<dyn Filesystem>,
    how: Serve,
    rings: Option<Rings>,
) -> Result<ServeHandle, ServeError> {
    let at_device = if rings.is_some() { DEVICE_THREADS } else { how.threads.get() };
    let rings = rings.map(|rings| rings.0).unwrap_or_default();
    let threads = at_device.saturating_add(rings.len());
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    if threads.get() > MAX_THREADS {
        return Err(ServeError::Threads { threads });
    }
    let journal = Claimed::new(how.journal)?;
    let wait = |errno| ServeError::Wait { errno };
    let quiet = Arc::new(Quiet::new(Arc::clone(&device), threads.get()).map_err(wait)?);
    let stopper = Stopper::new(Arc::clone(&quiet)).map_err(wait)?;
    let nudge = Nudge::new().map_err(wait)?;
    let waiters = (0..at_device).map(|_| Waiter::new(&device, stopper.event(), &nudge));
    let mut sources: Vec<Source> =
        waiters.map(|waiter| waiter.map(Source::Device)).collect::<Result<_, _>>().map_err(wait)?;
    sources.extend(rings.into_iter().map(|ring| Source::Ring(Box::new(ring))));
    let (in_flight, parking) = (InFlight::new(threads), Parking::new(how.fairness));
    let serving =
        Serving { device, fs, in_flight, journal, parking, nudge, quiet, stopper, threads };
    let leftovers = serving.recover(how.recovery)?;
    spawn(&Arc::new(serving), sources, leftovers)
}

fn spawn(
    serving: &Arc<Serving>,
    sources: Vec<Source>,
    leftovers: bool,
) -> Result<ServeHandle, ServeError> {
    let ends = Arc::new(Ends::default());
    let handle = ServeHandle { stopper: serving.stopper.clone(), ends: Arc::clone(&ends) };
    for (index, source) in sources.into_iter().enumerate() {
        let serving = Arc::clone(serving);
        // A panic leaves this as it is.
        let at_work = AtWork { ends: Arc::clone(&ends), ended: Ended::Error(Errno::IO) };
        ends.lock().at_work += 1;
        let thread = std::thread::Builder::new().name(format!("fuse-{index}")).spawn(move || {
            let ended = match source {
                Source::Device(waiter) => run(&serving, index, &waiter, leftovers),
                Source::Ring(ring) => uring::run(&serving, index, *ring),
            };
            drop(serving); // before it counts as ended: the journal is free then
            at_work.end(ended);
        });
        if let Err(error) = thread {
            handle.stop();
            return Err(ServeError::Thread(error));
        }
    }
    Ok(handle)
}

fn run(serving: &Serving, index: usize, waiter: &Waiter, leftovers: bool) -> Ended {
    let Some(mut worker) = Worker::new(serving, index) else {
        return Ended::Stopped; // as many slots as threads were made
    };
    if leftovers {
        worker.replay(serving.threads.get());
    }
    let ended = worker.run(waiter);
    if let Ended::Error(errno) = ended {
        tracing::error!("cannot read FUSE requests: {errno}");
        serving.stopper.stop(); // the other threads would fare no better
    }
    ended
}

impl Serving {
    /// Deals with what the server before this one had in hand, but for what it leaves to the
    /// threads: then `true`, and each has to begin with its share of the journal.
    fn recover(&self, recovery: Recovery) -> Result<bool, ServeError> {
        let resent = match recovery {
            Recovery::None => Ok(()),
            Recovery::Resend | Recovery::Both => notify::resend(&self.device),
            Recovery::Journal => Err(Errno::OPNOTSUPP),
        };
        match resent {
            // Only now: whoever dies in between leaves a journal that says too much.
            Ok(()) => self.journal.clear(),
            Err(errno) if recovery == Recovery::Resend => {
                return Err(ServeError::Resend { errno });
            }
            Err(_) => self.restore_parked(),
        }
        Ok(resent.is_err())
    }
}
