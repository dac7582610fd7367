//! `resview node`: the only thing that the DaemonSet's pod runs. It puts the program and the unit on
//! the host, has them started there, and watches.
//!
//! The daemon is never a process of the pod: whatever becomes of the pod, nobody notices on the host.
//! So this process may be killed at any moment, and each step is made in such a way that the next
//! pod can go on from wherever this one was.

mod agent;
mod daemon;
mod files;
mod health;
mod init;
mod keeper;
mod namespaces;
mod on_host;
mod place;
mod plugin;
mod program;
mod systemd;
mod taint;
mod uninstall;
mod unit;
mod version;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::health::Health;
use self::init::{HasSystemd, Init};
use self::keeper::Keeper;
pub(crate) use self::on_host::{OnHostOptions, main as on_host};
use self::place::{POLICY, Place};
pub(crate) use self::plugin::main as wait_for_plugin;
use self::taint::Taint;
use crate::{exit_codes, logging};

/// The longest time between two attempts that fail.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Kubernetes: install the daemon on a node, from a pod, and keep it there
///
/// Puts the program and a systemd unit on the host, starts the daemon there, and watches: what is
/// missing is put back, another version is upgraded in place. Nothing happens on the host when the
/// pod ends. An installation by a package is left alone.
#[derive(Args, Debug)]
pub(crate) struct NodeOptions {
    /// Where the host's folders are
    #[arg(long, value_name = "DIR", default_value = "/host")]
    host: PathBuf,

    /// Where to put the program, on the host
    #[arg(long, value_name = "DIR", default_value = "/opt/resview", value_parser = absolute)]
    install_dir: PathBuf,

    /// Whether the host has systemd
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    systemd: HasSystemd,

    /// Without systemd: the daemon's cgroup
    #[arg(long, value_name = "NAME", default_value = "resview", value_parser = one_name)]
    cgroup: String,

    /// Have the daemon register as a plugin with the container runtime
    #[arg(long)]
    nri: bool,

    /// The policy: a file that is put on the host when it changes
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Put the labels of namespaces on the host; takes the right to list and watch them
    #[arg(long)]
    watch_namespaces: bool,

    /// Take this taint from the node once the daemon serves; takes the right to get and patch nodes
    #[arg(long, value_name = "KEY", requires = "node_name")]
    taint: Option<String>,

    /// The node's name [env: NODE_NAME]
    #[arg(long, value_name = "NAME", default_value_os_t = from_environment(), hide_default_value = true)]
    node_name: String,

    /// Where to answer /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS")]
    health_listen: Option<SocketAddr>,

    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    interval: Duration,

    /// Replace a newer version, too
    #[arg(long)]
    downgrade: bool,

    /// Take everything away again: running containers get the kernel's own files back. With
    /// --health-listen it stays afterwards, and is ready
    #[arg(long)]
    uninstall: bool,

    /// What to log to standard error: error, warn, info, debug, trace [env: RESVIEW_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,

    /// More options of resview daemon
    #[arg(value_name = "OPTION", last = true)]
    daemon: Vec<String>,
}

fn from_environment() -> String {
    std::env::var("NODE_NAME").unwrap_or_default()
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    // Three components at least: `/` and `/opt` are not ours to fill and empty.
    if !path.is_absolute() || path.components().count() < 3 {
        return Err("an absolute path, such as /opt/resview".to_owned());
    }
    Ok(path.to_owned())
}

fn one_name(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(fits) {
        return Err("one name, of letters, digits and dashes".to_owned());
    }
    Ok(text.to_owned())
}

