//! The init of a pid namespace, found from a thread inside of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cgroup::{CgroupPaths, Group, Layout};
use hostfs::{HostFs, KeptDir};
use procfmt::num::parse_u64;
use rustix::io::Errno;

use crate::container::{Anchor, Container};
use crate::error::Error;
use crate::ioctl::tgid_from_pid_namespace;
use crate::lookout::Lookout;
use crate::process::Process;

/// How many generations of parents are looked through, and how many processes of a cgroup.
const MOST: usize = 4096;

/// The init of a pid namespace, and the container as last seen.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) anchor: Anchor,
    pub(crate) mount_namespace: Option<u64>,
    /// Its directory in procfs. Reading there fails once the process has ended, even if its id has
    /// been given to another one since.
    dir: KeptDir,
    seen: Mutex<Option<Seen>>,
}

/// What the init's `cgroup` file said, and the container that follows from it.
#[derive(Debug)]
struct Seen {
    cgroup: Vec<u8>,
    container: Option<Arc<Container>>,
}

impl Init {
    pub(crate) fn new(
        host: &HostFs,
        anchor: Anchor,
        mount_namespace: Option<u64>,
    ) -> Result<Self, Error> {
        let dir = KeptDir::open(&host.proc, anchor.pid.to_string(), &host.kept)?;
        Ok(Self { anchor, mount_namespace, dir, seen: Mutex::default() })
    }

    /// The `cgroup` file, read anew each time because processes move. `None` once it has ended.
    pub(crate) fn cgroup(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read("cgroup")
    }

    /// The `stat` file, read anew. `None` once it has ended.
    pub(crate) fn stat(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read("stat")
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut buffer = Vec::new();
        match self.dir.read_one(file, &mut buffer) {
            Ok(()) => Ok(Some(buffer)),
            Err(error) if error.is_gone() || error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The container, `make` anew only if the init has moved. `None` inside: the root cgroup.
    pub(crate) fn container(
        &self,
        cgroup: Vec<u8>,
        make: impl FnOnce(&[u8]) -> Result<Option<Arc<Container>>, Error>,
    ) -> Result<Option<Arc<Container>>, Error> {
        if let Some(container) = self.lock().as_ref().and_then(|seen| seen.still(&cgroup)) {
            return Ok(container);
        }
        // Made without the lock: it reads files. Two callers may both make it; the first one's
        // holds, so that all get the same.
        let container = make(&cgroup)?;
        let mut seen = self.lock();
        if let Some(container) = seen.as_ref().and_then(|seen| seen.still(&cgroup)) {
            return Ok(container);
        }
        *seen = Some(Seen { cgroup, container: container.clone() });
        Ok(container)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The container, if the init has not moved since. `None` inside: the root cgroup.
    fn still(&self, cgroup: &[u8]) -> Option<Option<Arc<Container>>> {
        (self.cgroup == cgroup).then(|| self.container.clone())
    }
}

/// The search for the init of the pid namespace `namespace`, in which `caller` is.
pub(crate) struct Search<'host> {
    pub(crate) host: &'host HostFs,
    pub(crate) layout: &'host Arc<Layout>,
    pub(crate) lookout: &'host Lookout,
    pub(crate) caller: Process<'host>,
    pub(crate) namespace: u64,
}

impl Search<'_> {
    /// Its process id.
    ///
    /// # Errors
    /// [`Error::NoInit`]; [`Error::Stuck`] if it may be one that cannot be looked at; or why procfs
    /// could not be read.
    pub(crate) fn find(&self, ask_kernel: bool) -> Result<u32, Error> {
        if ask_kernel && let Some(init) = self.told_by_kernel()? {
            return Ok(init);
        }
        let mut stuck = None;
        let mut is_init = |id| match self.is_init(id) {
            Ok(found) => found,
            Err(error) => {
                stuck.get_or_insert(error);
                false
            }
        };
        if let Some(init) = self.among_parents(&mut is_init)? {
            return Ok(init);
        }
        // A process that was sent in from outside (docker exec) has its parents there.
        let mut text = Vec::new();
        self.caller.cgroup(&mut text)?;
        let group = Group::new(self.layout, CgroupPaths::of_process(self.layout, &text));
        // Best effort: the cgroup may be gone already, and the whole of procfs comes next.
        let neighbours = group.processes(MOST).unwrap_or_default();
        if let Some(init) = neighbours.into_iter().find(|&id| is_init(id)) {
            return Ok(init);
        }
        let all = self.host.proc.list(".")?;
        let mut ids = all
            .iter()
            .filter_map(|entry| u32::try_from(parse_u64(entry.name.as_encoded_bytes())?).ok());
        let found = ids.find(|&id| is_init(id));
        let none = Error::NoInit { tid: self.caller.id, namespace: self.namespace };
        found.ok_or_else(|| stuck.unwrap_or(none))
    }

    /// `None` before Linux 6.11.
    fn told_by_kernel(&self) -> Result<Option<u32>, Error> {
        let namespace = self.caller.open("ns/pid")?;
        match tgid_from_pid_namespace(&namespace, 1) {
            Ok(init) => Ok(Some(init)),
            // The namespace's init has ended, and all its processes are ending.
            Err(Errno::SRCH) => Err(self.caller.ended()),
            Err(_) => Ok(None),
        }
    }

    fn among_parents(&self, mut is_init: impl FnMut(u32) -> bool) -> Result<Option<u32>, Error> {
        let mut id = u32::try_from(self.caller.status()?.tgid).unwrap_or(0);
        for _ in 0..MOST {
            if is_init(id) {
                return Ok(Some(id));
            }
            // A parent that has ended meanwhile ends the search, not the question.
            let Ok(status) = self.caller.other(id).status() else {
                break;
            };
            match u32::try_from(status.ppid) {
                Ok(parent) if parent != 0 => id = parent,
                _ => break,
            }
        }
        Ok(None)
    }

    /// `status` first, at which nobody hangs: most processes are no inits.
    fn is_init(&self, id: u32) -> Result<bool, Error> {
        let process = self.caller.other(id);
        if !process.status().is_ok_and(|status| status.is_namespace_init()) {
            return Ok(false);
        }
        let namespace = self.lookout.of(id, |process| process.namespace("pid"))?;
        Ok(matches!(namespace, Ok(Some(own)) if own == self.namespace))
    }
}
