//! The content of every file, for a given container.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use cgroup::Layout;
use container::registry::{Found, Registry, Target, Writer};
use container::{Container, Identifier, Identity};
use fuse::Errno;
use hostfs::HostFs;
use procfmt::units::Usec;
use view::catalogue::{FilePolicy, PRESSURE, ProcFile, Sys, sys, sys_directory};
use view::policy::{CpuNumbers, Policy};
use view::{Cpus, Disks, Nodes};

use crate::classes::Classes;
use crate::decisions::{Decision, Decisions};
use crate::degraded::{Degraded, Log};
use crate::gather::{Gather, GatherError, Histories, HostText, Start};
use crate::linux32::{self, Linux32};
use crate::pressure::HostPressure;
use crate::recent::Callers;
use crate::startup_log;
use crate::upkeep::Upkeep;

/// Who asks, and what they get to read.
#[derive(Debug)]
pub struct Contents {
    host: Arc<HostFs>,
    identifier: Arc<Identifier>,
    classes: Classes,
    callers: Callers,
    source: Source,
    linux32: Linux32,
    /// `None`: there are no pressure files.
    pressure: Option<HostPressure>,
    decisions: Arc<Decisions>,
    /// Off: everybody gets the host's content.
    is_virtual: AtomicBool,
    /// How long what was made is used again.
    pub(crate) moment: Usec,
    /// Files of `/proc` that this kernel has.
    seen_on_host: RwLock<Vec<&'static str>>,
}

/// Where containers' own content comes from.
#[derive(Debug)]
enum Source {
    Cgroups(Box<Gather>),
    /// Nothing may be gathered or rendered: that may be what keeps killing this process.
    Degraded(Log),
}

/// All that has to be opened is open; no thread runs yet, and no history has been taken over. In
/// between, a process gives up its capabilities, which it can do for all its threads only while
/// there is one, and waits until the process before it has stopped.
pub struct Opened {
    start: Start,
    contents: Unstarted,
}

/// What is there before the source is.
struct Unstarted {
    host: Arc<HostFs>,
    identifier: Arc<Identifier>,
    linux32: Linux32,
    pressure: Option<HostPressure>,
    decisions: Arc<Decisions>,
    moment: Usec,
}

