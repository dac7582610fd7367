//! The public socket.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::group::gid;
use super::{End, Place};

/// A socket that listens, under its path.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens at the path, for root and the group. An earlier agent's socket gives way without a
    /// moment at which there is none.
    pub(super) fn bind(place: &Place) -> anyhow::Result<Self> {
        let path = &place.socket;
        // Nobody but root gets in before the mode is right.
        let begun = path.with_extension(format!("{}.new", std::process::id()));
        let bound = make_private(&begun)
            .and_then(|()| listen(&begun.join("socket"), path, place.group.as_deref()));
        // Empty, or of no use to anybody.
        let _ = std::fs::remove_dir_all(&begun);
        let listener = bound.with_context(|| format!("cannot listen at {}", path.display()))?;
        let inode = std::fs::metadata(path).context("the socket is gone at once")?.ino();
        Ok(Self { listener, path: path.clone(), inode })
    }

    /// Whether who connects to the path comes here, and not to an agent that has taken over.
    pub(super) fn is_current(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }

    pub(super) fn remove(&self) {
        if self.is_current() {
            // Who connects then finds nobody, as it is.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn make_private(dir: &Path) -> anyhow::Result<()> {
    // What a killed agent with the same process id may have left.
    let _ = std::fs::remove_dir_all(dir);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))
}

fn listen(begun: &Path, path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    let listener = UnixListener::bind(begun)?;
    let mut mode = 0o600;
    if let Some(name) = group {
        std::os::unix::fs::chown(begun, None, Some(gid(name)?))
            .with_context(|| format!("cannot give it to the group {name}"))?;
        mode = 0o660;
    }
    std::fs::set_permissions(begun, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(begun, path)?;
    Ok(listener)
}

/// Says so when the process is told to end.
pub(super) fn wait_for_signals(end: Sender<End>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot take over the signals")?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let wait = move || {
        if signals.forever().next().is_some() {
            // Nobody listens when the end has come already.
            let _ = end.send(End::Told);
        }
    };
    thread.spawn(wait).context("cannot start a thread")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nri::PluginOptions;

    fn place(dir: &Path, group: Option<&str>) -> Place {
        let path = |name: &str| dir.join(name);
        Place {
            mountpoint: path("view"),
            runtime_dir: dir.to_owned(),
            containers: path("containers"),
            registrations: path("registrations"),
            socket: path("resview.sock"),
            group: group.map(str::to_owned),
            log: None,
            nri: false,
            plugin: PluginOptions {
                nri_policy: path("policy"),
                nri_socket: path("nri.sock"),
                nri_wait: std::time::Duration::from_millis(500),
            },
        }
    }

    #[test]
    fn the_next_agent_takes_the_socket_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let first = Socket::bind(&place(dir.path(), None)).unwrap();
        let mode = std::fs::metadata(&first.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(first.is_current());
        let second = Socket::bind(&place(dir.path(), None)).unwrap();
        assert!(!first.is_current() && second.is_current());
        first.remove();
        assert!(second.is_current(), "one that was followed takes nothing away");
        second.remove();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_group_may_connect_if_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let socket = Socket::bind(&place(dir.path(), Some("daemon"))).unwrap();
        let metadata = std::fs::metadata(&socket.path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
        assert_eq!(metadata.gid(), gid("daemon").unwrap());
        let error = Socket::bind(&place(dir.path(), Some("no-such"))).unwrap_err();
        assert!(format!("{error:#}").contains("there is no group no-such"), "{error:#}");
        assert!(socket.is_current(), "what was there goes on");
    }
}
