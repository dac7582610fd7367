//! Where threads wait when there is nothing to do, and how they are woken.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

/// Wakes a thread that waits, for something that is not in the device.
#[derive(Debug)]
pub(crate) struct Nudge {
    event: OwnedFd,
    dozing: AtomicUsize,
    given: AtomicBool,
}

/// A thread is about to wait, until this is dropped.
#[derive(Debug)]
pub(crate) struct Dozing<'n>(&'n Nudge);

impl Nudge {
    pub(crate) fn new() -> Result<Self, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, dozing: AtomicUsize::new(0), given: AtomicBool::new(false) })
    }

    /// To be said before the last look at whether there is something to do.
    pub(crate) fn doze(&self) -> Dozing<'_> {
        self.dozing.fetch_add(1, Ordering::SeqCst);
        Dozing(self)
    }

    /// Wakes at least one of the threads that doze, if there are any.
    pub(crate) fn give(&self) {
        if self.dozing.load(Ordering::SeqCst) > 0 && !self.given.swap(true, Ordering::SeqCst) {
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes()); // cannot be full
        }
    }

    /// Takes back a nudge that was given: it has woken the one who calls this.
    fn take(&self) {
        if self.given.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::read(&self.event, &mut [0_u8; 8]); // EAGAIN: not written yet
        }
    }
}

impl Drop for Dozing<'_> {
    fn drop(&mut self) {
        self.0.dozing.fetch_sub(1, Ordering::SeqCst);
        self.0.take();
    }
}

/// Where one thread waits for a request, a nudge, or the signal to stop.
///
/// Each thread has an epoll instance of its own, because `EPOLLEXCLUSIVE` wakes one *instance* per
/// request: with poll(2) or a shared instance without it, each request would wake all idle threads.
#[derive(Debug)]
pub(crate) struct Waiter(OwnedFd);

impl Waiter {
    pub(crate) fn new(
        device: impl AsFd,
        stop: BorrowedFd<'_>,
        nudge: &Nudge,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(0);
        let for_one = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&epoll, device, data, for_one)?;
        epoll::add(&epoll, &nudge.event, data, for_one)?;
        epoll::add(&epoll, stop, data, epoll::EventFlags::IN)?;
        Ok(Self(epoll))
    }

    /// Returns when there is something to do, or after `limit`; may return for nothing.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Result<(), Errno> {
        let event =
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        // A limit beyond what the kernel can count is none.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match epoll::wait(&self.0, &mut [event], limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nudge_wakes_one_who_dozes() {
        // Neither the device nor the signal to stop ever comes.
        let (device, stop) = (Nudge::new().unwrap().event, Nudge::new().unwrap().event);
        let nudge = Nudge::new().unwrap();
        let waiter = Waiter::new(&device, stop.as_fd(), &nudge).unwrap();
        nudge.give();
        assert!(!nudge.given.load(Ordering::SeqCst), "nobody there to wake");
        for _ in 0..3 {
            let dozing = nudge.doze();
            nudge.give(); // after the last look and before the wait
            assert_eq!(waiter.wait(None), Ok(()));
            drop(dozing);
        }
        let dozing = nudge.doze();
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(waiter.wait(None), Ok(())));
            nudge.give();
        });
        drop(dozing);
        let left = rustix::io::read(&nudge.event, &mut [0_u8; 8]);
        assert_eq!(left, Err(Errno::AGAIN), "taken by the one who was woken");
    }

    #[test]
    fn a_wait_ends_after_its_limit() {
        let (device, stop) = (Nudge::new().unwrap().event, Nudge::new().unwrap().event);
        let nudge = Nudge::new().unwrap();
        let waiter = Waiter::new(&device, stop.as_fd(), &nudge).unwrap();
        assert_eq!(waiter.wait(Some(Duration::from_micros(1))), Ok(()));
    }
}
