//! The way to influence [`serve`](crate::serve) from outside.

use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::plugin::Runtime;

/// Ends [`serve`](crate::serve), has it connect anew, and says how it is. Clones are the same one.
#[derive(Clone, Default)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wish: Option<Wish>,
    /// A clone of the connection, to wake who reads from it.
    stream: Option<UnixStream>,
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Resync,
    Stop,
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The runtime that the plugin is registered with; none while there is no such connection.
    pub runtime: Option<Arc<Runtime>>,
    /// Whether [`Plugin::synchronize`](crate::Plugin::synchronize) has returned for this connection.
    pub synchronized: bool,
    /// Why the connection before this one ended, or why there is none.
    pub last_error: Option<String>,
    /// How many connections ended in a registration.
    pub registrations: u64,
    /// Events that were taken in, those of listings not counted.
    pub events: u64,
    /// Events whose method was not done when the runtime had to be answered.
    pub late: u64,
    /// Events that were dropped because too many waited.
    pub dropped: u64,
}

impl Handle {
    /// A handle for one call of [`serve`](crate::serve).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `serve` return, at once and for good. Methods of the plugin that have begun go on.
    pub fn stop(&self) {
        self.wish(Wish::Stop);
    }

    /// Has the connection closed and made anew, so that the runtime tells all that it has. Without
    /// effect while there is no connection, since that is then to come anyhow.
    pub fn resync(&self) {
        self.wish(Wish::Resync);
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status {
        self.lock().status.clone()
    }

    fn wish(&self, wish: Wish) {
        let mut state = self.lock();
        if wish == Wish::Resync && (state.stream.is_none() || state.wish == Some(Wish::Stop)) {
            return;
        }
        state.wish = Some(wish);
        if let Some(stream) = &state.stream {
            // Fails when the other side was faster: then whoever reads is awake already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    /// A connection is about to be read from.
    pub(crate) fn connected(&self, stream: &UnixStream) -> Result<(), Error> {
        let clone = stream.try_clone()?;
        let mut state = self.lock();
        if state.wish == Some(Wish::Stop) {
            return Err(Error::Stopped);
        }
        state.wish = None;
        state.stream = Some(clone);
        Ok(())
    }

    /// The connection ended for this reason: what the caller says, or what was wished for.
    pub(crate) fn disconnected(&self, reason: Error) -> Error {
        let mut state = self.lock();
        state.stream = None;
        let reason = match state.wish {
            Some(Wish::Stop) => Error::Stopped,
            Some(Wish::Resync) => Error::Resync,
            None => reason,
        };
        if state.wish == Some(Wish::Resync) {
            state.wish = None;
        }
        state.status.runtime = None;
        state.status.synchronized = false;
        state.status.last_error = Some(reason.to_string());
        reason
    }

    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Status) -> R) -> R {
        change(&mut self.lock().status)
    }

    /// Whether [`Handle::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.lock().wish == Some(Wish::Stop)
    }

    /// Waits this long, or until [`Handle::stop`] is called. Returns whether it was, now or before.
    #[must_use]
    pub fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.wish == Some(Wish::Stop) || left.is_zero() {
                return state.wish == Some(Wish::Stop);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("status", &self.status()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn stop_ends_a_pause_and_stays_wished() {
        let handle = Handle::new();
        assert!(!handle.pause(Duration::ZERO));
        let other = handle.clone();
        let thread = std::thread::spawn(move || other.pause(Duration::from_secs(60)));
        handle.stop();
        assert!(thread.join().unwrap());
        handle.resync();
        assert!(handle.pause(Duration::ZERO), "a resync must not undo a stop");
        let (stream, _peer) = UnixStream::pair().unwrap();
        assert!(matches!(handle.connected(&stream), Err(Error::Stopped)));
    }

    #[test]
    fn resync_wakes_the_reader_and_is_forgotten_after_the_connection() {
        let handle = Handle::new();
        handle.resync();
        let (mut stream, _peer) = UnixStream::pair().unwrap();
        handle.connected(&stream).unwrap();
        handle.resync();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert!(matches!(handle.disconnected(Error::Closed), Error::Resync));
        assert!(matches!(handle.disconnected(Error::Closed), Error::Closed));
        assert_eq!(
            handle.status().last_error.as_deref(),
            Some("the runtime closed the connection")
        );
    }
}
