//! Finding a registered container again, and never another one in its place.

use std::path::Path;
use std::sync::Arc;

use cgroup::{CgroupPaths, Group};
use hostfs::HostFs;
use procfmt::pid_stat::PidStat;
use procfmt::units::Ticks;

use super::{Init, Target, hash};
use crate::container::{Anchor, AnchorKind, Container};
use crate::error::Error;
use crate::identify::Identifier;

/// How many processes of a cgroup are asked which container they are in.
const MOST: usize = 64;

/// A registered container that is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// The container, the same as for a process in it that reads.
    pub container: Arc<Container>,
    /// Tells the target from a later one with the same process id or cgroup path; the same for
    /// every process that asks, until the next boot.
    pub instance: u64,
    being: Being,
}

/// What is there as long as the container is.
#[derive(Clone, Debug)]
enum Being {
    Process(Init),
    /// The same, its files in procfs kept open.
    KnownProcess(Arc<crate::init::Init>),
    /// The cgroup itself, apart from the container: read by nobody else.
    Cgroup(Arc<Group>, Vec<u64>),
}

/// Finds the container that `target` tells of; `None`: it has ended, or never was one (a process of
/// the host's).
///
/// # Errors
/// If procfs or a cgroup cannot be read.
pub fn find(
    host: &HostFs,
    identifier: &Identifier,
    target: &Target,
) -> Result<Option<Found>, Error> {
    let found = match target {
        Target::Init(init) => find_init(host, identifier, *init),
        Target::Cgroup { path, instance } => find_cgroup(host, identifier, path, *instance),
    };
    match found {
        Err(Error::Ended { .. } | Error::NoInit { .. }) => Ok(None),
        Err(Error::Cgroup(error)) if error.is_gone() => Ok(None),
        Err(Error::Proc(error)) if error.is_gone() => Ok(None),
        found => found,
    }
}

