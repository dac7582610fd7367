//! Serving the shared tree, and the pressure files on it, in this process: for `resview run`, whose
//! view ends with it. A daemon's workers serve what a supervisor hands them instead.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuse::{Connection, Features, MountOptions, Serve, Session};
use view::policy::Policy;
use viewfs::{Contents, Keep, PressureTree, SharedTree, Upkeep};

/// Whose name the file system bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subtype {
    /// `fuse.resview`.
    Resview,
    /// `fuse.lxcfs`, which scripts look for.
    Lxcfs,
}

impl Subtype {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Resview => "resview",
            Self::Lxcfs => "lxcfs",
        }
    }
}

/// What to serve, and where.
#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    /// An existing, empty directory.
    pub(crate) mountpoint: PathBuf,
    pub(crate) subtype: Subtype,
    pub(crate) policy: Policy,
    pub(crate) upkeep: Upkeep,
    pub(crate) threads: NonZeroUsize,
    /// Whether pressure files take triggers.
    pub(crate) triggers: bool,
}

/// How many threads answer for the pressure files: all answers are quick, and a second thread sees
/// interrupts.
pub(crate) const PRESSURE_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// One thread per CPU up to 8: more only wait for one another.
pub(crate) fn default_threads() -> NonZeroUsize {
    let most = NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN);
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(most)
}

/// A mounted tree, whose threads answer until it is unmounted.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Keep the connections' descriptors open.
    _sessions: Vec<Session>,
}

/// Mounts the tree and starts the threads. When this returns, reads are answered.
///
/// # Errors
/// The host's files or cgroups cannot be read, or the tree cannot be mounted; nothing is mounted
/// then.
pub(crate) fn start(options: &ServeOptions) -> anyhow::Result<Serving> {
    // First all that can fail, and all that opens paths of the host; then the mount.
    let contents =
        Arc::new(Contents::of_this_host(options.policy.clone(), &options.upkeep)?.start()?);
    // Nobody takes over from this process; what is kept ends with it.
    let keep = Arc::new(Keep::create()?);
    let tree = Arc::new(SharedTree::new(Arc::clone(&contents), Arc::clone(&keep)));
    let connection = Connection::mount(&mount_options(options, &options.mountpoint))?;
    let serve_all = || {
        let mut sessions = vec![serve(connection, tree, options)?];
        // The tree answers already: to mount on it, the kernel asks us for the way there.
        if contents.has_pressure() {
            sessions.push(serve_pressure(contents, keep, options)?);
        }
        Ok(Serving { _sessions: sessions })
    };
    serve_all().inspect_err(|_| {
        if let Err(error) = fuse::unmount(&options.mountpoint) {
            tracing::warn!(%error, "the mount stays behind");
        }
    })
}

fn mount_options(options: &ServeOptions, mountpoint: &Path) -> MountOptions {
    MountOptions {
        mountpoint: mountpoint.to_owned(),
        subtype: options.subtype.name().to_owned(),
        source: options.subtype.name().to_owned(),
        allow_other: true,
        default_permissions: true,
        read_only: false,
    }
}

fn serve_pressure(
    contents: Arc<Contents>,
    keep: Arc<Keep>,
    options: &ServeOptions,
) -> anyhow::Result<Session> {
    let mountpoint = options.mountpoint.join("proc/pressure");
    let connection = Connection::mount(&mount_options(options, &mountpoint))?;
    // Triggers are the only thing written, and they are short.
    let session = connection.init(&Features { max_write: 4096, ..Features::default() })?;
    let notifier = options.triggers.then(|| session.notifier());
    let tree = Arc::new(PressureTree::start(contents, notifier, keep)?);
    session.serve(tree, Serve::with_threads(PRESSURE_THREADS))?;
    Ok(session)
}

fn serve(
    connection: Connection,
    tree: Arc<SharedTree>,
    options: &ServeOptions,
) -> anyhow::Result<Session> {
    let session = connection.init(&Features::default())?;
    session.serve(tree, Serve::with_threads(options.threads))?;
    let negotiated = session.negotiated();
    tracing::info!(
        mountpoint = %options.mountpoint.display(),
        protocol = %format!("{}.{}", negotiated.major, negotiated.minor),
        threads = options.threads,
        "serving"
    );
    Ok(session)
}
