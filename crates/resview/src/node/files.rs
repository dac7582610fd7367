//! Files on the host, replaced whole.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// What a file has, or `None` where there is none.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Puts a file in the place of what is there, if that is another; whether it was. Who reads it sees
/// the one or the other, also after the machine has lost its power.
///
/// # Errors
/// It cannot be written; what was there is still there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<bool> {
    if read(path)?.is_some_and(|present| present == bytes) {
        return Ok(false);
    }
    let new = beside(path);
    remove(&new)?;
    write(&new, bytes, mode).with_context(|| format!("cannot write {}", new.display()))?;
    rename(&new, path)?;
    Ok(true)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    // Whatever the umask is.
    rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
    file.sync_all()
}

/// Gives a file the name of another, which goes.
///
/// # Errors
/// It does not.
pub(crate) fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::rename(from, to)
        .with_context(|| format!("cannot put {} in its place", to.display()))?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    let synced = File::open(parent).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("cannot write {} to the disk", parent.display()))
}

/// Removes a file, if it is there.
///
/// # Errors
/// It stays.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A name that nobody looks for, in the same folder.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_if_it_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        // What an attempt left that was killed.
        std::fs::write(dir.path().join(".program.new"), "half").unwrap();
        assert!(replace(&path, b"one", 0o755).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        assert!(!replace(&path, b"one", 0o755).unwrap());
        assert!(replace(&path, b"two", 0o644).unwrap());
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let error = replace(Path::new("/proc/none/file"), b"", 0o644).unwrap_err();
        assert!(format!("{error:#}").contains("/proc/none/"), "{error:#}");
    }
}
