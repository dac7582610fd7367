//! What is mounted at the mountpoint, found out without ever touching it.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use control::socket_path;

use crate::error::Error;
use crate::view::{View, Wanted};

/// How long a view has time to answer the probe. One that is being restarted answers within a
/// period of its watchdog.
const PATIENCE: Duration = Duration::from_secs(10);

/// Dead views on top of one another.
const LAYERS_MAX: usize = 16;

/// Detaches dead views from a mountpoint, and then asks [`View::before_mount`] about it.
///
/// # Errors
/// A view there is alive, or the directory is not fit.
pub(crate) fn make_free(view: &View, wanted: &Wanted) -> Result<(), Error> {
    let mountpoint = wanted.mountpoint.as_path();
    for _ in 0..LAYERS_MAX {
        if !has_view(mountpoint, &view.subtype) {
            break;
        }
        if is_alive(view, mountpoint) {
            let socket = socket_path(&view.runtime_dir);
            return Err(Error::InUse { mountpoint: mountpoint.to_owned(), socket });
        }
        tracing::warn!("detaching a dead view from {}", mountpoint.display());
        fuse::unmount(mountpoint)?;
    }
    if wanted.make {
        std::fs::create_dir_all(mountpoint).map_err(|error| {
            Error::Mountpoint(format!("cannot make {}: {error}", mountpoint.display()))
        })?;
    }
    match view.before_mount {
        Some(check) => check(mountpoint).map_err(Error::Mountpoint),
        None => Ok(()),
    }
}

/// Whether what is seen there is a view, living or dead.
pub(crate) fn has_view(mountpoint: &Path, subtype: &str) -> bool {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    are_views(&mounts, mountpoint, subtype).next() == Some(true)
}

/// Whether a view is mounted there, be it under something else.
pub(crate) fn is_mounted(mountpoint: &Path, subtype: &str) -> bool {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    are_views(&mounts, mountpoint, subtype).any(|is_view| is_view)
}

/// For each mount there, the topmost first, whether it is a view, by its type.
fn are_views(mountinfo: &[u8], mountpoint: &Path, subtype: &str) -> impl Iterator<Item = bool> {
    let ours = format!("fuse.{subtype}");
    let mounts = mountinfo.split(|&byte| byte == b'\n').rev().filter_map(parse);
    mounts.filter(move |(at, _)| at == mountpoint).map(move |(_, fs_type)| {
        [b"fuse.resview".as_slice(), b"fuse.lxcfs", ours.as_bytes()].contains(&fs_type)
    })
}

/// Mount point and type of one line; see proc_pid_mountinfo(5).
fn parse(line: &[u8]) -> Option<(PathBuf, &[u8])> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mountpoint = fields.nth(4)?;
    let fs_type = fields.skip_while(|&field| field != b"-").nth(1)?;
    Some((PathBuf::from(OsString::from_vec(unescape(mountpoint))), fs_type))
}

/// Undoes the kernel's `\040`.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let octal = rest.get(..3).filter(|_| first == b'\\');
        let byte = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(byte.unwrap_or(first));
        text = if byte.is_some() { rest.get(3..).unwrap_or_default() } else { rest };
    }
    path
}

/// Whether a mount, by a descriptor of its root, is in its place already.
pub(crate) fn is_attached(mount: &OwnedFd) -> bool {
    let own = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", mount.as_raw_fd()));
    let own = own.unwrap_or_default();
    let id = own.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    id.is_some_and(|id| mounts.lines().any(|line| line.split(' ').next() == Some(id)))
}

/// Lets a child look. One that does not return from there is killed, which ends it: nobody has
/// taken its request into hand.
fn is_alive(view: &View, mountpoint: &Path) -> bool {
    let mut command = Command::new(&view.probe.program);
    command.args(&view.probe.arguments).arg(mountpoint);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child.inspect_err(|error| {
        tracing::warn!(%error, "cannot start {}", view.probe.program.display());
    }) else {
        return true; // nothing is detached that is not known to be dead
    };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return true,
        }
    }
    let _ = child.kill();
    false
}

/// The absolute path of a mountpoint, found without touching what is mounted there: a view that
/// hangs would keep us waiting. A symbolic link in its last component is not followed.
///
/// # Errors
/// The directory that it is in does not exist.
pub fn resolve(mountpoint: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(mountpoint)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => Ok(absolute),
    }
}

/// Whether the file system at `path` answers. To be called in a process of its own, because a dead
/// one may never return.
#[must_use]
pub fn probe(path: &Path) -> bool {
    std::fs::read_dir(path)
        .is_ok_and(|mut entries| entries.next().is_none_or(|entry| entry.is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"41 31 0:38 / /mnt/x\\040y rw,nosuid - fuse.resview resview rw\n\
        42 31 0:39 / /mnt/over rw shared:7 - fuse.lxcfs lxcfs rw\n\
        43 42 0:40 / /mnt/over rw - tmpfs none rw\n\
        short line\n";

    #[test]
    fn view_is_known_by_the_type_of_its_mount() {
        let views =
            |path: &str| -> Vec<bool> { are_views(MOUNTS, Path::new(path), "resview").collect() };
        assert_eq!(views("/mnt/x y"), [true]);
        assert_eq!(views("/mnt/over"), [false, true], "the topmost first");
        assert!(views("/mnt").is_empty());
        assert_eq!(are_views(MOUNTS, Path::new("/mnt/over"), "x").count(), 2);
        assert_eq!(are_views(b"", Path::new("/"), "resview").count(), 0);
    }

    #[test]
    fn escapes_are_undone_and_half_ones_kept() {
        assert_eq!(unescape(b"a\\134b\\04"), b"a\\b\\04");
        assert_eq!(unescape(b"\\777"), b"\\777");
    }
}
