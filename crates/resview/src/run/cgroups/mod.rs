//! The cgroups of a run: one in every hierarchy that is mounted, v1 or v2, and gone at the end.

mod directory;
mod hierarchies;
mod limits;
mod missing;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cgroup::Explained;

use self::directory::{Directory, PREFIX};
use self::hierarchies::{Hierarchy, Version};
use self::limits::Files;
pub(super) use self::limits::Limits;
use self::missing::{Controller, Missing, V2Parent};
use super::plan::JoinedCgroup;
use crate::mountinfo::Mount;

/// The cgroups of one run. Dropping it kills what is left in them and removes them.
#[derive(Debug)]
pub(super) struct Cgroups {
    members: Vec<Member>,
    v2_parent: Option<V2Parent>,
}

#[derive(Debug)]
struct Member {
    hierarchy: Hierarchy,
    directory: Directory,
}

impl Cgroups {
    /// Makes a cgroup in every hierarchy of the mount table and sets the limits. Removes what dead
    /// runs have left there first.
    ///
    /// # Errors
    /// There is no hierarchy where a cgroup can be made, a limit's controller is missing, or the
    /// kernel refuses a limit.
    pub(super) fn create(mounts: &[Mount], limits: &Limits) -> anyhow::Result<Self> {
        let own = hierarchies::own_cgroups()?;
        let mut cgroups = Self { members: Vec::new(), v2_parent: None };
        let mut failure = None;
        for hierarchy in hierarchies::hierarchies(mounts) {
            if let Err(error) = cgroups.add(hierarchy, &own) {
                tracing::info!("{error:#}");
                failure = Some(error);
            }
        }
        if cgroups.members.is_empty() {
            return Err(
                failure.unwrap_or_else(|| anyhow::anyhow!("no cgroup hierarchy is mounted"))
            )
            .context(
                "cannot make a cgroup; be root, and have cgroups mounted: \
                     mount -t cgroup2 none /sys/fs/cgroup",
            );
        }
        cgroups.limit(limits)?;
        Ok(cgroups)
    }

    /// Makes the cgroup of one hierarchy: directly below its root, else, where that is not to be
    /// written, below our own.
    fn add(&mut self, hierarchy: Hierarchy, own: &[u8]) -> anyhow::Result<()> {
        let name = format!("{PREFIX}{}", std::process::id());
        let parents = [Some(hierarchy.mount_point.clone()), hierarchy.own_directory(own)];
        let mut result = Err(anyhow::anyhow!("no place for a cgroup"));
        for parent in parents.into_iter().flatten() {
            directory::remove_stale(&parent);
            // Before the cgroup is made, so that it has the controllers' files from the start.
            let v2_parent =
                (hierarchy.version == Version::V2).then(|| V2Parent::prepare(parent.clone()));
            result = Directory::create(&parent, &name);
            if let Ok(directory) = result {
                self.v2_parent = self.v2_parent.take().or(v2_parent);
                self.members.push(Member { hierarchy, directory });
                return Ok(());
            }
        }
        result.map(drop)
    }

    fn limit(&self, limits: &Limits) -> anyhow::Result<()> {
        if let Some(memory) = limits.memory {
            limits::set_memory(self.need(missing::MEMORY)?, memory, limits.swap)?;
        }
        if let Some(quota) = limits.quota {
            limits::set_quota(self.need(missing::CPU)?, quota)?;
        }
        match self.files(missing::CPUSET) {
            Some(files) => limits::set_cpuset(files, limits.cpus.as_ref()),
            None if limits.cpus.is_some() => Err(self.missing(missing::CPUSET).into()),
            None => Ok(()),
        }
    }

