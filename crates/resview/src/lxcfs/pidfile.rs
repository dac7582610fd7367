//! The pidfile: `PID\n`, mode 0600, locked for as long as the process lives.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// Why there is no pidfile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidfileError {
    /// Another process holds it.
    #[error("{} is locked: lxcfs is already running{}", path.display(), holder(.path))]
    Held { path: PathBuf },
    /// It cannot be made or written.
    #[error("cannot keep the pidfile {}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

fn holder(path: &Path) -> String {
    let pid = std::fs::read_to_string(path).unwrap_or_default();
    match pid.trim() {
        "" => String::new(),
        pid => format!(" as process {pid}"),
    }
}

/// A pidfile of this process. Dropping it removes the file, if the file at the path is still ours.
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    /// Holds the lock. fcntl(2): the lock goes when *any* descriptor of the file is closed by this
    /// process, so the file must not be opened anywhere else.
    file: File,
}

impl Pidfile {
    /// Makes `path`, locks it and writes our pid.
    ///
    /// # Errors
    /// [`PidfileError::Held`] if another process has the lock; the file is left as it is then
    /// (LXCFS deletes it).
    pub(crate) fn create(path: &Path) -> Result<Self, PidfileError> {
        let failed = |error: std::io::Error| PidfileError::Io { path: path.to_owned(), error };
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(path).map_err(failed)?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    return Err(PidfileError::Held { path: path.to_owned() });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
            let mut pidfile = Self { path: path.to_owned(), file };
            // The process before us may have removed the file between our open and our lock.
            if pidfile.is_at_its_path() {
                pidfile.write().map_err(failed)?;
                return Ok(pidfile);
            }
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }

    fn is_at_its_path(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(identity);
        let there = std::fs::symlink_metadata(&self.path).map(identity);
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if !self.is_at_its_path() {
            return;
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove the pidfile");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_holds_the_pid_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lxcfs.pid");
        std::fs::write(&path, "4194303 of a process long gone\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        let pidfile = Pidfile::create(&path).unwrap();
        let expected = format!("{}\n", std::process::id());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lxcfs.pid");
        std::fs::write(&path, "4194303 and more than our pid\n").unwrap();
        let _pidfile = Pidfile::create(&path).unwrap();
        let expected = format!("{}\n", std::process::id());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_file_that_took_its_place_is_not_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lxcfs.pid");
        let pidfile = Pidfile::create(&path).unwrap();
        std::fs::rename(&path, dir.path().join("ours")).unwrap();
        std::fs::write(&path, "another's\n").unwrap();
        drop(pidfile);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another's\n");
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = Pidfile::create(Path::new("/nonexistent/lxcfs.pid")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/lxcfs.pid"), "{error}");
    }
}