/// Why there can be no view on this machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host's own files cannot be reached.
    #[error(transparent)]
    Host(#[from] hostfs::Error),
    /// There is no cgroup file system.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The daemon sits in a namespace from which containers look different.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// There is no place for registrations of containers.
    #[error(transparent)]
    Registrations(#[from] container::registry::WriteError),
    /// A thread could not be started.
    #[error("cannot start the load sampler: {0}")]
    Thread(#[from] std::io::Error),
}

impl Opened {
    /// Takes over the histories that the last daemon left, which must have stopped, and starts the
    /// load sampler.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self) -> Result<Contents, StartError> {
        Ok(self.contents.with(Source::Cgroups(Box::new((self.start)()?))))
    }

    /// The contents for a process whose predecessors kept dying: nothing is gathered, nothing
    /// rendered, no history touched and no thread started. Containers get what `degraded` says, and
    /// below `/sys` find every name that the host has. Pressure files are as ever.
    #[must_use]
    pub fn start_degraded(self, degraded: Degraded) -> Contents {
        self.contents.with(Source::Degraded(Log::new(degraded)))
    }

    /// As [`Contents::has_pressure`].
    #[must_use]
    pub fn has_pressure(&self) -> bool {
        self.contents.pressure.is_some()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("host", &self.contents.host).finish_non_exhaustive()
    }
}

impl Unstarted {
    fn with(self, source: Source) -> Contents {
        let Self { host, identifier, linux32, pressure, decisions, moment } = self;
        Contents {
            host,
            identifier,
            classes: Classes::new(),
            callers: Callers::new(moment),
            moment,
            source,
            linux32,
            pressure,
            decisions,
            is_virtual: AtomicBool::new(true),
            seen_on_host: RwLock::default(),
        }
    }
}

impl Contents {
    /// Opens what is needed of the host: private mounts of procfs and sysfs, and the cgroup
    /// hierarchies that this process sees. The mounts need CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn of_this_host(policy: Policy, upkeep: &Upkeep) -> Result<Opened, StartError> {
        Self::open(policy, upkeep, Histories::Take)
    }

    pub(crate) fn open(
        policy: Policy,
        upkeep: &Upkeep,
        histories: Histories,
    ) -> Result<Opened, StartError> {
        let host = Arc::new(HostFs::mount()?);
        container::check_namespaces(&host)?;
        let layout = Arc::new(Layout::detect(&host)?);
        startup_log::missing_controllers(&layout);
        startup_log::unknown_lines(&host)?;
        startup_log::overrides(&policy);
        let has_pressure = lists(&policy, PRESSURE, true) && host.proc.stat("pressure").is_ok();
        let identifier = Arc::new(Identifier::new(Arc::clone(&host), Arc::clone(&layout))?);
        let registry = upkeep.registrations.as_ref().map(Writer::open).transpose()?;
        let registry = registry.map(|writer| writer.reader());
        let decisions =
            Decisions::new(policy, registry, Arc::clone(&host), Arc::clone(&identifier));
        let decisions = Arc::new(decisions);
        let start =
            Gather::open(Arc::clone(&host), &layout, Arc::clone(&decisions), upkeep, histories)?;
        let contents = Unstarted {
            identifier,
            linux32: Linux32::new(Arc::clone(&host)),
            pressure: has_pressure.then(HostPressure::mount).transpose()?,
            host,
            decisions,
            moment: upkeep.moment(),
        };
        Ok(Opened { start, contents })
    }

    /// Switches between the container's content and the host's, for everybody.
    pub fn set_virtual(&self, on: bool) {
        self.is_virtual.store(on, Ordering::Relaxed);
    }

    /// Whether containers get their own content.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.is_virtual.load(Ordering::Relaxed)
    }

    /// The container of the thread `tid`; `None`: it is the host's, or virtualisation is off.
    pub(crate) fn identify(&self, tid: u32) -> fuse::Result<Option<Arc<Container>>> {
        if !self.is_virtual() {
            return Ok(None);
        }
        self.callers.of(tid, || {
            let container = self.identifier.identify(tid).map_err(|error| {
                tracing::debug!(tid, %error, "cannot tell whose thread this is");
                error.errno()
            })?;
            self.classes.note(tid, container.as_ref().map(|container| container.key()));
            Ok(container)
        })
    }

    /// Whose request it may be, without asking anybody; see [`fuse::Filesystem::class`].
    pub(crate) fn class(&self, tid: u32) -> u64 {
        self.classes.guess(tid)
    }

    /// The same for a thread that may be new; see [`fuse::Filesystem::class_of_stranger`].
    pub(crate) fn class_of_stranger(&self, tid: u32) -> u64 {
        self.classes.find(tid, || self.identifier.cgroup_number(tid))
    }

    /// Whether the tree has this file. Not where this kernel lacks it: a container engine would
    /// make an empty file of it.
    pub(crate) fn serves(&self, file: &ProcFile) -> bool {
        self.lists(file.name, file.in_lxcfs) && self.is_on_host(file)
    }

    /// Whether this kernel has the file. Once it does, it does until the next boot.
    pub(crate) fn is_on_host(&self, file: &ProcFile) -> bool {
        let is_known = |seen: &[&str]| seen.contains(&file.name);
        if is_known(&self.seen_on_host.read().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        let is_there = self.host.proc.stat(file.name).is_ok();
        let mut seen = self.seen_on_host.write().unwrap_or_else(PoisonError::into_inner);
        if is_there && !is_known(&seen) {
            seen.push(file.name);
        }
        is_there
    }

    /// Whether the thread `tid` gets the text for 32-bit programs of this file.
    pub(crate) fn is_linux32(&self, file: &ProcFile, tid: u32) -> bool {
        let look = || linux32::is_linux32(self.identifier.personality(tid));
        linux32::may_differ(file.name) && self.callers.is_linux32(tid, look)
    }

    /// The content of a file of `/proc`.
    pub(crate) fn proc_file(
        &self,
        file: &ProcFile,
        is_linux32: bool,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<Vec<u8>> {
        let mut text = Vec::new();
        if is_linux32 {
            text.extend_from_slice(&self.linux32.cpuinfo()?);
        } else {
            let proc = &self.host.kept_proc;
            let read = match file.name {
                "loadavg" | "meminfo" | "stat" | "uptime" => proc.read_one(file.name, &mut text),
                _ => proc.read(file.name, &mut text), // a list of records
            };
            read.map_err(|error| error.errno())?;
        }
        let own = self.own(file.name, container).zip(self.gather());
        let Some((container, gather)) = own else { return Ok(text) };
        let host = HostText { file: file.name, text: &text };
        let view = self.gathered(gather.view(file.needs, container, host))?;
        let mut out = Vec::with_capacity(text.len());
        self.rendered((file.render)(&text, &view, &mut out))?;
        Ok(out)
    }

    /// The content of a file below a served directory of `/sys`, by its path there.
    pub(crate) fn sys_file(
        &self,
        path: &str,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<Vec<u8>> {
        let container = self.own_of_sys(path, container);
        let mut text = Vec::new();
        let host_path = crate::sys::on_host(self, path, container)?;
        self.host.sys.read(host_path.as_ref(), &mut text).map_err(|error| error.errno())?;
        let own = container.zip(self.gather());
        let (Some((container, gather)), Sys::Virtual(file)) = (own, sys(path)) else {
            return Ok(text);
        };
        let file = file.about(crate::sys::device_of(self, path));
        let host = HostText { file: path, text: &text };
        let view = self.gathered(gather.view(file.needs, container, host))?;
        let mut out = Vec::with_capacity(text.len());
        self.rendered(file.render(&text, &view, &mut out))?;
        Ok(out)
    }

    /// The container's CPUs; `None`: the host's.
    pub(crate) fn cpus(&self, container: Option<&Arc<Container>>) -> fuse::Result<Option<Cpus>> {
        let Some((container, gather)) = container.zip(self.gather()) else { return Ok(None) };
        self.gathered(gather.cpus(container)).map(Some)
    }

    /// The host's own `/proc` and `/sys`.
    pub(crate) fn host(&self) -> &HostFs {
        &self.host
    }

    /// Whether there are pressure files: not where the operator wants none, nor with `psi=0`, nor
    /// where the kernel was built without.
    #[must_use]
    pub fn has_pressure(&self) -> bool {
        self.pressure.is_some()
    }

    /// The host's pressure files, if there are any.
    pub(crate) fn host_pressure(&self) -> Option<&HostPressure> {
        self.pressure.as_ref()
    }

    /// The container's NUMA nodes, without their memory; `None`: the host's.
    pub(crate) fn nodes(&self, container: Option<&Arc<Container>>) -> fuse::Result<Option<Nodes>> {
        let Some((container, gather)) = container.zip(self.gather()) else { return Ok(None) };
        self.gathered(gather.which_nodes(container)).map(Some)
    }

    /// The container's disks; `None`: the host's.
    pub(crate) fn disks(&self, container: Option<&Arc<Container>>) -> fuse::Result<Option<Disks>> {
        let Some((container, gather)) = container.zip(self.gather()) else { return Ok(None) };
        self.gathered(gather.disks(container))
    }

    /// Whether the tree has this directory of `/sys`. A kernel without `CONFIG_NUMA` has no `node`.
    pub(crate) fn serves_directory(&self, path: &str) -> bool {
        let wanted = sys_directory(path).is_some_and(|one| self.lists(one.name, one.in_lxcfs));
        wanted && self.host.sys.stat(path).is_ok()
    }

    /// Whether containers may see their CPUs under other numbers than the kernel's.
    pub(crate) fn may_renumber_cpus(&self) -> bool {
        self.decisions.of_all().policy().cpu_numbers != CpuNumbers::Kernel
    }

    /// The container of the thread `tid` that reads below a served directory of `/sys`; `None` also
    /// where all get the host's.
    pub(crate) fn identify_for(
        &self,
        path: &str,
        tid: u32,
    ) -> fuse::Result<Option<Arc<Container>>> {
        if sys_directory(path).is_some_and(|directory| !self.shows_own(directory.name)) {
            return Ok(None);
        }
        let container = self.identify(tid)?;
        Ok(self.own_of_sys(path, container.as_ref()).cloned())
    }

    /// The container, if it gets its own content of this file or directory of the catalogue.
    pub(crate) fn own<'a>(
        &self,
        name: &str,
        container: Option<&'a Arc<Container>>,
    ) -> Option<&'a Arc<Container>> {
        let is_own = |one: &Container| self.decision(one).of_file(name) == FilePolicy::Virtual;
        container.filter(|one| is_own(one))
    }

    /// As [`Contents::own`], of what lies at a path below `/sys`.
    pub(crate) fn own_of_sys<'a>(
        &self,
        path: &str,
        container: Option<&'a Arc<Container>>,
    ) -> Option<&'a Arc<Container>> {
        match sys_directory(path) {
            Some(directory) => self.own(directory.name, container),
            None => container,
        }
    }

    /// What is decided about a container.
    pub(crate) fn decision(&self, container: &Container) -> Arc<Decision> {
        self.decisions.of(container)
    }

    /// The registered containers; `None`: there are none, ever.
    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.decisions.registry()
    }

    /// The container that a registration tells of.
    ///
    /// # Errors
    /// `ENOENT` if it has ended.
    pub(crate) fn find_registered(&self, target: &Target) -> fuse::Result<Found> {
        let found = container::registry::find(&self.host, &self.identifier, target);
        found.map_err(|error| log_unclear(&error))?.ok_or(Errno::NOENT)
    }

    /// Whether a container that was found is still there, so that what was read since is its own.
    pub(crate) fn is_there(&self, found: &Found) -> fuse::Result<bool> {
        found.is_there(&self.host).map_err(|error| log_unclear(&error))
    }

    /// Whether containers get their own content of this file or directory of the catalogue.
    pub(crate) fn shows_own(&self, name: &str) -> bool {
        self.decisions.of_all().of_file(name) == FilePolicy::Virtual
    }

    fn lists(&self, name: &str, in_lxcfs: bool) -> bool {
        lists(self.decisions.of_all().policy(), name, in_lxcfs)
    }

    /// `None`: degraded.
    fn gather(&self) -> Option<&Gather> {
        match &self.source {
            Source::Cgroups(gather) => Some(gather),
            Source::Degraded(_) => None,
        }
    }

    /// What a container gets in place of content made for it; `None`: it gets that.
    pub(crate) fn degraded(&self) -> Option<&Log> {
        match &self.source {
            Source::Cgroups(_) => None,
            Source::Degraded(log) => Some(log),
        }
    }

    /// The container that another process has known; `None` if it has ended, or if it cannot be
    /// told whether it has.
    pub(crate) fn find_again(&self, identity: &Identity) -> Option<Arc<Container>> {
        self.identifier.find_again(identity).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell whether a container is still there");
            None
        })
    }

    /// How many times a container was given other content than its own, made at that moment: 0
    /// unless degraded.
    #[must_use]
    pub fn answered_degraded(&self) -> u64 {
        self.degraded().map_or(0, Log::count)
    }

    fn gathered<T>(&self, gathered: Result<T, GatherError>) -> fuse::Result<T> {
        gathered.map_err(|error| {
            if !error.is_gone() {
                tracing::warn!(%error, "cannot read a container's limits or usage");
            }
            error.errno()
        })
    }

    fn rendered(&self, rendered: Result<(), view::render::RenderError>) -> fuse::Result<()> {
        rendered.map_err(|error| {
            tracing::warn!(%error);
            Errno::IO
        })
    }
}

fn log_unclear(error: &container::Error) -> Errno {
    tracing::warn!(%error, "cannot tell whether a registered container is there");
    error.errno()
}

pub(crate) fn lists(policy: &Policy, name: &str, in_lxcfs: bool) -> bool {
    let wanted = in_lxcfs || !policy.lxcfs_files_only;
    wanted && policy.of_file(name) != FilePolicy::Absent
}
