//! From a thread id to the container it runs in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cgroup::{CgroupPaths, Group, Layout};
use hostfs::HostFs;
use procfmt::units::Ticks;

use crate::anchor::{Facts, oldest};
use crate::cache::Cache;
use crate::container::{Anchor, AnchorKind, Container};
use crate::error::Error;
use crate::init::{Init, Search};
use crate::lookout::Lookout;
use crate::process::Process;
use crate::startup::own_namespace;

/// How many pid namespaces, and how many cgroups without one, are remembered. As many as histories
/// are kept of: where containers ask in turn and there are more, each is forgotten before it comes
/// again.
const REMEMBERED: usize = 16_384;

/// Tells who is asking. Shared by all threads that serve requests.
#[derive(Debug)]
pub struct Identifier {
    host: Arc<HostFs>,
    layout: Arc<Layout>,
    host_pid: Option<u64>,
    host_time: Option<u64>,
    ask_kernel: bool,
    lookout: Lookout,
    /// By the pid namespace's inode number.
    inits: Cache<u64, Arc<Init>>,
    /// Containers without a pid namespace of their own, by where the caller is.
    shared: Cache<Whereabouts, Option<Arc<Container>>>,
    /// Inits that are asked about by their process id and start time: those of registered containers.
    registered: Cache<(u32, Ticks), Arc<Init>>,
    has_warned: AtomicBool,
}

/// A caller's `cgroup` file and mount namespace.
type Whereabouts = (Vec<u8>, Option<u64>);

/// An init, and its container.
type KnownInit = (Arc<Init>, Arc<Container>);

/// Who stands for the caller's container.
enum Standing {
    /// An init, with its `cgroup` file.
    Init(Arc<Init>, Vec<u8>),
    /// The caller itself, and its pid namespace.
    Caller(Option<u64>),
}

