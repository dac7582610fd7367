//! One cgroup directory of a run: made, locked, and in the end removed with all that is in it.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// Names of our cgroups begin so; the pid of the `resview run` that made one follows.
pub(super) const PREFIX: &str = "resview-run-";

/// How many runs of the same pid, in as many pid namespaces, are believed.
const MOST_NAMESAKES: usize = 1000;

/// A cgroup directory that belongs to this process for as long as it holds the lock on it. The
/// kernel lets go of the lock when the process dies, however it dies: that is how the next run
/// knows which cgroups nobody needs any more, without trusting pids, which are used again and mean
/// nothing in another pid namespace.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes and locks `parent/name`, or `parent/name-2` and so on where a living run in another
    /// pid namespace has that name already.
    pub(super) fn create(parent: &Path, name: &str) -> anyhow::Result<Self> {
        let names = (2u32..).map(|n| format!("{name}-{n}"));
        for name in std::iter::once(name.to_owned()).chain(names).take(MOST_NAMESAKES) {
            let path = parent.join(name);
            let made = Self::make(&path);
            if let Some(lock) = made.with_context(|| format!("cannot make the cgroup {path:?}"))? {
                return Ok(Self { path, _lock: lock });
            }
        }
        anyhow::bail!("too many cgroups named {name} in {}", parent.display())
    }

    /// Makes and locks `path`; `None` if somebody else holds it.
    fn make(path: &Path) -> std::io::Result<Option<File>> {
        loop {
            match std::fs::create_dir(path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let lock = match File::open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                result => result?,
            };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                result => result?,
            }
            // Another run may have taken the new directory for a dead one's and removed it before
            // we had the lock.
            if is_still_at(&lock, path) {
                return Ok(Some(lock));
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Kills what is left in the cgroup and removes it.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        remove_tree(&self.path)
    }
}

/// Removes the cgroups directly below `parent` that dead runs have left.
pub(super) fn remove_stale(parent: &Path) {
    let Ok(entries) = parent.read_dir() else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = File::open(&path) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue; // its run lives
        }
        match remove_tree(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a dead run had left"),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => identity(ours) == identity(there),
        _ => false,
    }
}

/// How often and how long to wait for killed processes to leave a cgroup: two seconds in all.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    let mut attempts = ATTEMPTS;
    loop {
        match remove_once(path) {
            Ok(()) => return Ok(()),
            Err(error) if attempts == 0 => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot remove the cgroup {0}; when its processes have ended: rmdir {0}",
                        path.display()
                    )
                });
            }
            Err(_) => kill_all(path),
        }
        attempts -= 1;
        std::thread::sleep(PAUSE);
    }
}

/// Removes a cgroup and those below it, deepest first; fails while any has a process.
fn remove_once(path: &Path) -> std::io::Result<()> {
    for child in children(path) {
        remove_once(&child)?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Kills what is in a cgroup and below it. Errors show in that the cgroup stays.
fn kill_all(path: &Path) {
    // v2 since 5.14 does it at once and for the whole tree.
    if std::fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // A frozen process of v1 dies only when it is thawed.
    let freezer = path.join("freezer.state");
    if freezer.exists() {
        let _ = std::fs::write(freezer, "THAWED");
    }
    let pids = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process outside our pid namespace; from_raw refuses it.
    for pid in pids.lines().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    children(path).iter().for_each(|child| kill_all(child));
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = path.read_dir() else { return Vec::new() };
    let is_dir = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_dir).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // An ordinary directory behaves like a cgroup here, except that it may hold files.

    #[test]
    fn a_living_runs_cgroup_is_left_alone_and_a_dead_ones_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let living = Directory::create(parent.path(), "resview-run-1").unwrap();
        let dead = parent.path().join("resview-run-2");
        std::fs::create_dir_all(dead.join("below")).unwrap();
        let foreign = parent.path().join("docker");
        std::fs::create_dir(&foreign).unwrap();
        remove_stale(parent.path());
        assert!(living.path().exists() && foreign.exists());
        assert!(!dead.exists());
    }

    #[test]
    fn a_stale_cgroup_of_the_same_name_is_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::create_dir(parent.path().join("resview-run-1")).unwrap();
        let taken = Directory::create(parent.path(), "resview-run-1").unwrap();
        std::fs::create_dir_all(taken.path().join("a/b")).unwrap();
        taken.remove().unwrap();
        assert!(!taken.path().exists());
        taken.remove().unwrap();
    }

    #[test]
    fn two_runs_of_one_pid_get_a_cgroup_each() {
        let parent = tempfile::tempdir().unwrap();
        let first = Directory::create(parent.path(), "resview-run-1").unwrap();
        let second = Directory::create(parent.path(), "resview-run-1").unwrap();
        assert_ne!(first.path(), second.path());
    }

    #[test]
    fn where_no_cgroup_can_be_made_it_is_said() {
        let error = Directory::create(Path::new("/proc"), "resview-run-1").unwrap_err();
        assert!(error.to_string().contains("/proc/resview-run-1"), "{error:#}");
    }
}