/// `resview node`
pub(crate) fn main(options: &NodeOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &NodeOptions) -> anyhow::Result<()> {
    logging::start(options.log.as_deref(), "info")?;
    if !options.uninstall || options.health_listen.is_some() {
        end_at_once()?;
    }
    let place = Place::new(&options.host, &options.install_dir);
    let init = Init::find(&place, options.systemd, &options.cgroup)?;
    let health = Health::new(options.interval);
    if let Some(address) = options.health_listen {
        health.listen(address)?;
    }
    if options.uninstall {
        return taken_away(options, &place, &init, &health);
    }
    if options.watch_namespaces {
        namespaces::watch(place.namespaces())?;
    }
    let taint = options.taint.as_deref().map(|key| Taint::new(key, &options.node_name));
    let words = daemon_options(options);
    let keeper = Keeper::new(place, init, words, options.policy.clone(), options.downgrade);
    watch(keeper, taint, options, &health)
}

/// A signal ends the pod at any moment, as SIGKILL would: nothing is left to be done.
fn end_at_once() -> anyhow::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        let always = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_shutdown(signal, 0, always)
            .context("cannot wait for signals")?;
    }
    Ok(())
}

fn daemon_options(options: &NodeOptions) -> Vec<String> {
    let mut words = Vec::new();
    if options.nri {
        words.extend(["--nri", "--nri-policy", POLICY].map(str::to_owned));
    }
    words.extend(options.daemon.iter().cloned());
    words
}

/// For ever.
fn watch(
    mut keeper: Keeper,
    mut taint: Option<Taint>,
    options: &NodeOptions,
    health: &Health,
) -> anyhow::Result<()> {
    let mut pause = options.interval;
    let mut said = String::new();
    loop {
        let found = keeper.look();
        let text = match &found {
            Ok(text) => text.clone(),
            Err(error) => format!("{error:#}"),
        };
        if text != said {
            match &found {
                Ok(_) => tracing::info!("{text}"),
                Err(_) => tracing::error!("{text}"),
            }
            said.clone_from(&text);
        }
        pause = if found.is_ok() { options.interval } else { (pause * 2).min(RETRY_MAX) };
        health.found(found.is_ok(), &text, pause);
        let is_ready = || found.is_ok() && (!options.nri || keeper.is_registered());
        if taint.is_some() && is_ready() {
            taint.take_if(Taint::is_gone);
        }
        std::thread::sleep(pause);
    }
}

fn taken_away(
    options: &NodeOptions,
    place: &Place,
    init: &Init,
    health: &Health,
) -> anyhow::Result<()> {
    let away =
        || if place.is_here() { uninstall::here(place, init) } else { uninstall::ask(place, init) };
    if options.health_listen.is_none() {
        return away();
    }
    let mut pause = options.interval;
    loop {
        // As long as the DaemonSet says so, also after a package or somebody has put it back.
        let found = away();
        let text = found.as_ref().map_or_else(|error| format!("{error:#}"), |()| "gone".to_owned());
        pause = if found.is_ok() { options.interval } else { (pause * 2).min(RETRY_MAX) };
        health.found(found.is_ok(), &text, pause);
        if let Err(error) = found {
            tracing::error!("{error:#}");
        }
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(words: &[&str]) -> Result<NodeOptions, clap::Error> {
        match Cli::try_parse_from(["resview", "node"].iter().chain(words))?.command {
            Command::Node(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_daemon_is_told_is_in_its_options() {
        let options = options(&["--nri", "--", "--cpu-count", "quota-floor"]).unwrap();
        let words = daemon_options(&options);
        assert_eq!(words, ["--nri", "--nri-policy", POLICY, "--cpu-count", "quota-floor"]);
        assert_eq!(options.host, Path::new("/host"));
        assert_eq!(options.interval, Duration::from_secs(10));
    }

    #[test]
    fn folders_that_are_not_ours_are_refused() {
        for folder in ["/", "/opt", "opt/resview", ""] {
            assert!(options(&["--install-dir", folder]).is_err(), "{folder}");
        }
        for name in ["", "..", "a/b", ".hidden"] {
            assert!(options(&["--cgroup", name]).is_err(), "{name}");
        }
    }
}
