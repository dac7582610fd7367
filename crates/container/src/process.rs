//! Reading one process's or thread's directory in procfs.

use std::path::Path;

use hostfs::{Dir, HostFs};
use procfmt::num::parse_u64;
use procfmt::pid_cgroup::memberships;
use procfmt::pid_stat::PidStat;
use procfmt::pid_status::PidStatus;
use procfmt::units::Ticks;

use crate::error::Error;

/// A process or a thread. `/proc/TID` works for a thread as well, though it is not listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process<'host> {
    proc: &'host Dir,
    pub(crate) id: u32,
}

impl<'host> Process<'host> {
    pub(crate) fn new(host: &'host HostFs, id: u32) -> Self {
        Self::below(&host.proc, id)
    }

    /// A process of the procfs whose top is `proc`.
    pub(crate) fn below(proc: &'host Dir, id: u32) -> Self {
        Self { proc, id }
    }

    /// Another process of the same procfs.
    pub(crate) fn other(self, id: u32) -> Self {
        Self { id, ..self }
    }

    fn file(self, name: &str) -> String {
        format!("{}/{name}", self.id)
    }

    /// Which namespace of a kind (`pid`, `mnt`, `time`) it is in. `None` if that may not be known:
    /// a security module can forbid the link.
    pub(crate) fn namespace(self, kind: &str) -> Result<Option<u64>, Error> {
        match self.proc.read_link(self.file(&format!("ns/{kind}"))) {
            Ok(link) => Ok(inode(&link)),
            Err(error) => self.none_unless_ended(error),
        }
    }

    /// `cgroup`: in which cgroups it is.
    pub(crate) fn cgroup(self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        self.checked(self.proc.read_one(self.file("cgroup"), buffer))?;
        self.check_cgroup(buffer)
    }

    /// An error for a `cgroup` text without any cgroup, which would pass for one in the root.
    pub(crate) fn check_cgroup(self, text: &[u8]) -> Result<(), Error> {
        memberships(text).next().map(|_| ()).ok_or_else(|| self.unexpected("cgroup"))
    }

    /// `mountinfo`: the mounts that it sees. Empty if that may not be known.
    pub(crate) fn mountinfo(self) -> Result<Vec<u8>, Error> {
        let mut buffer = Vec::new();
        match self.proc.read(self.file("mountinfo"), &mut buffer) {
            // A process that is about to end has no mount namespace any more: EINVAL.
            Ok(()) | Err(hostfs::Error::Failed { .. }) => Ok(buffer),
            Err(_) => Err(self.ended()),
        }
    }

    /// When it was started, in ticks since boot.
    pub(crate) fn start_time(self) -> Result<Ticks, Error> {
        let mut buffer = Vec::new();
        self.checked(self.proc.read_one(self.file("stat"), &mut buffer))?;
        PidStat::parse(&buffer).map(|stat| stat.start_time).ok_or_else(|| self.unexpected("stat"))
    }

    /// `status`: its parent, and its ids in the pid namespaces it is in.
    pub(crate) fn status(self) -> Result<PidStatus, Error> {
        let mut buffer = Vec::new();
        self.checked(self.proc.read_one(self.file("status"), &mut buffer))?;
        PidStatus::parse(&buffer).ok_or_else(|| self.unexpected("status"))
    }

    /// `personality`, a hexadecimal number.
    pub(crate) fn personality(self) -> Option<u32> {
        let mut buffer = Vec::new();
        self.proc.read_one(self.file("personality"), &mut buffer).ok()?;
        u32::from_str_radix(std::str::from_utf8(&buffer).ok()?.trim(), 16).ok()
    }

    /// The `boottime` line of `timens_offsets`, in nanoseconds.
    pub(crate) fn boottime_offset(self) -> Option<i64> {
        let mut buffer = Vec::new();
        self.proc.read_one(self.file("timens_offsets"), &mut buffer).ok()?;
        offset(&buffer, "boottime")
    }

    pub(crate) fn open(self, name: &str) -> Result<std::os::fd::OwnedFd, Error> {
        self.proc.open_file(self.file(name)).map_err(|error| self.or_ended(error))
    }

    fn checked(self, read: Result<(), hostfs::Error>) -> Result<(), Error> {
        read.map_err(|error| self.or_ended(error))
    }

    fn or_ended(self, error: hostfs::Error) -> Error {
        if error.is_absent() || error.is_gone() { self.ended() } else { Error::Proc(error) }
    }

    /// Whether an unreadable link means that the process has ended or that it may not be read.
    fn none_unless_ended<T>(self, error: hostfs::Error) -> Result<Option<T>, Error> {
        match self.or_ended(error) {
            // A zombie has no namespaces, and says ENOENT too.
            Error::Ended { .. } if self.proc.stat(self.id.to_string()).is_err() => {
                Err(self.ended())
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn ended(self) -> Error {
        Error::Ended { tid: self.id }
    }

    fn unexpected(self, name: &str) -> Error {
        Error::Unexpected { file: self.proc.path_of(self.file(name)).display().to_string() }
    }
}

/// `pid:[4026531836]` to 4026531836.
pub(crate) fn inode(link: &Path) -> Option<u64> {
    let text = link.to_str()?;
    let (_, number) = text.strip_suffix(']')?.split_once(":[")?;
    parse_u64(number.as_bytes())
}

/// The offset of a clock in a `timens_offsets` text, in nanoseconds: seconds, which may be
/// negative, and nanoseconds. time_namespaces(7).
pub(crate) fn offset(text: &[u8], clock: &str) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut fields = text.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.next()? == clock).then_some(fields)
    })?;
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanos: i64 = fields.next()?.parse().ok()?;
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_links() {
        assert_eq!(inode(Path::new("pid:[4026531836]")), Some(4_026_531_836));
        for other in ["", "pid", "pid:[]", "pid:[x]", "/proc/1"] {
            assert_eq!(inode(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn clock_offsets() {
        let text = b"monotonic           0         0\nboottime      -86400         5\n";
        assert_eq!(offset(text, "boottime"), Some(-86_399_999_999_995));
        assert_eq!(offset(text, "monotonic"), Some(0));
        assert_eq!(offset(b"7 0 0\n", "boottime"), None);
        assert_eq!(offset(b"boottime 9223372036854775807 0", "boottime"), Some(i64::MAX));
    }
}
