//! Serving the shared tree: mounting, answering, ending.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Context;
use fuse::{Connection, Ended, Features, MountOptions, Session};
use view::policy::Policy;
use viewfs::{Contents, SharedTree};

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
    pub(crate) threads: NonZeroUsize,
}

/// A mounted tree and the threads that answer for it.
#[derive(Debug)]
pub(crate) struct Serving {
    tree: Arc<SharedTree>,
    ended: Arc<End>,
    /// Keeps the connection's descriptor open.
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
    let contents = Contents::of_this_host(options.policy)?;
    let tree = Arc::new(SharedTree::new(contents));
    let connection = Connection::mount(&MountOptions {
        mountpoint: options.mountpoint.clone(),
        subtype: options.subtype.name().to_owned(),
        source: options.subtype.name().to_owned(),
        allow_other: true,
        default_permissions: true,
        read_only: false,
    })?;
    serve(connection, Arc::clone(&tree), options).inspect_err(|_| {
        if let Err(error) = fuse::unmount(&options.mountpoint) {
            tracing::warn!(%error, "the mount stays behind");
        }
    })
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
    Ok(Serving { tree, ended, _session: session })
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
