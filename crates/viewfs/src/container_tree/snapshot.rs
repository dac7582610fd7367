//! The content of one file, as the kernel knows it.
//!
//! The kernel keeps a file's bytes, length and time of last change, and serves readers from them
//! without asking. It asks for attributes (GETATTR) when those it has are too old; that is when new
//! content is made. A new length or time makes it drop the bytes and ask for them (READ). Both
//! answers must be of the same content, or a reader is given as many bytes of one text as another
//! one has: cut off inside a line, or with zeros at its end.
//!
//! What the kernel knows is not known here for certain. Between our answer to GETATTR and the moment
//! when the thread that asked takes it in, other threads may still read by the old length. So after
//! a change of content there is a *doubt*, until a thread that has been told of the new content
//! reads: by then it has taken it in. In doubt, whoever else reads gets the shortest of the contents
//! that the kernel may know the length of, and newlines up to the end of the page behind it: however
//! long the kernel takes the file to be, it cuts between lines. The bytes are then those of a moment
//! ago, so the next GETATTR says that they have changed.
//!
//! One case is left: a thread that is told of new content while another has not taken in, for
//! [`SETTLING`], that it was told of the old. No server can see which of the two answers the kernel
//! has kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuse::Fh;
use procfmt::units::Usec;

use crate::handles::Content;

/// How old content may be when the kernel is told of it, and how long the kernel may use it: half a
/// tick each. It rounds up to its own ticks, which may be 10 ms, so that a reader sees what was true
/// at most two ticks ago.
pub(super) const FRESH: Usec = Usec(5_000);
/// How long a thread is given to take in what it was told, before another is told something new:
/// the kernel drops an answer if another has come in since the question, and the thread goes on with
/// that one. Content does not get older than twice [`FRESH`] for it.
const SETTLING: Usec = Usec(3_000);
/// How many threads are remembered that have been told of new content; others are in doubt.
const TOLD: usize = 64;
/// What one request surely gets from one content, in bytes: a page.
const PAGE: usize = 4096;

/// The content of one file.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    shown: Option<Shown>,
    used_at: Usec,
}

/// What the kernel was told last.
#[derive(Debug)]
struct Shown {
    content: Content,
    built_at: Usec,
    /// Who was told of it last, and when.
    told: (u32, Usec),
    mtime: Duration,
    /// The kernel may have other bytes than these under this time of change.
    is_stale: bool,
    doubt: Option<Doubt>,
    /// Under which number it is written down.
    kept: Fh,
}

/// The kernel may not know yet.
#[derive(Debug)]
struct Doubt {
    /// The shortest content that it may know instead.
    shortest: Content,
    /// Who has been told of the new one.
    told: Vec<u32>,
}

/// What is told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// In bytes.
    pub(super) size: u64,
    pub(super) mtime: Duration,
    /// For how long it may be used.
    pub(super) ttl: Duration,
}

/// The two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Usec,
    /// Since the epoch.
    pub(super) time: Duration,
}

/// Writes content down under a number, for the next worker, before it is shown.
pub(super) trait Write: FnOnce(Fh, &[u8], Duration) {}
impl<F: FnOnce(Fh, &[u8], Duration)> Write for F {}

impl Snapshot {
    /// What another worker has told the kernel.
    pub(super) fn adopted(content: Vec<u8>, built_at: Usec, mtime: Duration, kept: Fh) -> Self {
        let content = Arc::new(content);
        let told = (0, built_at);
        let shown = Shown { content, built_at, told, mtime, is_stale: false, doubt: None, kept };
        Self { state: Mutex::new(State { shown: Some(shown), used_at: built_at }) }
    }

    /// The attributes for the thread `tid`, of new content if what is there is too old; `build` is
    /// given that.
    pub(super) fn tell<E>(
        &self,
        tid: u32,
        now: Now,
        new_fh: impl FnOnce() -> Fh,
        build: impl FnOnce(Option<&[u8]>) -> Result<Vec<u8>, E>,
        write: impl Write,
    ) -> Result<Told, E> {
        let mut state = self.lock();
        state.used_at = now.monotonic;
        let is_due = state.shown.as_ref().is_none_or(|shown| shown.is_due(tid, now.monotonic));
        let last = state.shown.as_ref().map(|shown| shown.content.as_slice());
        let built = is_due.then(|| build(last)).transpose()?;
        let shown = match (state.shown.take(), built) {
            (Some(shown), None) => shown,
            (before, built) => Shown::after(before, built.unwrap_or_default(), now, new_fh, write),
        };
        let shown = state.shown.insert(shown);
        shown.note(tid);
        shown.told = (tid, now.monotonic);
        let left = FRESH.0.saturating_sub(shown.age(now.monotonic).0);
        Ok(Told {
            size: shown.content.len() as u64,
            mtime: shown.mtime,
            ttl: Duration::from_micros(left),
        })
    }

