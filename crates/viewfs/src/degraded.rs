//! What containers get from a process whose predecessors kept dying.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::keep::{Keep, Meta};

/// What containers get while nothing may be gathered or rendered for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// What the same container read last from the same file, as long as it is remembered (see
    /// [`Keep`]); else the host's.
    LastGood,
    /// The host's.
    Host,
}

/// The choice, and what has come of it.
#[derive(Debug)]
pub(crate) struct Log {
    choice: Degraded,
    count: AtomicU64,
    told: Mutex<HashSet<u64>>,
}

impl Log {
    pub(crate) fn new(choice: Degraded) -> Self {
        Self { choice, count: AtomicU64::new(0), told: Mutex::default() }
    }

    /// What a container gets of a file or directory, if it is its last good content.
    pub(crate) fn last_good(&self, keep: &Keep, meta: &Meta, file: &str) -> Option<Vec<u8>> {
        let found = match self.choice {
            Degraded::LastGood => keep.last_good(meta)?,
            Degraded::Host => return None,
        };
        self.answered(meta.node, file, "what they read last");
        Some(found)
    }

    /// What a container was shown last of a file, if it may serve.
    pub(crate) fn last_shown(
        &self,
        node: u64,
        file: &str,
        shown: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let found = match self.choice {
            Degraded::LastGood => shown?.to_vec(),
            Degraded::Host => return None,
        };
        self.answered(node, file, "what they read last");
        Some(found)
    }

    /// A container gets the host's content of a file.
    pub(crate) fn host(&self, node: u64, file: &str) {
        self.answered(node, file, "the host's");
    }

    /// Counts an answer, and logs the first for each file.
    fn answered(&self, node: u64, file: &str, what: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(node) {
            tracing::warn!("{file}: containers get {what}, until this daemon works again");
        }
    }

    /// How many answers there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
