//! Requests about the same container wait for one another; those about others do not.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// The containers that somebody is busy with.
#[derive(Debug, Default)]
pub(super) struct Turns {
    busy: Mutex<HashSet<String>>,
    freed: Condvar,
}

/// As long as this lives, nobody else is busy with the container.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    id: String,
}

impl Turns {
    /// Waits until nobody is busy with the container of this id.
    pub(super) fn take(&self, id: &str) -> Turn<'_> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while busy.contains(id) {
            busy = self.freed.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        busy.insert(id.to_owned());
        Turn { turns: self, id: id.to_owned() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.turns.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_is_busy_with_a_container() {
        let turns = Arc::new(Turns::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let _other = turns.take("other");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (turns, inside) = (Arc::clone(&turns), Arc::clone(&inside));
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        let _turn = turns.take("web");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
