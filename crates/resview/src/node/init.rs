//! Who starts the daemon on the host: systemd, or where there is none this process.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::daemon::Daemon;
use super::place::{Place, UNIT};
use super::systemd::Systemd;
use super::{files, unit};

/// Whether the host has systemd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum HasSystemd {
    /// If the socket of the system bus is there
    #[default]
    Auto,
    /// Yes
    Yes,
    /// No: the daemon is started outside of the pod's cgroup and namespaces
    No,
}

/// What the daemon is started by.
#[derive(Debug)]
pub(crate) enum Init {
    /// systemd.
    Systemd(Systemd),
    /// This process, with a step onto the host and into this cgroup.
    Bare {
        /// Its name at the root of each hierarchy.
        cgroup: String,
    },
}

impl Init {
    /// What this host has.
    ///
    /// # Errors
    /// systemd is wanted and not there.
    pub(crate) fn find(place: &Place, wanted: HasSystemd, cgroup: &str) -> anyhow::Result<Self> {
        let socket = place.bus();
        match (wanted, socket.exists()) {
            (HasSystemd::No, _) | (HasSystemd::Auto, false) => {
                Ok(Self::Bare { cgroup: cgroup.to_owned() })
            }
            (HasSystemd::Yes, false) => {
                bail!("{} is not there: the host's /run/dbus has to be mounted", socket.display())
            }
            (_, true) => Ok(Self::Systemd(Systemd::new(&socket)?)),
        }
    }

    /// The installation of somebody else, in words, if there is one.
    ///
    /// # Errors
    /// systemd does not answer, or the unit cannot be read.
    pub(crate) fn other(&self, place: &Place, daemon: &Daemon) -> anyhow::Result<Option<String>> {
        if let Self::Systemd(systemd) = self
            && let Some(fragment) = systemd.unit(UNIT)?.fragment
        {
            // One that somebody has deleted is still ours to put back.
            let present = files::read(&place.here(&place.unit()))?;
            let is_marked = present.is_none_or(|text| text.starts_with(unit::MARK.as_bytes()));
            let is_ours = fragment == place.unit() && is_marked;
            return Ok((!is_ours).then(|| format!("the unit {} is", fragment.display())));
        }
        // Nobody's unit: somebody may have started it by hand.
        let Daemon::Whole(daemon) = daemon else { return Ok(None) };
        let is_ours = daemon.program.starts_with(place.install_dir());
        Ok((!is_ours).then(|| format!("the daemon of {} is", daemon.program.display())))
    }

    /// Writes down how the daemon is to be started, now and with the machine; whether that was
    /// otherwise before.
    ///
    /// # Errors
    /// It cannot be written, or systemd refuses it.
    pub(crate) fn configure(&self, place: &Place, options: &[String]) -> anyhow::Result<bool> {
        let Self::Systemd(systemd) = self else {
            let line = serde_json::to_vec(options)?;
            return files::replace(&place.command_line(), &line, 0o644);
        };
        let text = unit::unit(&place.program(), options, systemd.version()?)?;
        let differs = files::replace(&place.here(&place.unit()), text.as_bytes(), 0o644)?;
        let is_stale = systemd.unit(UNIT)?.is_stale;
        if differs || is_stale {
            systemd.reload()?;
        }
        if systemd.unit(UNIT)?.enabled != "enabled" {
            systemd.enable(UNIT)?;
        }
        Ok(differs || is_stale)
    }

