//! Files in which histories outlive the daemon: one record for each container, in slots of a fixed
//! size, in a directory of tmpfs that only one daemon uses at a time.
//!
//! A record is written before anybody sees what it says (about a microsecond), so what the next
//! daemon finds is never older than what was printed. A process that is killed may leave a write of
//! several pages half done; so a slot has room for two records, which are written in turn, each
//! with a checksum, and the newest whole one counts.
//!
//! A file begins with a text that says what is in it. One of another boot, another version or
//! another kind is refused as a whole: clocks and process ids begin anew with each boot.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use container::ContainerKey;
use hostfs::HostFs;

/// The text at the beginning has room in the first page; the slots follow.
const HEADER: usize = 4096;
/// Checksum, sequence number, container, length.
const RECORD_HEADER: usize = 32;
/// How long to wait for the last daemon to be gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// The directory with a daemon's histories, which no other daemon uses as long as this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    boot_id: String,
    /// `None`: another daemon uses it, and this process only looks.
    lock: Option<File>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The file's name.
    pub(crate) name: &'static str,
    /// To be raised whenever the bytes of a record change their meaning.
    pub(crate) version: u32,
    /// How long a record may be, in bytes.
    pub(crate) most: usize,
}

/// One file of records.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    most: usize,
    slots: Mutex<Slots>,
    has_failed: AtomicBool,
}

/// A record as the last daemon left it.
pub(crate) type Saved = (ContainerKey, Vec<u8>);

#[derive(Debug, Default)]
struct Slots {
    by_container: HashMap<ContainerKey, Slot>,
    free: Vec<Slot>,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    index: usize,
    sequence: u64,
}

/// Why histories cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot {action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: std::io::Error },
    #[error("{} is in use by another daemon; give this one another --runtime-dir", .0.display())]
    InUse(PathBuf),
    #[error(transparent)]
    Host(#[from] hostfs::Error),
}

fn failed(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { action, path: path.clone(), error }
}

impl StateDir {
    /// As [`StateDir::open`]; if that fails, or no directory was given, nothing is kept.
    pub(crate) fn open_or_log(path: Option<&Path>, host: &HostFs) -> Option<Self> {
        Self::open(path?, host)
            .inspect_err(|error| {
                tracing::warn!(%error, "histories will be lost when the daemon ends");
            })
            .ok()
    }

    /// Makes the directory if it is not there, and takes it for this process.
    pub(crate) fn open(path: &Path, host: &HostFs) -> Result<Self, StoreError> {
        let mut directories = DirBuilder::new();
        directories.recursive(true).mode(0o700).create(path).map_err(failed("make", path))?;
        let mut lock = OpenOptions::new();
        let lock = lock.create(true).truncate(false).write(true).mode(0o600);
        let lock = lock.open(path.join("lock")).map_err(failed("make a file in", path))?;
        // A daemon that was killed may take a moment to be gone.
        let mut tries = 20;
        while let Err(error) = lock.try_lock() {
            tries -= 1;
            match error {
                TryLockError::WouldBlock if tries > 0 => std::thread::sleep(PATIENCE / 20),
                TryLockError::WouldBlock => return Err(StoreError::InUse(path.to_owned())),
                TryLockError::Error(error) => return Err(failed("lock", path)(error)),
            }
        }
        Ok(Self { path: path.to_owned(), boot_id: boot_id(host)?, lock: Some(lock) })
    }

    /// The histories of a daemon that may be running, to look at: nothing is made, locked or
    /// written.
    pub(crate) fn look_or_log(path: &Path, host: &HostFs) -> Option<Self> {
        let boot_id = boot_id(host);
        let boot_id = boot_id.inspect_err(|error| tracing::warn!(%error, "no histories are read"));
        Some(Self { path: path.to_owned(), boot_id: boot_id.ok()?, lock: None })
    }

    /// As [`StateDir::store`]; without a directory, or if that fails, nothing is kept.
    pub(crate) fn store_of(state: Option<&Self>, kind: Kind) -> (Option<Store>, Vec<Saved>) {
        let Some(state) = state else { return (None, Vec::new()) };
        if state.lock.is_none() {
            return (None, state.saved(&state.path.join(kind.name), kind));
        }
        match state.store(kind) {
            Ok((store, saved)) => (Some(store), saved),
            Err(error) => {
                tracing::warn!(%error, "histories will be lost when the daemon ends");
                (None, Vec::new())
            }
        }
    }

