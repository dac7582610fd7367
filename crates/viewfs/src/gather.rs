//! From a container's cgroup values to the parts of its resource view that a file needs.

use std::sync::Arc;

use cgroup::Layout;
use container::Container;
use fuse::Errno;
use hostfs::{HostFs, KeptDir};
use procfmt::cpulist::CpuSet;
use procfmt::meminfo::Totals;
use procfmt::num::parse_u64;
use procfmt::stat::{btime, busy_ticks};
use procfmt::units::{Bytes, Kib, Usec};
use view::catalogue::Needs;
use view::{
    Clock, CpuTimes, Cpus, Disks, Hint, HostMemory, HugePagePool, Memory, Nodes, ResourceView,
};

use crate::accounts::Accounts;
use crate::clocks::boottime;
use crate::contents::StartError;
use crate::decisions::Decisions;
use crate::disks::{BlkioAccounting, mounted_disks};
use crate::numa::{HostNodes, thread_siblings};
use crate::recent::About;
use crate::sampler::Sampler;
use crate::store::StateDir;
use crate::upkeep::Upkeep;
use crate::vm::{PageSizes, vm};

/// Gathers views.
#[derive(Debug)]
pub(crate) struct Gather {
    host: Arc<HostFs>,
    host_cpu: KeptDir,
    host_nodes: HostNodes,
    /// `/sys/kernel/mm/hugepages/hugepages-<size>kB` by page size.
    huge_page_pools: Vec<(Bytes, KeptDir)>,
    accounts: Accounts,
    sampler: Sampler,
    /// Keeps other daemons out of our histories.
    _state: Option<StateDir>,
    blkio: Option<BlkioAccounting>,
    decisions: Arc<Decisions>,
    user_hz: u64,
    page_sizes: PageSizes,
    /// Where a path below `/sys` leads is decided by these.
    known_cpus: About<Cpus>,
    known_nodes: About<Nodes>,
    known_disks: About<Option<Disks>>,
}

/// Starts what was opened.
pub(crate) type Start = Box<dyn FnOnce() -> Result<Gather, StartError> + Send>;

/// What to do with the histories that a daemon has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Histories {
    /// Take them over and write them on.
    Take,
    /// Read them: the daemon may be running.
    Look,
}

/// The host's file that is being rendered, which need not be read a second time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostText<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a [u8],
}

/// Why a view could not be gathered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    #[error(transparent)]
    Host(#[from] hostfs::Error),
    #[error("the host's list of online CPUs is not understood: {0}")]
    Online(#[from] procfmt::cpulist::ParseError),
}

impl GatherError {
    /// Whether the container has ended meanwhile, which is nobody's fault.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Cgroup(error) if error.is_gone())
    }

    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Cgroup(error) => error.errno(),
            Self::Host(error) => error.errno(),
            Self::Online(_) => Errno::IO,
        }
    }
}

impl Gather {
    /// Opens all that has a path on the host. What comes back takes the histories over and starts
    /// the load sampler.
    pub(crate) fn open(
        host: Arc<HostFs>,
        layout: &Layout,
        decisions: Arc<Decisions>,
        upkeep: &Upkeep,
        histories: Histories,
    ) -> Result<Start, StartError> {
        let user_hz = rustix::param::clock_ticks_per_second();
        let blkio = upkeep.blkio_accounting.then(|| BlkioAccounting::new(layout)).flatten();
        blkio.iter().try_for_each(|blkio| blkio.switch_on_all(&host))?;
        let host_cpu = KeptDir::open(&host.sys, "devices/system/cpu", &host.kept)?;
        let host_nodes = HostNodes::open(&host)?;
        let huge_page_pools = huge_page_pools(&host)?;
        let page_sizes = PageSizes::of_this_host(&host)?;
        let cpus = possible_cpus(&host)?;
        let (path, moment) = (upkeep.histories.clone(), upkeep.moment());
        Ok(Box::new(move || {
            let state = match histories {
                Histories::Take => StateDir::open_or_log(path.as_deref(), &host),
                Histories::Look => path.and_then(|path| StateDir::look_or_log(&path, &host)),
            };
            Ok(Self {
                accounts: Accounts::open(state.as_ref(), cpus),
                sampler: Sampler::start(Arc::clone(&host), state.as_ref())?,
                _state: state,
                host_cpu,
                host_nodes,
                huge_page_pools,
                blkio,
                page_sizes,
                host,
                decisions,
                user_hz,
                known_cpus: About::new(moment),
                known_nodes: About::new(moment),
                known_disks: About::new(moment),
            })
        }))
    }