impl Found {
    /// Whether the target is still there. To be asked after something was read of the container:
    /// only then is it certain that it was this one's.
    ///
    /// # Errors
    /// If procfs or a cgroup cannot be read.
    pub fn is_there(&self, host: &HostFs) -> Result<bool, Error> {
        match &self.being {
            Being::Process(init) => is_running(host, *init),
            Being::KnownProcess(init) => runs(init),
            Being::Cgroup(group, ids) => match group.ids() {
                Ok(now) => Ok(now == *ids && group.is_current()),
                Err(error) if error.is_gone() => Ok(false),
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn find_init(host: &HostFs, identifier: &Identifier, init: Init) -> Result<Option<Found>, Error> {
    if init.pid == 0 {
        return Ok(None);
    }
    let instance = hash(&[b"init", &init.pid.to_le_bytes(), &init.start_time.to_le_bytes()]);
    if let Some((known, container)) = identifier.known_init(init.pid, Ticks(init.start_time))? {
        let is_there = runs(&known)?;
        let being = Being::KnownProcess(known);
        return Ok(is_there.then_some(Found { container, instance, being }));
    }
    let Some(container) = identifier.identify(init.pid)? else { return Ok(None) };
    // Asked last: had the number been given to another process before, this one would not be there.
    if !is_running(host, init)? {
        return Ok(None);
    }
    identifier.know_init(&container);
    Ok(Some(Found { container, instance, being: Being::Process(init) }))
}

/// Whether it is the process that was registered, and runs. One that has ended and waits for its
/// parent holds its cgroup no longer, and somebody else may have that.
fn is_running(host: &HostFs, init: Init) -> Result<bool, Error> {
    let file = format!("{}/stat", init.pid);
    let mut text = Vec::new();
    match host.proc.read_one(&file, &mut text) {
        Ok(()) => {}
        Err(error) if error.is_absent() || error.is_gone() => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let unexpected = || Error::Unexpected { file: host.proc.path_of(&file).display().to_string() };
    is_it(&text, Ticks(init.start_time)).ok_or_else(unexpected)
}

/// The same of a process that is known.
fn runs(init: &crate::init::Init) -> Result<bool, Error> {
    let Some(text) = init.stat()? else { return Ok(false) };
    let unexpected = || Error::Unexpected { file: format!("/proc/{}/stat", init.anchor.pid) };
    is_it(&text, init.anchor.start_time).ok_or_else(unexpected)
}

/// Whether the `stat` text is of a process that runs and was started then. `None`: it is no such text.
fn is_it(stat: &[u8], start_time: Ticks) -> Option<bool> {
    let stat = PidStat::parse(stat)?;
    Some(stat.start_time == start_time && !matches!(stat.state, b'Z' | b'X'))
}

fn find_cgroup(
    host: &HostFs,
    identifier: &Identifier,
    path: &str,
    instance: Option<u64>,
) -> Result<Option<Found>, Error> {
    let layout = identifier.layout();
    let Some(paths) = CgroupPaths::at(layout, Path::new(path)) else { return Ok(None) };
    let group = Arc::new(Group::new(layout, paths));
    let ids = group.ids()?;
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let own = hash(&[b"cgroup", path.as_bytes(), &bytes]);
    if instance.is_some_and(|instance| instance != own) {
        return Ok(None);
    }
    let container = container_at(host, identifier, &group)?;
    Ok(Some(Found { container, instance: own, being: Being::Cgroup(group, ids) }))
}

/// The container that begins at this cgroup, as its processes see it; else one that is the cgroup.
fn container_at(
    host: &HostFs,
    identifier: &Identifier,
    group: &Group,
) -> Result<Arc<Container>, Error> {
    let processes = group.processes(MOST)?;
    for &process in &processes {
        let found = identifier.identify(process).ok().flatten();
        if let Some(found) = found.filter(|found| is_at(found.paths(), group.paths())) {
            return Ok(found);
        }
    }
    let started = |pid: &u32| {
        let mut text = Vec::new();
        host.proc.read_one(format!("{pid}/stat"), &mut text).ok()?;
        Some((PidStat::parse(&text)?.start_time, *pid))
    };
    // Without a process, nobody is there whose time could pass.
    let oldest = processes.iter().filter_map(started).min();
    let (start_time, pid) = oldest.unwrap_or_else(|| (ticks_since_boot(), 0));
    let kind = AnchorKind::Oldest;
    let anchor = Anchor { kind, pid, start_time, boottime_offset: None, pid_namespace: None };
    let own = Group::new(identifier.layout(), group.paths().clone());
    Ok(Arc::new(Container::new(anchor, own)?))
}

/// Whether a container's cgroups are these, in every hierarchy that has them.
fn is_at(container: &CgroupPaths, wanted: &CgroupPaths) -> bool {
    let mut pairs = container.iter().zip(wanted.iter());
    pairs.all(|(own, wanted)| wanted == Path::new("/") || own == wanted)
}

fn ticks_since_boot() -> Ticks {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Ticks(seconds.saturating_mul(rustix::param::clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    fn init(pid: u32, start_time: u64) -> Target {
        Target::Init(Init { pid, start_time })
    }

    fn cgroup(path: &str) -> Target {
        Target::Cgroup { path: path.to_owned(), instance: None }
    }

    /// A container with an init, 20, in `/c`; a process of the host's pid namespace, 40, in
    /// `/shared`.
    fn machine() -> Fake {
        let fake = Fake::new(&["/c", "/shared", "/empty"]);
        fake.process(20, "20 1", 9, "/c");
        fake.namespaces(20, &[("pid", 100), ("mnt", 200), ("time", 2)]);
        fake.process(40, "40", 9, "/shared");
        fake.namespaces(40, &[("pid", crate::fake::HOST_PID), ("mnt", 1), ("time", 2)]);
        fake.cgroup_file("/c", "cgroup.procs", "20\n");
        fake.cgroup_file("/shared", "cgroup.procs", "40\n");
        fake.cgroup_file("/empty", "cgroup.procs", "");
        fake
    }

    fn found(fake: &Fake, target: &Target) -> Option<Found> {
        find(&fake.host(), &fake.identifier(), target).unwrap()
    }

    #[test]
    fn a_target_is_the_container_of_whoever_reads_in_it() {
        let fake = machine();
        for (pid, path) in [(20, "/c"), (40, "/shared")] {
            let key = fake.identifier().identify(pid).unwrap().unwrap().key();
            for target in [init(pid, u64::from(pid) * 10), cgroup(path)] {
                let found = found(&fake, &target).unwrap();
                assert_eq!(found.container.key(), key, "{target:?}");
                assert!(found.is_there(&fake.host()).unwrap());
            }
        }
        let empty = found(&fake, &cgroup("/empty")).unwrap();
        assert_eq!(empty.container.paths().iter().next().unwrap(), Path::new("/empty"));
    }

    #[test]
    fn what_is_no_container_is_not_found() {
        let fake = machine();
        fake.process(50, "50", 9, "/");
        fake.namespaces(50, &[("pid", crate::fake::HOST_PID), ("mnt", 1)]);
        for target in [init(50, 500), init(20, 201), init(21, 210), init(0, 0), cgroup("/none")] {
            assert!(found(&fake, &target).is_none(), "{target:?}");
        }
        for path in ["/", "/../c", "//"] {
            assert!(found(&fake, &cgroup(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn a_process_that_ends_takes_its_container_along() {
        let fake = machine();
        let target = init(20, 200);
        let before = found(&fake, &target).unwrap();
        // It has ended, and its parent has not asked yet.
        fake.file(20, "stat", "20 (a b) Z 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 200 0\n");
        assert!(!before.is_there(&fake.host()).unwrap());
        assert!(found(&fake, &target).is_none());
        // Its number is another's by now.
        fake.file(20, "stat", "20 (a b) S 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 300 0\n");
        assert!(!before.is_there(&fake.host()).unwrap());
        assert!(found(&fake, &target).is_none());
        let after = found(&fake, &init(20, 300)).unwrap();
        assert_ne!(after.instance, before.instance);
        fake.end(20);
        assert!(!after.is_there(&fake.host()).unwrap());
    }

    #[test]
    fn another_cgroup_at_the_same_path_is_another_container() {
        let fake = machine();
        let target = cgroup("/shared");
        let before = found(&fake, &target).unwrap();
        let Target::Cgroup { path, .. } = target.clone() else { unreachable!() };
        let exact = Target::Cgroup { path, instance: Some(before.instance) };
        assert_eq!(found(&fake, &exact).unwrap().instance, before.instance);
        assert!(before.is_there(&fake.host()).unwrap());
        fake.cgroup_remove_file("/shared", "cgroup.procs");
        fake.replace_cgroup("/shared");
        fake.cgroup_file("/shared", "cgroup.procs", "");
        assert!(!before.is_there(&fake.host()).unwrap());
        assert!(found(&fake, &exact).is_none());
        assert_ne!(found(&fake, &target).unwrap().instance, before.instance);
    }
}
