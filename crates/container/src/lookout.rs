//! Looking at processes that may not let themselves be looked at.
//!
//! A process in the middle of execve(2) holds a lock (`exec_update_lock` in linux/sched/signal.h)
//! that the kernel takes for `stat`, `ns/*`, `exe`, `environ` and other files of `/proc/PID`; not
//! for `status`, `cgroup`, `mountinfo` and `timens_offsets`. If it closes a file on a file system
//! that hangs meanwhile, the reader hangs with it, and nothing but a fatal signal gets it out. So a
//! thread that others can do without reads what takes that lock, and is left behind if it hangs.
//!
//! Whoever waits for the answer to a request of its own is in no execve: such callers are read
//! directly.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostfs::Dir;
use procfmt::pid_status::state;

use crate::error::Error;
use crate::process::Process;

/// So long one process may take that is not waiting for a CPU.
const PATIENCE: Duration = Duration::from_millis(100);
/// So often that, if it cannot be told what the thread waits for.
const MOST_TIMES: usize = 10;
/// So many threads may hang; processes that are not known to hang are then taken to do so as well.
const MOST_HANGING: usize = 16;
/// So many of them for one question.
const MOST_EACH: usize = 2;
/// Bytes of stack for a thread, which has little to do.
const STACK: usize = 128 << 10;

/// Looks at processes from threads that it can do without. Clones share what they know.
#[derive(Clone, Debug)]
pub(crate) struct Lookout {
    proc: Dir,
    /// The processes at which a thread hangs.
    hanging: Arc<Mutex<HashSet<u32>>>,
}

/// What a thread that looks has to say.
enum Said<T> {
    /// Its own id.
    Started(u32),
    Seen(u32, T),
}

/// One thread's errand, as seen by the one who waits for it.
struct Errand<'ids, T> {
    /// Which processes it looks at, in this order.
    ids: &'ids [u32],
    said: Receiver<Said<T>>,
    thread: Option<u32>,
    seen: Vec<(u32, T)>,
}

impl Lookout {
    pub(crate) fn new(proc: &Dir) -> Self {
        Self { proc: proc.clone(), hanging: Arc::default() }
    }

    /// What `look` gives for a process.
    ///
    /// # Errors
    /// [`Error::Stuck`] if looking at it hangs.
    pub(crate) fn of<T: Send + 'static>(
        &self,
        id: u32,
        look: fn(Process<'_>) -> T,
    ) -> Result<T, Error> {
        let seen = self.of_each(vec![id], look).pop();
        seen.map(|(_, seen)| seen).ok_or(Error::Stuck { pid: id })
    }

    /// What `look` gives for each of some processes. Those that hang are left out; after the second
    /// one the rest as well.
    pub(crate) fn of_each<T: Send + 'static>(
        &self,
        mut ids: Vec<u32>,
        look: fn(Process<'_>) -> T,
    ) -> Vec<(u32, T)> {
        let mut all = Vec::with_capacity(ids.len());
        for _ in 0..MOST_EACH {
            let hanging = self.hanging().clone();
            ids.retain(|id| !hanging.contains(id));
            if ids.is_empty() || hanging.len() >= MOST_HANGING {
                break;
            }
            let Some(mut errand) = self.send_out(&ids, look) else { break };
            let hangs = self.wait_for(&mut errand);
            let done = errand.seen.len();
            all.append(&mut errand.seen);
            if !hangs {
                break;
            }
            ids.drain(..ids.len().min(done + 1));
        }
        all
    }

    /// Has a thread look at one after the other.
    fn send_out<'ids, T: Send + 'static>(
        &self,
        ids: &'ids [u32],
        look: fn(Process<'_>) -> T,
    ) -> Option<Errand<'ids, T>> {
        let (say, said) = channel();
        let (lookout, list) = (self.clone(), ids.to_vec());
        let thread = std::thread::Builder::new().name("lookout".to_owned()).stack_size(STACK);
        thread
            .spawn(move || lookout.walk(&list, look, &say))
            .inspect_err(|error| tracing::warn!(%error, "cannot start a thread"))
            .ok()?;
        Some(Errand { ids, said, thread: None, seen: Vec::with_capacity(ids.len()) })
    }

