//! `sys/devices/system/{cpu,node}` and `sys/{block,class/block}`: the host's directories, with the
//! container's CPUs, NUMA nodes and disks and read-only. Paths are relative to `/sys`.

use std::borrow::Cow;
use std::ffi::OsString;
use std::sync::Arc;

use container::Container;
use fuse::{Errno, FileType};
use view::catalogue::{Sys, sys, sys_directory};
use view::{Cpus, Disks, Nodes};

use crate::contents::Contents;
use crate::disks::device_number;

/// An entry of the directories.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SysEntry {
    pub(crate) kind: FileType,
    /// The host's permission bits without those for writing.
    pub(crate) mode: u32,
    /// Whether some containers have the entry and others do not.
    pub(crate) depends_on_caller: bool,
}

/// `parent/name`
pub(crate) fn join(parent: &str, name: &str) -> String {
    format!("{parent}/{name}")
}

/// The entry at `path`, if the caller's container has it.
pub(crate) fn entry(
    contents: &Contents,
    path: &str,
    caller: impl Caller,
) -> fuse::Result<SysEntry> {
    let policy = sys(path);
    let seen = Seen::gather(contents, path, &[policy], caller)?;
    if !seen.has(policy, || own_device(contents, path)) {
        return Err(Errno::NOENT);
    }
    let depends_on_caller =
        matches!(policy, Sys::OfCpu(_) | Sys::OfNode(_) | Sys::OfDisk | Sys::ToDisk);
    Ok(SysEntry { depends_on_caller, ..host_entry(contents, &seen.on_host(path)?)? })
}

/// The type and mode of an entry that was looked up before.
pub(crate) fn stat(contents: &Contents, path: &str, caller: impl Caller) -> fuse::Result<SysEntry> {
    let seen = Seen::gather(contents, path, &[], caller)?;
    host_entry(contents, &seen.on_host(path)?)
}

/// The entry's type and mode on the host. What not everybody may read is not there: files to be
/// written only, and those that tell root alone.
fn host_entry(contents: &Contents, path: &str) -> fuse::Result<SysEntry> {
    let host = &contents.host().sys;
    let stat = match sys(path) {
        Sys::OfDisk | Sys::Followed => host.stat_target(path),
        _ => host.stat(path),
    };
    let stat = stat.map_err(|error| error.errno())?;
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
    caller: impl Caller,
) -> fuse::Result<Vec<(String, FileType)>> {
    // Of the host's names, only whether there are CPUs, nodes and disks among them matters yet. A
    // disk's partitions are named after it.
    let name = path.rsplit('/').next().unwrap_or(path);
    let children = ["cpu0", "node0", &format!("{name}1")].map(|child| sys(&join(path, child)));
    let seen = Seen::gather(contents, path, &children, caller)?;
    let host_path = seen.on_host(path)?;
    let host = contents.host().sys.list(host_path.as_ref()).map_err(|error| error.errno())?;
    let names = host.into_iter().filter_map(|entry| entry.name.into_string().ok());
    let shown = names.filter_map(|name| {
        let device = || own_device(contents, &join(path, &name));
        Some((seen.shown(path, &name, device)?, name))
    });
    // A CPU may go offline, or a disk go, while its directory is being listed.
    let typed = shown.filter_map(|(shown, name)| {
        let kind = host_entry(contents, &join(&host_path, &name)).ok()?.kind;
        Some((shown, kind))
    });
    Ok(typed.collect())
}

/// What a link says: the host's links are relative, and lead to where they lead on the host, but
/// for a CPU that has another number there, and for disks, whose directories lie elsewhere there.
pub(crate) fn read_link(
    contents: &Contents,
    path: &str,
    caller: impl Caller,
) -> fuse::Result<OsString> {
    if matches!(sys(path), Sys::ToDisk) {
        return link_to_disk(path).map(OsString::from).ok_or(Errno::NOENT);
    }
    let seen = Seen::gather(contents, path, &[], caller)?;
    let host_path = seen.on_host(path)?;
    let target =
        contents.host().sys.read_link(host_path.as_ref()).map_err(|error| error.errno())?;
    match sys(path) {
        Sys::OfCpu(shown) if host_path != path => {
            Ok(target.with_file_name(format!("cpu{shown}")).into_os_string())
        }
        _ => Ok(target.into_os_string()),
    }
}

/// The link from `block/dm-0/slaves/sda` to `block/sda`.
fn link_to_disk(path: &str) -> Option<String> {
    let (parent, disk) = sys_directory(path)?.rest(path)?.rsplit_once('/')?;
    Some(format!("{}{disk}", "../".repeat(parent.split('/').count())))
}

