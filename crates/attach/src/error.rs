//! Why something was not attached, detached or looked at.

use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

/// Why something was not attached, detached or looked at.
///
/// Unless it is [`Error::Left`], the container is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A target is not what this crate mounts on.
    #[error(
        "cannot mount on {}: give an absolute path below /proc or /sys, without . and ..",
        target.display()
    )]
    Target {
        /// The path.
        target: PathBuf,
    },
    /// The process has ended, before or during the visit.
    #[error("process {pid} has ended; is the container still running?")]
    Ended {
        /// The process.
        pid: u32,
    },
    /// The id belongs to another process now.
    #[error(
        "process {pid} is not the one meant: it started {found} ticks after boot, not {expected}; \
         look the container up again"
    )]
    Another {
        /// The id.
        pid: u32,
        /// The start time that was asked for, in ticks since boot.
        expected: u64,
        /// That of the process which has the id.
        found: u64,
    },
    /// The id is that of a thread.
    #[error("{pid} is a thread; give the id of its process")]
    Thread {
        /// The id.
        pid: u32,
    },
    /// The process has no mounts of its own.
    #[error(
        "process {pid} sees the host's own mounts (a process of the host, or a container without a \
         mount namespace); attaching to it would change the host, so it is left alone"
    )]
    HostNamespace {
        /// The process.
        pid: u32,
    },
    /// A file of procfs cannot be read.
    #[error("cannot read {}: {errno}; is the host's procfs on /proc, and is this the host's root?", path.display())]
    Proc {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// A source cannot be cloned.
    #[error("cannot make a mount of {}: {what}: {errno}; does the daemon serve it?", path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// Which step failed.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A source is a directory instead of a file, or the other way round.
    #[error("{} is not a {expected}; say what it is in the binding", path.display())]
    SourceKind {
        /// The source.
        path: PathBuf,
        /// `file` or `directory`.
        expected: &'static str,
    },
    /// The namespace cannot be entered.
    #[error(
        "cannot enter the mount namespace of process {pid}: {errno}; this needs CAP_SYS_ADMIN and \
         CAP_SYS_CHROOT, and CAP_SYS_PTRACE if the process has capabilities that this one lacks"
    )]
    Enter {
        /// The process.
        pid: u32,
        /// What the kernel said.
        errno: Errno,
    },
    /// The root directory of a container before pivot_root is not there.
    #[error("there is no root directory {} in the namespace of process {pid}: {errno}", root.display())]
    NoRoot {
        /// The process.
        pid: u32,
        /// The path that was given.
        root: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// At the target is something that must not be covered.
    #[error("{} in the container of process {pid} is left alone: {found}", target.display())]
    Refused {
        /// The process.
        pid: u32,
        /// The target.
        target: PathBuf,
        /// What was found, and what to do.
        found: String,
    },
    /// What is mounted at the target would be mounted on the host too.
    #[error(
        "{} in the container of process {pid} shares its mounts with the host (peer group {group}); \
         make it private or a slave (docker: bind-propagation=rslave)",
        target.display()
    )]
    Shared {
        /// The process.
        pid: u32,
        /// The target.
        target: PathBuf,
        /// The number after `shared:` in mountinfo.
        group: u64,
    },
    /// There are more mounts than anybody needs.
    #[error(
        "the mount table of process {pid} is longer than {limit} bytes; the container is left alone"
    )]
    TooManyMounts {
        /// The process.
        pid: u32,
        /// The limit.
        limit: u64,
    },
    /// The container goes on mounting and unmounting at the target.
    #[error(
        "mounts at {} in the container of process {pid} change while they are looked at; try again",
        target.display()
    )]
    Restless {
        /// The process.
        pid: u32,
        /// The target.
        target: PathBuf,
    },
    /// The kernel refused a step.
    #[error("cannot {what} {} in the container of process {pid}: {errno}", target.display())]
    Step {
        /// The process.
        pid: u32,
        /// The target.
        target: PathBuf,
        /// `open`, `mount on` or `unmount`.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A user namespace has got the mount from the one above it, and the kernel keeps it there.
    #[error(
        "{} in the container of process {pid} stays: its user namespace inherited the mount, and \
         keeps it until it ends",
        target.display()
    )]
    Locked {
        /// The process.
        pid: u32,
        /// The target.
        target: PathBuf,
    },
    /// Something else is mounted inside a directory that was to be taken away.
    #[error(
        "{} in the container of process {pid} stays: {inside} is mounted inside it; unmount that \
         first",
        target.display()
    )]
    Occupied {
        /// The process.
        pid: u32,
        /// The target.
        target: PathBuf,
        /// Where in the container.
        inside: String,
    },
    /// The visit takes too long: a file system of the container does not answer.
    #[error(
        "no answer from a file system of the container of process {pid} within {limit:?}; it is \
         left alone (is its root a FUSE file system that hangs?)"
    )]
    Hangs {
        /// The process.
        pid: u32,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The visit failed, and not all of it could be undone.
    #[error(
        "{error}; also, the mounts on {} could not be put back as they were: look at them, and \
         detach",
        left.display()
    )]
    Left {
        /// Why the visit failed.
        #[source]
        error: Box<Error>,
        /// The first target that could not be put back.
        left: PathBuf,
    },
    /// No thread could be started.
    #[error("cannot start a thread to visit process {pid}: {error}")]
    Spawn {
        /// The process.
        pid: u32,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
}
