//! The program on the host: which it is, and how ours takes its place.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::place::Place;
use super::{files, version};
use crate::cli::VERSION;

/// This process's own program.
const OWN: &str = "/proc/self/exe";
/// How long it may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// Nothing.
    Missing,
    /// This very program.
    Own,
    /// Another one, and its version if it says one.
    Other(Option<String>),
}

impl Installed {
    /// Looks at the host's program.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn look(place: &Place) -> anyhow::Result<Self> {
        let path = place.here(&place.program());
        if !path.try_exists().with_context(|| format!("cannot look at {}", path.display()))? {
            return Ok(Self::Missing);
        }
        let is_own = is_same(Path::new(OWN), &path);
        if is_own.with_context(|| format!("cannot read {}", path.display()))? {
            return Ok(Self::Own);
        }
        Ok(Self::Other(version_of(&path)))
    }

    /// Whether it is newer than this program.
    pub(crate) fn newer(&self) -> Option<&str> {
        let Self::Other(Some(theirs)) = self else { return None };
        (version::compare(theirs, VERSION) == Ordering::Greater).then_some(theirs)
    }
}

/// What a file's identity and content are known by, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([i64; 5]);

impl Stamp {
    /// Of the host's program; none where there is none.
    pub(crate) fn of(place: &Place) -> Option<Self> {
        let file = place.here(&place.program()).metadata().ok()?;
        let inode = i64::from_ne_bytes(file.ino().to_ne_bytes());
        let size = i64::from_ne_bytes(file.size().to_ne_bytes());
        Some(Self([inode, size, file.mtime(), file.mtime_nsec(), file.ctime_nsec()]))
    }
}

/// Puts our program in its place. The one before stays beside it, until [`settled`] or
/// [`put_back`].
///
/// # Errors
/// It cannot be written; the one before is still there.
pub(crate) fn put(place: &Place) -> anyhow::Result<()> {
    let path = place.here(&place.program());
    let (dir, previous) = (place.here(place.install_dir()), place.previous());
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // If one is there, an upgrade was cut short: what is at the path now has proved nothing.
    if path.exists() && !previous.exists() {
        std::fs::hard_link(&path, &previous)
            .with_context(|| format!("cannot keep {} for the case", path.display()))?;
    }
    let own = std::fs::read(OWN).context("cannot read this program")?;
    files::replace(&path, &own, 0o755).map(drop)
}

/// The present program has proved itself.
///
/// # Errors
/// The one before cannot be removed.
pub(crate) fn settled(place: &Place) -> anyhow::Result<()> {
    files::remove(&place.previous())
}

/// Takes the program before again; whether there was one.
///
/// # Errors
/// It cannot be put in its place.
pub(crate) fn put_back(place: &Place) -> anyhow::Result<bool> {
    let previous = place.previous();
    if !previous.exists() {
        return Ok(false);
    }
    files::rename(&previous, &place.here(&place.program()))?;
    Ok(true)
}

fn is_same(left: &Path, right: &Path) -> std::io::Result<bool> {
    let (left, right) = (File::open(left)?, File::open(right)?);
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (BufReader::new(left), BufReader::new(right));
    loop {
        let (one, other) = (left.fill_buf()?, right.fill_buf()?);
        let length = one.len().min(other.len());
        if one.get(..length) != other.get(..length) || one.is_empty() != other.is_empty() {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        left.consume(length);
        right.consume(length);
    }
}

/// What `resview --version` says. One that hangs, or is for another machine, says nothing.
fn version_of(program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let begin = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    // A pipe holds more than that.
    child.stdout.take()?.take(4096).read_to_string(&mut said).ok()?;
    Some(said.strip_prefix("resview ")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), Path::new("/opt/resview"));
        (dir, place)
    }

    fn install(place: &Place, script: &str) {
        let path = place.here(&place.program());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_is_installed_is_known_by_its_content_and_by_what_it_says() {
        let (_dir, place) = place();
        assert_eq!(Installed::look(&place).unwrap(), Installed::Missing);
        install(&place, "#!/bin/sh\necho resview 999.0\n");
        let newer = Installed::look(&place).unwrap();
        assert_eq!(newer.newer(), Some("999.0"));
        install(&place, "#!/bin/sh\necho resview 0.0.1\n");
        assert_eq!(Installed::look(&place).unwrap(), Installed::Other(Some("0.0.1".to_owned())));
        assert_eq!(Installed::look(&place).unwrap().newer(), None);
        install(&place, "\x7fELF, of another machine");
        assert_eq!(Installed::look(&place).unwrap(), Installed::Other(None));
    }

    #[test]
    fn the_program_before_comes_back() {
        let (_dir, place) = place();
        install(&place, "the first");
        let before = Stamp::of(&place);
        put(&place).unwrap();
        assert_eq!(Installed::look(&place).unwrap(), Installed::Own);
        assert_ne!(Stamp::of(&place), before);
        // Once more, after an attempt that was cut short: the first is still the one before.
        put(&place).unwrap();
        assert!(put_back(&place).unwrap() && !put_back(&place).unwrap());
        assert_eq!(std::fs::read(place.here(&place.program())).unwrap(), b"the first");
        put(&place).unwrap();
        settled(&place).unwrap();
        assert!(!put_back(&place).unwrap());
        assert_eq!(Installed::look(&place).unwrap(), Installed::Own);
    }
}
