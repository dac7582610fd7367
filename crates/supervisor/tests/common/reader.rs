//! Those who must not notice anything.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::worker::HELLO;

/// A thread that reads without a pause, by path and over a file opened at the start.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), String>>,
}

impl Reader {
    /// Of a file that says [`HELLO`].
    pub(crate) fn start(path: PathBuf) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&reads));
        let opened = File::open(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let mut text = [0; HELLO.len()];
            while !stopped.load(Ordering::Relaxed) {
                let read = std::fs::read(&path).map_err(|error| format!("by path: {error}"))?;
                opened.read_exact_at(&mut text, 0).map_err(|error| format!("kept: {error}"))?;
                if read != HELLO || text != HELLO {
                    return Err(format!("read {read:?} and {text:?}"));
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { stop, reads, thread }
    }

    /// Waits until it has read some more.
    pub(crate) fn reads_on(&self) {
        let before = self.reads.load(Ordering::Relaxed);
        super::until("the reader reads on", || {
            self.reads.load(Ordering::Relaxed) > before + 2 || self.thread.is_finished()
        });
    }

    /// Stops it. It must not have seen an error.
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        super::until("the reader ends", || self.thread.is_finished());
        self.thread.join().unwrap().unwrap();
    }
}
