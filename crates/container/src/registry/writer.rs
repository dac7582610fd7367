//! Writing registrations.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hostfs::{Dir, HostFs};

use super::reader::read_file;
use super::registration::is_name;
use super::{Id, MOST_BYTES, Registration, Registry, SUFFIX, find};
use crate::identify::Identifier;

/// Writes and removes registrations. There may be one writer of a directory at a time.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    dir: Dir,
}

/// Why a registration was not written or removed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The directory cannot be made or opened.
    #[error("cannot use {} for the registrations of containers: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be written, moved to its place or removed.
    #[error("cannot write the registration {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A name could not be the name of a link.
    #[error("`{name}` cannot be the name of the container {id}")]
    Name {
        /// The container.
        id: Id,
        /// The name.
        name: String,
    },
    /// It is larger than a reader takes.
    #[error("the registration of the container {id} has more than {MOST_BYTES} bytes")]
    Large {
        /// The container.
        id: Id,
    },
}

impl Writer {
    /// A writer of the directory at `path`, which is made if it is missing, for root alone.
    ///
    /// # Errors
    /// [`WriteError::Directory`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let path = path.into();
        let failed = |source| WriteError::Directory { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        let dir = Dir::open(&path).map_err(|error| failed(error.errno().into()))?;
        Ok(Self { path, dir })
    }

    /// Registers a container, or changes what is registered of it. Readers see the whole of it or
    /// what was there before.
    ///
    /// # Errors
    /// [`WriteError`]; what was there is still there then.
    pub fn put(&self, registration: &Registration) -> Result<(), WriteError> {
        let id = &registration.id;
        if let Some(name) = registration.names.iter().find(|name| !is_name(name)) {
            return Err(WriteError::Name { id: id.clone(), name: name.clone() });
        }
        let (path, begun) = (self.path_of(id), self.path.join(format!(".{id}{SUFFIX}")));
        let failed = |source| WriteError::File { path: path.clone(), source };
        let text = serde_json::to_vec(registration).map_err(|error| failed(error.into()))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(WriteError::Large { id: id.clone() });
        }
        let written = write_new(&begun, &text).and_then(|()| std::fs::rename(&begun, &path));
        written.map_err(|source| {
            // Of no use, and not in the way of the next attempt.
            let _ = std::fs::remove_file(&begun);
            failed(source)
        })
    }

    /// Takes a registration away; whether there was one.
    ///
    /// # Errors
    /// [`WriteError::File`].
    pub fn remove(&self, id: &Id) -> Result<bool, WriteError> {
        let path = self.path_of(id);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(WriteError::File { path, source }),
        }
    }

    /// What is registered under an id, whatever a reader may have seen of it yet. `None` also if
    /// that is no registration.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<Registration> {
        read_file(&self.dir, OsStr::new(&format!("{id}{SUFFIX}")), id.as_str()).ok()
    }

    /// A reader of the same directory.
    #[must_use]
    pub fn reader(&self) -> Registry {
        Registry::new(self.dir.clone())
    }

    /// Takes away the registrations of containers that have ended, and says which. Where it cannot
    /// be told, they stay.
    ///
    /// # Errors
    /// [`WriteError::File`], after all others have been looked at.
    pub fn prune(
        &self,
        host: &HostFs,
        identifier: &Identifier,
    ) -> Result<Vec<Registration>, WriteError> {
        let mut pruned = Vec::new();
        let mut failed = Ok(());
        for registration in self.reader().now().iter() {
            if !matches!(find(host, identifier, &registration.target), Ok(None)) {
                continue;
            }
            match self.remove(&registration.id) {
                Ok(_) => pruned.push(Registration::clone(registration)),
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| pruned)
    }

    fn path_of(&self, id: &Id) -> PathBuf {
        self.path.join(format!("{id}{SUFFIX}"))
    }
}

fn write_new(path: &Path, text: &[u8]) -> std::io::Result<()> {
    // What a writer that was killed has left must not be written to: it may be a link.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Init, Target};
    use super::*;
    use crate::fake::Fake;

    fn registration(id: &str, target: Target) -> Registration {
        Registration::new(Id::new(id).unwrap(), target)
    }

    fn init(pid: u32) -> Target {
        Target::Init(Init { pid, start_time: u64::from(pid) * 10 })
    }

    #[test]
    fn a_registration_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/registrations");
        let writer = Writer::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let mut one = registration("a", init(1));
        std::fs::write(path.join(".a.json"), "left by one that was killed").unwrap();
        writer.put(&one).unwrap();
        one.engine = "docker".to_owned();
        writer.put(&one).unwrap();
        assert_eq!(writer.get(&one.id), Some(one.clone()));
        let names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|one| one.unwrap()).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(writer.remove(&one.id).unwrap() && !writer.remove(&one.id).unwrap());
        assert_eq!(writer.get(&one.id), None);
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let names = vec!["good".to_owned(), "../etc".to_owned()];
        let error = writer.put(&Registration { names, ..registration("a", init(1)) }).unwrap_err();
        assert_eq!(error.to_string(), "`../etc` cannot be the name of the container a");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_has_ended_is_pruned() {
        let fake = Fake::new(&["/c", "/d"]);
        for (pid, cgroup) in [(20, "/c"), (21, "/c"), (22, "/c")] {
            fake.process(pid, "9 1", 9, cgroup);
        }
        fake.file(22, "stat", "garbage");
        fake.cgroup_file("/d", "cgroup.procs", "");
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(dir.path()).unwrap();
        let cgroup = |path: &str| Target::Cgroup { path: path.to_owned(), instance: None };
        for (id, target) in [
            ("alive", init(20)),
            ("ended", init(21)),
            ("unclear", init(22)),
            ("cgroup", cgroup("/d")),
            ("removed", cgroup("/e")),
        ] {
            writer.put(&registration(id, target)).unwrap();
        }
        fake.end(21);
        let pruned = writer.prune(&fake.host(), &fake.identifier()).unwrap();
        let ids = |all: Vec<Registration>| all.iter().map(|one| one.id.to_string()).collect();
        let (pruned, left): (Vec<String>, Vec<String>) =
            (ids(pruned), ids(writer.reader().now().iter().map(|one| (**one).clone()).collect()));
        assert_eq!(pruned, ["ended", "removed"]);
        assert_eq!(left, ["alive", "cgroup", "unclear"]);
    }
}
