//! Where the connections come from: from a predecessor, from the service manager, or new.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;

use control::{ConnectionState, Held, Holdings, Listener, Named, Role, socket_path};
use fuse::{Connection, Features, Journal, MountOptions};
use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;
use crate::error::Error;
use crate::mountpoint;
use crate::predecessor::{self, Predecessor};
use crate::store::{self, Stored};

/// What a supervisor starts with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) holdings: Holdings,
    pub(crate) origin: Origin,
    pub(crate) stored: Stored,
    /// Held until the first worker serves, so that nobody else starts meanwhile.
    pub(crate) lock: OwnedFd,
}

/// Who served before.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Nobody, and nothing is mounted yet.
    New,
    /// Somebody who still does.
    Predecessor(Predecessor),
    /// Somebody who is dead.
    Store,
}

/// Finds or makes the connections. Whoever serves at the moment goes on.
///
/// # Errors
/// See [`Error`]; nothing is changed then, but for dead views that are detached.
pub(crate) fn start(config: &Config) -> Result<Start, Error> {
    let lock = lock(config)?;
    // In any case, so that nobody else takes these descriptors for something else.
    let (mut stored, kept) = store::inherited()?;
    let (holdings, origin) = match predecessor::find(config, stored.is_of_use())? {
        Some((holdings, predecessor)) => (holdings, Origin::Predecessor(predecessor)),
        None => match adopt(config, &mut stored, kept)? {
            Some(holdings) => (holdings, Origin::Store),
            None => {
                stored.discard();
                (mount(config)?, Origin::New)
            }
        },
    };
    check_mountpoint(config, &holdings)?;
    Ok(Start { holdings, origin, stored, lock })
}

/// What the service manager kept, if it is a view that lives. Where the pressure files were not in
/// their place yet, their mount was lost and their connection with it: there is a new one then.
fn adopt(
    config: &Config,
    stored: &mut Stored,
    mut kept: Vec<Named>,
) -> Result<Option<Holdings>, Error> {
    let Some(estate) = stored.estate()? else { return Ok(None) };
    kept.push((Holdings::LISTENER.to_owned(), listen(config)?.into()));
    let mut holdings = match Holdings::assemble(estate, kept) {
        Ok(holdings) => holdings,
        Err(error) => {
            tracing::warn!("starting afresh: of what the service manager kept, {error}");
            return Ok(None);
        }
    };
    for held in &mut holdings.connections {
        let state = &mut held.state;
        let lives = fuse::has_pending(held.device.as_fd()).is_ok();
        // Not as the state says: a supervisor may have died before it could write down where the
        // mount is, and somebody may have unmounted it since.
        state.attached = lives
            && held.mount.is_none()
            && mountpoint::has_view(&state.mountpoint, &config.subtype);
        let usable = lives && (state.attached || held.mount.is_some());
        match state.role {
            Role::Shared if !usable => return Ok(None),
            Role::Pressure if !usable => {
                stored.stale.extend(Holdings::names(Role::Pressure));
                *held = connection(config, Role::Pressure)?;
            }
            Role::Shared | Role::Pressure => {}
        }
    }
    Ok(Some(holdings))
}

fn lock(config: &Config) -> Result<OwnedFd, Error> {
    let path = config.runtime_dir.clone();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(|source| Error::RuntimeDir { path: path.clone(), source })?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let lock = rustix::fs::open(path.join("control.lock"), flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| Error::RuntimeDir { path: path.clone(), source: errno.into() })?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(Error::Busy(path)),
    }
}

fn check_mountpoint(config: &Config, holdings: &Holdings) -> Result<(), Error> {
    match holdings.connection(Role::Shared) {
        Some(held) if held.state.mountpoint != config.mountpoint => Err(Error::OtherMountpoint {
            theirs: held.state.mountpoint.clone(),
            ours: config.mountpoint.clone(),
        }),
        _ => Ok(()),
    }
}

/// Makes new connections; their mounts are nowhere yet.
fn mount(config: &Config) -> Result<Holdings, Error> {
    mountpoint::make_free(config)?;
    let shared = connection(config, Role::Shared)?;
    let pressure = config.pressure.then(|| connection(config, Role::Pressure)).transpose()?;
    let keep = rustix::fs::memfd_create("resview-keep", MemfdFlags::CLOEXEC)
        .map_err(Error::system("make a memfd"))?;
    let listener = listen(config)?;
    Ok(Holdings {
        connections: [shared].into_iter().chain(pressure).collect(),
        keep,
        listener: listener.into(),
        guard: None,
        virtual_: true,
    })
}

fn listen(config: &Config) -> Result<Listener, Error> {
    Ok(Listener::bind(&socket_path(&config.runtime_dir))?)
}

fn connection(config: &Config, role: Role) -> Result<Held, Error> {
    let mountpoint = match role {
        Role::Shared => config.mountpoint.clone(),
        Role::Pressure => config.mountpoint.join("proc/pressure"),
    };
    let options = MountOptions {
        mountpoint: mountpoint.clone(),
        subtype: config.subtype.clone(),
        source: config.subtype.clone(),
        allow_other: true,
        default_permissions: true,
        read_only: false,
    };
    let (connection, mount) = Connection::detached(&options)?;
    // What is written is short, and requests have to fit in the journal.
    let session = connection.init(&Features { max_write: 4096, ..Features::default() })?;
    let negotiated = *session.negotiated();
    let device = session
        .into_device()
        .map_err(|error| Error::System { what: "copy a descriptor", errno: errno(&error) })?;
    let state = ConnectionState { role, mountpoint, negotiated, attached: false };
    Ok(Held { state, device, journal: new_journal()?, mount: Some(mount) })
}

/// An empty journal.
pub(crate) fn new_journal() -> Result<OwnedFd, Error> {
    let journal = Journal::create().map_err(|error| Error::Store(error.to_string()))?;
    journal
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Error::System { what: "copy a descriptor", errno: errno(&error) })
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
