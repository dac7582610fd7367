//! Where a daemon keeps what outlives it, but not the machine's next boot: its control socket, its
//! histories, its slots, the registrations of containers.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cli::DEFAULT_MOUNTPOINT;

/// Where daemons keep all that unless told otherwise: on a tmpfs on every distribution.
pub(crate) const DEFAULT_RUNTIME_DIR: &str = "/run/resview";

/// The directory in `runtime_dir` of the daemon that serves `mountpoint`: two daemons, of which one
/// may bear the name `lxcfs`, must not share one. Escaped much as systemd does: slashes become
/// dashes, dashes `\x2d` and backslashes `\x5c`.
pub(crate) fn of(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    let path = mountpoint.as_os_str().as_bytes();
    let mut name = Vec::new();
    for byte in path.strip_prefix(b"/").unwrap_or(path) {
        match byte {
            b'/' => name.push(b'-'),
            b'-' => name.extend_from_slice(br"\x2d"),
            b'\\' => name.extend_from_slice(br"\x5c"),
            other => name.push(*other),
        }
    }
    runtime_dir.join(OsString::from_vec(name))
}

/// Where that daemon keeps its histories.
pub(crate) fn histories(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    of(runtime_dir, mountpoint).join("histories")
}

/// Where the containers are registered that are attached to it.
pub(crate) fn registrations(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    of(runtime_dir, mountpoint).join("registrations")
}

/// The daemon of the default mountpoint has its public places at the top of the runtime directory,
/// where everybody looks for them; any other has them in its own directory.
fn public(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    if mountpoint == Path::new(DEFAULT_MOUNTPOINT) {
        runtime_dir.to_owned()
    } else {
        of(runtime_dir, mountpoint)
    }
}

/// Where its container tree is mounted.
pub(crate) fn containers(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    public(runtime_dir, mountpoint).join("containers")
}

/// Where its agent listens.
pub(crate) fn socket(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    public(runtime_dir, mountpoint).join(api::SOCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_daemon_is_found_where_everybody_looks() {
        let run = Path::new(DEFAULT_RUNTIME_DIR);
        assert_eq!(socket(run, Path::new(DEFAULT_MOUNTPOINT)), Path::new(api::DEFAULT_SOCKET));
        let usual = containers(run, Path::new(DEFAULT_MOUNTPOINT));
        assert_eq!(usual, Path::new("/run/resview/containers"));
        assert_eq!(containers(run, Path::new("/v")), Path::new("/run/resview/v/containers"));
    }

    #[test]
    fn each_mountpoint_has_a_directory_of_its_own() {
        let of = |mountpoint: &str| histories(Path::new("/r"), Path::new(mountpoint));
        assert_eq!(of("/var/lib/resview"), Path::new("/r/var-lib-resview/histories"));
        assert_eq!(of("/a-b"), Path::new(r"/r/a\x2db/histories"));
        assert_ne!(of("/a/b"), of("/a-b"));
        assert_ne!(of(r"/a\x2db"), of("/a-b"));
    }
}
