//! Serving the shared tree, and the pressure files on it: mounting, answering, ending.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Context;
use fuse::{Connection, Ended, Features, MountOptions, Session};
use view::policy::Policy;
use viewfs::{Contents, PressureTree, SharedTree, Upkeep};

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
const PRESSURE_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// A mounted tree and the threads that answer for it.
#[derive(Debug)]
pub(crate) struct Serving {
    tree: Arc<SharedTree>,
    ended: Arc<End>,
    /// Keeps the connection's descriptor open.
    _session: Session,
    pressure: Option<Pressure>,
}

/// The pressure files, mounted on a directory of the tree.
#[derive(Debug)]
struct Pressure {
    mountpoint: PathBuf,
    _session: Session,
}

/// How serving ended, once it has.
#[derive(Debug, Default)]
struct End {
    how: Mutex<Option<Ended>>,
    happened: Condvar,
}

/// Mounts the tree and starts the threads. When this returns, reads are answered.
///
/// # Errors
/// The host's files or cgroups cannot be read, or the tree cannot be mounted; nothing is mounted
/// then.
pub(crate) fn start(options: &ServeOptions) -> anyhow::Result<Serving> {
    // First all that can fail, and all that opens paths of the host; then the mount.
    let contents = Arc::new(Contents::of_this_host(options.policy.clone(), &options.upkeep)?);
    let tree = Arc::new(SharedTree::new(Arc::clone(&contents)));
    let connection = Connection::mount(&mount_options(options, &options.mountpoint))?;
    let serving = serve(connection, tree, options).and_then(|mut serving| {
        // The tree answers already: to mount on it, the kernel asks us for the way there.
        serving.pressure =
            contents.has_pressure().then(|| serve_pressure(contents, options)).transpose()?;
        Ok(serving)
    });
    serving.inspect_err(|_| {
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

fn serve_pressure(contents: Arc<Contents>, options: &ServeOptions) -> anyhow::Result<Pressure> {
    let mountpoint = options.mountpoint.join("proc/pressure");
    let connection = Connection::mount(&mount_options(options, &mountpoint))?;
    // Triggers are the only thing written, and they are short.
    let session = connection.init(&Features { max_write: 4096, ..Features::default() })?;
    let notifier = options.triggers.then(|| session.notifier());
    let tree = Arc::new(PressureTree::start(contents, notifier)?);
    // The threads end with the mount; nobody waits for them.
    session.serve(tree, PRESSURE_THREADS)?;
    Ok(Pressure { mountpoint, _session: session })
}

fn serve(
    connection: Connection,
    tree: Arc<SharedTree>,
    options: &ServeOptions,
) -> anyhow::Result<Serving> {
    let session = connection.init(&Features::default())?;
    let handle = session.serve(Arc::clone(&tree) as Arc<dyn fuse::Filesystem>, options.threads)?;
    let ended = Arc::new(End::default());
    let ending = Arc::clone(&ended);
    std::thread::Builder::new()
        .name("serving".to_owned())
        .spawn(move || ending.set(handle.wait()))
        .context("cannot start a thread")?;
    let negotiated = session.negotiated();
    tracing::info!(
        mountpoint = %options.mountpoint.display(),
        protocol = %format!("{}.{}", negotiated.major, negotiated.minor),
        threads = options.threads,
        "serving"
    );
    Ok(Serving { tree, ended, _session: session, pressure: None })
}

impl Serving {
    /// Switches between the containers' content and the host's.
    pub(crate) fn set_virtual(&self, on: bool) {
        self.tree.contents().set_virtual(on);
    }

    /// Whether containers get their own content.
    pub(crate) fn is_virtual(&self) -> bool {
        self.tree.contents().is_virtual()
    }

    /// Where the pressure files are mounted, on the tree; `None` on a kernel without them.
    pub(crate) fn pressure_mountpoint(&self) -> Option<&Path> {
        self.pressure.as_ref().map(|pressure| pressure.mountpoint.as_path())
    }

    /// Waits until the tree has been unmounted.
    ///
    /// # Errors
    /// The FUSE device failed.
    pub(crate) fn wait_unmounted(&self) -> anyhow::Result<()> {
        match self.ended.wait() {
            Ended::Unmounted | Ended::Stopped => Ok(()),
            Ended::Error(errno) => Err(errno).context("the FUSE device failed"),
        }
    }
}

impl End {
    fn set(&self, how: Ended) {
        *self.how.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        self.happened.notify_all();
    }

    fn wait(&self) -> Ended {
        let mut how = self.how.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *how {
                Some(how) => return how,
                None => how = self.happened.wait(how).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
