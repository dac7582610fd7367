//! Looking at what is attached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::fstatfs;
use rustix::io::Errno;

use crate::error::Error;
use crate::process::{Held, Process, Procfs};
use crate::request::{Ours, Root};
use crate::table::{Mount, Table};
use crate::thread::run;
use crate::visit::Visit;

/// What to look for, and where.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// Any process of the container.
    pub process: Process,
    /// Which mounts are ours.
    pub ours: Ours,
    /// The file systems that are served by who asks: see [`device_of`](crate::device_of).
    pub current: Vec<(u32, u32)>,
    /// Whether to ask other file servers for a sign of life.
    pub ask: Ask,
}

/// Whether file servers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// No: nothing is asked that could hang.
    Never,
    /// Those of mounts that are not current, for so long each. A server that hangs costs a thread
    /// that waits until it is gone.
    Within(Duration),
}

/// A mount of ours in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where in the container.
    pub target: PathBuf,
    /// The line of its mount table.
    pub mount: Mount,
    /// Whether it is what a look at the path meets, and not covered by another.
    pub is_seen: bool,
    /// Whether somebody serves it.
    pub life: Life,
}

/// Whether somebody serves a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is one of [`Inspect::current`].
    Current,
    /// It is of another daemon or of an earlier one; not asked.
    Other,
    /// Of another daemon, which answers.
    Alive,
    /// Its server is gone for good: reads fail with ENOTCONN.
    Dead,
    /// No answer in time.
    Silent,
}

/// The mounts of ours below `/proc` and `/sys` of a running container, in the order of its mount
/// table. Nothing is entered and no file is opened for it, unless [`Ask::Within`] is wanted.
///
/// # Errors
/// [`Error::Ended`], [`Error::Another`], [`Error::Proc`], [`Error::TooManyMounts`].
pub fn inspect(request: &Inspect) -> Result<Vec<Found>, Error> {
    let held = Held::open(&Procfs::open()?, request.process)?;
    let table = held.table()?;
    held.check()?;
    let ours = table.iter().filter(|mount| request.ours.has(mount) && mount.is_below_kernels());
    Ok(ours.map(|mount| found(request, &table, mount)).collect())
}

fn found(request: &Inspect, table: &Table, mount: &Mount) -> Found {
    let target = mount.mount_point.clone();
    let is_seen = table.children(mount.id).all(|child| child.mount_point != target);
    let life = match request.ask {
        _ if request.current.contains(&mount.device) => Life::Current,
        Ask::Within(limit) if is_seen => ask(request.process, mount.id, &target, limit),
        _ => Life::Other,
    };
    Found { target, mount: mount.clone(), is_seen, life }
}

/// Asks for the size of the file system, the cheapest question that a dead one refuses.
fn ask(process: Process, id: u64, target: &Path, limit: Duration) -> Life {
    let target = target.to_owned();
    let asked = run(process.pid, limit, move |_| {
        let procfs = Procfs::open()?;
        let visit = Visit::enter(&procfs, Held::open(&procfs, process)?, &Root::Namespace)?;
        let below_root = target.strip_prefix("/").unwrap_or(&target);
        let found = visit.walk(below_root).ok().filter(|found| found.sight.mount == id);
        Ok(found.map(|found| fstatfs(&found.fd).err()))
    });
    match asked {
        Ok(Some(None)) => Life::Alive,
        Ok(Some(Some(Errno::NOTCONN))) => Life::Dead,
        Err(Error::Hangs { .. }) => Life::Silent,
        // It could not be asked.
        Ok(_) | Err(_) => Life::Other,
    }
}
