//! Reading the directory of registrations, whenever it has changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hostfs::Dir;
use rustix::fs::{FileType, OFlags, Statx};

use super::registration::is_name;
use super::{Id, MOST_BYTES, Registration, SUFFIX};

/// Within this time after a change there may be another one with the same time stamp: the kernel's
/// clock for them stands still for up to 10 ms.
const YOUNG: Duration = Duration::from_millis(50);
/// How many registrations are taken; more than a machine can have containers.
const MOST: usize = 65_536;

/// The directory of registrations, and what was in it when it was looked at last.
#[derive(Debug)]
pub struct Registry {
    dir: Dir,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked_at: Option<Instant>,
    /// When the directory had changed, by its own time stamp; `None`: it has to be read anew.
    changed_at: Option<Stamp>,
    files: HashMap<OsString, (Stamp, Option<Arc<Registration>>)>,
    registered: Arc<Registered>,
}

/// Tells a file, and its content, from what it was before.
type Stamp = (u64, u64, i64, u32);

/// All registrations at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Registered {
    by_id: BTreeMap<Id, Arc<Registration>>,
    by_name: BTreeMap<String, Id>,
    /// When the directory had changed last, since the epoch.
    changed_at: Duration,
}

impl Registry {
    /// The registrations in an open directory.
    #[must_use]
    pub fn new(dir: Dir) -> Self {
        Self { dir, state: Mutex::default() }
    }

    /// The registrations as they are now. Costs a statx(2) unless they have changed.
    pub fn now(&self) -> Arc<Registered> {
        let mut state = self.lock();
        self.look(&mut state);
        Arc::clone(&state.registered)
    }

    /// The registrations as they are now or were at most so long ago.
    pub fn within(&self, age: Duration) -> Arc<Registered> {
        let mut state = self.lock();
        if state.looked_at.is_none_or(|at| at.elapsed() > age) {
            self.look(&mut state);
        }
        Arc::clone(&state.registered)
    }

    fn look(&self, state: &mut State) {
        let now = Instant::now();
        let stat = match self.dir.stat(".") {
            Ok(stat) => stat,
            Err(error) => {
                tracing::warn!(%error, "cannot look at the registrations of containers");
                state.looked_at = Some(now);
                return;
            }
        };
        let stamp = stamp(&stat);
        if state.changed_at != Some(stamp) {
            match self.read(state, since_epoch(&stat)) {
                Ok(()) => state.changed_at = (!is_young(&stat)).then_some(stamp),
                Err(error) => tracing::warn!(%error, "cannot read the registrations of containers"),
            }
        }
        state.looked_at = Some(now);
    }

