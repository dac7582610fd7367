//! Waits for all triggers in one thread.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuse::{PollFlags, PollHandle};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// What the kernel says of its own pressure files at any time: `DEFAULT_POLLMASK`.
pub(crate) const READY: PollFlags =
    PollFlags::IN.union(PollFlags::OUT).union(PollFlags::RDNORM).union(PollFlags::WRNORM);
/// What it adds for one without a trigger, or of a cgroup that was removed.
pub(crate) const NOTHING_TO_WAIT_FOR: PollFlags = PollFlags::PRI.union(PollFlags::ERR);

/// The number under which the epoll instance knows the signal to stop.
const STOP: u64 = 0;
/// How many events are fetched at once; more wait for the next round.
const BATCH: usize = 64;

/// The thread and its triggers. The thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Shared>);

struct Shared {
    epoll: OwnedFd,
    stop: OwnedFd,
    next: AtomicU64,
    triggers: Mutex<HashMap<u64, Arc<Watched>>>,
    wake: Box<dyn Fn(PollHandle) + Send + Sync>,
}

/// A trigger that the kernel has taken.
#[derive(Debug)]
struct Watched {
    file: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Happened, and told to nobody yet.
    event: bool,
    /// The cgroup was removed.
    gone: bool,
    /// Who waits, once somebody has.
    waiter: Option<PollHandle>,
}

/// A watched trigger, freed with this.
#[derive(Debug)]
pub(crate) struct Registered {
    id: u64,
    watched: Arc<Watched>,
    shared: Arc<Shared>,
}

impl Watch {
    /// Starts the thread. `wake` is called from it, when something has happened to a trigger that
    /// was polled before, and must not wait for anybody.
    pub(crate) fn start(wake: Box<dyn Fn(PollHandle) + Send + Sync>) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let (next, triggers) = (AtomicU64::new(STOP + 1), Mutex::default());
        let shared = Arc::new(Shared { epoll, stop, next, triggers, wake });
        let watching = Arc::clone(&shared);
        std::thread::Builder::new().name("pressure".to_owned()).spawn(move || watching.run())?;
        Ok(Self(shared))
    }

    /// Watches `file`, to which a trigger was written.
    pub(crate) fn add(&self, file: OwnedFd) -> Result<Registered, Errno> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let watched = Arc::new(Watched { file, state: Mutex::default() });
        // Known before it can be heard of.
        self.0.lock().insert(id, Arc::clone(&watched));
        let registered = Registered { id, watched, shared: Arc::clone(&self.0) };
        let data = EventData::new_u64(id);
        epoll::add(&self.0.epoll, &registered.watched.file, data, EventFlags::PRI)?;
        Ok(registered)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Never read, so it stays readable until the thread has seen it.
        let _ = rustix::io::write(&self.0.stop, &1_u64.to_ne_bytes());
    }
}

impl Registered {
    /// What the file is ready for. An event is told once, as by the kernel. Where `waiter` is
    /// given, it is woken when the answer changes.
    pub(crate) fn poll(&self, waiter: Option<PollHandle>) -> PollFlags {
        let mut state = self.watched.lock();
        state.waiter = waiter.or(state.waiter);
        let event = std::mem::take(&mut state.event);
        match (state.gone, event) {
            (true, _) => READY | NOTHING_TO_WAIT_FOR,
            (false, true) => READY | PollFlags::PRI,
            (false, false) => READY,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // It is not there any more if its cgroup was removed.
        let _ = epoll::delete(&self.shared.epoll, &self.watched.file);
        // The descriptor is closed, and the trigger with it, after the lock has been released.
        let removed = self.shared.lock().remove(&self.id);
        drop(removed);
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what has happened, and says whom to wake.
    fn note(&self, flags: EventFlags) -> Option<PollHandle> {
        let mut state = self.lock();
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            state.gone = true;
        } else {
            state.event = true;
        }
        state.waiter
    }
}

impl Shared {
    fn run(&self) {
        let mut events = Vec::with_capacity(BATCH);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!("cannot wait for pressure triggers any more: {errno}");
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    STOP => return,
                    id => self.happened(id, event.flags),
                }
            }
        }
    }

    fn happened(&self, id: u64, flags: EventFlags) {
        // `None`: it was freed meanwhile.
        let Some(watched) = self.lock().get(&id).map(Arc::clone) else { return };
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // It would be reported without end.
            let _ = epoll::delete(&self.epoll, &watched.file);
        }
        if let Some(waiter) = watched.note(flags) {
            (self.wake)(waiter);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Watched>>> {
        self.triggers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("triggers", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write, pipe};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn watch() -> (Watch, Receiver<PollHandle>) {
        let (sender, woken) = channel();
        let sender = Mutex::new(sender);
        let wake = move |handle| sender.lock().unwrap().send(handle).unwrap();
        (Watch::start(Box::new(wake)).unwrap(), woken)
    }

    /// A pipe that nobody writes to any more is, for epoll, as a cgroup that was removed.
    #[test]
    fn a_waiter_is_woken_when_its_cgroup_is_gone() {
        let (watch, woken) = watch();
        let (reader, writer) = pipe().unwrap();
        let trigger = watch.add(reader.into()).unwrap();
        assert_eq!(trigger.poll(Some(PollHandle(7))), READY);
        drop(writer);
        assert_eq!(woken.recv(), Ok(PollHandle(7)));
        for _ in 0..2 {
            assert_eq!(trigger.poll(None), READY | NOTHING_TO_WAIT_FOR);
        }
        assert!(woken.try_recv().is_err(), "told once");
    }

    #[test]
    fn an_event_is_told_once() {
        let (watch, _woken) = watch();
        let (reader, _writer) = pipe().unwrap();
        let trigger = watch.add(reader.into()).unwrap();
        assert_eq!(trigger.watched.note(EventFlags::PRI), None, "nobody waits yet");
        assert_eq!(trigger.poll(Some(PollHandle(3))), READY | PollFlags::PRI);
        assert_eq!(trigger.poll(None), READY);
        assert_eq!(trigger.watched.note(EventFlags::PRI), Some(PollHandle(3)));
    }

    #[test]
    fn freed_triggers_leave_nothing() {
        let (watch, _woken) = watch();
        let (reader, mut writer) = pipe().unwrap();
        drop(watch.add(reader.into()).unwrap());
        assert_eq!(watch.0.lock().len(), 0);
        let written = writer.write(b"x").map_err(|error| error.kind());
        assert_eq!(written, Err(ErrorKind::BrokenPipe), "the descriptor is closed");
    }

    #[test]
    fn the_thread_ends_with_the_watch() {
        let (watch, woken) = watch();
        drop(watch);
        // The thread owns the last copy of the closure, and with it the sender.
        assert!(woken.recv().is_err());
    }
}
