//! The connections: made, put in their place, and taken away.

use std::os::fd::{AsFd, OwnedFd};

use control::{ConnectionState, Held, Holdings, Listener, Role, socket_path};
use fuse::{Connection, Features, Journal, MountOptions};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::mountpoint;
use crate::view::{Transport, View, Wanted};

/// Makes all of them; their mounts are nowhere yet.
pub(crate) fn new(view: &View) -> Result<Holdings, Error> {
    let connections = view.connections.iter().map(|wanted| connect(view, wanted));
    let connections = connections.collect::<Result<_, _>>()?;
    // So that a worker can make sure that it stays as long as it is mapped.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let keep =
        rustix::fs::memfd_create("resview-keep", flags).map_err(Error::system("make a memfd"))?;
    let listener = listen(view)?;
    Ok(Holdings { connections, keep, listener, guard: None, virtual_: true })
}

pub(crate) fn listen(view: &View) -> Result<OwnedFd, Error> {
    Ok(Listener::bind(&socket_path(&view.runtime_dir))?.into())
}

/// Makes one; its mount is nowhere yet, and nothing of ours is in its place any more.
pub(crate) fn connect(view: &View, wanted: &Wanted) -> Result<Held, Error> {
    if wanted.role.lies_in().is_none() {
        mountpoint::make_free(view, wanted)?;
    }
    let is_cached = wanted.role == Role::Containers;
    let options = MountOptions {
        mountpoint: wanted.mountpoint.clone(),
        subtype: view.subtype.clone(),
        source: view.subtype.clone(),
        allow_other: true,
        default_permissions: true,
        // What is written to a cached file is seen by others before it is refused.
        read_only: is_cached,
    };
    let (connection, mount) = Connection::detached(&options)?;
    // What is written is short, and requests have to fit in the journal.
    let features = if is_cached { Features::page_cached() } else { Features::default() };
    let asked = wanted.role == Role::Shared && may_use_rings(view);
    let features = if asked { features.over_io_uring() } else { features };
    let session = connection.init(&Features { max_write: 4096, ..features })?;
    if asked && !session.negotiated().is_over_io_uring() {
        tracing::warn!(
            "requests come through the device: this kernel does not offer FUSE over io_uring, which \
             takes Linux 6.14, built with CONFIG_FUSE_IO_URING, and Y in \
             /sys/module/fuse/parameters/enable_uring when the view is mounted"
        );
    }
    let negotiated = *session.negotiated();
    let device = session.into_device().map_err(Error::io("copy a descriptor"))?;
    let Wanted { role, mountpoint, .. } = wanted.clone();
    let state = ConnectionState { role, mountpoint, negotiated, attached: false };
    Ok(Held { state, device, journal: new_journal()?, mount: Some(mount) })
}

/// Whether rings are wanted and can be had. The kernel has to be asked before: a connection that has
/// agreed to them waits for them.
fn may_use_rings(view: &View) -> bool {
    let tried = match view.transport {
        Transport::Device => return false,
        Transport::IoUring => fuse::Rings::try_out(),
    };
    if let Err(error) = &tried {
        tracing::warn!("requests come through the device: {error}");
    }
    tried.is_ok()
}

/// Whether something of it ends with its worker, and cannot be handed on.
#[must_use]
pub fn is_over_io_uring(holdings: &Holdings) -> bool {
    holdings.connections.iter().any(|held| held.state.negotiated.is_over_io_uring())
}

/// Ends one, and unmounts it.
pub(crate) fn abort(held: &Held) -> Result<(), Error> {
    match fuse::abort(&held.state.mountpoint) {
        // Somebody else has unmounted it, or it never was in its place: closing the descriptors is
        // its end.
        Err(error) if error.errno == Errno::INVAL => Ok(()),
        result => Ok(result?),
    }
}

/// An empty journal.
///
/// # Errors
/// There is no memory for it, or no descriptor.
pub fn new_journal() -> Result<OwnedFd, Error> {
    let journal = Journal::create().map_err(|error| Error::Store(error.to_string()))?;
    journal.as_fd().try_clone_to_owned().map_err(Error::io("copy a descriptor"))
}

/// Whether the kernel has it still: it is mounted somewhere, or open.
pub(crate) fn lives(held: &Held) -> bool {
    fuse::has_pending(held.device.as_fd()).is_ok()
}

/// Whether a connection lives and is mounted, or can be. Corrects what is known of it: a supervisor
/// may have died before it could write down where the mount is, and somebody may have unmounted it
/// since.
pub(crate) fn is_usable(held: &mut Held, view: &View) -> bool {
    held.state.attached =
        held.mount.is_none() && mountpoint::is_mounted(&held.state.mountpoint, &view.subtype);
    lives(held) && (held.state.attached || held.mount.is_some())
}

/// Puts the mounts in their place that lie in nobody's tree. All others are for a worker.
///
/// # Errors
/// What the mount says. Those before are in their place.
pub fn put_in_place(holdings: &mut Holdings) -> Result<(), Error> {
    let mut attached = Vec::new();
    let own = |held: &&Held| held.state.role.lies_in().is_none();
    for held in holdings.connections.iter().filter(own) {
        let Some(mount) = &held.mount else { continue };
        // A supervisor may have died before it could write down that it had done so.
        if !mountpoint::is_attached(mount) {
            fuse::attach(mount.as_fd(), &held.state.mountpoint)?;
        }
        attached.push(held.state.role);
    }
    holdings.attached(&attached);
    Ok(())
}

/// Takes out of sight what [`put_in_place`] has put there, the last first, and with it what is
/// mounted on that.
///
/// # Errors
/// What the last that could not be unmounted says.
pub fn unmount(holdings: &Holdings) -> Result<(), Error> {
    let own = |held: &&Held| held.state.attached && held.state.role.lies_in().is_none();
    let mut unmounted = Ok(());
    for held in holdings.connections.iter().rev().filter(own) {
        match fuse::unmount(&held.state.mountpoint) {
            Err(error) if error.errno == Errno::INVAL => {} // somebody else has
            Err(error) => unmounted = Err(error.into()),
            Ok(()) => {}
        }
    }
    unmounted
}
