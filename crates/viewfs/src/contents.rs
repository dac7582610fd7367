//! The content of every file, for a given container.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cgroup::{Controller, Layout};
use container::{Container, Identifier};
use fuse::Errno;
use hostfs::{Dir, HostFs};
use view::Cpus;
use view::catalogue::{ProcFile, SYS_CPU_NEEDS, SysCpu, sys_cpu};
use view::policy::Policy;

use crate::gather::{Gather, GatherError, HostText};

/// Who asks, and what they get to read.
#[derive(Debug)]
pub struct Contents {
    host: Arc<HostFs>,
    host_cpu: Dir,
    identifier: Identifier,
    gather: Gather,
    policy: Policy,
    /// Off: everybody gets the host's content.
    is_virtual: AtomicBool,
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
    /// A thread could not be started.
    #[error("cannot start the load sampler: {0}")]
    Thread(#[from] std::io::Error),
}

impl Contents {
    /// Opens what is needed of the host: private mounts of procfs and sysfs, and the cgroup
    /// hierarchies that this process sees.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn of_this_host(policy: Policy) -> Result<Self, StartError> {
        let host = Arc::new(HostFs::mount()?);
        container::check_namespaces(&host)?;
        let layout = Arc::new(Layout::detect(&host)?);
        let host_cpu = host.sys.open_dir("devices/system/cpu")?;
        log_missing_controllers(&layout);
        log_unknown_lines(&host)?;
        Ok(Self {
            identifier: Identifier::new(Arc::clone(&host), Arc::clone(&layout))?,
            gather: Gather::start(Arc::clone(&host), policy)?,
            host,
            host_cpu,
            policy,
            is_virtual: AtomicBool::new(true),
        })
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
        self.identifier.identify(tid).map_err(|error| {
            tracing::debug!(tid, %error, "cannot tell whose thread this is");
            error.errno()
        })
    }

    /// The content of a file of `/proc`.
    pub(crate) fn proc_file(
        &self,
        file: &ProcFile,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.host.kept_proc.read(file.name, &mut text).map_err(|error| error.errno())?;
        let Some(container) = container.filter(|_| self.shows_own(file)) else { return Ok(text) };
        let host = HostText { file: file.name, text: &text };
        let view = self.gathered(self.gather.view(file.needs, container, host))?;
        let mut out = Vec::with_capacity(text.len());
        self.rendered((file.render)(&text, &view, &mut out))?;
        Ok(out)
    }

    /// The content of a file below `/sys/devices/system/cpu`.
    pub(crate) fn sys_cpu_file(
        &self,
        path: &str,
        container: Option<&Arc<Container>>,
    ) -> fuse::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.host_cpu.read(path, &mut text).map_err(|error| error.errno())?;
        let (Some(container), SysCpu::Virtual(render)) = (container, sys_cpu(path)) else {
            return Ok(text);
        };
        let host = HostText { file: path, text: &text };
        let view = self.gathered(self.gather.view(SYS_CPU_NEEDS, container, host))?;
        let mut out = Vec::with_capacity(text.len());
        self.rendered(render(&text, &view, &mut out))?;
        Ok(out)
    }

    /// The container's CPUs; `None`: the host's.
    pub(crate) fn cpus(&self, container: Option<&Arc<Container>>) -> fuse::Result<Option<Cpus>> {
        let Some(container) = container else { return Ok(None) };
        self.gathered(self.gather.cpus(container)).map(Some)
    }

    /// The host's `/sys/devices/system/cpu`.
    pub(crate) fn host_cpu(&self) -> &Dir {
        &self.host_cpu
    }

    fn shows_own(&self, file: &ProcFile) -> bool {
        self.policy.loadavg || file.name != "loadavg"
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

/// Without a controller nothing limits containers, so they see the host's numbers. Say so.
fn log_missing_controllers(layout: &Layout) {
    let needed = [
        (Controller::Memory, "meminfo and swaps"),
        (Controller::Cpu, "CPU quotas"),
        (Controller::Cpuset, "CPU sets"),
        (Controller::Io, "diskstats"),
    ];
    for (controller, what) in needed {
        if layout.hierarchy_of(controller).is_none() {
            let name = controller.v1_name();
            tracing::warn!(
                "this kernel has no {name} controller mounted or switched on: containers see the \
                 host's {what}; see cgroup_enable= and cgroup_no_v1= of the kernel command line"
            );
        }
    }
}

/// Lines of a newer kernel are shown as 0, because they could tell about the host.
fn log_unknown_lines(host: &HostFs) -> Result<(), hostfs::Error> {
    let mut meminfo = Vec::new();
    host.kept_proc.read("meminfo", &mut meminfo)?;
    for line in view::render::meminfo::unknown_lines(&meminfo) {
        let line = String::from_utf8_lossy(line);
        tracing::info!(%line, "meminfo has a line that is not known; containers see it as 0");
    }
    Ok(())
}
