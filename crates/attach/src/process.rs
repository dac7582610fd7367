//! The process whose mount namespace is visited, held so that its id cannot become another's.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use procfmt::pid_stat::PidStat;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, openat, statat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Error;
use crate::table::Table;

/// Mount tables are read up to here. The kernel's own limit is 100 000 mounts in a namespace.
const TABLE_LIMIT: u64 = 64 << 20;

/// A process, told from any other that ever had its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id in the caller's pid namespace.
    pub pid: u32,
    /// When it was started, in ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl Process {
    /// The process that has this id now.
    ///
    /// # Errors
    /// [`Error::Ended`] if there is none, [`Error::Proc`] if procfs cannot be read.
    pub fn running(pid: u32) -> Result<Self, Error> {
        let dir = Procfs::open()?.process(pid)?;
        Ok(Self { pid, start_time: start_time(&dir, pid)? })
    }
}

/// The host's procfs.
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    pub(crate) fn open() -> Result<Self, Error> {
        let failed = |errno| Error::Proc { path: "/proc".into(), errno };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, "/proc", flags, Mode::empty()).map_err(failed)?;
        let is_proc = fstatfs(&dir).map_err(failed)?.f_type == PROC_SUPER_MAGIC;
        if is_proc { Ok(Self(dir)) } else { Err(failed(Errno::NODEV)) }
    }

    fn process(&self, pid: u32) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.0, pid.to_string(), flags, Mode::empty())
            .map_err(|errno| failed(pid, "", errno))
    }

    /// The directory of the calling thread.
    pub(crate) fn own_thread(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.0, "thread-self", flags, Mode::empty())
            .map_err(|errno| Error::Proc { path: "/proc/thread-self".into(), errno })
    }

    /// The mount namespaces in which nothing may change: the calling thread's, and that of init.
    /// `None`: that of init may not be known, as it has a capability that this process lacks.
    fn host_namespaces(&self) -> Result<[Option<(u64, u64)>; 2], Error> {
        let namespace = |of: &str| {
            let path = Path::new(of).join("ns/mnt");
            match statat(&self.0, &path, AtFlags::empty()) {
                Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
                Err(Errno::ACCESS | Errno::PERM) => Ok(None),
                Err(errno) => Err(Error::Proc { path: Path::new("/proc").join(path), errno }),
            }
        };
        Ok([namespace("thread-self")?, namespace("1")?])
    }

    /// The mounts of these namespaces.
    pub(crate) fn host_tables(&self) -> Result<[Table; 2], Error> {
        let table = |of: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = openat(&self.0, of, flags, Mode::empty())
                .map_err(|errno| Error::Proc { path: Path::new("/proc").join(of), errno })?;
            mount_table(dir.as_fd(), std::process::id())
        };
        Ok([table("thread-self")?, table("1")?])
    }
}

/// A process that is known to be the one meant, as long as [`check`](Self::check) says so.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) process: Process,
    pidfd: OwnedFd,
    dir: OwnedFd,
}