    /// What is written down about that, and where.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn written(&self, place: &Place) -> anyhow::Result<Option<Vec<u8>>> {
        files::read(&self.record(place))
    }

    fn record(&self, place: &Place) -> PathBuf {
        match self {
            Self::Systemd(_) => place.here(&place.unit()),
            Self::Bare { .. } => place.command_line(),
        }
    }

    /// Writes down what [`written`](Self::written) said; whether it was otherwise.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    pub(crate) fn write_again(&self, place: &Place, before: &[u8]) -> anyhow::Result<bool> {
        let differs = files::replace(&self.record(place), before, 0o644)?;
        if let (Self::Systemd(systemd), true) = (self, differs) {
            systemd.reload()?;
        }
        Ok(differs)
    }

    /// Whether an administrator has stopped the daemon.
    ///
    /// # Errors
    /// systemd does not answer.
    pub(crate) fn is_stopped(&self) -> anyhow::Result<bool> {
        match self {
            Self::Systemd(systemd) => Ok(systemd.unit(UNIT)?.active == "inactive"),
            Self::Bare { .. } => Ok(false),
        }
    }

    /// Starts the daemon; one that runs is followed by the new one, and no read fails.
    ///
    /// # Errors
    /// It does not come up. One that ran before goes on, its worker at least.
    pub(crate) fn start(&self, place: &Place, options: &[String]) -> anyhow::Result<()> {
        match self {
            Self::Systemd(systemd) if systemd.unit(UNIT)?.active == "active" => {
                systemd.restart(UNIT)
            }
            Self::Systemd(systemd) => systemd.start(UNIT),
            Self::Bare { cgroup } => {
                let program = place.program();
                let mut words = vec![program.as_os_str()];
                words.extend(["daemon", "--on-stop", "keep", "--slots"].map(OsStr::new));
                words.extend(options.iter().map(OsStr::new));
                step(&["--daemon", "--cgroup", cgroup], &words)
            }
        }
    }

    /// Runs our program on the host with these arguments, to its end, out of reach of the pod's.
    ///
    /// # Errors
    /// It cannot be run, or fails.
    pub(crate) fn run(&self, place: &Place, arguments: &[&str]) -> anyhow::Result<()> {
        let program = place.program();
        match self {
            Self::Systemd(systemd) => {
                let program = program.to_str().context("a path in UTF-8, please")?;
                let line = [&[program], arguments].concat();
                systemd.run("resview-uninstall.service", &line)
            }
            Self::Bare { cgroup } => {
                let words = arguments.iter().map(OsStr::new);
                let words: Vec<_> = std::iter::once(program.as_os_str()).chain(words).collect();
                step(&["--cgroup", &format!("{cgroup}-uninstall")], &words)
            }
        }
    }
}

/// Runs a command on the host, see [`super::on_host`].
fn step(options: &[&str], words: &[&OsStr]) -> anyhow::Result<()> {
    // Whatever has become of the file.
    let mut command = Command::new(Path::new("/proc/self/exe"));
    command.arg("__on-host").args(options).arg("--").args(words).stdin(Stdio::null());
    let output = command.output().context("cannot start this program once more")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{} ({})", said.trim(), output.status)
}

#[cfg(test)]
mod tests {
    use super::super::daemon::Supervised;
    use super::*;

    fn bare(host: &Path) -> (Place, Init) {
        let place = Place::new(host, Path::new("/opt/resview"));
        let init = Init::find(&place, HasSystemd::Auto, "resview-test").unwrap();
        (place, init)
    }

    #[test]
    fn a_host_without_systemds_socket_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let (place, init) = bare(dir.path());
        assert!(matches!(init, Init::Bare { .. }));
        let error = Init::find(&place, HasSystemd::Yes, "").unwrap_err().to_string();
        assert!(error.contains("/run/dbus/"), "{error}");
    }

    #[test]
    fn a_daemon_from_elsewhere_is_somebody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let (place, init) = bare(dir.path());
        let of = |program: &str| {
            let daemon = Supervised { program: program.into(), ..Supervised::default() };
            init.other(&place, &Daemon::Whole(daemon)).unwrap()
        };
        assert_eq!(of("/opt/resview/resview"), None);
        assert!(of("/usr/bin/resview").unwrap().contains("/usr/bin/resview"));
        assert_eq!(init.other(&place, &Daemon::Nobody).unwrap(), None);
        assert_eq!(init.other(&place, &Daemon::Orphan).unwrap(), None);
    }

    #[test]
    fn other_options_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (place, init) = bare(dir.path());
        std::fs::create_dir_all(dir.path().join("opt/resview")).unwrap();
        let configure = |options: &[&str]| {
            let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
            init.configure(&place, &options).unwrap()
        };
        assert!(configure(&["--nri"]) && !configure(&["--nri"]) && configure(&[]));
    }
}