    /// The content for a read by the thread `tid`: what the kernel was told of, as far as can be
    /// known. Made anew if nothing is there.
    pub(super) fn read<E>(
        &self,
        tid: u32,
        now: Now,
        new_fh: impl FnOnce() -> Fh,
        build: impl FnOnce() -> Result<Vec<u8>, E>,
        write: impl Write,
    ) -> Result<Content, E> {
        let mut state = self.lock();
        state.used_at = now.monotonic;
        if let Some(shown) = state.shown.as_mut() {
            return Ok(shown.content_for(tid));
        }
        let shown = Shown::after(None, build()?, now, new_fh, write);
        let content = Arc::clone(&shown.content);
        state.shown = Some(shown);
        Ok(content)
    }

    /// Whether nothing has ever been shown.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().shown.is_none()
    }

    /// When it was last asked for, how many bytes it has, and under which number it is written
    /// down. `None`: it is being asked for now.
    pub(super) fn use_of(&self) -> Option<(Usec, usize, Option<Fh>)> {
        let state = self.state.try_lock().ok()?;
        let shown = state.shown.as_ref();
        let bytes = shown.map_or(0, |shown| shown.content.len());
        Some((state.used_at, bytes, shown.map(|shown| shown.kept)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Content is made before anything is changed, so a panic there leaves all as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn after(
        before: Option<Self>,
        content: Vec<u8>,
        now: Now,
        new_fh: impl FnOnce() -> Fh,
        write: impl Write,
    ) -> Self {
        let Some(before) = before else {
            let kept = new_fh();
            write(kept, &content, now.time);
            let content = Arc::new(content);
            let (built_at, mtime) = (now.monotonic, now.time);
            let told = (0, built_at);
            return Self { content, built_at, told, mtime, is_stale: false, doubt: None, kept };
        };
        let is_same = content == *before.content;
        if is_same && !before.is_stale {
            return Self { built_at: now.monotonic, ..before };
        }
        // Whatever the clock does, it has to be another one.
        let mtime = now.time.max(before.mtime.saturating_add(Duration::from_nanos(1)));
        write(before.kept, &content, mtime);
        let shown = Self { built_at: now.monotonic, mtime, is_stale: false, ..before };
        if is_same {
            return shown;
        }
        let shortest = match shown.doubt {
            Some(doubt) if doubt.shortest.len() < shown.content.len() => doubt.shortest,
            _ => shown.content,
        };
        let doubt = Some(Doubt { shortest, told: Vec::new() });
        Self { content: Arc::new(content), doubt, ..shown }
    }

    fn age(&self, now: Usec) -> Usec {
        Usec(now.0.saturating_sub(self.built_at.0))
    }

    /// Whether the thread `tid` shall be told of newer content.
    fn is_due(&self, tid: u32, now: Usec) -> bool {
        let (last, told_at) = self.told;
        let is_settled = last == tid || Usec(now.0.saturating_sub(told_at.0)) >= SETTLING;
        let age = self.age(now);
        age >= FRESH && (is_settled || age >= Usec(FRESH.0 * 2))
    }

    fn note(&mut self, tid: u32) {
        if let Some(doubt) = &mut self.doubt
            && tid != 0
            && doubt.told.len() < TOLD
            && !doubt.told.contains(&tid)
        {
            doubt.told.push(tid);
        }
    }

    fn content_for(&mut self, tid: u32) -> Content {
        let Some(doubt) = self.doubt.take_if(|doubt| doubt.told.contains(&tid)) else {
            return self.content_in_doubt();
        };
        drop(doubt);
        Arc::clone(&self.content)
    }

    fn content_in_doubt(&mut self) -> Content {
        let Some(doubt) = &self.doubt else { return Arc::clone(&self.content) };
        let (old, new) = (doubt.shortest.len(), self.content.len());
        // Of several pages, the reader may have some already.
        if old < new || (old == new && new > PAGE) {
            self.is_stale = true;
            return Arc::clone(&doubt.shortest);
        }
        Arc::clone(&self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose content is made of a text, at a time in microseconds.
    #[derive(Default)]
    struct File {
        snapshot: Snapshot,
        written: Mutex<Vec<(u64, String)>>,
    }

    fn at(micros: u64) -> Now {
        Now { monotonic: Usec(micros), time: Duration::from_micros(1_000_000 + micros) }
    }

    impl File {
        fn tell(&self, tid: u32, micros: u64, text: &str) -> Told {
            let build = |_: Option<&[u8]>| Ok::<_, ()>(text.as_bytes().to_vec());
            self.snapshot.tell(tid, at(micros), || Fh(7), build, self.writer()).unwrap()
        }

        fn read(&self, tid: u32) -> String {
            let build = || Ok::<_, ()>(b"made by a read\n".to_vec());
            let read = self.snapshot.read(tid, at(0), || Fh(7), build, self.writer());
            String::from_utf8(read.unwrap().to_vec()).unwrap()
        }

        fn writer(&self) -> impl Write {
            |fh: Fh, content: &[u8], _| {
                let text = String::from_utf8(content.to_vec()).unwrap();
                self.written.lock().unwrap().push((fh.0, text));
            }
        }
    }

    #[test]
    fn content_is_made_once_per_half_tick() {
        let file = File::default();
        let first = file.tell(1, 0, "a\n");
        assert_eq!((first.size, first.ttl), (2, Duration::from_millis(5)));
        let second = file.tell(1, 4_000, "longer\n");
        assert_eq!((second.size, second.mtime), (2, first.mtime));
        assert_eq!(second.ttl, Duration::from_millis(1), "no more than is left");
        let third = file.tell(1, 5_000, "longer\n");
        assert_eq!(third.size, 7);
        assert!(third.mtime > first.mtime);
    }

    #[test]
    fn a_thread_is_left_time_to_take_in_what_it_was_told() {
        let file = File::default();
        let first = file.tell(1, 0, "a\n");
        file.tell(2, 4_900, "longer\n");
        let again = file.tell(1, 5_100, "longer\n");
        assert_eq!((again.size, again.mtime, again.ttl), (2, first.mtime, Duration::ZERO));
        assert_eq!(file.tell(1, 5_200, "longer\n").size, 7, "it has asked again itself");
        for (tid, micros) in [(1, 10_300), (2, 12_000), (3, 14_000)] {
            file.tell(tid, micros, "a\n");
        }
        assert_eq!(file.tell(4, 16_000, "longest\n").size, 2, "made at 10.3");
        assert_eq!(file.tell(5, 18_000, "longest\n").size, 2);
        assert_eq!(file.tell(6, 20_300, "longest\n").size, 8, "however many have asked");
    }

    #[test]
    fn the_same_bytes_keep_their_time() {
        let file = File::default();
        let first = file.tell(1, 0, "a\n");
        let second = file.tell(1, 10_000, "a\n");
        assert_eq!((second.mtime, second.ttl), (first.mtime, Duration::from_millis(5)));
        assert_eq!(file.written.lock().unwrap().len(), 1);
        // The clock was set back.
        let build = |last: Option<&[u8]>| {
            assert_eq!(last, Some(&b"a\n"[..]));
            Ok::<_, ()>(b"b\n".to_vec())
        };
        let now = Now { monotonic: Usec(20_000), time: Duration::ZERO };
        let third = file.snapshot.tell(1, now, || Fh(7), build, file.writer()).unwrap();
        assert!(third.mtime > first.mtime);
    }

    #[test]
    fn who_was_told_reads_what_it_was_told_of() {
        let file = File::default();
        file.tell(1, 0, "short\n");
        assert_eq!(file.read(1), "short\n");
        file.tell(1, 10_000, "much longer\n");
        assert_eq!(file.read(1), "much longer\n");
        // What the first has taken in holds for all.
        assert_eq!(file.read(2), "much longer\n");
    }

    #[test]
    fn in_doubt_the_shortest_is_read() {
        let file = File::default();
        file.tell(1, 0, "shorter\n");
        file.tell(1, 10_000, "much longer\n");
        assert_eq!(file.read(2), "shorter\n");
        file.tell(3, 20_000, "the longest of all\n");
        assert_eq!(file.read(2), "shorter\n");
        file.tell(3, 30_000, "tiny\n");
        assert_eq!(file.read(2), "tiny\n");
        let mtime = file.tell(4, 34_000, "").mtime;
        assert_eq!(file.read(4), "tiny\n");
        assert_eq!(file.tell(4, 40_000, "tiny\n").mtime, mtime, "nobody has older bytes of it");
    }

    #[test]
    fn older_bytes_that_were_read_are_dropped_with_the_next_answer() {
        let file = File::default();
        file.tell(1, 0, "old\n");
        let told = file.tell(1, 10_000, "newer\n");
        assert_eq!(file.read(2), "old\n");
        let again = file.tell(1, 20_000, "newer\n");
        assert!(again.mtime > told.mtime);
        assert_eq!(file.read(1), "newer\n");
        assert_eq!(file.tell(1, 30_000, "newer\n").mtime, again.mtime);
    }

    #[test]
    fn a_failure_changes_nothing() {
        let file = File::default();
        let first = file.tell(1, 0, "a\n");
        let failing = |_: Option<&[u8]>| Err::<Vec<u8>, _>("no");
        let failed = file.snapshot.tell(1, at(10_000), || Fh(7), failing, file.writer());
        assert_eq!(failed, Err("no"));
        assert_eq!(file.read(1), "a\n");
        assert_eq!(file.tell(1, 20_000, "a\n").mtime, first.mtime);
    }

    #[test]
    fn another_worker_goes_on() {
        let mtime = Duration::from_secs(5);
        let snapshot = Snapshot::adopted(b"a\n".to_vec(), Usec(1000), mtime, Fh(9));
        let file = File { snapshot, ..File::default() };
        assert_eq!(file.read(1), "a\n");
        assert_eq!(file.tell(1, 100_000, "a\n").mtime, mtime);
        file.tell(1, 200_000, "b\n");
        assert_eq!(*file.written.lock().unwrap(), [(9, "b\n".to_owned())]);
        let nothing = File::default();
        assert_eq!(nothing.read(1), "made by a read\n");
    }
}