    fn read(&self, state: &mut State, changed_at: Duration) -> Result<(), hostfs::Error> {
        let mut before = std::mem::take(&mut state.files);
        for entry in self.dir.list(".")? {
            let Some(id) = id_of(&entry.name) else { continue };
            if state.files.len() == MOST {
                tracing::warn!("more than {MOST} containers are registered; the rest is left out");
                break;
            }
            // One that was removed meanwhile is none.
            let Ok(stat) = self.dir.stat(&entry.name) else { continue };
            let stamp = stamp(&stat);
            let known = before.remove(&entry.name).filter(|(known, _)| *known == stamp);
            let file = known.unwrap_or_else(|| {
                let read = read_file(&self.dir, &entry.name, &id);
                let path = self.dir.path_of(&entry.name);
                let read = read.inspect_err(|why| {
                    tracing::warn!("{}: no registration, left out: {why}", path.display());
                });
                (stamp, read.ok().map(Arc::new))
            });
            state.files.insert(entry.name, file);
        }
        let all = state.files.values().filter_map(|(_, registration)| registration.clone());
        let registered = Registered::new(all, changed_at);
        if *state.registered != registered {
            state.registered = Arc::new(registered);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whatever state a panic has left, the next look puts it right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id that a file's name is made of; `None`: it is no registration, but one half written.
fn id_of(name: &OsStr) -> Option<String> {
    let id = name.to_str()?.strip_suffix(SUFFIX)?;
    (!id.starts_with('.')).then(|| id.to_owned())
}

/// Reads a registration of the directory.
pub(super) fn read_file(dir: &Dir, name: &OsStr, id: &str) -> Result<Registration, String> {
    // Neither a link to follow nor a pipe to wait for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = dir.open_with(Path::new(name), flags).map_err(|error| error.to_string())?;
    let stat = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no plain file".to_owned());
    }
    let mut text = Vec::new();
    let read = std::fs::File::from(file).take(MOST_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > MOST_BYTES {
        return Err(format!("it has more than {MOST_BYTES} bytes"));
    }
    let registration: Registration =
        serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if registration.id.as_str() != id {
        return Err(format!("it is about `{}`", registration.id));
    }
    Ok(registration)
}

fn stamp(stat: &Statx) -> Stamp {
    (stat.stx_ino, stat.stx_size, stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec)
}

fn since_epoch(stat: &Statx) -> Duration {
    let seconds = u64::try_from(stat.stx_mtime.tv_sec).unwrap_or(0);
    Duration::new(seconds, stat.stx_mtime.tv_nsec)
}

/// Whether there may be another change with the same time stamp; also when the clock was set back.
fn is_young(stat: &Statx) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(since_epoch(stat)).is_none_or(|age| age < YOUNG)
}

impl Registered {
    fn new(all: impl Iterator<Item = Arc<Registration>>, changed_at: Duration) -> Self {
        let by_id: BTreeMap<_, _> = all.map(|one| (one.id.clone(), one)).collect();
        let mut by_name = BTreeMap::new();
        let mut shared = HashSet::new();
        for (id, registration) in &by_id {
            let names: HashSet<_> = registration.names.iter().collect();
            for name in names {
                if by_name.insert(name.clone(), id.clone()).is_some() {
                    shared.insert(name.clone());
                }
            }
        }
        let is_id = |name: &String| Id::new(name.as_str()).is_ok_and(|id| by_id.contains_key(&id));
        by_name.retain(|name, _| is_name(name) && !shared.contains(name) && !is_id(name));
        Self { by_id, by_name, changed_at }
    }

    /// The registration under an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Registration>> {
        self.by_id.get(&Id::new(id).ok()?)
    }

    /// The id of the one container that has this name, and none is registered under it as an id.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Id> {
        self.by_name.get(name)
    }