impl Held {
    pub(crate) fn open(procfs: &Procfs, process: Process) -> Result<Self, Error> {
        let pid = process.pid;
        let ended = Error::Ended { pid };
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Err(ended) };
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| match errno {
            Errno::INVAL => Error::Thread { pid },
            errno => failed(pid, "", errno),
        })?;
        // If the process of the pidfd lives after this, the directory is that process's.
        let held = Self { process, pidfd, dir: procfs.process(pid)? };
        held.check()?;
        Ok(held)
    }

    /// Whether the process lives and is the one that was meant.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let pid = self.process.pid;
        let mut exit = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // An error that is not about the process: `start_time` tells it from a dead one.
        let ready = poll(&mut exit, Some(&Timespec::default())).unwrap_or(0);
        if ready > 0 {
            return Err(Error::Ended { pid });
        }
        let (expected, found) = (self.process.start_time, start_time(&self.dir, pid)?);
        if found == expected { Ok(()) } else { Err(Error::Another { pid, expected, found }) }
    }

    /// Its mount namespace, which is none of the host's.
    pub(crate) fn namespace(&self, procfs: &Procfs) -> Result<OwnedFd, Error> {
        let pid = self.process.pid;
        let host = Error::HostNamespace { pid };
        let failed = |errno| failed(pid, "ns/mnt", errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = match openat(&self.dir, "ns/mnt", flags, Mode::empty()) {
            Err(Errno::ACCESS) if self.has_mounts_of_host(procfs)? => return Err(host),
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => return Err(Error::Enter { pid, errno }),
            opened => opened.map_err(failed)?,
        };
        // Of what was opened, not of the link: that is what will be entered.
        let stat = fstat(&namespace).map_err(failed)?;
        let hosts = procfs.host_namespaces()?;
        let is_hosts = hosts.contains(&Some((stat.st_dev, stat.st_ino)))
            || hosts.contains(&None) && self.has_mounts_of_host(procfs)?;
        if is_hosts { Err(host) } else { Ok(namespace) }
    }

    /// Whether it sees the very root mount that the host sees; each namespace has its own.
    fn has_mounts_of_host(&self, procfs: &Procfs) -> Result<bool, Error> {
        let table = self.table()?;
        Ok(procfs.host_tables()?.iter().any(|host| host.has_root_of(&table)))
    }

    /// Which mount namespace that is.
    pub(crate) fn namespace_id(&self, procfs: &Procfs) -> Result<(u64, u64), Error> {
        let stat = fstat(self.namespace(procfs)?);
        let stat = stat.map_err(|errno| failed(self.process.pid, "ns/mnt", errno))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The mounts that it sees.
    pub(crate) fn table(&self) -> Result<Table, Error> {
        mount_table(self.dir.as_fd(), self.process.pid)
    }
}

/// `mountinfo` of the process or thread whose directory in procfs this is.
pub(crate) fn mount_table(dir: BorrowedFd<'_>, pid: u32) -> Result<Table, Error> {
    let text = read(dir, "mountinfo", TABLE_LIMIT).map_err(|errno| match errno {
        Errno::FBIG => Error::TooManyMounts { pid, limit: TABLE_LIMIT },
        // So it says of a process that is about to end.
        Errno::INVAL => Error::Ended { pid },
        errno => failed(pid, "mountinfo", errno),
    })?;
    Ok(Table::parse(&text))
}

fn start_time(dir: &OwnedFd, pid: u32) -> Result<u64, Error> {
    let text = read(dir.as_fd(), "stat", 1 << 16).map_err(|errno| failed(pid, "stat", errno))?;
    let stat = PidStat::parse(&text).ok_or_else(|| failed(pid, "stat", Errno::INVAL))?;
    Ok(stat.start_time.0)
}

fn read(dir: BorrowedFd<'_>, name: &str, limit: u64) -> Result<Vec<u8>, Errno> {
    let file = File::from(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut text = Vec::new();
    let read = file.take(limit).read_to_end(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if u64::try_from(text.len()).is_ok_and(|len| len < limit) { Ok(text) } else { Err(Errno::FBIG) }
}

fn failed(pid: u32, file: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::SRCH => Error::Ended { pid },
        errno => Error::Proc { path: PathBuf::from(format!("/proc/{pid}")).join(file), errno },
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other() {
        let own = Process::running(std::process::id()).unwrap();
        let procfs = Procfs::open().unwrap();
        Held::open(&procfs, own).unwrap().check().unwrap();
        let other = Process { start_time: own.start_time + 1, ..own };
        assert!(matches!(Held::open(&procfs, other), Err(Error::Another { .. })));
        let none = Process { pid: u32::MAX, start_time: 0 };
        assert!(matches!(Held::open(&procfs, none), Err(Error::Ended { .. })));
        assert!(matches!(Process::running(0), Err(Error::Ended { .. })));
    }

    #[test]
    fn an_ended_process_is_noticed_though_it_is_not_waited_for() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let procfs = Procfs::open().unwrap();
        let held = Held::open(&procfs, Process::running(child.id()).unwrap()).unwrap();
        held.check().unwrap();
        child.kill().unwrap();
        let zombie = || matches!(held.check(), Err(Error::Ended { .. }));
        while !zombie() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(zombie());
        assert!(matches!(held.table(), Err(Error::Ended { .. })));
    }

    #[test]
    fn a_process_with_the_hosts_mounts_is_refused() {
        if !testkit::need_root("a_process_with_the_hosts_mounts_is_refused") {
            return;
        }
        let procfs = Procfs::open().unwrap();
        for pid in [1, std::process::id()] {
            let held = Held::open(&procfs, Process::running(pid).unwrap()).unwrap();
            let error = held.namespace(&procfs).unwrap_err();
            assert!(matches!(error, Error::HostNamespace { .. }), "{error:?}");
        }
    }
}
