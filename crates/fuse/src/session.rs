//! Serving a connection: a fixed number of threads, each reading, answering, reading again.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::device::{Device, Incoming, Sent, Waiter};
use crate::dispatch::Dispatcher;
use crate::filesystem::Filesystem;
use crate::init::Negotiated;
use crate::interrupt::InFlight;
use crate::notify::Notifier;

/// A connection that is mounted and initialised.
///
/// Neither dropping it nor the end of its threads unmounts: as long as somebody holds a duplicate
/// of the descriptor, requests wait for whoever adopts it.
#[derive(Debug)]
pub struct Session {
    device: Arc<Device>,
    negotiated: Negotiated,
}

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

/// Why serving did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptor adopted is not usable.
    #[error("cannot take over the FUSE descriptor: {errno}")]
    Adopt {
        /// What fcntl(2) said.
        errno: Errno,
    },
    /// epoll(7) or eventfd(2) failed.
    #[error("cannot wait for FUSE requests: {errno}")]
    Wait {
        /// What the system call said.
        errno: Errno,
    },
    /// A thread could not be started.
    #[error("cannot start a FUSE thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl Session {
    pub(crate) fn new(device: Device, negotiated: Negotiated) -> Self {
        Self { device: Arc::new(device), negotiated }
    }

    /// A session over a descriptor that is mounted and initialised already, by another process or
    /// another session. Makes the open file `O_NONBLOCK`, for all its duplicates.
    ///
    /// # Errors
    /// Where fcntl(2) fails.
    pub fn adopt(fd: OwnedFd, negotiated: Negotiated) -> Result<Self, ServeError> {
        let device = Device::adopt(fd).map_err(|errno| ServeError::Adopt { errno })?;
        Ok(Self::new(device, negotiated))
    }

    /// The descriptor, to be duplicated for whoever keeps the connection alive.
    #[must_use]
    pub fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// What was agreed at INIT.
    #[must_use]
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// A way to tell the kernel something that it has not asked for.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier::new(Arc::clone(&self.device))
    }

    /// Answers requests with `threads` threads until stopped or unmounted.
    ///
    /// Two or more: an interrupt is noticed only while a thread is free to read it.
    ///
    /// # Errors
    /// Where threads or what they wait on cannot be made; nothing is served then.
    pub fn serve(
        &self,
        fs: Arc<dyn Filesystem>,
        threads: NonZeroUsize,
    ) -> Result<ServeHandle, ServeError> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| ServeError::Wait { errno })?;
        let stopper = Stopper(Arc::new(Stop { asked: AtomicBool::new(false), event: stop }));
        let serving = Arc::new(Serving {
            device: Arc::clone(&self.device),
            fs,
            in_flight: InFlight::new(threads),
            buffer_size: self.negotiated.read_buffer_size(),
            stopper: stopper.clone(),
        });
        let mut handle = ServeHandle { stopper, threads: Vec::with_capacity(threads.get()) };
        for index in 0..threads.get() {
            match start(&serving, index) {
                Ok(thread) => handle.threads.push(thread),
                Err(error) => {
                    handle.stop();
                    return Err(error);
                }
            }
        }
        Ok(handle)
    }
}

/// Threads that serve. Dropping it leaves them serving.
#[derive(Debug)]
pub struct ServeHandle {
    stopper: Stopper,
    threads: Vec<JoinHandle<Ended>>,
}

impl ServeHandle {
    /// Waits until all threads have ended, and says why.
    #[must_use]
    pub fn wait(self) -> Ended {
        let ends = self.threads.into_iter().map(|thread| {
            // A thread ends by panic only where a reply could not even be encoded.
            thread.join().unwrap_or(Ended::Error(Errno::IO))
        });
        ends.reduce(Ended::graver).unwrap_or(Ended::Stopped)
    }

    /// Stops at a request boundary and waits: what was read is answered, what was not waits in the
    /// kernel for the next session. Nothing is unmounted.
    pub fn stop(self) -> Ended {
        self.stopper.stop();
        self.wait()
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
}

impl Stopper {
    /// Asks the threads to end after the request they have in hand; does not wait for them.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::Release);
        // Never read, so it stays readable and wakes every thread. EAGAIN: it is at its maximum.
        let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
    }

    fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }
}

/// What the threads share.
struct Serving {
    device: Arc<Device>,
    fs: Arc<dyn Filesystem>,
    in_flight: InFlight,
    buffer_size: usize,
    stopper: Stopper,
}

fn start(serving: &Arc<Serving>, index: usize) -> Result<JoinHandle<Ended>, ServeError> {
    let waiter = Waiter::new(&serving.device, serving.stopper.0.event.as_fd())
        .map_err(|errno| ServeError::Wait { errno })?;
    let serving = Arc::clone(serving);
    std::thread::Builder::new()
        .name(format!("fuse-{index}"))
        .spawn(move || serving.run(index, &waiter))
        .map_err(ServeError::Thread)
}

impl Serving {
    fn run(&self, index: usize, waiter: &Waiter) -> Ended {
        let Some(mut dispatcher) = Dispatcher::new(self.fs.as_ref(), &self.in_flight, index) else {
            return Ended::Stopped; // as many slots as threads were made
        };
        let mut buffer = vec![0; self.buffer_size];
        let ended = loop {
            if self.stopper.asked() {
                break Ended::Stopped;
            }
            match self.device.read(&mut buffer) {
                Incoming::Request(len) => {
                    self.answer(&mut dispatcher, buffer.get(..len).unwrap_or_default());
                }
                Incoming::Again => {}
                Incoming::Nothing => {
                    if let Err(errno) = waiter.wait() {
                        break Ended::Error(errno);
                    }
                }
                Incoming::Gone => break Ended::Unmounted,
                Incoming::Failed(errno) => break Ended::Error(errno),
            }
        };
        if let Ended::Error(errno) = ended {
            tracing::error!("cannot read FUSE requests: {errno}");
            self.stopper.stop(); // the other threads would fare no better
        }
        ended
    }

    fn answer(&self, dispatcher: &mut Dispatcher<'_>, request: &[u8]) {
        let Some(reply) = dispatcher.handle(request) else { return };
        let len = reply.len();
        match self.device.write(reply) {
            Ok(Sent::Taken) => {}
            Ok(Sent::Unwanted) => dispatcher.take_back(),
            Err(errno) => tracing::error!(len, "the kernel does not take a FUSE reply: {errno}"),
        }
    }
}
