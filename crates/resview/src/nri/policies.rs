//! The policy and what namespaces say, read again whenever the files change.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::policy::{Decision, FileError, NamespaceViews, Pod, Policy};

/// The longest file, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// The two files, as they were read last.
#[derive(Debug)]
pub(super) struct Policies {
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    /// None: the file is there and no policy was ever read from it.
    policy: Kept<Option<Policy>>,
    namespaces: Kept<NamespaceViews>,
    generation: u64,
}

#[derive(Debug)]
struct Kept<T> {
    path: PathBuf,
    /// Tells the file from what it was; none: it was not there, or not looked at.
    stamp: Option<Stamp>,
    looked_at: bool,
    value: T,
}

type Stamp = (u64, u64, i64, i64);

impl Policies {
    pub(super) fn new(policy: &Path, namespaces: &Path) -> Self {
        let files = Files {
            policy: Kept::new(policy, Some(Policy::default())),
            namespaces: Kept::new(namespaces, NamespaceViews::default()),
            generation: 0,
        };
        let policies = Self { files: Mutex::new(files) };
        policies.generation();
        policies
    }

    /// A number that changes when the files say something else.
    pub(super) fn generation(&self) -> u64 {
        let mut files = self.lock();
        files.refresh();
        files.generation
    }

    /// What is decided about a pod, whose [`Pod::namespace_label`] is found here; none: the policy
    /// cannot be read.
    pub(super) fn decide(&self, pod: &Pod<'_>) -> Option<Decision> {
        let mut files = self.lock();
        files.refresh();
        let label = files.namespaces.value.views.get(pod.namespace).map(String::as_str);
        let policy = files.policy.value.as_ref()?;
        Some(policy.decide(&Pod { namespace_label: label, ..*pod }))
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn refresh(&mut self) {
        let policy = self.policy.refresh(
            || Some(Policy::default()),
            |text| Policy::parse(text).map(Some),
            // What was good goes on. Without that, nothing is done that may not be wanted.
            |kept, was_there| if was_there { kept } else { None },
        );
        let keep = |kept, _| kept;
        let namespaces =
            self.namespaces.refresh(NamespaceViews::default, NamespaceViews::parse, keep);
        self.generation = self.generation.wrapping_add(u64::from(policy || namespaces));
    }
}

impl<T> Kept<T> {
    fn new(path: &Path, value: T) -> Self {
        Self { path: path.to_owned(), stamp: None, looked_at: false, value }
    }

    fn refresh(
        &mut self,
        without: impl FnOnce() -> T,
        parse: impl FnOnce(&[u8]) -> Result<T, FileError>,
        broken: impl FnOnce(T, bool) -> T,
    ) -> bool
    where
        T: PartialEq + Clone,
    {
        let stamp = stamp(&self.path);
        if self.looked_at && stamp == self.stamp {
            return false;
        }
        let was_there = self.stamp.is_some();
        (self.stamp, self.looked_at) = (stamp, true);
        let before = self.value.clone();
        self.value = match read(&self.path) {
            Ok(Some(text)) => parse(&text).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}; it is not used", self.path.display());
                broken(before.clone(), was_there)
            }),
            Ok(None) => without(),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", self.path.display());
                broken(before.clone(), was_there)
            }
        };
        self.value != before
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MOST_BYTES || !metadata.is_file() => {
            let message = format!("it is no file of at most {MOST_BYTES} bytes");
            return Err(std::io::Error::other(message));
        }
        Ok(_) => {}
    }
    std::fs::read(path).map(Some)
}

#[cfg(test)]
mod tests {
    use api::View;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            // As whoever puts it there does.
            std::fs::write(self.path("new"), text).unwrap();
            std::fs::rename(self.path("new"), self.path(name)).unwrap();
        }

        fn policies(&self) -> Policies {
            Policies::new(&self.path("policy"), &self.path("namespaces"))
        }
    }

    fn of(policies: &Policies, namespace: &str) -> Option<View> {
        Some(policies.decide(&Pod { namespace, ..Pod::default() })?.view)
    }

    #[test]
    fn a_file_counts_as_soon_as_it_changes() {
        let place = Place::new();
        let policies = place.policies();
        assert_eq!(of(&policies, "team"), Some(View::On));
        let first = policies.generation();
        place.write("policy", r#"{"version":1,"default":"off"}"#);
        assert_eq!(of(&policies, "team"), Some(View::Off));
        assert_eq!((first, policies.generation()), (first, first + 1));
        place.write("namespaces", r#"{"version":1,"views":{"team":"on"}}"#);
        assert_eq!(of(&policies, "team"), Some(View::On));
        assert_eq!(of(&policies, "other"), Some(View::Off));
        std::fs::remove_file(place.path("policy")).unwrap();
        std::fs::remove_file(place.path("namespaces")).unwrap();
        assert_eq!(of(&policies, "other"), Some(View::On));
        assert_eq!(policies.generation(), first + 3);
    }

    #[test]
    fn a_broken_policy_changes_nothing_and_one_that_was_never_good_does_nothing() {
        let place = Place::new();
        place.write("policy", "{");
        let policies = place.policies();
        assert_eq!(of(&policies, "team"), None);
        place.write("policy", r#"{"version":1,"default":"off"}"#);
        assert_eq!(of(&policies, "team"), Some(View::Off));
        place.write("policy", r#"{"version":1,"default":"of"}"#);
        place.write("namespaces", "[]");
        assert_eq!(of(&policies, "team"), Some(View::Off));
        // It comes where there was none.
        let place = Place::new();
        let policies = place.policies();
        std::fs::create_dir(place.path("policy")).unwrap();
        assert_eq!(of(&policies, "team"), None);
    }
}