    /// All registrations, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Registration>> {
        self.by_id.values()
    }

    /// All names that lead to one container, and its id.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Id)> {
        self.by_name.iter().map(|(name, id)| (name.as_str(), id))
    }

    /// When the last registration came or went, since the epoch.
    #[must_use]
    pub fn changed_at(&self) -> Duration {
        self.changed_at
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::super::{Init, Target, Writer};
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        registry: Registry,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let registry = Registry::new(Dir::open(dir.path()).unwrap());
            Self { dir, registry }
        }

        fn writer(&self) -> Writer {
            Writer::open(self.dir.path()).unwrap()
        }

        fn ids(&self) -> Vec<String> {
            self.registry.now().iter().map(|one| one.id.to_string()).collect()
        }
    }

    fn registration(id: &str, names: &[&str]) -> Registration {
        let target = Target::Init(Init { pid: 1, start_time: 2 });
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Registration { names, ..Registration::new(Id::new(id).unwrap(), target) }
    }

    #[test]
    fn every_change_is_seen_at_once() {
        let place = Place::new();
        let writer = place.writer();
        assert!(place.ids().is_empty());
        // Many changes within one tick of the time stamps.
        for round in 0..50 {
            let id = format!("c{round}");
            writer.put(&registration(&id, &[])).unwrap();
            assert_eq!(place.ids().join(" "), id);
            let named = registration(&id, &["web"]);
            writer.put(&named).unwrap();
            assert_eq!(**place.registry.now().get(&id).unwrap(), named);
            writer.remove(&named.id).unwrap();
            assert!(place.ids().is_empty());
        }
    }

    #[test]
    fn nothing_is_read_again_without_a_change() {
        let place = Place::new();
        place.writer().put(&registration("a", &[])).unwrap();
        std::thread::sleep(YOUNG * 2);
        let first = place.registry.now();
        // Not by way of the directory, whose time stamp stays.
        fs::write(place.dir.path().join("a.json"), "no longer").unwrap();
        assert!(Arc::ptr_eq(&first, &place.registry.now()));
        assert!(Arc::ptr_eq(&first, &place.registry.within(Duration::ZERO)));
        fs::write(place.dir.path().join("b.json"), "neither").unwrap();
        assert!(Arc::ptr_eq(&first, &place.registry.within(Duration::from_secs(3600))));
        assert!(place.ids().is_empty());
    }

    #[test]
    fn names_that_are_not_unique_lead_nowhere() {
        let place = Place::new();
        let writer = place.writer();
        writer.put(&registration("a", &["web", "both", "b", "a", "web"])).unwrap();
        writer.put(&registration("b", &["both", "db"])).unwrap();
        let registered = place.registry.now();
        let names: Vec<_> = registered.names().map(|(name, id)| (name, id.as_str())).collect();
        assert_eq!(names, [("db", "b"), ("web", "a")]);
        assert_eq!(registered.named("web").unwrap().as_str(), "a");
        assert_eq!(registered.named("both"), None);
        writer.remove(&Id::new("b").unwrap()).unwrap();
        assert_eq!(place.registry.now().named("both").unwrap().as_str(), "a");
    }

    #[test]
    fn what_is_no_registration_is_left_out() {
        let place = Place::new();
        let writer = place.writer();
        writer.put(&registration("good", &[])).unwrap();
        let good = fs::read(place.dir.path().join("good.json")).unwrap();
        let at = |name: &str| place.dir.path().join(name);
        fs::write(at("other.json"), &good).unwrap();
        fs::write(at("empty.json"), "").unwrap();
        fs::write(at("good"), &good).unwrap();
        fs::write(at(".good.json"), &good).unwrap();
        fs::write(at("large.json"), [&good[..], &vec![b' '; 2 << 20]].concat()).unwrap();
        fs::create_dir(at("directory.json")).unwrap();
        symlink(at("good.json"), at("link.json")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe.json"), FileType::Fifo, mode, 0).unwrap();
        assert_eq!(place.ids(), ["good"]);
    }

    #[test]
    fn a_bad_file_is_looked_into_once() {
        let place = Place::new();
        fs::write(place.dir.path().join("bad.json"), "{").unwrap();
        place.ids();
        let looked = |place: &Place| {
            let state = place.registry.lock();
            state.files.get(OsStr::new("bad.json")).unwrap().0
        };
        let first = looked(&place);
        place.writer().put(&registration("good", &[])).unwrap();
        assert_eq!(place.ids(), ["good"]);
        assert_eq!(looked(&place), first);
        fs::write(place.dir.path().join("bad.json"), "{{").unwrap();
        place.writer().put(&registration("good", &["again"])).unwrap();
        place.ids();
        assert_ne!(looked(&place), first, "it is another file now");
    }

    proptest! {
        #[test]
        fn any_files_are_survived(files in prop::collection::vec(
            ("[ -~]{1,12}", prop::collection::vec(any::<u8>(), 0..100)), 0..5,
        )) {
            let place = Place::new();
            place.writer().put(&registration("good", &[])).unwrap();
            for (name, bytes) in &files {
                // Some are no file names.
                let _ = fs::write(place.dir.path().join(format!("x{name}.json")), bytes);
            }
            prop_assert_eq!(place.ids(), ["good"]);
        }
    }
}
