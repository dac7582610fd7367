//! Is a directory fit to mount the view on? Asked before anything is mounted, so that the answer
//! is a sentence and not a file system on top of another.

use std::path::{Path, PathBuf};

use crate::mountinfo::{self, Mount};

/// Why a directory is not fit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// Something is mounted there.
    #[error("{} is in use: {fs_type} from {origin:?} is mounted there; {}", path.display(), advice(fs_type, path))]
    InUse { path: PathBuf, fs_type: String, origin: String },
    /// It does not exist.
    #[error("{} does not exist; make it first, with mkdir -p", .0.display())]
    Missing(PathBuf),
    /// It is a file, a device, …
    #[error("{} is not a directory; the view needs one to be mounted on", .0.display())]
    NotADirectory(PathBuf),
    /// It has entries that the mount would hide.
    #[error(
        "{} is not empty: a mount would hide what is in it ({entry}); choose an empty directory",
        path.display()
    )]
    NotEmpty { path: PathBuf, entry: String },
    /// It cannot be looked at.
    #[error("cannot look at {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// The mount table cannot be read.
    #[error("{0:#}")]
    NoMountinfo(anyhow::Error),
}

fn advice(fs_type: &str, path: &Path) -> String {
    match fs_type {
        "fuse.resview" | "fuse.lxcfs" => format!(
            "stop the daemon that serves it or, if that is dead, unmount it: umount -l {path:?}"
        ),
        _ => format!("choose another directory, or unmount it: umount {path:?}"),
    }
}

/// Which mounts at the mountpoint are in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupied {
    /// All of them.
    ByAnything,
    /// Views only. LXCFS can be mounted over a file system of its own, such as the volume that a
    /// container with the daemon in it has there, and so can its stand-in.
    ByAView,
}

/// Resolves `path` and checks that nothing is mounted there that is in the way. Looks at the mount
/// table first: a dead or hung file system at `path` would fail or block every other look.
///
/// # Errors
/// See [`Unfit`].
pub(crate) fn check_free(path: &Path, occupied: Occupied) -> Result<PathBuf, Unfit> {
    let mounts = mountinfo::read().map_err(Unfit::NoMountinfo)?;
    let absolute = std::path::absolute(path)
        .map_err(|error| Unfit::Unreadable { path: path.to_owned(), error })?;
    check_unmounted(&mounts, &absolute, occupied)?;
    let resolved = absolute.canonicalize().map_err(|error| unreadable(&absolute, error))?;
    check_unmounted(&mounts, &resolved, occupied)?;
    let metadata = resolved.metadata().map_err(|error| unreadable(&resolved, error))?;
    if !metadata.is_dir() {
        return Err(Unfit::NotADirectory(resolved));
    }
    Ok(resolved)
}

/// Whether a view is mounted at `path`, ours or LXCFS's, living or dead. Asks the mount table alone.
///
/// # Errors
/// The mount table cannot be read.
pub(crate) fn has_view(path: &Path) -> Result<bool, Unfit> {
    let mounts = mountinfo::read().map_err(Unfit::NoMountinfo)?;
    Ok(mountinfo::at(&mounts, path).is_some_and(is_view))
}

/// Whether a mount is a view, ours or LXCFS's.
pub(crate) fn is_view(mount: &Mount) -> bool {
    matches!(mount.fs_type.as_str(), "fuse.resview" | "fuse.lxcfs")
}

/// The path by which a mountpoint goes in the mount table, as far as that can be told without
/// touching what is mounted there.
///
/// # Errors
/// The directory around it does not exist.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, Unfit> {
    supervisor::resolve(path).map_err(|error| unreadable(path, error))
}

/// Checks that a directory that [`check_free`] passed is empty.
///
/// # Errors
/// See [`Unfit`].
pub(crate) fn check_empty(path: &Path) -> Result<(), Unfit> {
    let unreadable = |error| Unfit::Unreadable { path: path.to_owned(), error };
    let Some(entry) = path.read_dir().map_err(unreadable)?.next() else {
        return Ok(());
    };
    let entry = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
    Err(Unfit::NotEmpty { path: path.to_owned(), entry })
}

fn check_unmounted(mounts: &[Mount], path: &Path, occupied: Occupied) -> Result<(), Unfit> {
    let Some(mount) = mountinfo::at(mounts, path) else {
        return Ok(());
    };
    if occupied == Occupied::ByAView && !is_view(mount) {
        return Ok(());
    }
    Err(Unfit::InUse {
        path: path.to_owned(),
        fs_type: mount.fs_type.clone(),
        origin: mount.source.clone(),
    })
}

fn unreadable(path: &Path, error: std::io::Error) -> Unfit {
    let path = path.to_owned();
    match error.kind() {
        std::io::ErrorKind::NotFound => Unfit::Missing(path),
        std::io::ErrorKind::NotADirectory => Unfit::NotADirectory(path),
        _ => Unfit::Unreadable { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_in_use_is_refused_with_type_and_source() {
        let error = check_free(Path::new("/proc"), Occupied::ByAnything).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("/proc is in use: proc from \"proc\""), "{message}");
    }

    #[test]
    fn a_dot_in_the_path_does_not_hide_a_mount() {
        let error = check_free(Path::new("/proc/../proc/."), Occupied::ByAnything).unwrap_err();
        assert!(matches!(error, Unfit::InUse { .. }), "{error}");
    }

    #[test]
    fn lxcfs_may_be_mounted_over_another_file_system() {
        assert!(check_free(Path::new("/proc"), Occupied::ByAView).is_ok());
        let mounts = mountinfo::parse(b"1 2 0:1 / /v rw - fuse.lxcfs lxcfs rw\n");
        let error = check_unmounted(&mounts, Path::new("/v"), Occupied::ByAView).unwrap_err();
        assert!(error.to_string().contains("umount -l \"/v\""), "{error}");
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let check = |path: &Path| check_free(path, Occupied::ByAnything);
        assert!(matches!(check(&file), Err(Unfit::NotADirectory(_))));
        assert!(matches!(check(&file.join("below")), Err(Unfit::NotADirectory(_))));
        assert!(matches!(check(&dir.path().join("none")), Err(Unfit::Missing(_))));
        let resolved = check(dir.path()).unwrap();
        assert!(matches!(check_empty(&resolved), Err(Unfit::NotEmpty { .. })));
        std::fs::remove_file(&file).unwrap();
        assert!(check_empty(&resolved).is_ok());
    }
}
