//! The agent: the process of a daemon that reaches into containers.
//!
//! It alone has the powers for that, so that the worker, which containers talk to all day, can do
//! without. It listens on the public socket (crate `api`, docs/control.md), finds containers (crate
//! `runtimes`), writes down what is decided about each (`container::registry`, a directory that the
//! worker reads) and mounts (crate `attach`). It keeps nothing in its memory: it may die at any
//! moment, and the supervisor starts the next.

mod attaching;
mod containers;
mod detaching;
mod files;
mod foreign;
mod group;
mod policy;
mod pruning;
mod registering;
mod serving;
mod socket;
mod turns;
mod unmasked;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use ::cgroup::Layout;
use anyhow::Context;
use clap::Parser;
use container::Identifier;
use container::registry::Writer;
use hostfs::HostFs;
use runtimes::find::Finder;

use crate::logging;
use crate::nri::{self, PluginOptions};
use turns::Turns;

/// What the supervisor tells it.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Place {
    /// Where the shared tree is mounted.
    #[arg(long)]
    pub(crate) mountpoint: PathBuf,
    /// The daemon's runtime directory, which others may share.
    #[arg(long)]
    pub(crate) runtime_dir: PathBuf,
    /// Where the container tree is mounted.
    #[arg(long)]
    pub(crate) containers: PathBuf,
    /// The directory of registrations.
    #[arg(long)]
    pub(crate) registrations: PathBuf,
    /// The public socket.
    #[arg(long)]
    pub(crate) socket: PathBuf,
    /// The group whose members may connect, besides root.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// What to log.
    #[arg(long)]
    pub(crate) log: Option<String>,
    /// Whether to be a plugin of the container runtime.
    #[arg(long)]
    pub(crate) nri: bool,
    #[command(flatten)]
    pub(crate) plugin: PluginOptions,
}

/// What requests need.
#[derive(Debug)]
struct Agent {
    place: Place,
    host: Arc<HostFs>,
    layout: Arc<Layout>,
    identifier: Identifier,
    finder: Finder,
    /// There may be one writer at a time.
    registrations: Mutex<Writer>,
    /// One request at a time is about a container.
    turns: Turns,
}

/// `resview __agent`: serves the public socket until it is ended, or another agent has taken it.
///
/// # Errors
/// Nobody could be served.
pub(crate) fn main(arguments: &[OsString]) -> anyhow::Result<()> {
    let name = OsString::from("__agent");
    let place = Place::try_parse_from(std::iter::once(&name).chain(arguments))?;
    logging::start(place.log.as_deref(), "info")?;
    let agent = Arc::new(Agent::new(place)?);
    let socket = Arc::new(socket::Socket::bind(&agent.place)?);
    let (end, ended) = channel();
    socket::wait_for_signals(end.clone())?;
    pruning::start(Arc::clone(&agent), Arc::clone(&socket), end.clone())?;
    serving::start(Arc::clone(&agent), Arc::clone(&socket), end)?;
    if agent.place.nri {
        let Place { runtime_dir, socket, plugin, .. } = &agent.place;
        let place = nri::Place::of(runtime_dir, socket, plugin.clone());
        nri::start(place, agent.host.proc.clone())?;
    }
    supervisor::unmap_text_soon();
    match ended.recv().context("all threads are gone")? {
        End::Told => socket.remove(),
        End::Followed => tracing::info!("another agent has taken over"),
        End::Failed(error) => return Err(error).context("cannot accept a connection"),
    }
    Ok(())
}

/// Why an agent ends.
#[derive(Debug)]
enum End {
    /// By a signal.
    Told,
    /// Another one has the socket.
    Followed,
    /// Nobody can connect any more.
    Failed(std::io::Error),
}

impl Agent {
    fn new(place: Place) -> anyhow::Result<Self> {
        let host = Arc::new(HostFs::mount()?);
        let layout = Arc::new(Layout::detect(&host)?);
        let identifier = Identifier::new(Arc::clone(&host), Arc::clone(&layout))?;
        let writer = Writer::open(&place.registrations).context("cannot register containers")?;
        Ok(Self {
            finder: Finder::new("/", host.proc.clone()),
            registrations: Mutex::new(writer),
            turns: Turns::default(),
            place,
            host,
            layout,
            identifier,
        })
    }
}