    /// In the thread.
    fn walk<T>(&self, ids: &[u32], look: fn(Process<'_>) -> T, say: &Sender<Said<T>>) {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let _ = say.send(Said::Started(tid));
        for &id in ids {
            let seen = look(Process::below(&self.proc, id));
            // Under the lock, so that one who gives up has either heard of it or left us behind.
            let mut hanging = self.hanging();
            let was_left_behind = hanging.remove(&id);
            if was_left_behind || say.send(Said::Seen(id, seen)).is_err() {
                return;
            }
        }
    }

    /// Waits until the errand is done, or hangs: `true`, and its thread is left behind.
    fn wait_for<T>(&self, errand: &mut Errand<'_, T>) -> bool {
        let mut times = 0;
        loop {
            match errand.said.recv_timeout(PATIENCE) {
                Ok(said) => {
                    errand.hear(said);
                    times = 0;
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => times += 1,
            }
            let hangs = times > 0
                && match errand.thread.and_then(|tid| self.state_of_own(tid)) {
                    // It waits for a CPU, as anything does at times.
                    Some(b'R') => false,
                    Some(_) => true,
                    None => times >= MOST_TIMES,
                };
            if hangs && self.leave_behind(errand) {
                return true;
            }
        }
    }

    /// `false` if it has got on after all.
    fn leave_behind<T>(&self, errand: &mut Errand<'_, T>) -> bool {
        let mut hanging = self.hanging();
        if let Ok(said) = errand.said.try_recv() {
            errand.hear(said);
            return false;
        }
        let Some(&pid) = errand.ids.get(errand.seen.len()) else { return false };
        hanging.insert(pid);
        tracing::warn!(
            pid,
            "a process hangs in execve and cannot be looked at; if it is the init of a container, \
             the callers' own cgroups are taken meanwhile"
        );
        true
    }

    /// The state of a thread of this process. Its `status` is read, as of everybody: see above.
    fn state_of_own(&self, tid: u32) -> Option<u8> {
        let mut text = Vec::new();
        self.proc.read_one(format!("self/task/{tid}/status"), &mut text).ok()?;
        state(&text)
    }

    fn hanging(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Errand<'_, T> {
    fn hear(&mut self, said: Said<T>) {
        match said {
            Said::Started(tid) => self.thread = Some(tid),
            Said::Seen(id, what) => self.seen.push((id, what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};

    use super::*;

    /// A procfs in which opening a process's `stat` hangs, until somebody writes to it.
    struct Hanging(tempfile::TempDir);

    impl Hanging {
        fn new(hanging: &[u32], others: &[u32]) -> Self {
            let tree = tempfile::tempdir().unwrap();
            for id in hanging.iter().chain(others) {
                fs::create_dir(tree.path().join(id.to_string())).unwrap();
            }
            fs::create_dir(tree.path().join("self")).unwrap();
            let own = tree.path().join("self/task");
            std::os::unix::fs::symlink("/proc/self/task", own).unwrap();
            let tree = Self(tree);
            for id in others {
                fs::write(tree.stat(*id), stat(*id)).unwrap();
            }
            for id in hanging {
                mkfifoat(CWD, tree.stat(*id), Mode::RUSR | Mode::WUSR).unwrap();
            }
            tree
        }

        fn stat(&self, id: u32) -> std::path::PathBuf {
            self.0.path().join(format!("{id}/stat"))
        }

        fn lookout(&self) -> Lookout {
            Lookout::new(&Dir::open(self.0.path()).unwrap())
        }

        /// Lets go all threads that hang at a process.
        fn release(&self, id: u32) {
            let path = self.stat(id);
            fs::rename(&path, path.with_extension("old")).unwrap();
            fs::write(&path, stat(id)).unwrap();
            open_and_close(&path.with_extension("old"));
        }
    }

    fn open_and_close(fifo: &Path) {
        drop(File::from(open(fifo, OFlags::RDWR, Mode::empty()).unwrap()));
    }

    impl Drop for Hanging {
        fn drop(&mut self) {
            for entry in fs::read_dir(self.0.path()).unwrap().flatten() {
                let stat = entry.path().join("stat");
                if stat.exists() {
                    open_and_close(&stat);
                }
            }
        }
    }

    fn stat(id: u32) -> String {
        format!("{id} (sh) S 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 {} 0\n", id * 10)
    }

    fn starts(lookout: &Lookout, ids: &[u32]) -> Vec<(u32, u64)> {
        let seen = lookout
            .of_each(ids.to_vec(), |process| process.start_time().map_or(0, |start| start.0));
        assert!(lookout.hanging().len() <= MOST_HANGING);
        seen
    }

    #[test]
    fn what_hangs_is_left_out_and_looked_at_again_once_it_does_not() {
        let tree = Hanging::new(&[2], &[1, 3]);
        let lookout = tree.lookout();
        assert_eq!(starts(&lookout, &[1, 2, 3]), [(1, 10), (3, 30)]);
        // No other thread is left behind at the same process.
        assert_eq!(starts(&lookout, &[2, 3]), [(3, 30)]);
        let look = |process: Process<'_>| process.start_time().is_ok();
        assert_eq!(lookout.of(2, look), Err(Error::Stuck { pid: 2 }));
        tree.release(2);
        let gone_on = (0..6000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !lookout.hanging().contains(&2)
        });
        assert!(gone_on);
        assert_eq!(starts(&lookout, &[1, 2, 3]), [(1, 10), (2, 20), (3, 30)]);
    }

    #[test]
    fn only_so_many_threads_are_left_behind() {
        let hanging: Vec<u32> = (1..=30).collect();
        let tree = Hanging::new(&hanging, &[40]);
        let lookout = tree.lookout();
        assert_eq!(starts(&lookout, &[1, 2, 3, 4, 40]), [], "two for one question");
        assert_eq!(*lookout.hanging(), HashSet::from([1, 2]));
        for id in &hanging {
            assert_eq!(starts(&lookout, &[*id]), []);
        }
        assert_eq!(lookout.hanging().len(), MOST_HANGING);
        assert_eq!(starts(&lookout, &[40]), [], "nobody is looked at any more");
    }
}
