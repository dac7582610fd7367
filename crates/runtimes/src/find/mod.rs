//! Which containers there are.
//!
//! Engines keep what they know in files under /run and /var/lib, and put containers into cgroups
//! with telling names. Both are read; no engine is asked. A state file counts only if its process
//! lives and is the one that it was: by start time where the file has it, else by its cgroup.
//! Files that do not make sense are named in [`Inventory::skipped`] and change nothing else.

mod cgroup_path;
mod containerd;
mod docker;
mod machines;
mod merge;
mod oci_state;
mod process;
mod select;
mod storage;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hostfs::Dir;

pub use cgroup_path::{Told, told_by};
pub use containerd::names_in_kubernetes;
pub(crate) use docker::data_root as docker_data_root;
pub use select::FindError;

use crate::json_file::FileError;

/// Who made a container.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd, by itself or for Kubernetes.
    Containerd,
    /// CRI-O.
    CriO,
    /// runc by hand.
    Runc,
    /// crun by hand.
    Crun,
    /// youki by hand.
    Youki,
    /// LXC.
    Lxc,
    /// Incus.
    Incus,
    /// LXD.
    Lxd,
    /// systemd-nspawn.
    Nspawn,
    /// A process that no engine knows.
    None,
}

impl Engine {
    /// Its name in the control protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Youki => "youki",
            Self::Lxc => "lxc",
            Self::Incus => "incus",
            Self::Lxd => "lxd",
            Self::Nspawn => "systemd-nspawn",
            Self::None => "none",
        }
    }
}

impl Engine {
    const ALL: [Self; 12] = [
        Self::Docker,
        Self::Podman,
        Self::Containerd,
        Self::CriO,
        Self::Runc,
        Self::Crun,
        Self::Youki,
        Self::Lxc,
        Self::Incus,
        Self::Lxd,
        Self::Nspawn,
        Self::None,
    ];

    /// The engine of a name in the control protocol.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|engine| engine.name() == name)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A container that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Who made it.
    pub engine: Engine,
    /// The engine's id; `pid-<pid>-<start time>` where no engine knows it.
    pub id: String,
    /// Its names, the usual one first. A Kubernetes container has those of
    /// [`names_in_kubernetes`], an Incus instance in a project `INSTANCE` and
    /// `PROJECT/INSTANCE`.
    pub names: Vec<String>,
    /// Its first process, in the pid namespace of the procfs that the [`Finder`] reads.
    pub pid: u32,
    /// When that started, in clock ticks after boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
    /// The first process's cgroup below its hierarchy.
    pub cgroup: String,
    /// Where the host sees its root, as the runtime says; missing: nobody says.
    pub rootfs: Option<PathBuf>,
    /// The folder of its config.json; missing: there is none.
    pub bundle: Option<PathBuf>,
    /// The annotations in its config.json.
    pub annotations: BTreeMap<String, String>,
    /// Whether it has the pid namespace of the process that reads, thus no init of its own.
    pub host_pid_ns: bool,
}

impl Found {
    /// An id that a registration can have: `[A-Za-z0-9][A-Za-z0-9_.-]*` of at most 128 bytes. The
    /// engine's where that is one.
    #[must_use]
    pub fn registration_id(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let fits = self.id.len() <= 128
            && self.id.bytes().all(plain)
            && self.id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if fits { self.id.clone() } else { process::made_up_id(self.pid, self.start_time) }
    }

    /// As the control protocol says it.
    #[must_use]
    pub fn to_api(&self) -> api::Container {
        api::Container {
            id: self.id.clone(),
            names: self.names.clone(),
            engine: self.engine.name().to_owned(),
            pid: Some(self.pid),
            start_time: Some(self.start_time),
            cgroup: Some(self.cgroup.clone()),
        }
    }
}

/// A state file, or a container in one, that does not count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// All containers that run.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Sorted by engine and id; no id twice within an engine.
    pub found: Vec<Found>,
    /// What was left out, for the log.
    pub skipped: Vec<Skipped>,
}

/// Reads what engines and the kernel say about containers.
#[derive(Clone, Debug)]
pub struct Finder {
    /// Before every path of an engine; `/` but for tests and for a daemon in a container.
    root: PathBuf,
    proc: Dir,
}

impl Finder {
    /// A finder for the engines under `root` and the processes in `proc`, a procfs.
    ///
    /// "The host's" pid namespace is the one that the `self` of this procfs is in.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, proc: Dir) -> Self {
        Self { root: root.into(), proc }
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        crate::rooted::below(&self.root, path)
    }

    /// The folders and files in a folder; none if there is no such folder.
    fn names_in(&self, path: impl AsRef<Path>, notes: &mut Vec<Skipped>) -> Vec<String> {
        let path = self.path(path);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                notes.push(Skipped { path, reason: error.to_string() });
                return Vec::new();
            }
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable();
        names
    }
}

/// What one state file says, before anybody has looked at the process.
#[derive(Clone, Debug, Default)]
struct Claim {
    /// The file that says so.
    source: PathBuf,
    engine: Option<Engine>,
    id: String,
    names: Vec<String>,
    pid: u32,
    start_time: Option<u64>,
    /// What the runtime was told; on v2 with systemd it is no path.
    cgroup: Option<String>,
    rootfs: Option<PathBuf>,
    bundle: Option<PathBuf>,
}

/// Notes a file that is not used, unless it is just not there.
fn note(notes: &mut Vec<Skipped>, path: &Path, error: &FileError) {
    if !error.is_missing() {
        notes.push(Skipped { path: path.to_owned(), reason: error.to_string() });
    }
}