    /// Opens the file of this kind, with the records that the last daemon left.
    pub(crate) fn store(&self, kind: Kind) -> Result<(Store, Vec<Saved>), StoreError> {
        let path = self.path.join(kind.name);
        let saved = self.saved(&path, kind);
        // The records are copied to a new file, of which nothing is seen before it is whole: the
        // old one may be of another version, or have room for fewer CPUs.
        let new = path.with_extension("new");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(&new);
        let file = file.map_err(failed("make", &new))?;
        let header = self.header(kind, record_room(kind.most));
        file.write_all_at(&header, 0).map_err(failed("write to", &new))?;
        let store = Store {
            path: path.clone(),
            file,
            most: kind.most,
            slots: Mutex::default(),
            has_failed: AtomicBool::new(false),
        };
        for (container, record) in &saved {
            store.write(*container, record).map_err(failed("write to", &new))?;
        }
        std::fs::rename(&new, &path).map_err(failed("replace", &path))?;
        Ok((store, saved))
    }

    fn saved(&self, path: &Path, kind: Kind) -> Vec<Saved> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "histories cannot be read");
                return Vec::new();
            }
        };
        let Some((room, slots)) = self.slots_of(&text, kind) else {
            let path = path.display();
            tracing::warn!(%path, "the histories are of another boot or version; they begin anew");
            return Vec::new();
        };
        let records = slots.chunks(room * 2).filter_map(|slot| newest(slot, room));
        records.map(|record| (record.container, record.payload.to_owned())).collect()
    }

    /// The room for a record, and the slots, if the text before them says what is expected.
    fn slots_of<'a>(&self, text: &'a [u8], kind: Kind) -> Option<(usize, &'a [u8])> {
        let (header, slots) = text.split_at_checked(HEADER)?;
        let end = header.iter().position(|&byte| byte == 0)?;
        let header = std::str::from_utf8(&header[..end]).ok()?;
        let room: usize = header.strip_prefix(&self.preamble(kind))?.trim_end().parse().ok()?;
        (room > RECORD_HEADER).then_some((room, slots))
    }

    fn header(&self, kind: Kind, room: usize) -> Vec<u8> {
        let mut header = format!("{}{room}\n", self.preamble(kind)).into_bytes();
        header.resize(HEADER, 0);
        header
    }

    fn preamble(&self, kind: Kind) -> String {
        let Kind { name, version, .. } = kind;
        format!("resview {name} {version}\nboot_id {}\nrecord_bytes ", self.boot_id)
    }
}

fn boot_id(host: &HostFs) -> Result<String, hostfs::Error> {
    let mut text = Vec::new();
    host.proc.read("sys/kernel/random/boot_id", &mut text)?;
    Ok(String::from_utf8_lossy(text.trim_ascii()).into_owned())
}

impl Store {
    /// Keeps a container's record. Should that fail, it is logged once: then the next daemon begins
    /// from an older one. Calls for the same container must not overlap.
    pub(crate) fn put(&self, container: ContainerKey, record: &[u8]) {
        if let Err(error) = self.write(container, record)
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "histories cannot be kept; a restart will lose them");
        }
    }

    /// Gives a container's slot to the next one that needs any.
    pub(crate) fn forget(&self, container: ContainerKey) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.by_container.remove(&container) {
            slots.free.push(slot);
        }
    }

    fn write(&self, container: ContainerKey, payload: &[u8]) -> std::io::Result<()> {
        if payload.len() > self.most {
            let message = format!("a record of {} bytes is too long", payload.len());
            return Err(std::io::Error::new(ErrorKind::InvalidInput, message));
        }
        let Slot { index, sequence } = self.next(container);
        let room = record_room(self.most);
        let second = usize::try_from(sequence % 2).unwrap_or(0);
        let offset = HEADER + (index * 2 + second) * room;
        let record = Record { sequence, container, payload }.to_bytes();
        self.file.write_all_at(&record, offset as u64)
    }

    /// The container's slot, and the number of its next record.
    fn next(&self, container: ContainerKey) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = &mut *slots;
        let slot = slots.by_container.entry(container).or_insert_with(|| {
            slots.free.pop().unwrap_or_else(|| {
                slots.count += 1;
                Slot { index: slots.count - 1, sequence: 0 }
            })
        });
        slot.sequence += 1;
        *slot
    }
}

/// The newest whole record of a slot.
fn newest(slot: &[u8], room: usize) -> Option<Record<'_>> {
    slot.chunks(room).filter_map(Record::parse).max_by_key(|record| record.sequence)
}

fn record_room(most: usize) -> usize {
    RECORD_HEADER + most
}

