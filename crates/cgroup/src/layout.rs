//! Which controller lives in which hierarchy of this machine.
//!
//! v1, hybrid and v2 are not told apart as a whole but per controller: one lives in the v1
//! hierarchy that has it, else in v2. That is all that "hybrid" means.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hostfs::{Dir, HostFs, Kept};
use procfmt::mountinfo::{Mount, mounts};

use crate::controller::{Controller, Version};
use crate::error::Error;
use crate::hugetlb::PageSize;
use crate::level::{Level, Levels};

/// The hierarchies of this machine, each with an open descriptor of its top.
#[derive(Debug)]
pub struct Layout {
    hierarchies: Vec<Hierarchy>,
    kept: Arc<Kept>,
}

/// One mounted hierarchy. Named ones without a controller of interest are not among them.
#[derive(Debug)]
pub struct Hierarchy {
    version: Version,
    controllers: Vec<Controller>,
    mount_point: PathBuf,
    /// The cgroup that is mounted there; `/` but for odd set-ups.
    mount_root: PathBuf,
    top: Dir,
    /// The cgroups in use, so that containers below the same ancestors share their descriptors.
    levels: Mutex<Levels>,
    /// Whether v1 limits of an ancestor hold for a child only where `memory.use_hierarchy` says so.
    flat_memory: bool,
    /// Whether the CFQ scheduler counts I/O, as it did before Linux 5.0.
    cfq: bool,
    pub(crate) page_sizes: OnceLock<Vec<PageSize>>,
}

impl Layout {
    /// Finds the hierarchies among this process's own mounts.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`] if there is none; what reading the mounts or opening a hierarchy
    /// says.
    pub fn detect(host: &HostFs) -> Result<Self, Error> {
        let mut text = Vec::new();
        host.proc.read("self/mountinfo", &mut text)?;
        Self::from_mountinfo(&text, &host.kept)
    }

    /// Finds the hierarchies in a mountinfo text and opens their mount points.
    ///
    /// # Errors
    /// As [`Layout::detect`].
    pub fn from_mountinfo(text: &[u8], kept: &Arc<Kept>) -> Result<Self, Error> {
        let mut candidates: Vec<Mount<'_>> = mounts(text).filter(is_cgroup).collect();
        // A mount of a whole hierarchy before one of a part; the sort keeps the order otherwise.
        candidates.sort_by_key(|mount| mount.root.len());
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in candidates {
            let version = version_of(&mount);
            let controllers = controllers_of(&mount);
            let known = hierarchies.iter().any(|known| {
                known.version == version
                    && (version == Version::V2
                        || controllers.iter().any(|one| known.controllers.contains(one)))
            });
            let useful = version == Version::V2 || !controllers.is_empty();
            if !known && useful {
                hierarchies.extend(Hierarchy::open(&mount, version, controllers)?);
            }
        }
        let taken: Vec<_> =
            hierarchies.iter().flat_map(|one| one.controllers.iter().copied()).collect();
        for unified in hierarchies.iter_mut().filter(|one| one.version == Version::V2) {
            unified.controllers = v2_controllers(&unified.top, &taken)?;
        }
        if hierarchies.is_empty() {
            return Err(Error::NoHierarchy);
        }
        Ok(Self { hierarchies, kept: Arc::clone(kept) })
    }

    /// The hierarchies, in a fixed order: [`CgroupPaths`](crate::CgroupPaths) has a path for each.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The hierarchy in which a controller lives; `None` if this machine has it nowhere.
    #[must_use]
    pub fn hierarchy_of(&self, controller: Controller) -> Option<&Hierarchy> {
        self.index_of(controller).and_then(|index| self.hierarchies.get(index))
    }

    pub(crate) fn index_of(&self, controller: Controller) -> Option<usize> {
        self.hierarchies.iter().position(|one| one.controllers.contains(&controller))
    }

