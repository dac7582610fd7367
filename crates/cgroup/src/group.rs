//! A container's cgroup in all hierarchies.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::controller::{Controller, Version};
use crate::cpu_time::Split;
use crate::error::Error;
use crate::layout::{Hierarchy, Layout};
use crate::level::Level;
use crate::paths::CgroupPaths;

/// A container's cgroup in all hierarchies. Nothing is opened before it is read.
///
/// One method per controller; each answers `None` where the controller does not hold for the
/// container at all: this machine has it nowhere, or the container is in its root.
#[derive(Debug)]
pub struct Group {
    layout: Arc<Layout>,
    paths: CgroupPaths,
    /// One for each hierarchy.
    chains: Vec<RwLock<Option<Arc<Chain>>>>,
    pub(crate) split: Mutex<Split>,
}

/// A cgroup and its ancestors in one hierarchy.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) version: Version,
    /// The container's own first, then up to but not including the root. Never empty.
    pub(crate) levels: Vec<Arc<Level>>,
    pub(crate) own: Arc<Level>,
}

impl Group {
    /// The cgroup at `paths`.
    #[must_use]
    pub fn new(layout: &Arc<Layout>, paths: CgroupPaths) -> Self {
        Self {
            chains: layout.hierarchies().iter().map(|_| RwLock::new(None)).collect(),
            layout: Arc::clone(layout),
            paths,
            split: Mutex::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn paths(&self) -> &CgroupPaths {
        &self.paths
    }

    /// The layout that it was made with.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// A controller's file of the container's own cgroup, verbatim. False if there is none.
    ///
    /// For files that the kernel prints in one piece, such as `memory.stat` or `memory.numa_stat`.
    ///
    /// # Errors
    /// [`Error::Gone`] if the cgroup was removed; what reading it says.
    pub fn read(
        &self,
        controller: Controller,
        file: &str,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let read = self.walk(controller, |chain, _| chain.own.read(file, buffer))?;
        Ok(read.unwrap_or(false))
    }

    /// The version of the hierarchy in which a controller lives, if the container is below its
    /// root.
    #[must_use]
    pub fn version(&self, controller: Controller) -> Option<Version> {
        let index = self.layout.index_of(controller)?;
        self.paths.below_root(index)?;
        self.layout.hierarchies().get(index).map(Hierarchy::version)
    }

    /// Whether the cgroup is still the one that was read first, by a look at one hierarchy: false
    /// once it was removed, even if another one has been made at its path.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let seen =
            self.chains.iter().zip(self.layout.hierarchies()).find_map(|(slot, hierarchy)| {
                let chain = slot.read().unwrap_or_else(PoisonError::into_inner).clone()?;
                Some(hierarchy.is_current(&chain.own))
            });
        seen.unwrap_or(true)
    }

    /// Ids of the cgroups in each hierarchy, 0 for a root: together with the paths they tell one
    /// container from a later one at the same place.
    ///
    /// # Errors
    /// [`Error::Gone`] if a cgroup was removed.
    pub fn ids(&self) -> Result<Vec<u64>, Error> {
        let id = |index| self.walk_at(index, |chain, _| Ok(chain.own.id()));
        (0..self.chains.len()).map(|index| Ok(id(index)?.unwrap_or(0))).collect()
    }

    /// Collects something from the hierarchy of `controller`.
    pub(crate) fn walk<T>(
        &self,
        controller: Controller,
        collect: impl FnMut(&Chain, &Hierarchy) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.layout.index_of(controller) {
            Some(index) => self.walk_at(index, collect),
            None => Ok(None),
        }
    }

    /// Collects something from v2, whichever controllers live there.
    pub(crate) fn walk_unified<T>(
        &self,
        collect: impl FnMut(&Chain, &Hierarchy) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.layout.index_of_unified() {
            Some(index) => self.walk_at(index, collect),
            None => Ok(None),
        }
    }

    pub(crate) fn walk_at<T>(
        &self,
        index: usize,
        mut collect: impl FnMut(&Chain, &Hierarchy) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let (Some(path), Some(hierarchy)) =
            (self.paths.below_root(index), self.layout.hierarchies().get(index))
        else {
            return Ok(None);
        };
        let walked =
            self.chain(index, hierarchy, path).and_then(|chain| collect(&chain, hierarchy));
        match walked {
            // A cgroup that vanished on the way may have been made anew: look once more.
            Err(error) if error.is_gone() => {
                self.forget(index);
                let chain = self.chain(index, hierarchy, path)?;
                collect(&chain, hierarchy).map(Some)
            }
            walked => walked.map(Some),
        }
    }

    fn chain(&self, index: usize, hierarchy: &Hierarchy, path: &Path) -> Result<Arc<Chain>, Error> {
        let slot = self.chains.get(index);
        let known =
            slot.and_then(|slot| slot.read().unwrap_or_else(PoisonError::into_inner).clone());
        if let Some(chain) = known {
            return Ok(chain);
        }
        let levels = hierarchy.open_levels(path, self.layout.kept())?;
        let Some(own) = levels.first().cloned() else {
            return Err(Error::Gone { path: hierarchy.mount_point().to_owned() });
        };
        let chain = Arc::new(Chain { version: hierarchy.version(), levels, own });
        if let Some(slot) = slot {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&chain));
        }
        Ok(chain)
    }

    fn forget(&self, index: usize) {
        if let Some(slot) = self.chains.get(index) {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}