    fn need(&self, controller: Controller) -> Result<Files<'_>, Missing> {
        self.files(controller).ok_or_else(|| self.missing(controller))
    }

    fn missing(&self, controller: Controller) -> Missing {
        // Not there: a kernel without v1. Then all that is known is what v2 says.
        let proc_cgroups = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
        controller.missing(&proc_cgroups, self.v2_parent.as_ref())
    }

    /// Where `controller` lives: in the v1 hierarchy that has it, else in v2. Decided for each
    /// controller, which is all that hybrid means.
    fn files(&self, controller: Controller) -> Option<Files<'_>> {
        let v1 = self.members.iter().find(|member| member.hierarchy.has_v1(controller.v1));
        if let Some(member) = v1 {
            return Some(Files { dir: member.directory.path(), v2: false });
        }
        let member = self.members.iter().find(|member| member.hierarchy.version == Version::V2)?;
        let dir = member.directory.path();
        lists(&dir.join("cgroup.controllers"), controller.v2).then_some(Files { dir, v2: true })
    }

    /// The controllers that the view would use and that are not there.
    pub(super) fn all_missing(&self) -> Vec<String> {
        let absent = missing::ALL.into_iter().filter(|one| self.files(*one).is_none());
        absent.map(|one| self.missing(one).to_string()).collect()
    }

    /// The limits that hold in these cgroups, and the file that decided each; ancestors count.
    pub(super) fn explain(&self) -> anyhow::Result<Explained> {
        let host = hostfs::HostFs::mount().context("cannot mount a proc of our own")?;
        let layout = Arc::new(cgroup::Layout::detect(&host)?);
        // As if we were in them: lines of /proc/PID/cgroup.
        let lines: Vec<u8> = self.members.iter().flat_map(Member::line).collect();
        let paths = cgroup::CgroupPaths::of_process(&layout, &lines);
        Ok(cgroup::Group::new(&layout, paths).explain()?)
    }

    /// The path of a file of these cgroups, by v1's controller and both versions' names of it;
    /// `None` if the controller or the file is missing.
    pub(super) fn file(&self, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
        let in_v1 = self.members.iter().find(|member| member.hierarchy.has_v1(controller));
        let in_v2 = || self.members.iter().find(|one| one.hierarchy.version == Version::V2);
        let path = match in_v1 {
            Some(member) => member.directory.path().join(v1),
            None => in_v2()?.directory.path().join(v2),
        };
        path.exists().then_some(path)
    }

    /// What the container's first process has to join.
    pub(super) fn to_join(&self) -> Vec<JoinedCgroup> {
        let join = |member: &Member| JoinedCgroup {
            dir: member.directory.path().to_owned(),
            mount_point: member.hierarchy.mount_point.clone(),
        };
        self.members.iter().map(join).collect()
    }
}

impl Member {
    /// This cgroup as a line of `/proc/PID/cgroup`.
    fn line(&self) -> Vec<u8> {
        let controllers = match &self.hierarchy.version {
            Version::V1 { controllers } => controllers.join(","),
            Version::V2 => String::new(),
        };
        let below = self.directory.path().strip_prefix(&self.hierarchy.mount_point);
        let path = self.hierarchy.root.join(below.unwrap_or(Path::new("")));
        [b"0:", controllers.as_bytes(), b":", path.as_os_str().as_bytes(), b"\n"].concat()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for member in &self.members {
            if let Err(error) = member.directory.remove() {
                eprintln!("resview: {error:#}");
            }
        }
    }
}

impl V2Parent {
    /// Has `dir` hand down the controllers that it has. What it refuses is remembered for the
    /// message, should that controller be needed. What is handed down stays so: others may have
    /// come to rely on it by the time we end.
    fn prepare(dir: PathBuf) -> Self {
        let controllers =
            std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        let mut parent = Self { dir, controllers, refused: Vec::new() };
        let subtree = parent.dir.join("cgroup.subtree_control");
        for name in missing::ALL.map(|controller| controller.v2) {
            let has = parent.controllers.split_whitespace().any(|word| word == name);
            if !has || lists(&subtree, name) {
                continue;
            }
            if let Err(error) = std::fs::write(&subtree, format!("+{name}")) {
                parent.refused.push((name, error.to_string()));
            }
        }
        parent
    }
}

/// Whether a file such as `cgroup.controllers` has `word`; no such file has no words.
fn lists(file: &Path, word: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().any(|one| one == word)
}
