//! Kubernetes pods get the view: a plugin of containerd and CRI-O (crate `nri`) that has the agent
//! attach each container before its first instruction.
//!
//! `resview nri` is the plugin by itself; `resview daemon --nri` has the agent's process run it on
//! threads. Either way it talks to the agent over the public socket, so it reaches whichever agent
//! there is, and an agent that is not there yet costs nobody time: what could not be attached is
//! tried again from behind.

mod ask;
mod front;
mod known;
mod missed;
mod policies;
mod report;
mod upkeep;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use hostfs::{Dir, HostFs};
use nri::{Config, Handle};

use crate::cli::DaemonPlace;
use crate::exit_codes;
use crate::logging;
use crate::mountpoint::resolve;
use crate::runtime_dir;
use front::Front;
pub(crate) use report::Report;

/// Where the policy is unless said otherwise.
const POLICY: &str = "/etc/resview/policy.json";
/// In the daemon's runtime directory: what namespaces say of themselves.
const NAMESPACES: &str = "namespaces.json";

/// How to be a plugin.
#[derive(Args, Clone, Debug)]
pub(crate) struct PluginOptions {
    /// Which pods get the view; without the file, all but those of kube-system
    #[arg(long, value_name = "FILE", default_value = POLICY)]
    pub(crate) nri_policy: PathBuf,

    /// The container runtime's NRI socket, which need not be there yet
    #[arg(long, value_name = "PATH", default_value = nri::SOCKET)]
    pub(crate) nri_socket: PathBuf,

    /// How long a container waits for its view before it starts without, and gets it as soon as
    /// can be; half of what the runtime grants if that is less
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) nri_wait: Duration,
}

/// Give Kubernetes pods the view, as a plugin of containerd and CRI-O
///
/// Connects to the runtime's NRI socket, for ever: every container is attached before its first
/// instruction, and those that run already at once. Needs a running daemon; `resview daemon --nri`
/// has this in it. What goes wrong never keeps a container from starting.
#[derive(Args, Debug)]
pub(crate) struct NriOptions {
    #[command(flatten)]
    plugin: PluginOptions,

    #[command(flatten)]
    place: DaemonPlace,

    /// What to log to standard error: error, warn, info, debug, trace [env: RESVIEW_LOG] [default:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

/// `resview nri`: until it is ended; exit code 1 if it could not begin.
pub(crate) fn main(options: &NriOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
    }
}

fn run(options: &NriOptions) -> anyhow::Result<()> {
    logging::start(options.log.as_deref(), "info")?;
    let DaemonPlace { mountpoint, runtime_dir } = &options.place;
    let place = Place {
        agent: runtime_dir::socket(runtime_dir, &resolve(mountpoint)?),
        namespaces: runtime_dir.join(NAMESPACES),
        options: options.plugin.clone(),
    };
    let host = HostFs::mount()?;
    let handle = Handle::new();
    stop_on_signals(handle.clone())?;
    serve(&place, host.proc.clone(), &handle)
}

fn stop_on_signals(handle: Handle) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .context("cannot take over the signals")?;
    let wait = move || {
        if signals.forever().next().is_some() {
            handle.stop();
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(wait).context("cannot start a thread")?;
    Ok(())
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The agent's socket.
    pub(crate) agent: PathBuf,
    /// What namespaces say of themselves; need not be there.
    pub(crate) namespaces: PathBuf,
    pub(crate) options: PluginOptions,
}

impl Place {
    /// That of the daemon with this runtime directory, whose agent listens there.
    pub(crate) fn of(runtime_dir: &Path, agent: &Path, options: PluginOptions) -> Self {
        let (agent, namespaces) = (agent.to_owned(), runtime_dir.join(NAMESPACES));
        Self { agent, namespaces, options }
    }
}

/// Starts the plugin on threads of its own, for as long as the process lives.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn start(place: Place, proc: Dir) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name("nri".to_owned());
    let run = move || {
        if let Err(error) = serve(&place, proc, &Handle::new()) {
            tracing::error!("no pod gets the view any more: {error:#}");
        }
    };
    thread.spawn(run).context("cannot start a thread")?;
    Ok(())
}

/// Is the plugin, until the handle stops it. `proc`: the host's procfs.
fn serve(place: &Place, proc: Dir, handle: &Handle) -> anyhow::Result<()> {
    // Containers that start before anything can be attached are told of afterwards.
    wait_for_view(place, handle);
    let front = Arc::new(Front::new(place, proc, handle.clone()));
    upkeep::start(Arc::clone(&front))?;
    let PluginOptions { nri_socket: socket, nri_wait: deadline, .. } = place.options.clone();
    tracing::info!(socket = %socket.display(), "pods get the view by NRI");
    let served = nri::serve(&Config { socket, deadline, ..Config::default() }, &front, handle);
    front.report.withdraw();
    Ok(served?)
}

/// How often to look whether there is a view.
const LOOK: Duration = Duration::from_millis(200);

/// Returns when the agent answers and has something to attach, or when the plugin is to stop.
fn wait_for_view(place: &Place, handle: &Handle) {
    let mut said = false;
    while !handle.is_stopped() {
        match ask::is_ready(&place.agent) {
            Ok(()) => return,
            Err(why) if !said => {
                tracing::info!("waiting until there is a view: {why}");
                said = true;
            }
            Err(_) => {}
        }
        std::thread::sleep(LOOK);
    }
}
