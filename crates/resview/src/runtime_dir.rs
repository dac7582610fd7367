//! Where a daemon keeps what outlives it, but not the machine's next boot.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where daemons keep their histories unless told otherwise: on a tmpfs on every distribution.
pub(crate) const DEFAULT_RUNTIME_DIR: &str = "/run/resview";

/// The directory below `runtime_dir` of the daemon that serves `mountpoint`: two daemons, of which
/// one may bear the name `lxcfs`, must not share one. Escaped as systemd does: slashes become
/// dashes, dashes `\x2d`.
pub(crate) fn histories(runtime_dir: &Path, mountpoint: &Path) -> PathBuf {
    let path = mountpoint.as_os_str().as_bytes();
    let mut name = Vec::new();
    for byte in path.strip_prefix(b"/").unwrap_or(path) {
        match byte {
            b'/' => name.push(b'-'),
            b'-' => name.extend_from_slice(br"\x2d"),
            other => name.push(*other),
        }
    }
    runtime_dir.join("histories").join(OsString::from_vec(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mountpoint_has_a_directory_of_its_own() {
        let of = |mountpoint: &str| histories(Path::new("/r"), Path::new(mountpoint));
        assert_eq!(of("/var/lib/resview"), Path::new("/r/histories/var-lib-resview"));
        assert_eq!(of("/a-b"), Path::new(r"/r/histories/a\x2db"));
        assert_ne!(of("/a/b"), of("/a-b"));
    }
}
