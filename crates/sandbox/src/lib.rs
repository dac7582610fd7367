//! What the worker gives up before it serves, so that a fault in it, or somebody who takes it over,
//! can do little.
//!
//! [`enter`] is called when everything is open and no thread has been started. From then on:
//!
//! # Files
//! The process has a mount namespace of its own, whose root is an empty, read-only tmpfs with a new
//! procfs on `/proc`, read-only too. Nothing of the machine has a path any more but what
//! [`Sandbox::writable`] and [`Sandbox::readable`] name. What was open stays open, and files below
//! an open directory can be opened: so the host's procfs, sysfs and cgroups are read. The machine's
//! mounts are not held either, so others can unmount them.
//!
//! **Landlock is not used**: a process with any Landlock rules, whatever they are about and whatever
//! its capabilities, passes the kernel's `ptrace_may_access` for processes of its own domain only. So
//! it can read neither `/proc/PID/ns/*` nor `/proc/PID/personality` of others, by which the worker
//! tells containers apart (security/landlock/task.c; a test holds it).
//!
//! # Capabilities
//! Kept in the permitted, effective and bounding set, as far as the process has them; nothing is
//! inheritable or ambient:
//!
//! * `CAP_SYS_PTRACE`: to follow `/proc/PID/ns/*` and read `/proc/PID/personality` of processes in
//!   other user namespaces or with capabilities that the worker lacks: to tell containers apart.
//! * `CAP_DAC_READ_SEARCH`, without triggers: to read files of mode 0400 that belong to others,
//!   `/proc/PID/personality` in a user namespace among them, and cgroups that only their owner may
//!   search.
//! * `CAP_DAC_OVERRIDE`, with triggers, in its place: the pressure files of a cgroup that was
//!   delegated belong to its user, and a trigger is set by writing.
//! * `CAP_SYS_RESOURCE`, with triggers: for windows that are no multiple of two seconds. The kernel
//!   asks it of who opened the pressure file.
//!
//! Not needed, by experiment: `CAP_SYS_ADMIN` (but to get here), `CAP_NET_ADMIN` (cgroupstats asks
//! for none), `CAP_SYS_NICE`, `CAP_KILL`.
//!
//! # System calls
//! A seccomp filter allows those that the worker, Rust's standard library and glibc make. No program
//! can be started, no mapping made executable, no namespace entered or made, nothing mounted, traced,
//! killed or loaded; the only sockets are unix and generic netlink. Files are opened for reading,
//! with triggers for reading and writing, and never made unless [`Sandbox::writable`] names a place,
//! and then only until [`settle`]. seccomp(2) itself is allowed, as it can only take away.
//! A call that is not allowed fails with EPERM: a worker that is killed comes back and is killed
//! again. To find one that was forgotten, run with [`OnViolation::Log`]; the kernel then makes the
//! call and logs `type=1326 … syscall=N` (dmesg, or the audit log). `ausyscall N` has the name.
//!
//! # Limits
//! Memory by RLIMIT_DATA: an allocation beyond it fails, and so the worker ends by SIGABRT with a
//! message, and not the machine by its OOM killer. Descriptors: [`limit_descriptors`]. Not
//! RLIMIT_NPROC: it counts all processes of the user.
//!
//! # What remains
//! The worker is root without most of its powers. With CAP_SYS_PTRACE and procfs, somebody who has
//! taken it over can read files of the machine and of containers by way of `/proc/PID/root`. With
//! triggers, which are set by opening for writing, he can overwrite existing ones too, and cgroup
//! files likewise; to make a file is refused in any case, to overwrite one is without triggers.

#![forbid(unsafe_code)]

mod calls;
mod capabilities;
mod filter;
mod limits;
mod report;
mod root;

use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;

pub use filter::settle;
pub use limits::limit_descriptors;
pub use report::{Files, Report, Seccomp};

/// What the worker may still do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Directories that keep their absolute path and can be written to. With one here, files can be
    /// opened in every way.
    pub writable: Vec<PathBuf>,
    /// Files and directories that keep their absolute path and can be read, such as the program
    /// itself, for the names in backtraces. One that is not there is left out.
    pub readable: Vec<PathBuf>,
    /// Whether pressure triggers are set, which is done by writing.
    pub triggers: bool,
    /// Whether requests come through rings of io_uring(7), which have to be there already and to be
    /// restricted to what they are for: a ring makes no system calls that the filter could see.
    /// Allows io_uring_enter(2), and threads to choose their own CPUs.
    pub rings: bool,
    /// RLIMIT_DATA in bytes: heap and all other private writable memory, the stack of each thread
    /// counted in full (2 MiB). `None`: as it was.
    pub memory: Option<u64>,
    /// Whether a crash leaves a core dump. `false` sets RLIMIT_CORE to 0.
    pub core_dumps: bool,
    /// What happens to a system call that is not foreseen.
    pub on_violation: OnViolation,
}

/// What happens to a system call that is not foreseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnViolation {
    /// It fails with EPERM.
    #[default]
    Refuse,
    /// It is made, and the kernel logs it: to find what is missing in the filter.
    Log,
}

/// Why the sandbox could not be entered. The process is then half in it and has to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Capabilities and mount namespaces belong to threads, not to the process.
    #[error("there are threads already; the sandbox has to be entered before the first is started")]
    Threads,
    /// The machine's file tree could not be left.
    #[error("cannot leave the machine's file tree: to {what}: {source}")]
    Files {
        /// The step that failed.
        what: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// A path could not be kept.
    #[error("cannot keep {}: {source}; it has to be an absolute path to what exists", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// A resource limit could not be set.
    #[error("cannot limit {what} to {most}: {source}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        most: u64,
        /// What the kernel said.
        source: Errno,
    },
    /// Capabilities could not be given up.
    #[error("cannot {what} capabilities: {source}")]
    Capabilities {
        /// The step that failed.
        what: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// no_new_privs could not be set.
    #[error("cannot set no_new_privs: {0}")]
    NoNewPrivs(Errno),
    /// The filter could not be made or installed.
    #[error("cannot filter system calls: {0}")]
    Filter(seccompiler::Error),
}

impl Error {
    fn rules(error: seccompiler::BackendError) -> Self {
        Self::Filter(error.into())
    }
}

/// Enters the sandbox, for good. The working directory is `/` afterwards.
///
/// # Errors
/// See [`Error`]. What this kernel lacks is no error but a line of [`Report::weaker`].
pub fn enter(sandbox: &Sandbox) -> Result<Report, Error> {
    // Changes nothing; fails in a process with more than one thread.
    unshare(CloneFlags::CLONE_THREAD).map_err(|_| Error::Threads)?;
    let mut report = Report::default();
    root::leave(sandbox, &mut report)?;
    limits::set(sandbox, &mut report)?;
    capabilities::give_up(sandbox, &mut report)?;
    rustix::thread::set_no_new_privs(true).map_err(Error::NoNewPrivs)?;
    filter::install(sandbox, &mut report)?;
    report.no_new_privs = rustix::thread::no_new_privs().map_err(Error::NoNewPrivs)?;
    Ok(report)
}

fn errno(errno: nix::errno::Errno) -> Errno {
    std::io::Error::from(errno).raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
