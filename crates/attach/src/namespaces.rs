//! The mount namespaces of a container's processes.

use std::path::Path;

use crate::error::Error;
use crate::process::{Held, Process, Procfs};
use crate::table::Table;

/// One process for each mount namespace among `pids` (such as `cgroup.procs` of the container has
/// them) in which the container's procfs is on `/proc`, `init`'s own first. Mounts arrive in the
/// others only if they happen to be slaves, so each wants an attachment of its own.
///
/// Processes that end meanwhile are passed over, and so are those with the host's mounts and those
/// on whose `/proc` another procfs lies.
///
/// # Errors
/// [`Error::Ended`] and [`Error::Another`] about `init`, [`Error::HostNamespace`] if it has the
/// host's mounts, [`Error::Proc`] if procfs cannot be read.
pub fn namespaces_of(
    init: Process,
    pids: impl IntoIterator<Item = u32>,
) -> Result<Vec<Process>, Error> {
    let procfs = Procfs::open()?;
    let held = Held::open(&procfs, init)?;
    let mut seen = vec![held.namespace_id(&procfs)?];
    let device = device_of_proc(&held.table()?);
    let mut found = vec![init];
    for pid in pids {
        let Ok(process) = Process::running(pid) else { continue };
        let Ok(held) = Held::open(&procfs, process) else { continue };
        let Ok(namespace) = held.namespace_id(&procfs) else { continue };
        if seen.contains(&namespace) {
            continue;
        }
        seen.push(namespace);
        if device.is_some() && held.table().is_ok_and(|table| device_of_proc(&table) == device) {
            found.push(process);
        }
    }
    Ok(found)
}

/// The file system of the procfs that is seen on `/proc`.
fn device_of_proc(table: &Table) -> Option<(u32, u32)> {
    let here = |mount: &&crate::Mount| mount.mount_point == Path::new("/proc");
    let uppermost = |mount: &&crate::Mount| !table.children(mount.id).any(|child| here(&child));
    let top = table.iter().filter(here).find(uppermost)?;
    (top.fs_type == "proc").then_some(top.device)
}
