//! Counts of a v1 cgroup's tasks by state, by the kernel itself: taskstats over generic netlink.
//! Sources: Documentation/accounting/cgroupstats.rst, linux/{netlink,genetlink,cgroupstats}.h.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink, recv, send,
    socket_with,
};

/// A connection to the kernel's task statistics.
#[derive(Debug)]
pub(crate) struct Taskstats {
    socket: OwnedFd,
    family: u16,
}

/// Tasks of one cgroup, those of cgroups below it not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct States {
    /// Running or ready to run; exact.
    pub(crate) running: u64,
    /// In uninterruptible sleep; those that can be killed out of it are not among them.
    pub(crate) blocked: u64,
}

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// The family that tells the number of others.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CGROUPSTATS_CMD_GET: u8 = 4;
const CGROUPSTATS_CMD_ATTR_FD: u16 = 1;
const CGROUPSTATS_TYPE_CGROUP_STATS: u16 = 1;
/// Lengths of `struct nlmsghdr`, of that and `struct genlmsghdr`, and of `struct nlattr`.
const NETLINK_HEADER: usize = 16;
const HEADERS: usize = 20;
const ATTRIBUTE_HEADER: usize = 4;

impl Taskstats {
    /// `None` where there is none: a kernel without CONFIG_TASKSTATS, or a network namespace other
    /// than the first.
    pub(crate) fn open() -> Option<Self> {
        Self::connect()
            .inspect_err(|error| tracing::debug!(%error, "no taskstats; tasks are walked"))
            .ok()
    }

    fn connect() -> Result<Self, Errno> {
        let protocol = Some(netlink::GENERIC);
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
        connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        let name = message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0");
        let reply = ask(&socket, &name)?;
        let family = attribute(&reply, CTRL_ATTR_FAMILY_ID).and_then(|value| value.first_chunk());
        let family = u16::from_ne_bytes(*family.ok_or(Errno::BADMSG)?);
        Ok(Self { socket, family })
    }

    /// Counts the tasks of the cgroup whose directory this is.
    ///
    /// # Errors
    /// EINVAL for a directory of cgroup v2; ENOENT for a cgroup that was removed.
    pub(crate) fn of_cgroup(&self, directory: impl AsFd) -> Result<States, Errno> {
        let fd = directory.as_fd().as_raw_fd().to_ne_bytes();
        let request = message(self.family, CGROUPSTATS_CMD_GET, CGROUPSTATS_CMD_ATTR_FD, &fd);
        let reply = ask(&self.socket, &request)?;
        attribute(&reply, CGROUPSTATS_TYPE_CGROUP_STATS).and_then(states).ok_or(Errno::BADMSG)
    }
}

/// `struct cgroupstats`: sleeping, running, stopped, uninterruptible, waiting for I/O.
fn states(value: &[u8]) -> Option<States> {
    let (counts, _) = value.as_chunks();
    let [_, running, _, uninterruptible, io_wait] = *counts.first_chunk()?;
    let [running, uninterruptible, io_wait] =
        [running, uninterruptible, io_wait].map(u64::from_ne_bytes);
    Some(States { running, blocked: uninterruptible.saturating_add(io_wait) })
}

/// A request with one attribute.
fn message(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attribute_length = ATTRIBUTE_HEADER + value.len();
    let length = HEADERS + attribute_length.next_multiple_of(4);
    let [length, attribute_length] =
        [length, attribute_length].map(|length| u16::try_from(length).unwrap_or(u16::MAX));
    let mut message = u32::from(length).to_ne_bytes().to_vec();
    message.extend([family, NLM_F_REQUEST].map(u16::to_ne_bytes).as_flattened());
    // Sequence number and sender, which the kernel fills in; command, version and nothing.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend([attribute_length, attribute].map(u16::to_ne_bytes).as_flattened());
    message.extend(value);
    message.resize(length.into(), 0);
    message
}

/// The kernel answers before send(2) returns, so there is nothing to wait for.
fn ask(socket: &OwnedFd, request: &[u8]) -> Result<Vec<u8>, Errno> {
    send(socket, request, SendFlags::empty())?;
    let mut reply = vec![0; 8192];
    let (length, _) = recv(socket, &mut reply[..], RecvFlags::DONTWAIT)?;
    reply.truncate(length);
    match error_of(&reply) {
        None => Ok(reply),
        Some(error) => Err(error),
    }
}

/// The error that a reply is about. It holds the number negated.
fn error_of(reply: &[u8]) -> Option<Errno> {
    let kind = u16::from_ne_bytes(*reply.get(4..)?.first_chunk()?);
    let number = i32::from_ne_bytes(*reply.get(NETLINK_HEADER..)?.first_chunk()?);
    (kind == NLMSG_ERROR).then(|| Errno::from_raw_os_error(number.saturating_neg()))
}

/// The value of a reply's first attribute of this type.
fn attribute(reply: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = reply.get(HEADERS..)?;
    loop {
        let [length, kind] = rest.as_chunks().0.first_chunk::<2>()?.map(u16::from_ne_bytes);
        let value = rest.get(ATTRIBUTE_HEADER..usize::from(length))?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(usize::from(length).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;
    use testkit::{Layout, TestCgroup, layout};

    use super::*;

    #[test]
    fn a_busy_loop_is_counted_in_its_cgroup() {
        if !testkit::need_root("a_busy_loop_is_counted_in_its_cgroup") {
            return;
        }
        let taskstats = Taskstats::connect().unwrap();
        let cgroup = TestCgroup::new("taskstats");
        let directory = hostfs::Dir::open(cgroup.path("cpu")).unwrap();
        if layout() == Layout::V2 {
            assert_eq!(taskstats.of_cgroup(&directory), Err(Errno::INVAL));
            return;
        }
        assert_eq!(taskstats.of_cgroup(&directory), Ok(States { running: 0, blocked: 0 }));
        let mut busy = Command::new("sh");
        let busy = busy.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        let mut busy = busy.spawn().unwrap();
        cgroup.add_pid(busy.id());
        let runs = (0..1500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            taskstats.of_cgroup(&directory) == Ok(States { running: 1, blocked: 0 })
        });
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(runs, "{:?}", taskstats.of_cgroup(&directory));
    }

    #[test]
    fn attributes_are_found_behind_others() {
        let mut reply = message(7, 1, 2, b"abcde");
        reply.extend([6, 0, 9, 0]);
        reply.extend(b"xy");
        if cfg!(target_endian = "little") {
            assert_eq!(attribute(&reply, 2), Some(&b"abcde"[..]));
            assert_eq!(attribute(&reply, 9), Some(&b"xy"[..]));
        }
        assert_eq!(attribute(&reply, 3), None);
        assert_eq!(error_of(&reply), None);
    }

    proptest! {
        #[test]
        fn arbitrary_replies_never_panic(reply in proptest::collection::vec(any::<u8>(), 0..80)) {
            error_of(&reply);
            attribute(&reply, 1).and_then(states);
        }
    }
}
