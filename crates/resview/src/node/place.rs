//! Where things are on the host, and by which paths this process gets there.

use std::path::{Path, PathBuf};

use crate::cli::DEFAULT_MOUNTPOINT;
use crate::runtime_dir::{self, DEFAULT_RUNTIME_DIR};

/// The unit's name.
pub(crate) const UNIT: &str = "resview.service";
/// Where systemd looks for units of an administrator's.
const UNIT_DIR: &str = "/etc/systemd/system";
/// The policy, for the daemon's NRI plugin.
pub(crate) const POLICY: &str = "/etc/resview/policy.json";

/// A host, whose folders are below a folder of ours.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    host: PathBuf,
    install_dir: PathBuf,
}

impl Place {
    /// `host`: where its folders are; `install_dir`: a path on it.
    pub(crate) fn new(host: &Path, install_dir: &Path) -> Self {
        Self { host: host.to_owned(), install_dir: install_dir.to_owned() }
    }

    /// Whether this process is on the host itself.
    pub(crate) fn is_here(&self) -> bool {
        self.host == Path::new("/")
    }

    /// By which path this process gets to what the host has at `path`.
    pub(crate) fn here(&self, path: &Path) -> PathBuf {
        self.host.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where the program goes, on the host.
    pub(crate) fn install_dir(&self) -> &Path {
        &self.install_dir
    }

    /// The program, on the host.
    pub(crate) fn program(&self) -> PathBuf {
        self.install_dir.join("resview")
    }

    /// The program before, until the present one has proved itself; by our path.
    pub(crate) fn previous(&self) -> PathBuf {
        self.here(&self.install_dir.join("resview.previous"))
    }

    /// The command line of a daemon that no service manager has; by our path.
    pub(crate) fn command_line(&self) -> PathBuf {
        self.here(&self.install_dir.join("command-line"))
    }

    /// The unit file, on the host.
    pub(crate) fn unit(&self) -> PathBuf {
        Path::new(UNIT_DIR).join(UNIT)
    }

    /// The socket of the system bus, by our path.
    pub(crate) fn bus(&self) -> PathBuf {
        self.here(Path::new("/run/dbus/system_bus_socket"))
    }

    /// The policy's file, by our path.
    pub(crate) fn policy(&self) -> PathBuf {
        self.here(Path::new(POLICY))
    }

    /// The daemon's runtime directory, by our path.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.here(Path::new(DEFAULT_RUNTIME_DIR))
    }

    /// What namespaces say about the view, by our path.
    pub(crate) fn namespaces(&self) -> PathBuf {
        self.runtime_dir().join("namespaces.json")
    }

    /// Where the control socket is, by our path.
    pub(crate) fn control(&self) -> PathBuf {
        runtime_dir::of(&self.runtime_dir(), Path::new(DEFAULT_MOUNTPOINT))
    }

    /// The agent's socket, by our path.
    pub(crate) fn agent(&self) -> PathBuf {
        runtime_dir::socket(&self.runtime_dir(), Path::new(DEFAULT_MOUNTPOINT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_below_a_folder() {
        let place = Place::new(Path::new("/host"), Path::new("/opt/resview"));
        assert_eq!(place.program(), Path::new("/opt/resview/resview"));
        assert_eq!(place.here(&place.program()), Path::new("/host/opt/resview/resview"));
        assert_eq!(place.bus(), Path::new("/host/run/dbus/system_bus_socket"));
        assert_eq!(place.control(), Path::new("/host/run/resview/var-lib-resview"));
        assert_eq!(place.agent(), Path::new("/host/run/resview/resview.sock"));
        assert!(!place.is_here());
    }

    #[test]
    fn on_the_host_paths_are_its_own() {
        let place = Place::new(Path::new("/"), Path::new("/opt/resview"));
        assert!(place.is_here());
        assert_eq!(place.policy(), Path::new(POLICY));
    }
}
