//! One look at what containers read, by a process that serves nobody: `resview explain`.

use std::sync::Arc;

use container::Container;
use view::catalogue::{FilePolicy, PRESSURE, SYS_DIRECTORIES, proc_file};
use view::policy::Policy;

use crate::contents::{Contents, StartError};
use crate::gather::Histories;
use crate::pressure::source::{ALL, Source, name};
use crate::upkeep::Upkeep;

impl Contents {
    /// The contents as a daemon with this policy and upkeep has them, which may be running: its
    /// histories and registrations are read, and nothing is written. Without histories, CPU
    /// accounts and load begin now.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn to_look(policy: Policy, upkeep: &Upkeep) -> Result<Self, StartError> {
        let registrations = upkeep.registrations.clone().filter(|dir| dir.is_dir());
        let histories = upkeep.histories.clone();
        let upkeep = Upkeep { histories, registrations, ..Upkeep::default() };
        Self::open(policy, &upkeep, Histories::Look)?.start()
    }

    /// The policy that holds for a container: the operator's, and what it is registered with.
    #[must_use]
    pub fn policy_of(&self, container: &Container) -> Policy {
        self.decision(container).policy().clone()
    }

    /// What becomes of a file or directory of the catalogue for a container, which may be
    /// registered to have no view.
    #[must_use]
    pub fn policy_of_file(&self, name: &str, container: &Container) -> FilePolicy {
        self.decision(container).of_file(name)
    }

    /// The container of the process or thread `tid`; `None`: it is the host's.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process, and as reading its files says.
    pub fn container_of(&self, tid: u32) -> fuse::Result<Option<Arc<Container>>> {
        self.identify(tid)
    }

    /// What the container, or the host for `None`, reads in a file: `meminfo`, `pressure/cpu`, or
    /// below `sys/` as in `sys/devices/system/cpu/online`. A path that the tree does not have is
    /// `ENOENT`.
    ///
    /// # Errors
    /// As the read in the container would fail.
    pub fn text(&self, path: &str, container: Option<&Arc<Container>>) -> fuse::Result<Vec<u8>> {
        if let Some(below_sys) = path.strip_prefix("sys/") {
            return self.sys_text(below_sys, container);
        }
        if let Some(of) = path.strip_prefix(PRESSURE).and_then(|rest| rest.strip_prefix('/')) {
            return self.pressure_of(of, container);
        }
        let file = proc_file(path).ok_or(fuse::Errno::NOENT)?;
        self.proc_file(file, false, container)
    }

    /// Every directory on the way must be there for the container, as it is looked up in the tree.
    fn sys_text(&self, path: &str, container: Option<&Arc<Container>>) -> fuse::Result<Vec<u8>> {
        let top = SYS_DIRECTORIES.iter().map(|one| one.name).find_map(|name| {
            let below = path.strip_prefix(name.strip_prefix("sys/")?)?;
            below.starts_with('/').then_some(path.len() - below.len())
        });
        let top = top.ok_or(fuse::Errno::NOENT)?;
        let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > top);
        for end in ends.chain([path.len()]) {
            let upto = path.get(..end).unwrap_or(path);
            crate::sys::entry(self, upto, || Ok(container.cloned()))?;
        }
        self.sys_file(path, container)
    }

    fn pressure_of(&self, of: &str, container: Option<&Arc<Container>>) -> fuse::Result<Vec<u8>> {
        let what = ALL.into_iter().find(|what| name(*what) == of).ok_or(fuse::Errno::NOENT)?;
        let source = Source { what, container: self.own(PRESSURE, container).cloned() };
        source.read(self.host())?.ok_or(fuse::Errno::OPNOTSUPP)
    }
}