impl Identifier {
    /// An identifier for this machine.
    ///
    /// # Errors
    /// If this process's own namespaces cannot be read.
    pub fn new(host: Arc<HostFs>, layout: Arc<Layout>) -> Result<Self, Error> {
        Ok(Self {
            host_pid: own_namespace(&host, "pid")?,
            host_time: own_namespace(&host, "time")?,
            lookout: Lookout::new(&host.proc),
            host,
            layout,
            ask_kernel: true,
            inits: Cache::new(REMEMBERED),
            shared: Cache::new(REMEMBERED),
            registered: Cache::new(REMEMBERED),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Finds inits as before Linux 6.11, where the kernel cannot be asked for them.
    #[must_use]
    pub fn without_kernel_lookup(self) -> Self {
        Self { ask_kernel: false, ..self }
    }

    /// The container in which the thread `tid` runs; `None` if that is the host.
    ///
    /// The thread must not end meanwhile, or another one may be taken for it: ask while its request
    /// waits for an answer. To register a container, ask for its init.
    ///
    /// # Errors
    /// [`Error::OutsidePidNamespace`] for 0, [`Error::Ended`] if there is no such thread, or why
    /// procfs or a cgroup could not be read.
    pub fn identify(&self, tid: u32) -> Result<Option<Arc<Container>>, Error> {
        if tid == 0 {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!("a request was refused: {}", Error::OutsidePidNamespace);
            }
            return Err(Error::OutsidePidNamespace);
        }
        let caller = Process::new(&self.host, tid);
        match self.standing(caller)? {
            Standing::Init(init, cgroup) => self.of_init(&init, cgroup),
            Standing::Caller(pid_namespace) => self.of_caller(caller, pid_namespace),
        }
    }

    /// The personality of a thread (personality(2)), for files that differ for 32-bit callers.
    /// `None` if it may not be read: take the machine's own then.
    #[must_use]
    pub fn personality(&self, tid: u32) -> Option<u32> {
        Process::new(&self.host, tid).personality()
    }

    /// A number for the cgroups that a thread is in, the same for threads in the same ones: a guess
    /// whether they are in one container, for less than [`identify`](Self::identify) costs. `None`
    /// if they cannot be read.
    #[must_use]
    pub fn cgroup_number(&self, tid: u32) -> Option<u32> {
        let mut text = Vec::new();
        Process::new(&self.host, tid).cgroup(&mut text).ok()?;
        Some(crate::container::number(&text))
    }

    /// Whether a container that was told once is still there.
    ///
    /// # Errors
    /// [`Error::Stuck`] if its init cannot be looked at, or why procfs could not be read.
    pub fn is_alive(&self, container: &Container) -> Result<bool, Error> {
        let anchor = container.anchor();
        match anchor.kind {
            AnchorKind::Init => match self.facts(anchor.pid) {
                Ok(facts) => Ok(facts.start_time == anchor.start_time),
                Err(Error::Ended { .. }) => Ok(false),
                Err(error) => Err(error),
            },
            AnchorKind::Oldest => Ok(container.group().is_current()),
        }
    }

    /// The init that is this process, and its container, if both are known from before: nothing but its
    /// `cgroup` file has to be read then.
    pub(crate) fn known_init(
        &self,
        pid: u32,
        start_time: Ticks,
    ) -> Result<Option<KnownInit>, Error> {
        let Some(init) = self.registered.get(&(pid, start_time)) else { return Ok(None) };
        let Some(cgroup) = init.cgroup()? else {
            self.registered.remove(&(pid, start_time));
            return Ok(None);
        };
        Ok(self.of_init(&init, cgroup)?.map(|container| (init, container)))
    }

    /// Has [`known_init`](Self::known_init) know the init of this container, if it has one.
    pub(crate) fn know_init(&self, container: &Container) {
        let anchor = container.anchor();
        let init = anchor.pid_namespace.and_then(|namespace| self.inits.get(&namespace));
        if let Some(init) = init.filter(|init| init.anchor == *anchor) {
            self.registered.insert((anchor.pid, anchor.start_time), init);
        }
    }

    /// The container whose init is the process of this anchor, if it is still there.
    pub(crate) fn at_init(&self, anchor: &Anchor) -> Result<Option<Arc<Container>>, Error> {
        let Some(namespace) = anchor.pid_namespace else { return Ok(None) };
        let facts = self.facts(anchor.pid)?;
        if (facts.start_time, facts.pid_namespace) != (anchor.start_time, Some(namespace)) {
            return Ok(None);
        }
        let known = self.inits.get(&namespace).filter(|init| init.anchor == *anchor);
        let (init, cgroup) = match known.map(|init| (init.cgroup(), init)) {
            Some((Ok(Some(cgroup)), init)) => (init, cgroup),
            _ => self.remember(anchor.pid, namespace, facts)?,
        };
        self.of_init(&init, cgroup)
    }

    fn facts(&self, pid: u32) -> Result<Facts, Error> {
        self.lookout.of(pid, Facts::of)?
    }

    /// The cgroup hierarchies in which containers are looked for.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn standing(&self, caller: Process<'_>) -> Result<Standing, Error> {
        let namespace = caller.namespace("pid")?;
        let Some(namespace) = namespace.filter(|_| namespace != self.host_pid) else {
            return Ok(Standing::Caller(namespace));
        };
        let (init, cgroup) = match self.init_of(caller, namespace) {
            // What stands for the container is not known, but what the caller is in.
            Err(Error::Stuck { .. }) => return Ok(Standing::Caller(Some(namespace))),
            found => found?,
        };
        let mount_namespace = caller.namespace("mnt")?;
        if mount_namespace.is_some() && mount_namespace == init.mount_namespace {
            return Ok(Standing::Init(init, cgroup));
        }
        // A service inside a system container, or another container that shares the namespace?
        let mut own = Vec::new();
        caller.cgroup(&mut own)?;
        let own = CgroupPaths::of_process(&self.layout, &own);
        let container = self.of_init(&init, cgroup.clone())?;
        // An init in the root is above every cgroup.
        let inside = container.is_none_or(|container| container.paths().contains(&own));
        let own_namespaces_hidden = mount_namespace.is_none() || init.mount_namespace.is_none();
        Ok(if inside && !own_namespaces_hidden {
            Standing::Init(init, cgroup)
        } else {
            Standing::Caller(Some(namespace))
        })
    }

    /// The init of a pid namespace, with its `cgroup` file. Reading that also tells whether a
    /// remembered one still lives: its namespace's number is free again once it does not.
    fn init_of(&self, caller: Process<'_>, namespace: u64) -> Result<(Arc<Init>, Vec<u8>), Error> {
        if let Some(init) = self.inits.get(&namespace) {
            if let Some(cgroup) = init.cgroup()? {
                return Ok((init, cgroup));
            }
            self.inits.remove(&namespace);
        }
        let Self { host, layout, lookout, ask_kernel, .. } = self;
        let search = Search { host, layout, lookout, caller, namespace };
        let pid = search.find(*ask_kernel)?;
        self.remember(pid, namespace, self.facts(pid)?)
    }

    /// Keeps an init for its next callers.
    fn remember(
        &self,
        pid: u32,
        namespace: u64,
        facts: Facts,
    ) -> Result<(Arc<Init>, Vec<u8>), Error> {
        let anchor = facts.anchor(pid, AnchorKind::Init, Some(namespace), self.host_time);
        let init = Arc::new(Init::new(&self.host, anchor, facts.mount_namespace)?);
        let cgroup = init.cgroup()?.ok_or(Error::Ended { tid: pid })?;
        self.inits.insert(namespace, Arc::clone(&init));
        Ok((init, cgroup))
    }

    fn of_init(&self, init: &Init, cgroup: Vec<u8>) -> Result<Option<Arc<Container>>, Error> {
        init.container(cgroup, |cgroup| {
            let process = Process::new(&self.host, init.anchor.pid);
            process.check_cgroup(cgroup)?;
            let mounts = process.mountinfo()?;
            let paths = CgroupPaths::of_container(&self.layout, cgroup, &mounts);
            if paths.is_root() {
                return Ok(None);
            }
            let group = Group::new(&self.layout, paths);
            Ok(Some(Arc::new(Container::new(init.anchor, group)?)))
        })
    }

    fn of_caller(
        &self,
        caller: Process<'_>,
        pid_namespace: Option<u64>,
    ) -> Result<Option<Arc<Container>>, Error> {
        let mut cgroup = Vec::new();
        caller.cgroup(&mut cgroup)?;
        if CgroupPaths::of_process(&self.layout, &cgroup).is_root() {
            return Ok(None);
        }
        let key = (cgroup, caller.namespace("mnt")?);
        if let Some(known) = self.shared.get(&key)
            && known.as_ref().is_none_or(|container| container.group().is_current())
        {
            return Ok(known);
        }
        let mounts = caller.mountinfo()?;
        let paths = CgroupPaths::of_container(&self.layout, &key.0, &mounts);
        let container = if paths.is_root() {
            None
        } else {
            let group = Group::new(&self.layout, paths);
            let (pid, facts) = oldest(&self.lookout, &group, caller)?;
            let anchor = facts.anchor(pid, AnchorKind::Oldest, pid_namespace, self.host_time);
            Some(Arc::new(Container::new(anchor, group)?))
        };
        self.shared.insert(key, container.clone());
        Ok(container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, HOST_PID};

    /// A container with an init, 20, and a child of it, 21. There is no process 1.
    fn machine() -> Fake {
        let fake = Fake::new(&["/c", "/c/service", "/other"]);
        fake.process(20, "20 1", 9, "/c");
        fake.process(21, "21 5", 20, "/c");
        for id in [20, 21] {
            fake.namespaces(id, &[("pid", 100), ("mnt", 200), ("time", 2)]);
        }
        fake
    }

    fn path(identifier: &Identifier, tid: u32) -> Option<String> {
        let container = identifier.identify(tid).unwrap()?;
        container.paths().iter().next().map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn unreadable_proc_1_is_fine() {
        let fake = machine();
        let container = fake.identifier().identify(21).unwrap().unwrap();
        assert_eq!((container.anchor().pid, container.anchor().start_time.0), (20, 200));
        assert_eq!(fake.identifier().identify(1).unwrap_err(), Error::Ended { tid: 1 });
    }

    #[test]
    fn unreadable_namespaces_make_the_caller_the_anchor() {
        let fake = machine();
        fake.process(30, "30", 9, "/other");
        assert_eq!(path(&fake.identifier(), 30).as_deref(), Some("/other"), "no ns/pid");
        fake.namespaces(30, &[("pid", 100)]);
        assert_eq!(path(&fake.identifier(), 30).as_deref(), Some("/other"), "no ns/mnt");
        fake.file(30, "cgroup", "0::/c/service\n");
        assert_eq!(path(&fake.identifier(), 30).as_deref(), Some("/c/service"));
        fake.namespaces(30, &[("mnt", 201)]);
        assert_eq!(path(&fake.identifier(), 30).as_deref(), Some("/c"), "inside of init's cgroup");
    }

    #[test]
    fn root_cgroup_is_host_view() {
        let fake = machine();
        fake.process(40, "40", 9, "/");
        fake.namespaces(40, &[("pid", HOST_PID), ("mnt", 1)]);
        let identifier = fake.identifier();
        assert_eq!(path(&identifier, 40), None);
        // systemd on the host itself.
        fake.file(40, "cgroup", "0::/init.scope\n");
        assert_eq!(path(&identifier, 40), None);
        fake.file(20, "cgroup", "0::/\n");
        assert_eq!(path(&identifier, 21), None, "an init in the root");
    }

    #[test]
    fn an_init_replaced_under_the_same_namespace_number_is_another_container() {
        let fake = machine();
        let identifier = fake.identifier();
        let first = identifier.identify(21).unwrap().unwrap();
        fake.end(20);
        fake.end(21);
        fake.process(20, "20 1", 9, "/c");
        fake.namespaces(20, &[("pid", 100), ("mnt", 200), ("time", 2)]);
        let stat = "20 (sh) S 9 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 999 0\n";
        fake.file(20, "stat", stat);
        // An open file of a plain file system outlives its process; one of procfs does not.
        let second = fake.identifier().identify(20).unwrap().unwrap();
        assert_ne!(first.key(), second.key());
        assert!(!identifier.is_alive(&first).unwrap());
    }

    #[test]
    fn an_init_that_hangs_leaves_each_caller_its_own_cgroup() {
        let fake = machine();
        let remembered = fake.identifier();
        let known = remembered.identify(21).unwrap().unwrap();
        fake.hang(20);
        fake.file(21, "cgroup", "0::/c/service\n");
        let identifier = fake.identifier();
        assert_eq!(path(&identifier, 21).as_deref(), Some("/c/service"));
        assert_eq!(identifier.identify(21).unwrap().unwrap().anchor().pid, 21);
        let stuck = Some(Error::Stuck { pid: 20 });
        assert_eq!(identifier.find_again(&known.identity()).err(), stuck);
        assert_eq!(identifier.is_alive(&known).err(), stuck);
        // One that is remembered need not be looked at.
        assert_eq!(remembered.identify(21).unwrap().unwrap().key(), known.key());
        fake.release(20);
        let gone_on = (0..6000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            identifier.identify(21).unwrap().unwrap().key() == known.key()
        });
        assert!(gone_on, "the init stands for its container again");
    }

    #[test]
    fn garbage_in_procfs_is_an_error_with_the_file() {
        let fake = machine();
        fake.file(20, "stat", "20 (sh\n");
        let error = fake.identifier().identify(21).unwrap_err();
        assert!(matches!(&error, Error::Unexpected { file } if file.ends_with("/20/stat")));
        let fake = machine();
        fake.file(21, "status", "no\n");
        assert!(matches!(fake.identifier().identify(21), Err(Error::Unexpected { .. })));
        // Without a line of any hierarchy it must not pass for a process of the host.
        for text in ["", "nonsense\n"] {
            let fake = machine();
            fake.file(20, "cgroup", text);
            let error = fake.identifier().identify(21).unwrap_err();
            assert!(matches!(&error, Error::Unexpected { file } if file.ends_with("/20/cgroup")));
        }
    }

    #[test]
    fn a_namespace_without_an_init_is_an_error() {
        let fake = machine();
        fake.end(20);
        let error = fake.identifier().identify(21).unwrap_err();
        assert_eq!(error, Error::NoInit { tid: 21, namespace: 100 });
        assert!(error.to_string().contains("hidepid"));
    }

    #[test]
    fn keys_are_the_same_for_the_next_daemon() {
        let fake = machine();
        let key = |tid| fake.identifier().identify(tid).unwrap().unwrap().key();
        assert_eq!(key(21), key(20));
        assert_eq!(key(21).to_string().len(), 16);
    }
}