    /// The parts of the container's view that `needs` names.
    pub(crate) fn view(
        &self,
        needs: Needs,
        container: &Arc<Container>,
        host: HostText<'_>,
    ) -> Result<ResourceView, GatherError> {
        let mut view = ResourceView { user_hz: self.user_hz, ..ResourceView::default() };
        if needs.cpus || needs.cpu_times || needs.nodes || needs.thread_siblings {
            view.cpus = Some(self.cpus(container)?);
        }
        if needs.memory {
            view.memory = self.memory(container, host)?;
        }
        if needs.cpu_times {
            view.clock = Some(self.clock(container, host)?);
        }
        if let (Some(cpus), Some(clock), true) = (&view.cpus, view.clock, needs.cpu_times) {
            view.cpu_times = self.cpu_times(container, cpus, clock, host)?;
        }
        if needs.tasks {
            view.tasks = Some(self.sampler.tasks(container, self.user_hz)?);
        }
        if let (Some(cpus), true) = (&view.cpus, needs.nodes) {
            view.nodes = Some(self.nodes(container, cpus, view.memory.as_ref())?);
        }
        if let (Some(cpus), true) = (&view.cpus, needs.thread_siblings) {
            view.thread_siblings = Some(thread_siblings(&self.host_cpu, cpus.visible())?);
        }
        if needs.disks {
            view.disks = self.disks(container)?;
        }
        if needs.vm {
            view.vm = vm(&self.host, self.page_sizes, container.group())?;
        }
        if needs.slabs {
            view.slabs = Some(container.group().slabs()?);
        }
        Ok(view)
    }

    /// Which NUMA nodes the container sees.
    pub(crate) fn which_nodes(&self, container: &Arc<Container>) -> Result<Nodes, GatherError> {
        let find = || self.nodes(container, &self.cpus(container)?, None);
        self.known_nodes.of(container, find)
    }

    /// Which NUMA nodes the container sees, and how `memory` lies on them.
    fn nodes(
        &self,
        container: &Container,
        cpus: &Cpus,
        memory: Option<&Memory>,
    ) -> Result<Nodes, GatherError> {
        let input = container.group().numa()?;
        let host = self.host_nodes.read(cpus.visible(), memory.is_some())?;
        Ok(Nodes::new(&input, &host, cpus, memory))
    }

    /// Which CPUs the container sees.
    pub(crate) fn cpus(&self, container: &Arc<Container>) -> Result<Cpus, GatherError> {
        self.known_cpus.of(container, || self.find_cpus(container))
    }

    fn find_cpus(&self, container: &Container) -> Result<Cpus, GatherError> {
        let input = container.group().cpu()?;
        let mut online = Vec::new();
        self.host_cpu.read_one("online", &mut online)?;
        let decision = self.decisions.of(container);
        Ok(Cpus::by_policy(&input, &CpuSet::parse_list(&online)?, decision.policy()))
    }

    fn memory(
        &self,
        container: &Container,
        host: HostText<'_>,
    ) -> Result<Option<Memory>, GatherError> {
        let group = container.group();
        let Some(input) = group.memory()? else { return Ok(None) };
        let hugetlb = group.hugetlb()?;
        let mut host = self.host_memory(host, hugetlb.is_some())?;
        if let Some(nodes) = self.host_nodes.totals_of_some(|| group.mems())? {
            host = host.confined_to(&nodes);
        }
        let decision = self.decisions.of(container);
        Ok(Some(Memory::new(&input, hugetlb.as_deref(), &host, decision.policy())))
    }

    fn host_memory(
        &self,
        host: HostText<'_>,
        with_pools: bool,
    ) -> Result<HostMemory, hostfs::Error> {
        let totals = self.with_host_text("meminfo", host, Totals::parse)?;
        let mut pools = Vec::new();
        if with_pools {
            for (size, dir) in &self.huge_page_pools {
                let pages = number(dir, "nr_hugepages")?;
                pools.push(HugePagePool { size: *size, pages });
            }
        }
        Ok(HostMemory {
            totals,
            overcommit_ratio: number(&self.host.kept_proc, "sys/vm/overcommit_ratio")?,
            overcommit: Kib(number(&self.host.kept_proc, "sys/vm/overcommit_kbytes")?),
            huge_page_pools: pools,
        })
    }

    fn clock(&self, container: &Container, host: HostText<'_>) -> Result<Clock, hostfs::Error> {
        match container.anchor().boottime_offset {
            None => Ok(Clock::since(started(container, self.user_hz), boottime())),
            Some(offset) => {
                let host_btime = self.with_host_text("stat", host, btime)?.unwrap_or(0);
                Ok(Clock::in_time_namespace(offset, boottime(), host_btime))
            }
        }
    }