/// The number of the device (major, minor) that the file at `path` is about: the nearest disk or
/// partition above. `None`: it is about none, or the device is gone.
pub(crate) fn device_of(contents: &Contents, path: &str) -> Option<(u32, u32)> {
    let ends = path.match_indices('/').rev().map(|(at, _)| at);
    let mut above = ends.filter_map(|end| path.get(..end));
    own_device(contents, above.find(|upto| matches!(sys(upto), Sys::OfDisk))?)
}

/// The number of the device (major, minor) whose directory is at `path`, or to whose directory the
/// link there leads. A link that is named after a partition leads to none of the tree's.
fn own_device(contents: &Contents, path: &str) -> Option<(u32, u32)> {
    let directory = match sys(path) {
        Sys::OfDisk => Cow::Borrowed(path),
        Sys::ToDisk => Cow::Owned(join("block", path.rsplit('/').next()?)),
        _ => return None,
    };
    let mut text = Vec::new();
    contents.host().sys.read(join(&directory, "dev"), &mut text).ok()?;
    device_number(&text)
}

/// The path on the host of what the container sees at `path`.
pub(crate) fn on_host<'a>(
    contents: &Contents,
    path: &'a str,
    container: Option<&Arc<Container>>,
) -> fuse::Result<Cow<'a, str>> {
    Seen::gather(contents, path, &[], || Ok(container.cloned()))?.on_host(path)
}

/// Finds out who asks.
pub(crate) trait Caller: FnOnce() -> fuse::Result<Option<Arc<Container>>> {}
impl<F: FnOnce() -> fuse::Result<Option<Arc<Container>>>> Caller for F {}

/// Finds out a device's number (major, minor).
trait Device: FnOnce() -> Option<(u32, u32)> {}
impl<F: FnOnce() -> Option<(u32, u32)>> Device for F {}

/// The part of `path` down to the entry of a CPU, and that CPU: `…/cpu/cpu3` of
/// `…/cpu/cpu3/topology`.
fn cpu_in(path: &str) -> Option<(&str, u32)> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).find_map(|upto| match sys(upto) {
        Sys::OfCpu(cpu) => Some((upto, cpu)),
        _ => None,
    })
}

/// What decides about entries that not every container has; `None`: the caller has all of them, or
/// no entry asks.
#[derive(Debug, Default)]
struct Seen {
    cpus: Option<Cpus>,
    nodes: Option<Nodes>,
    disks: Option<Disks>,
}

impl Seen {
    /// What is needed to tell where `path` leads, and whether entries of these policies are there:
    /// once for all of them.
    fn gather(
        contents: &Contents,
        path: &str,
        policies: &[Sys],
        caller: impl Caller,
    ) -> fuse::Result<Self> {
        let cpus = policies.iter().any(|policy| matches!(policy, Sys::OfCpu(_)))
            || (contents.may_renumber_cpus() && cpu_in(path).is_some());
        let nodes = policies.iter().any(|policy| matches!(policy, Sys::OfNode(_)));
        let disks = policies.iter().any(|policy| matches!(policy, Sys::OfDisk | Sys::ToDisk));
        let mut seen = Self::default();
        if cpus || nodes || disks {
            let container = caller()?;
            if cpus {
                seen.cpus = contents.cpus(container.as_ref())?;
            }
            if nodes {
                seen.nodes = contents.nodes(container.as_ref())?;
            }
            if disks {
                seen.disks = contents.disks(container.as_ref())?;
            }
        }
        Ok(seen)
    }

