//! From the options of a daemon to its supervisor: what `resview daemon` and the drop-in for
//! `lxcfs` do alike.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use control::{Degraded, Recovery, Role};
use procfmt::units::Bytes;
use supervisor::{CommandLine, Config, Ended, Helper, Transport, View, Wanted};

use crate::nri::PluginOptions;
use crate::runtime_dir;
use crate::serve::Subtype;
use crate::size::parse_size;

/// A worker needs a tenth of it with a thousand containers.
const MEMORY_LIMIT: Bytes = Bytes(256 << 20);

/// Options about staying alive.
#[derive(Args, Clone, Debug)]
pub(crate) struct SupervisionOptions {
    /// Kill and replace a worker that answers nothing for this long while readers wait
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_watchdog)]
    pub(crate) watchdog: Duration,

    /// How requests that a dead worker had in hand are found again
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub(crate) in_flight: InFlight,

    /// What containers read while workers keep dying
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub(crate) when_failing: WhenFailing,

    /// What TERM and INT do to the view [default: unmount]
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub(crate) on_stop: OnStop,

    /// Keep slots in <runtime dir>: mounts that containers bind as rslave, and which show the
    /// host's files when no process of the daemon is left
    #[arg(long)]
    pub(crate) slots: bool,

    /// The most memory a worker may have; it is replaced when it wants more
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "256m")]
    pub(crate) memory_limit: Bytes,

    /// The most requests of one container (an open and a read are three or so) that are answered
    /// in a second; more have to wait. Containers that ask for much never hold up others, with or
    /// without this [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_second: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InFlight {
    /// The kernel sends them again if it can (Linux 6.9), else from the journal
    #[default]
    Auto,
    /// The kernel sends them again
    Resend,
    /// From the journal
    Journal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenFailing {
    /// The last content of that container and file, else the host's
    #[default]
    Last,
    /// The host's files
    Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnStop {
    /// Unmount it
    #[default]
    Unmount,
    /// Leave it to the worker, until the daemon is started again
    Keep,
}

impl Default for SupervisionOptions {
    /// What a command line without any of them says.
    fn default() -> Self {
        Self {
            watchdog: Config::WATCHDOG,
            in_flight: InFlight::default(),
            when_failing: WhenFailing::default(),
            on_stop: OnStop::default(),
            slots: false,
            memory_limit: MEMORY_LIMIT,
            requests_per_second: None,
        }
    }
}

/// A watchdog is looked after four times in its period; a shorter one would bite workers that
/// merely wait for a CPU. A longer one would hold up every stop of a worker that hangs.
fn parse_watchdog(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < Duration::from_millis(200) {
        return Err("less than 200ms would kill workers that merely wait for a CPU".to_owned());
    }
    if time > Duration::from_secs(3600) {
        return Err("more than 1h is as good as no watchdog".to_owned());
    }
    Ok(time)
}

/// A supervisor to be.
#[derive(Debug)]
pub(crate) struct Supervision<'a> {
    pub(crate) mountpoint: &'a Path,
    /// The daemon's, which others may share.
    pub(crate) runtime_dir: &'a Path,
    /// Whether there is a container tree, and an agent that attaches.
    pub(crate) reach: Option<Reach>,
    pub(crate) subtype: Subtype,
    /// How requests of the shared tree come to a worker.
    pub(crate) transport: Transport,
    /// Whether there are pressure files.
    pub(crate) pressure: bool,
    /// The command line of the daemon, from its name on.
    pub(crate) worker_arguments: Vec<OsString>,
    pub(crate) options: &'a SupervisionOptions,
    /// Whether USR2 switches between the containers' content and the host's.
    pub(crate) usr2_switches: bool,
    /// Whether the mountpoint is fit, if nobody is there to take over from; a sentence if not.
    pub(crate) before_mount: fn(&Path) -> Result<(), String>,
}

impl Supervision<'_> {
    /// Supervises until told to end.
    ///
    /// # Errors
    /// See [`supervisor::run`].
    pub(crate) fn run(self) -> anyhow::Result<Ended> {
        Ok(supervisor::run(self.config()?)?)
    }

    fn config(self) -> anyhow::Result<Config> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let line = |arguments| CommandLine { program: program.clone(), arguments };
        let own_dir = runtime_dir::of(self.runtime_dir, self.mountpoint);
        let slots = self.options.slots.then(|| slots_dir(self.runtime_dir));
        let guard = slots.map(|slots| {
            let arguments = vec!["__guard".into(), self.mountpoint.into(), slots.into_os_string()];
            Helper { command: line(arguments), outlives: true }
        });
        let agent = self.reach.as_ref().map(|reach| Helper {
            command: line(reach.agent_arguments(self.runtime_dir, self.mountpoint)),
            outlives: false,
        });
        let mut connections = View::usual(self.mountpoint, self.pressure);
        connections.extend(self.reach.map(|reach| Wanted {
            role: Role::Containers,
            mountpoint: reach.containers,
            make: true,
        }));
        let mut worker = vec![OsString::from("__worker")];
        worker.extend(self.worker_arguments);
        let view = View {
            connections,
            runtime_dir: own_dir,
            transport: self.transport,
            subtype: self.subtype.name().to_owned(),
            probe: line(vec!["__stage".into(), "probe".into()]),
            before_mount: Some(self.before_mount),
        };
        Ok(Config {
            view,
            worker: line(worker),
            helpers: guard.into_iter().chain(agent).collect(),
            watchdog: self.options.watchdog,
            recovery: self.options.in_flight.into(),
            when_failing: self.options.when_failing.into(),
            on_stop: self.options.on_stop.into(),
            usr2_switches: self.usr2_switches,
        })
    }
}