struct Record<'a> {
    sequence: u64,
    container: ContainerKey,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        for word in [self.sequence, self.container.0, self.payload.len() as u64] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.payload);
        let sum = checksum(&bytes[8..]);
        bytes[..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` for one that was never written, or not to its end.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (sum, summed) = bytes.split_first_chunk()?;
        let (sequence, rest) = summed.split_first_chunk()?;
        let (container, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let payload = rest.get(..length)?;
        let summed = summed.get(..RECORD_HEADER - 8 + length)?;
        let sequence = u64::from_le_bytes(*sequence);
        let is_whole = sequence > 0 && checksum(summed) == u64::from_le_bytes(*sum);
        let container = ContainerKey(u64::from_le_bytes(*container));
        is_whole.then_some(Self { sequence, container, payload })
    }
}

/// FNV-1a, over words where there are eight bytes left: a record is a kilobyte on a machine with 16
/// CPUs, and this is on the way of a read.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let all = words.chain(rest.iter().map(|&byte| byte.into()));
    all.fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind { name: "numbers", version: 3, most: 100 };
    const A: ContainerKey = ContainerKey(1);
    const B: ContainerKey = ContainerKey(u64::MAX);

    struct Runtime {
        dir: tempfile::TempDir,
    }

    impl Runtime {
        fn new() -> Self {
            let runtime = Self { dir: tempfile::tempdir().unwrap() };
            runtime.boot("0c9a");
            runtime
        }

        fn boot(&self, id: &str) {
            let proc = self.dir.path().join("proc/sys/kernel/random");
            std::fs::create_dir_all(&proc).unwrap();
            std::fs::write(proc.join("boot_id"), format!("{id}\n")).unwrap();
        }

        fn open(&self) -> Result<StateDir, StoreError> {
            let host = HostFs::at(self.dir.path().join("proc"), self.dir.path()).unwrap();
            StateDir::open(&self.dir.path().join("run/resview/view"), &host)
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("run/resview/view/numbers")
        }

        /// What the next daemon finds.
        fn saved(&self, kind: Kind) -> Vec<Saved> {
            let (_, mut saved) = self.open().unwrap().store(kind).unwrap();
            saved.sort();
            saved
        }
    }

    #[test]
    fn the_last_record_of_each_container_is_found_again() {
        let runtime = Runtime::new();
        let (store, saved) = runtime.open().unwrap().store(KIND).unwrap();
        assert!(saved.is_empty());
        for n in 0..5 {
            store.put(A, &[n; 100]);
            store.put(B, &[n]);
        }
        // No clean end, as after SIGKILL; and the records survive a second daemon that adds none.
        for _ in 0..2 {
            assert_eq!(runtime.saved(KIND), [(A, vec![4; 100]), (B, vec![4])]);
        }
    }

    #[test]
    fn a_slot_is_used_again_without_mixing_containers() {
        let runtime = Runtime::new();
        let (store, _) = runtime.open().unwrap().store(KIND).unwrap();
        for n in 0..4 {
            store.put(A, &[n]);
        }
        store.forget(A);
        store.put(B, &[9]);
        assert_eq!(runtime.saved(KIND), [(B, vec![9])]);
    }

    #[test]
    fn half_a_write_leaves_the_record_before() {
        let runtime = Runtime::new();
        let (store, _) = runtime.open().unwrap().store(KIND).unwrap();
        store.put(A, &[1; 100]);
        store.put(A, &[2; 100]);
        // The newest is number 2, hence in the first half of the slot; its end was not written.
        let file = OpenOptions::new().write(true).open(runtime.file()).unwrap();
        file.write_all_at(&[0; 40], (HEADER + RECORD_HEADER + 60) as u64).unwrap();
        assert_eq!(runtime.saved(KIND), [(A, vec![1; 100])]);
    }

    #[test]
    fn another_boot_version_or_kind_is_refused() {
        for change in 0..4 {
            let runtime = Runtime::new();
            runtime.open().unwrap().store(KIND).unwrap().0.put(A, &[1]);
            let kind = match change {
                0 => Kind { version: 4, ..KIND },
                // More CPUs are no other kind.
                1 => {
                    assert_eq!(runtime.saved(Kind { most: 200, ..KIND }), [(A, vec![1])]);
                    continue;
                }
                2 => {
                    runtime.boot("other");
                    KIND
                }
                _ => {
                    std::fs::write(runtime.file(), "garbage").unwrap();
                    KIND
                }
            };
            assert_eq!(runtime.saved(kind), []);
        }
    }

    #[test]
    fn two_daemons_do_not_share_a_directory() {
        let runtime = Runtime::new();
        let first = runtime.open().unwrap();
        assert!(matches!(runtime.open(), Err(StoreError::InUse(_))));
        drop(first);
        assert!(runtime.open().is_ok());
    }

    #[test]
    fn what_is_too_long_is_not_kept_and_hurts_nobody() {
        let runtime = Runtime::new();
        let (store, _) = runtime.open().unwrap().store(KIND).unwrap();
        store.put(A, &[7; 101]);
        store.put(B, &[8; 100]);
        assert_eq!(runtime.saved(KIND), [(B, vec![8; 100])]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(newest(&bytes, 64).is_none());
        }
    }
}