    fn cpu_times(
        &self,
        container: &Container,
        cpus: &Cpus,
        clock: Clock,
        host: HostText<'_>,
    ) -> Result<Option<CpuTimes>, GatherError> {
        let group = container.group();
        let host_busy = || self.with_host_text("stat", host, host_busy(self.user_hz));
        // The account goes by the kernel's numbers, whatever the container sees.
        let visible = cpus.visible();
        let times = self.accounts.times(
            (container.key(), container.paths().into()),
            clock.uptime,
            visible,
            self.user_hz,
            || {
                let Some(input) = group.cpu_time()? else { return Ok(None) };
                let hint = match (&input.per_cpu, cpus.stands_for_quota()) {
                    (_, true) => Hint::None,
                    (Some(exact), false) => Hint::Busy(exact.clone()),
                    (None, false) => Hint::Busy(host_busy()?),
                };
                Ok(Some((input, hint)))
            },
        )?;
        Ok(times.map(|times| times.as_shown(cpus)))
    }

    /// Which disks the container sees, and its I/O on them; `None`: nothing counts it.
    pub(crate) fn disks(&self, container: &Arc<Container>) -> Result<Option<Disks>, GatherError> {
        self.known_disks.of(container, || self.find_disks(container))
    }

    fn find_disks(&self, container: &Container) -> Result<Option<Disks>, GatherError> {
        let Some(io) = container.group().io()? else { return Ok(None) };
        let mounted = mounted_disks(&self.host, container);
        self.blkio.iter().for_each(|blkio| blkio.switch_on(&mounted));
        Ok(Some(Disks::new(io, mounted)))
    }

    /// Parses `meminfo` or `stat` of the host, which may be the file in hand already.
    fn with_host_text<T>(
        &self,
        file: &str,
        host: HostText<'_>,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, hostfs::Error> {
        if host.file == file {
            return Ok(parse(host.text));
        }
        let mut text = Vec::new();
        self.host.kept_proc.read_one(file, &mut text)?;
        Ok(parse(&text))
    }
}

/// How many CPUs there can ever be without a reboot.
fn possible_cpus(host: &HostFs) -> Result<usize, hostfs::Error> {
    let mut possible = Vec::new();
    host.sys.read("devices/system/cpu/possible", &mut possible)?;
    // A list that is not understood leaves room for as many as a kernel can have.
    Ok(CpuSet::parse_list(&possible).map_or(8192, |cpus| cpus.iter().count()))
}

/// When the container's first process was started, after boot.
pub(crate) fn started(container: &Container, user_hz: u64) -> Usec {
    Usec::from_ticks(container.anchor().start_time.0, user_hz)
}

/// How long each CPU of the host was busy since boot, by its number.
fn host_busy(user_hz: u64) -> impl Fn(&[u8]) -> Vec<Usec> {
    move |text| {
        let mut busy = Vec::new();
        for (cpu, ticks) in busy_ticks(text) {
            let index = cpu as usize;
            if busy.len() <= index {
                busy.resize(index + 1, Usec::ZERO);
            }
            if let Some(slot) = busy.get_mut(index) {
                *slot = Usec::from_ticks(ticks.0, user_hz);
            }
        }
        busy
    }
}

/// A file of sysfs or of `/proc/sys` with one number; 0 where there is no such file.
pub(crate) fn number(dir: &KeptDir, file: &str) -> Result<u64, hostfs::Error> {
    let mut text = Vec::new();
    match dir.read_one(file, &mut text) {
        Ok(()) => Ok(parse_u64(text.trim_ascii()).unwrap_or(0)),
        Err(error) if error.is_absent() => Ok(0),
        Err(error) => Err(error),
    }
}

/// Page sizes do not change while the machine runs.
fn huge_page_pools(host: &HostFs) -> Result<Vec<(Bytes, KeptDir)>, hostfs::Error> {
    const POOLS: &str = "kernel/mm/hugepages";
    let entries = match host.sys.list(POOLS) {
        Ok(entries) => entries,
        Err(error) if error.is_absent() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut pools = Vec::new();
    for entry in entries {
        let name = entry.name.to_string_lossy();
        let kib = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB"));
        let Some(kib) = kib.and_then(|digits| parse_u64(digits.as_bytes())) else { continue };
        let dir = KeptDir::open(&host.sys, format!("{POOLS}/{name}"), &host.kept)?;
        pools.push((Kib(kib).bytes(), dir));
    }
    Ok(pools)
}
