//! Waiting inside read(2), while nothing but a request can be waited for.
//!
//! A thread that finds the device empty, waits in epoll_wait(2) and reads again makes two system
//! calls more for a request than one that waits in read(2). But only epoll_wait can wait for a nudge
//! or the signal to stop as well. So the threads wait in read(2) as long as nothing is parked, and
//! whoever parks a request, or wants to stop, ends that: first it makes the open file `O_NONBLOCK`,
//! then it wakes each thread that is in read(2) by a [`Wake`].
//!
//! No thread can miss it. One that begins to read after the first step does not wait. One that had
//! begun before says so, and the second step makes its read begin again.
//!
//! `O_NONBLOCK` belongs to the open file, which other processes have too: the supervisor, which does
//! not read, and workers before and after this one, of this version or another. A worker that stops
//! leaves it set, as one that knows nothing of this expects. One that is killed may leave it off; the
//! next one sets it before it begins. If another process sets it, the threads notice and wait in
//! epoll_wait(2) for a while.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::device::{Device, Incoming};
use crate::wake::Wake;

/// How many times in a row threads have to find nothing to do before they wait in read(2): a change
/// costs some system calls, and where requests are parked, more will be soon.
const CALM: u32 = 16;

/// How the threads of one connection wait.
#[derive(Debug)]
pub(crate) struct Quiet {
    device: Arc<Device>,
    /// `None`: never in read(2).
    wake: Option<Wake>,
    /// Whether reads wait, as far as we have decided it.
    waits: Mutex<bool>,
    calm: AtomicU32,
    readers: Box<[Reader]>,
}

/// The number of a thread while it is in read(2), else 0. In a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Reader(AtomicI32);

impl Quiet {
    /// For so many threads, none of which waits in read(2) yet. Whoever served before has stopped.
    pub(crate) fn new(device: Arc<Device>, threads: usize) -> Result<Self, Errno> {
        device.set_waiting(false)?;
        let readers = (0..threads).map(|_| Reader::default()).collect();
        let (waits, calm) = (Mutex::new(false), AtomicU32::new(0));
        Ok(Self { device, wake: Wake::prepare(), waits, calm, readers })
    }

    /// To be called by each thread that is going to [read](Self::read).
    pub(crate) fn join(&self) {
        if let Some(wake) = self.wake {
            // What can be sent can be accepted: it has been tried.
            let _ = wake.accept();
        }
    }

    /// Reads the next request as thread number `index`.
    pub(crate) fn read(&self, index: usize, tid: i32, buffer: &mut [u8]) -> Incoming {
        let Some(Reader(reader)) = self.readers.get(index) else {
            return self.device.read(buffer);
        };
        // Before the kernel looks at the open file's flags.
        reader.store(tid, Ordering::SeqCst);
        let incoming = self.device.read(buffer);
        reader.store(0, Ordering::Release);
        incoming
    }

    /// Whether reads wait, so that nobody is told when there is nothing to read.
    pub(crate) fn is_on(&self) -> bool {
        *self.lock()
    }

    /// A thread has read nothing, and there is nothing else to do: whether it shall read again, and
    /// wait there. `may` says whether that is still so.
    pub(crate) fn enter(&self, may: impl FnOnce() -> bool) -> bool {
        if self.wake.is_none() || self.calm.fetch_add(1, Ordering::Relaxed) < CALM {
            return false;
        }
        let mut waits = self.lock();
        if !may() {
            return false;
        }
        if *waits && self.device.waits() != Ok(true) {
            // Somebody else has changed it, and may need it so. The other threads still wait.
            *waits = false;
            self.calm.store(0, Ordering::Relaxed);
            self.get_out();
            return false;
        }
        if !*waits {
            *waits = self.device.set_waiting(true).is_ok();
        }
        *waits
    }

    /// There is more to wait for than requests, from now on: no thread stays in read(2).
    pub(crate) fn leave(&self) {
        self.calm.store(0, Ordering::Relaxed);
        let mut waits = self.lock();
        if std::mem::take(&mut *waits) {
            self.get_out();
        }
    }

    /// The threads are to end: as [`leave`](Self::leave), and whatever others may have done to the
    /// open file.
    pub(crate) fn stop(&self) {
        let mut waits = self.lock();
        *waits = false;
        self.get_out();
    }

    fn get_out(&self) {
        if let Err(errno) = self.device.set_waiting(false) {
            tracing::error!("cannot make the FUSE descriptor O_NONBLOCK: {errno}");
        }
        // Either we see that a thread reads, or it sees the flag.
        fence(Ordering::SeqCst);
        for Reader(reader) in &self.readers {
            let tid = reader.load(Ordering::SeqCst);
            if let Some(wake) = self.wake.filter(|_| tid != 0) {
                let _ = wake.send(tid); // ESRCH: it has ended
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