    pub(crate) fn index_of_unified(&self) -> Option<usize> {
        self.hierarchies.iter().position(|one| one.version == Version::V2)
    }

    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }
}

impl Hierarchy {
    /// Opens a mount's top; `None` if something else has been mounted on it since.
    fn open(
        mount: &Mount<'_>,
        version: Version,
        controllers: Vec<Controller>,
    ) -> Result<Option<Self>, Error> {
        let mount_point = path(&mount.mount_point);
        let top = match Dir::open(mount_point) {
            Err(error) if error.is_absent() => return Ok(None),
            top => top?,
        };
        if top.stat("cgroup.procs").is_err() {
            return Ok(None);
        }
        let mut text = Vec::new();
        let flat_memory = version == Version::V1
            && controllers.contains(&Controller::Memory)
            && top.read_one("memory.use_hierarchy", &mut text).is_ok()
            && text.starts_with(b"0");
        Ok(Some(Self {
            version,
            controllers,
            mount_point: mount_point.to_owned(),
            mount_root: path(&mount.root).to_owned(),
            cfq: top.stat("blkio.io_serviced").is_ok(),
            top,
            levels: Mutex::default(),
            flat_memory,
            page_sizes: OnceLock::new(),
        }))
    }

    /// Whether it is v1 or v2.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The controllers that live here.
    #[must_use]
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Before Linux 5.11 a v1 memory limit need not hold for the cgroups below.
    pub(crate) fn has_flat_memory(&self) -> bool {
        self.flat_memory
    }

    /// Whether v1's plain `blkio.io_*` files exist.
    pub(crate) fn has_cfq(&self) -> bool {
        self.cfq
    }

