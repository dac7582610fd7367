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

use super::trigger::Trigger;
use super::watched::{Kind, Watched};

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
    triggers: Mutex<Triggers>,
    wake: Box<dyn Fn(PollHandle) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Triggers {
    by_id: HashMap<u64, Arc<Watched>>,
    /// Those that others may share.
    by_kind: HashMap<Kind, u64>,
}

/// A watched trigger. It is freed with the last that shares it.
#[derive(Debug)]
pub(crate) struct Registered {
    id: u64,
    sharer: u64,
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

    /// Watches for what is `wanted` of the pressure file `file`, which is open for reading and
    /// writing, and not written to yet.
    pub(crate) fn add(&self, file: OwnedFd, wanted: &Trigger) -> Result<Registered, Errno> {
        let stat = rustix::fs::fstat(&file)?;
        let kind = (stat.st_dev, stat.st_ino, *wanted);
        if let Some(registered) = self.share(&kind) {
            return Ok(registered);
        }
        rustix::io::write(&file, wanted.text().as_bytes())?;
        self.add_written(file, kind)
    }

    fn share(&self, kind: &Kind) -> Option<Registered> {
        let triggers = self.0.lock();
        let id = *triggers.by_kind.get(kind)?;
        let watched = Arc::clone(triggers.by_id.get(&id)?);
        (!watched.is_gone()).then(|| self.registered(id, watched))
    }

    fn add_written(&self, file: OwnedFd, kind: Kind) -> Result<Registered, Errno> {
        let id = self.0.next();
        let watched = Arc::new(Watched::new(file, kind));
        let registered = self.registered(id, Arc::clone(&watched));
        let mut triggers = self.0.lock();
        // Known before it can be heard of.
        triggers.by_id.insert(id, watched);
        triggers.by_kind.insert(kind, id);
        drop(triggers);
        let data = EventData::new_u64(id);
        epoll::add(&self.0.epoll, registered.watched.file(), data, EventFlags::PRI)?;
        Ok(registered)
    }

    /// One more that shares it.
    fn registered(&self, id: u64, watched: Arc<Watched>) -> Registered {
        let sharer = self.0.next();
        watched.join(sharer);
        Registered { id, sharer, watched, shared: Arc::clone(&self.0) }
    }

    /// Wakes `waiter`, to ask anew.
    pub(crate) fn wake(&self, waiter: PollHandle) {
        (self.0.wake)(waiter);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Never read, so it stays readable until the thread has seen it.
        let _ = rustix::io::write(&self.0.stop, &1_u64.to_ne_bytes());
    }
}

impl Registered {
    /// As [`poll`](Self::poll), but tells nothing.
    pub(crate) fn will_wake(&self, waiter: Option<PollHandle>) {
        self.watched.will_wake(self.sharer, waiter);
    }

    /// What the file is ready for. An event is told once, as by the kernel. Where `waiter` is
    /// given, it is woken when the answer changes.
    pub(crate) fn poll(&self, waiter: Option<PollHandle>) -> PollFlags {
        self.watched.poll(self.sharer, waiter)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Nobody comes to share it meanwhile.
        let mut triggers = self.shared.lock();
        if !self.watched.leave(self.sharer) {
            return;
        }
        let kind = self.watched.kind();
        if triggers.by_kind.get(kind) == Some(&self.id) {
            triggers.by_kind.remove(kind);
        }
        let removed = triggers.by_id.remove(&self.id);
        drop(triggers);
        // It is not there any more if its cgroup was removed.
        let _ = epoll::delete(&self.shared.epoll, self.watched.file());
        // The descriptor is closed, and the trigger with it, after the lock has been released.
        drop(removed);
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
        let Some(watched) = self.lock().by_id.get(&id).map(Arc::clone) else { return };
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // It would be reported without end.
            let _ = epoll::delete(&self.epoll, watched.file());
        }
        for waiter in watched.note(flags) {
            (self.wake)(waiter);
        }
    }

    /// A number that has not been given before.
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Triggers> {
        self.triggers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("triggers", &self.lock().by_id.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write, pipe};
    use std::sync::mpsc::{Receiver, channel};

    use super::super::watched::{NOTHING_TO_WAIT_FOR, READY};
    use super::*;

    fn watch() -> (Watch, Receiver<PollHandle>) {
        let (sender, woken) = channel();
        let sender = Mutex::new(sender);
        let wake = move |handle| sender.lock().unwrap().send(handle).unwrap();
        (Watch::start(Box::new(wake)).unwrap(), woken)
    }

    /// Watches what is no pressure file, and so takes no trigger.
    fn add(watch: &Watch, file: impl Into<OwnedFd>) -> Registered {
        watch.add_written(file.into(), kind(1)).unwrap()
    }

    fn kind(inode: u64) -> Kind {
        (0, inode, Trigger::parse(b"some 1 2000000").unwrap())
    }

    /// A pipe that nobody writes to any more is, for epoll, as a cgroup that was removed.
    #[test]
    fn a_waiter_is_woken_when_its_cgroup_is_gone() {
        let (watch, woken) = watch();
        let (reader, writer) = pipe().unwrap();
        let trigger = add(&watch, reader);
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
        let trigger = add(&watch, reader);
        assert_eq!(trigger.watched.note(EventFlags::PRI), [], "nobody waits yet");
        assert_eq!(trigger.poll(Some(PollHandle(3))), READY | PollFlags::PRI);
        assert_eq!(trigger.poll(None), READY);
        assert_eq!(trigger.watched.note(EventFlags::PRI), [PollHandle(3)]);
    }

    #[test]
    fn those_who_want_the_same_share_one_and_each_is_told() {
        let (watch, _woken) = watch();
        let (reader, mut writer) = pipe().unwrap();
        let first = add(&watch, reader);
        let second = watch.share(&kind(1)).unwrap();
        assert!(watch.share(&kind(2)).is_none(), "another file");
        second.poll(Some(PollHandle(2)));
        first.will_wake(Some(PollHandle(1)));
        let mut woken = first.watched.note(EventFlags::PRI);
        woken.sort_unstable_by_key(|handle| handle.0);
        assert_eq!(woken, [PollHandle(1), PollHandle(2)]);
        for trigger in [&first, &second] {
            assert_eq!(trigger.poll(None), READY | PollFlags::PRI);
            assert_eq!(trigger.poll(None), READY, "once");
        }
        drop(first);
        assert!(writer.write(b"x").is_ok(), "the second has it still");
        assert!(watch.share(&kind(1)).is_some());
        drop(second);
        assert!(watch.share(&kind(1)).is_none(), "it is freed");
    }

    #[test]
    fn nobody_shares_a_trigger_whose_cgroup_is_gone() {
        let (watch, _woken) = watch();
        let (reader, _writer) = pipe().unwrap();
        let trigger = add(&watch, reader);
        assert_eq!(trigger.watched.note(EventFlags::ERR), []);
        assert!(watch.share(&kind(1)).is_none());
        let (another, _writer) = pipe().unwrap();
        let fresh = add(&watch, another);
        drop(trigger);
        assert!(watch.share(&kind(1)).is_some(), "the new one stays");
        drop(fresh);
    }

    #[test]
    fn freed_triggers_leave_nothing() {
        let (watch, _woken) = watch();
        let (reader, mut writer) = pipe().unwrap();
        drop(add(&watch, reader));
        assert!(watch.0.lock().by_id.is_empty() && watch.0.lock().by_kind.is_empty());
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