/// How containers are reached.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// Where the container tree is mounted; made if it is missing.
    pub(crate) containers: PathBuf,
    /// The group whose members may ask the agent for everything, besides root.
    pub(crate) group: Option<String>,
    /// What the agent logs; missing: as [`crate::logging::start`] decides.
    pub(crate) log: Option<String>,
    /// Whether it is a plugin of the container runtime as well, and how.
    pub(crate) plugin: Option<PluginOptions>,
}

impl Reach {
    fn agent_arguments(&self, runtime_dir: &Path, mountpoint: &Path) -> Vec<OsString> {
        let registrations = runtime_dir::registrations(runtime_dir, mountpoint);
        let socket = runtime_dir::socket(runtime_dir, mountpoint);
        let mut arguments = vec![OsString::from("__agent")];
        for (option, path) in [
            ("--mountpoint", mountpoint),
            ("--runtime-dir", runtime_dir),
            ("--containers", &self.containers),
            ("--registrations", &registrations),
            ("--socket", &socket),
        ] {
            arguments.extend([option.into(), path.into()]);
        }
        if let Some(group) = &self.group {
            arguments.extend(["--group".into(), group.into()]);
        }
        if let Some(log) = &self.log {
            arguments.extend(["--log".into(), log.into()]);
        }
        if let Some(PluginOptions { nri_policy, nri_socket, nri_wait }) = &self.plugin {
            let (policy, socket) = (nri_policy.into(), nri_socket.into());
            arguments.push("--nri".into());
            arguments.extend(["--nri-policy".into(), policy, "--nri-socket".into(), socket]);
            let wait = humantime::format_duration(*nri_wait).to_string();
            arguments.extend(["--nri-wait".into(), wait.into()]);
        }
        arguments
    }
}

/// Where the slots of the daemon with this runtime directory are.
pub(crate) fn slots_dir(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("slots")
}

impl From<InFlight> for Recovery {
    fn from(how: InFlight) -> Self {
        match how {
            InFlight::Auto => Self::Both,
            InFlight::Resend => Self::Resend,
            InFlight::Journal => Self::Journal,
        }
    }
}

impl From<WhenFailing> for Degraded {
    fn from(what: WhenFailing) -> Self {
        match what {
            WhenFailing::Last => Self::Last,
            WhenFailing::Host => Self::Host,
        }
    }
}

impl From<OnStop> for supervisor::OnStop {
    fn from(what: OnStop) -> Self {
        match what {
            OnStop::Unmount => Self::Unmount,
            OnStop::Keep => Self::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_has_bounds_and_a_unit() {
        assert_eq!(parse_watchdog("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_watchdog("1h"), Ok(Duration::from_secs(3600)));
        for (text, said) in [
            ("199ms", "less than 200ms"),
            ("3601s", "more than 1h"),
            ("500000000years", "more than 1h"),
            ("2", "unit"),
        ] {
            let error = parse_watchdog(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn processes_of_a_daemon_get_what_they_need_on_their_command_lines() {
        let options = SupervisionOptions { slots: true, ..SupervisionOptions::default() };
        let supervision = Supervision {
            mountpoint: Path::new("/v/w"),
            runtime_dir: Path::new("/r"),
            subtype: Subtype::Resview,
            reach: Some(Reach {
                containers: "/c".into(),
                group: Some("g".to_owned()),
                log: Some("debug".to_owned()),
                plugin: Some(PluginOptions {
                    nri_policy: "/p".into(),
                    nri_socket: "/n".into(),
                    nri_wait: Duration::from_millis(7),
                }),
            }),
            transport: Transport::IoUring,
            pressure: true,
            worker_arguments: vec!["daemon".into(), "--slots".into()],
            options: &options,
            usr2_switches: false,
            before_mount: |_| Ok(()),
        };
        let config = supervision.config().unwrap();
        assert_eq!(config.view.runtime_dir, Path::new("/r/v-w"));
        assert_eq!(config.view.transport, Transport::IoUring);
        assert_eq!(config.worker.arguments, ["__worker", "daemon", "--slots"]);
        let agent = &config.helpers[1].command.arguments;
        assert_eq!(agent[..3], ["__agent", "--mountpoint", "/v/w"]);
        assert_eq!(agent[3..7], ["--runtime-dir", "/r", "--containers", "/c"]);
        assert_eq!(agent[7..9], ["--registrations", "/r/v-w/registrations"]);
        assert_eq!(agent[9..11], ["--socket", "/r/v-w/resview.sock"]);
        assert_eq!(agent[11..15], ["--group", "g", "--log", "debug"]);
        assert_eq!(agent[15..20], ["--nri", "--nri-policy", "/p", "--nri-socket", "/n"]);
        assert_eq!(agent[20..], ["--nri-wait", "7ms"]);
        let last = config.view.connections.last().unwrap();
        assert_eq!((last.role, last.make), (Role::Containers, true));
        assert_eq!(config.helpers[0].command.arguments, ["__guard", "/v/w", "/r/slots"]);
        assert_eq!(config.worker.program, std::env::current_exe().unwrap());
    }
}
