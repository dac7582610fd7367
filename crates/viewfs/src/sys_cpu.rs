//! `sys/devices/system/cpu`: the host's directory, with the container's CPUs and read-only.

use std::ffi::OsString;
use std::sync::Arc;

use container::Container;
use fuse::{Errno, FileType};
use view::catalogue::{SysCpu, sys_cpu};

use crate::contents::Contents;

/// An entry of the directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SysEntry {
    pub(crate) kind: FileType,
    /// The host's permission bits without those for writing.
    pub(crate) mode: u32,
    /// Whether some containers have the entry and others do not.
    pub(crate) depends_on_caller: bool,
}

/// `parent/name`, for a parent that may be the top.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// The entry at `path`, if the caller's container has it.
pub(crate) fn entry(
    contents: &Contents,
    path: &str,
    caller: impl FnOnce() -> fuse::Result<Option<Arc<Container>>>,
) -> fuse::Result<SysEntry> {
    match sys_cpu(path) {
        SysCpu::Absent => Err(Errno::NOENT),
        SysCpu::CpuDirectory(cpu) => {
            if !sees(contents, cpu, caller()?.as_ref())? {
                return Err(Errno::NOENT);
            }
            Ok(SysEntry { depends_on_caller: true, ..stat(contents, path)? })
        }
        SysCpu::Virtual(_) | SysCpu::Host => stat(contents, path),
    }
}

/// The entry's type and mode on the host. What not everybody may read is not there: files to be
/// written only, and those that tell root alone.
pub(crate) fn stat(contents: &Contents, path: &str) -> fuse::Result<SysEntry> {
    let stat = contents.host_cpu().stat(path).map_err(|error| error.errno())?;
    let mode = u32::from(stat.stx_mode);
    let kind = match hostfs::FileType::from_raw_mode(mode) {
        hostfs::FileType::Directory => FileType::Directory,
        hostfs::FileType::Symlink => FileType::Symlink,
        hostfs::FileType::RegularFile if mode & 0o004 != 0 => FileType::Regular,
        _ => return Err(Errno::NOENT),
    };
    Ok(SysEntry { kind, mode: mode & 0o555, depends_on_caller: false })
}

/// The names and types in the directory at `path`, as the caller's container sees them.
pub(crate) fn list(
    contents: &Contents,
    path: &str,
    caller: impl FnOnce() -> fuse::Result<Option<Arc<Container>>>,
) -> fuse::Result<Vec<(String, FileType)>> {
    let host = contents.host_cpu().list(path).map_err(|error| error.errno())?;
    let container = if path.is_empty() { caller()? } else { None };
    let mut listed = Vec::new();
    for entry in host {
        let Ok(name) = entry.name.into_string() else { continue };
        let path = join(path, &name);
        let there = match sys_cpu(&path) {
            SysCpu::Absent => false,
            SysCpu::CpuDirectory(cpu) => sees(contents, cpu, container.as_ref())?,
            SysCpu::Virtual(_) | SysCpu::Host => true,
        };
        // A CPU may go offline while its directory is being listed.
        if there && let Ok(entry) = stat(contents, &path) {
            listed.push((name, entry.kind));
        }
    }
    Ok(listed)
}

/// What a link says: the host's links are relative, and lead to where they lead on the host.
pub(crate) fn read_link(contents: &Contents, path: &str) -> fuse::Result<OsString> {
    let target = contents.host_cpu().read_link(path).map_err(|error| error.errno())?;
    Ok(target.into_os_string())
}

fn sees(contents: &Contents, cpu: u32, container: Option<&Arc<Container>>) -> fuse::Result<bool> {
    let cpus = contents.cpus(container)?;
    Ok(cpus.is_none_or(|cpus| cpus.visible().contains(cpu)))
}
