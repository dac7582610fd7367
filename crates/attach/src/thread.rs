//! Work on a thread of its own, for as long as somebody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::error::Error;

const WORKING: u8 = 0;
const GIVEN_UP: u8 = 1;
const DONE: u8 = 2;

/// What the thread and whoever waits for it agree on.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    state: Arc<AtomicU8>,
    pid: u32,
    limit: Duration,
}

impl Ticket {
    /// Whether it is still waited for. If not, nothing more may be changed.
    pub(crate) fn is_wanted(&self) -> Result<(), Error> {
        if self.state.load(Ordering::SeqCst) == GIVEN_UP { Err(self.hangs()) } else { Ok(()) }
    }

    /// From here on the work counts as done; an error if it is not waited for any more, and has to
    /// be undone.
    pub(crate) fn commit(&self) -> Result<(), Error> {
        if self.turn(DONE) { Ok(()) } else { Err(self.hangs()) }
    }

    fn turn(&self, to: u8) -> bool {
        self.state.compare_exchange(WORKING, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn hangs(&self) -> Error {
        Error::Hangs { pid: self.pid, limit: self.limit }
    }
}

/// Runs `work` on a thread that may enter namespaces. If it hangs in a file system of the
/// container, it is left to itself after `limit`, and undoes what it did when it wakes up.
pub(crate) fn run<T: Send + 'static>(
    pid: u32,
    limit: Duration,
    work: impl FnOnce(&Ticket) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ticket = Ticket { state: Arc::new(AtomicU8::new(WORKING)), pid, limit };
    let theirs = ticket.clone();
    let (sender, receiver) = channel();
    let visitor = thread::Builder::new().name("visit".into()).spawn(move || {
        // Nobody listens any more: it has been given up.
        let _ = sender.send(work(&theirs));
    });
    let visitor = visitor.map_err(|error| Error::Spawn { pid, error })?;
    let answer = match receiver.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) if ticket.turn(GIVEN_UP) => return Err(ticket.hangs()),
        // Done at the last moment: what is left of it does not wait for anybody.
        Err(RecvTimeoutError::Timeout) => receiver.recv().ok(),
        answer => answer.ok(),
    };
    let ended = visitor.join();
    match (answer, ended) {
        (Some(answer), _) => answer,
        (None, Err(panic)) => std::panic::resume_unwind(panic),
        (None, Ok(())) => Err(ticket.hangs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_is_given_up_and_cannot_commit() {
        let (wake, asleep) = channel::<()>();
        let (tell, told) = channel();
        let result = run(7, Duration::from_millis(1), move |ticket| {
            let _ = asleep.recv();
            tell.send((ticket.is_wanted().is_err(), ticket.commit().is_err())).unwrap();
            Ok(())
        });
        assert!(matches!(result, Err(Error::Hangs { pid: 7, .. })));
        drop(wake);
        assert_eq!(told.recv().unwrap(), (true, true));
    }

    #[test]
    fn work_that_ends_gives_its_answer() {
        let long = Duration::from_secs(60);
        assert_eq!(run(7, long, |ticket| ticket.commit().map(|()| 5)).unwrap(), 5);
        assert!(run(7, long, |_| Err::<(), _>(Error::Ended { pid: 7 })).is_err());
    }
}
