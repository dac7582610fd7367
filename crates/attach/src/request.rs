//! What is asked for, and what came of it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::process::Process;
use crate::table::Mount;

/// How long a visit may take unless told otherwise. It takes a millisecond; a container's own file
/// system, which may hang, has to be walked for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What to attach, and to whom.
#[derive(Clone, Debug)]
pub struct Attach {
    /// Any process of the container, usually its init.
    pub process: Process,
    /// Where the container's root directory is.
    pub root: Root,
    /// What to mount where.
    pub bindings: Vec<Binding>,
    /// What counts as ours, and may be replaced.
    pub ours: Ours,
    /// Whether the mounts follow their sources.
    pub propagation: Propagation,
    /// What to do for containers with an unmasked `/proc` or `/sys`.
    pub nesting: Nesting,
    /// How long it may take; 20 seconds by default. Half of it is spent on trying again where the
    /// container mounts and unmounts all the time.
    pub limit: Duration,
}

impl Attach {
    /// Nothing yet, to a running container, with private mounts and [`Nesting::Keep`].
    #[must_use]
    pub fn new(process: Process, ours: Ours) -> Self {
        Self {
            process,
            root: Root::Namespace,
            bindings: Vec::new(),
            ours,
            propagation: Propagation::Private,
            nesting: Nesting::Keep,
            limit: LIMIT,
        }
    }
}

/// Where the container's root directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The root of its mount namespace: a running container.
    Namespace,
    /// This directory, as seen in its mount namespace: a container whose runtime has not called
    /// pivot_root(2) yet, as in a `createRuntime` hook.
    ///
    /// Its masks may not be there yet, so [`Nesting`] is not looked at: whoever calls knows from
    /// `linux.maskedPaths` of the container's `config.json` whether it will have any.
    BeforePivot(PathBuf),
}

/// One file or directory to be mounted.
#[derive(Clone, Debug)]
pub struct Binding {
    /// What, on this side.
    pub source: Source,
    /// Where: an absolute path below `/proc` or `/sys` in the container.
    pub target: PathBuf,
    /// Whether it is a file or a directory.
    pub kind: Kind,
}

impl Binding {
    /// A file by its path.
    pub fn file(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: Source::Path(source.into()), target: target.into(), kind: Kind::File }
    }

    /// A directory by its path. What is mounted below it does not come with it.
    pub fn directory(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: Source::Path(source.into()), target: target.into(), kind: Kind::Directory }
    }
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum Source {
    /// What is at this path, in the namespace of the calling thread.
    Path(PathBuf),
    /// What this descriptor (O_PATH is enough) refers to.
    Fd(Arc<OwnedFd>),
}

/// File or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything but a directory.
    File,
    /// A directory.
    Directory,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }
}

/// Whether what happens at the source happens in the container too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Never.
    Private,
    /// If the source lies in a shared mount: what is mounted on the source later appears in the
    /// container. Nothing ever goes the other way.
    Slave,
}

/// What to do for a container that can mount a `/proc` (or `/sys`) of its own in a user namespace.
///
/// The kernel allows that only where one can be seen in full, and a file of ours on it ends that. A
/// container whose engine masks files has lost it already, so nothing is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// Mount the container's own procfs (or sysfs) once more, on an empty directory of sysfs that
    /// a container has no use for (`/sys/fs/fuse/connections`); where that is impossible,
    /// leave the files alone. Nothing is written into the container.
    Keep,
    /// Leave the files alone.
    LeaveAlone,
    /// Attach, and let the container lose it.
    Ignore,
}

/// Says which mounts are ours.
#[derive(Clone)]
pub struct Ours(Arc<dyn Fn(&Mount) -> bool + Send + Sync>);

impl Ours {
    /// Those for which `is_ours` is true.
    pub fn new(is_ours: impl Fn(&Mount) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_ours))
    }

    /// Those of the given file system types, such as `fuse.resview`.
    #[must_use]
    pub fn types(types: &[&str]) -> Self {
        let types: Vec<String> = types.iter().map(|&one| one.to_owned()).collect();
        Self::new(move |mount| types.contains(&mount.fs_type))
    }

    pub(crate) fn has(&self, mount: &Mount) -> bool {
        (self.0)(mount)
    }
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ours")
    }
}

/// What came of an [`Attach`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each binding, in their order.
    pub files: Vec<FileReport>,
    /// Where a full procfs or sysfs was mounted for [`Nesting::Keep`].
    pub hidden: Vec<PathBuf>,
}

/// What came of one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Where, in the container.
    pub target: PathBuf,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done about one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was mounted over the kernel's own file.
    Attached,
    /// It was there already; nothing was done.
    Already,
    /// It took the place of a mount of ours that was dead or had another source.
    Replaced,
    /// The container's engine masks this path, and it stays masked.
    Masked,
    /// The container has no such path.
    Missing,
    /// It was not mounted, for this reason.
    LeftAlone(String),
}

impl Outcome {
    /// Whether the container sees the binding's source now.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Attached | Self::Already | Self::Replaced)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attached => "attached",
            Self::Already => "already attached",
            Self::Replaced => "replaced",
            Self::Masked => "masked by the container's engine",
            Self::Missing => "not in the container",
            Self::LeftAlone(why) => return write!(f, "left alone: {why}"),
        })
    }
}

/// The path below the container's root, without the leading slash.
pub(crate) fn below_root(target: &Path) -> Result<&Path, Error> {
    let wrong = || Error::Target { target: target.to_owned() };
    let relative = target.strip_prefix("/").map_err(|_| wrong())?;
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let kernels = ["proc", "sys"].iter().any(|top| relative.starts_with(top));
    // `components` passes over dots and slashes too many; the kernel would too, mountinfo not.
    let spelt = Path::new("/").join(relative.components().collect::<PathBuf>());
    let plain = plain && spelt.as_os_str() == target.as_os_str();
    let deep = relative.components().count() > 1;
    if plain && kernels && deep { Ok(relative) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_proc_and_sys_are_targets() {
        assert_eq!(below_root(Path::new("/proc/meminfo")).unwrap(), Path::new("proc/meminfo"));
        assert!(below_root(Path::new("/sys/devices/system/cpu")).is_ok());
        for wrong in [
            "",
            "/",
            "/proc",
            "/proc/",
            "proc/meminfo",
            "/etc/passwd",
            "/proc/../etc/passwd",
            "/proc/./meminfo",
            "/proc//meminfo",
            "/proc/meminfo/",
            "/process/x",
        ] {
            assert!(below_root(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