    /// The path on the host. A CPU that is gone meanwhile has none.
    fn on_host<'a>(&self, path: &'a str) -> fuse::Result<Cow<'a, str>> {
        let renumbering = self.cpus.as_ref().filter(|cpus| cpus.renumbers());
        let (Some(cpus), Some((upto, shown))) = (renumbering, cpu_in(path)) else {
            return Ok(Cow::Borrowed(path));
        };
        let kernel = cpus.kernel_number(shown).ok_or(Errno::NOENT)?;
        let parent = upto.rsplit_once('/').map_or("", |(parent, _)| parent);
        let rest = path.get(upto.len()..).unwrap_or("");
        Ok(Cow::Owned(format!("{parent}/cpu{kernel}{rest}")))
    }

    /// The name under which the container sees the host's entry `name` of `parent`, if it does.
    fn shown(&self, parent: &str, name: &str, device: impl Device) -> Option<String> {
        match (sys(&join(parent, name)), &self.cpus) {
            (Sys::OfCpu(kernel), Some(cpus)) => {
                cpus.shown_number(kernel).map(|shown| format!("cpu{shown}"))
            }
            (policy, _) => self.has(policy, device).then(|| name.to_owned()),
        }
    }

    /// Whether an entry of this policy is there. A disk is told by its number, which only those ask
    /// for that need it.
    fn has(&self, policy: Sys, device: impl Device) -> bool {
        match policy {
            Sys::OfCpu(cpu) => self.cpus.as_ref().is_none_or(|cpus| cpus.shown().contains(cpu)),
            Sys::OfNode(node) => self.nodes.as_ref().is_none_or(|nodes| nodes.get(node).is_some()),
            Sys::OfDisk | Sys::ToDisk => self.disks.as_ref().is_none_or(|disks| {
                device().is_some_and(|(major, minor)| disks.counters(major, minor).is_some())
            }),
            Sys::Virtual(_) | Sys::Host | Sys::Followed => true,
            Sys::Absent => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use procfmt::cpulist::CpuSet;
    use view::input::CpuInput;
    use view::policy::{CpuNumbers, Policy};

    use super::*;

    fn seen(cpu_numbers: CpuNumbers) -> Seen {
        let input = CpuInput { cpuset: CpuSet::parse_list(b"2,5").ok(), ..Default::default() };
        let policy = Policy { cpu_numbers, ..Policy::default() };
        let cpus = Cpus::by_policy(&input, &CpuSet::first(8), &policy);
        Seen { cpus: Some(cpus), ..Seen::default() }
    }

    fn system(path: &str) -> String {
        join("devices/system", path)
    }

    #[test]
    fn packed_directories_lead_to_the_containers_cpus() {
        let seen = seen(CpuNumbers::Packed);
        for (path, host) in [
            ("cpu/cpu1", "cpu/cpu5"),
            ("cpu/cpu0/topology/core_id", "cpu/cpu2/topology/core_id"),
            ("node/node0/cpu1", "node/node0/cpu5"),
            ("cpu/online", "cpu/online"),
            ("cpu/cpufreq/policy2/scaling_driver", "cpu/cpufreq/policy2/scaling_driver"),
        ] {
            assert_eq!(seen.on_host(&system(path)).unwrap(), system(host));
        }
        assert_eq!(seen.on_host(&system("cpu/cpu2")).unwrap_err(), Errno::NOENT);
        let shown = |name| seen.shown(&system("cpu"), name, || None);
        assert_eq!(shown("cpu5").as_deref(), Some("cpu1"));
        assert_eq!(shown("cpu0"), None);
        assert_eq!(shown("online").as_deref(), Some("online"));
        assert!(seen.has(Sys::OfCpu(1), || None) && !seen.has(Sys::OfCpu(2), || None));
    }

    #[test]
    fn the_kernels_numbers_stay_as_they_are() {
        let seen = seen(CpuNumbers::Kernel);
        let cache = system("cpu/cpu5/cache");
        assert_eq!(seen.on_host(&cache).unwrap(), cache);
        let shown = |name| seen.shown(&system("cpu"), name, || None);
        assert_eq!(shown("cpu5").as_deref(), Some("cpu5"));
        assert_eq!(shown("cpu1"), None);
    }

    #[test]
    fn disks_are_there_if_the_container_sees_them() {
        let disks = Some(Disks::new(Vec::new(), vec![(8, 0)]));
        let seen = Seen { disks, ..Seen::default() };
        for policy in [Sys::OfDisk, Sys::ToDisk] {
            assert!(seen.has(policy, || Some((8, 0))));
            assert!(!seen.has(policy, || Some((8, 1))));
            // It went after the directory was read.
            assert!(!seen.has(policy, || None));
            assert!(Seen::default().has(policy, || Some((8, 1))), "the host's");
        }
        assert_eq!(seen.shown("block", "my disk", || Some((8, 0))).as_deref(), Some("my disk"));
        assert_eq!(seen.shown("block", "cciss!c0d0", || Some((8, 16))), None);
        assert_eq!(seen.shown("block/sda", "bdi", || Some((8, 0))), None);
    }

    #[test]
    fn links_stay_in_the_tree() {
        assert_eq!(link_to_disk("block/dm-0/slaves/sda").unwrap(), "../../sda");
        assert_eq!(link_to_disk("class/block/dm-0/slaves/sda").unwrap(), "../../sda");
        assert_eq!(link_to_disk("block/sda/sda1/holders/dm-0").unwrap(), "../../../dm-0");
    }
}