    /// Whether there is a cgroup at `path`, which has no `..`.
    pub(crate) fn has(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.mount_root);
        below.is_ok_and(|below| self.top.stat(below.join("cgroup.procs")).is_ok())
    }

    /// Whether a level is still there, and not another one at its path.
    pub(crate) fn is_current(&self, level: &Level) -> bool {
        level.is_current(&self.top)
    }

    /// The cgroup at `path`, and its ancestors up to but not including the hierarchy's root.
    pub(crate) fn open_levels(
        &self,
        path: &Path,
        kept: &Arc<Kept>,
    ) -> Result<Vec<Arc<Level>>, Error> {
        let gone = || Error::Gone { path: self.top.path_of(path) };
        // `..` leads out of the daemon's own cgroup namespace, where it refuses to start.
        if path.components().any(|one| one == Component::ParentDir) {
            return Err(gone());
        }
        // Not below what is mounted here: no file of it can be reached.
        let below = path.strip_prefix(&self.mount_root).map_err(|_| gone())?;
        let names = below.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty());
        names.map(|name| self.level(name, kept)).collect()
    }

    fn level(&self, path: &Path, kept: &Arc<Kept>) -> Result<Arc<Level>, Error> {
        let known = self.lock().get(path);
        if let Some(level) = known
            && level.is_current(&self.top)
        {
            return Ok(level);
        }
        let level = Arc::new(Level::open(&self.top, path, kept)?);
        self.lock().insert(path, &level);
        Ok(level)
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_cgroup(mount: &Mount<'_>) -> bool {
    mount.fs_type == b"cgroup" || mount.fs_type == b"cgroup2"
}

fn version_of(mount: &Mount<'_>) -> Version {
    if mount.fs_type == b"cgroup2" { Version::V2 } else { Version::V1 }
}

/// The controllers of a v1 mount. Those of v2 are in a file.
fn controllers_of(mount: &Mount<'_>) -> Vec<Controller> {
    if version_of(mount) == Version::V2 {
        return Vec::new();
    }
    let all = Controller::ALL.into_iter();
    all.filter(|one| mount.has_super_option(one.v1_name().as_bytes())).collect()
}

/// What lives in v2: the controllers that its root lists, and what every v2 cgroup has, unless a
/// v1 hierarchy has them already.
fn v2_controllers(top: &Dir, taken: &[Controller]) -> Result<Vec<Controller>, Error> {
    let mut text = Vec::new();
    top.read_one("cgroup.controllers", &mut text)?;
    let listed = |name: &str| text.split(u8::is_ascii_whitespace).any(|one| one == name.as_bytes());
    let all = Controller::ALL.into_iter().filter(|one| !taken.contains(one));
    Ok(all.filter(|one| one.v2_name().is_none_or(listed)).collect())
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, V1, V2};

    /// Where a controller is: the name of the mount point's directory.
    fn home(layout: &Layout, controller: Controller) -> Option<&str> {
        layout.hierarchy_of(controller)?.mount_point().file_name()?.to_str()
    }

    #[test]
    fn hybrid_per_controller() {
        let mut fake = Fake::new(&[("memory", &["memory"]), ("unified", &[]), ("cpu", &["cpu"])]);
        fake.write("named/cgroup.procs", "");
        fake.mount("named", "/", "cgroup", "rw,xattr,name=systemd");
        fake.write("unified/cgroup.controllers", "cpuset io hugetlb\n");
        let layout = fake.layout();
        assert_eq!(layout.hierarchies().len(), 3, "a named hierarchy has no limits");
        assert_eq!(home(&layout, Controller::Memory), Some("memory"));
        assert_eq!(home(&layout, Controller::Cpu), Some("cpu"));
        assert_eq!(home(&layout, Controller::Cpuset), Some("unified"));
        assert_eq!(home(&layout, Controller::Cpuacct), Some("unified"), "always in v2");
        assert_eq!(home(&layout, Controller::Pids), None);
    }

    #[test]
    fn controller_aliases() {
        let v1 = Fake::new(V1).layout();
        assert_eq!(home(&v1, Controller::Io), Some("blkio"));
        assert_eq!(home(&v1, Controller::Cpuacct), Some("cpu,cpuacct"));
        assert_eq!(home(&v1, Controller::Cpu), Some("cpu,cpuacct"));
        let v2 = Fake::new(V2).layout();
        assert!(Controller::ALL.iter().all(|one| home(&v2, *one) == Some("unified")));
    }

    #[test]
    fn a_mount_of_the_whole_hierarchy_is_preferred() {
        let mut fake = Fake::new(&[]);
        fake.write("part/cgroup.procs", "");
        fake.write("whole/cgroup.procs", "");
        fake.mount("part", "/part", "cgroup", "rw,memory");
        fake.mount("whole", "/", "cgroup", "rw,memory");
        assert_eq!(home(&fake.layout(), Controller::Memory), Some("whole"));
    }

    #[test]
    fn only_a_part_of_the_hierarchy_can_be_seen() {
        let mut fake = Fake::new(&[]);
        fake.write("part/cgroup.procs", "");
        fake.files("part/a", &[("memory.limit_in_bytes", "4096\n")]);
        fake.mount("part", "/pod", "cgroup", "rw,memory");
        assert_eq!(fake.group("/pod/a").memory().unwrap().unwrap().levels.len(), 1);
        assert!(fake.group("/other").memory().unwrap_err().is_gone());
    }

    #[test]
    fn a_mount_point_with_something_else_on_it_is_passed_over() {
        let mut fake = Fake::new(V2);
        fake.write("covered/x", "");
        fake.mount("covered", "/", "cgroup", "rw,memory");
        fake.mount("missing", "/", "cgroup", "rw,cpu");
        assert_eq!(home(&fake.layout(), Controller::Memory), Some("unified"));
    }

    #[test]
    fn without_any_cgroup_mount_the_message_says_what_to_do() {
        let error = Layout::from_mountinfo(b"1 1 0:3 / / rw - ext4 x rw\n", &Kept::new(1));
        let error = error.unwrap_err();
        assert_eq!(error, Error::NoHierarchy);
        assert!(error.to_string().contains("mount cgroup2 on /sys/fs/cgroup"));
    }
}
