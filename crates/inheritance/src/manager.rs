//! The service manager: what it is given to keep, and what it is told. Without one, nothing happens.
//!
//! Nobody waits for it: what it does not take stays here, in an order that it understands, and is
//! sent again later. All of that is bounded: names of descriptors, and a few sentences.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use control::Holdings;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg_addr, socket_with,
};
use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::stored::{self, STATE, Stored};

/// Sentences that wait; the oldest goes for one more.
const SENTENCES_MAX: usize = 8;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(OwnedFd, SocketAddrUnix)>,
    /// The memfd that says what the other descriptors are.
    state: OwnedFd,
    /// Names that it has been given.
    given: BTreeSet<String>,
    /// Names that it is to forget, before it is given anything.
    stale: BTreeSet<String>,
    /// What it is to be told, after everything else.
    unsaid: VecDeque<String>,
    /// It is to be given nothing more.
    is_over: bool,
}

impl Manager {
    /// The one behind `NOTIFY_SOCKET`; see sd_notify(3).
    pub(crate) fn from_environment(stored: &Stored) -> Result<Self, Error> {
        Self::new(std::env::var_os("NOTIFY_SOCKET"), stored)
    }

    fn new(address: Option<OsString>, stored: &Stored) -> Result<Self, Error> {
        let address = address.map(|address| match address.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path => SocketAddrUnix::new(path),
        });
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = address.map(|address| {
            Ok((socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?, address?))
        });
        let socket = socket.transpose().map_err(Error::system("use NOTIFY_SOCKET"))?;
        let state = stored.state()?;
        let (given, stale, unsaid) = Default::default();
        Ok(Self { socket, state, given, stale, unsaid, is_over: false })
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Gives it what it has not, and writes down what all of it is. Before it is told anything else
    /// about that.
    pub fn keep(&mut self, holdings: &Holdings) {
        if self.is_there() {
            stored::write(&self.state, holdings);
            self.send_what_waits(holdings);
        }
    }

    /// It is to close what it keeps by these names.
    pub fn forget(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.given.remove(&name);
            self.stale.insert(name);
        }
    }

    /// It is to close everything: it is unmounted.
    pub fn forget_all(&mut self, holdings: &Holdings) {
        let names = holdings.descriptors_for_store().into_iter().map(|(name, _)| name);
        self.forget(names.chain([STATE.to_owned()]));
        self.is_over = true;
        self.forget_rest();
    }

    /// The worker answers. `status`: one sentence, for `systemctl status`.
    pub fn ready(&mut self, status: &str) {
        self.say(format!("READY=1\nSTATUS={status}"));
    }

    /// An upgrade begins; [`ready`](Self::ready) ends it.
    pub fn reloading(&mut self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.say(format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// In one sentence, for `systemctl status`.
    pub fn status(&mut self, text: &str) {
        self.say(format!("STATUS={text}"));
    }

    /// The end is near.
    pub fn stopping(&mut self) {
        self.say("STOPPING=1".to_owned());
    }

    fn say(&mut self, text: String) {
        if self.unsaid.len() >= SENTENCES_MAX {
            self.unsaid.pop_front();
        }
        self.unsaid.push_back(text);
    }

    /// Sends what it has not been sent yet, as far as it takes that. To be called again and again.
    pub fn send_what_waits(&mut self, holdings: &Holdings) {
        if self.forget_rest() && self.give_rest(holdings) {
            while self.unsaid.front().is_some_and(|text| self.send(text, None)) {
                self.unsaid.pop_front();
            }
        }
    }

    /// Whether it has been given, and told, all that there is.
    #[must_use]
    pub fn has_all(&self, holdings: &Holdings) -> bool {
        let mut names = holdings.descriptors_for_store().into_iter().map(|(name, _)| name);
        let is_told = self.stale.is_empty() && self.unsaid.is_empty();
        is_told
            && (self.is_over || !self.is_there() || names.all(|name| self.given.contains(&name)))
    }

    /// Whether that was all.
    fn forget_rest(&mut self) -> bool {
        while let Some(name) = self.stale.first() {
            if !self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None) {
                return false;
            }
            self.stale.pop_first();
        }
        true
    }

    /// Whether that was all.
    fn give_rest(&mut self, holdings: &Holdings) -> bool {
        let state = (STATE.to_owned(), self.state.as_fd());
        let mut given = std::mem::take(&mut self.given);
        let taken =
            holdings.descriptors_for_store().into_iter().chain([state]).all(|(name, fd)| {
                // Without FDPOLL=0, systemd would poll the devices, and drop them.
                let text = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
                self.is_over
                    || given.contains(&name)
                    || (self.send(&text, Some(fd)) && given.insert(name))
            });
        self.given = given;
        taken
    }

    /// Sends one message; `false` if it is to be sent again.
    fn send(&self, text: &str, fd: Option<BorrowedFd<'_>>) -> bool {
        let Some((socket, address)) = &self.socket else { return true };
        let fds: Vec<_> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg_addr(socket, address, &[IoSlice::new(text.as_bytes())], &mut ancillary, flags)
        {
            Ok(_) => true,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => false,
            Err(error) => {
                tracing::warn!(%error, "cannot reach the socket in NOTIFY_SOCKET");
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn holdings() -> Holdings {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (keep, listener) = (null(), null());
        Holdings { connections: Vec::new(), keep, listener, guard: None, virtual_: true }
    }

    fn manager(socket: &std::path::Path) -> Manager {
        Manager::new(Some(socket.into()), &Stored::default()).unwrap()
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 1000];
        let len = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }

    #[test]
    fn service_manager_that_does_not_read_never_makes_us_wait_and_hears_it_later() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (mut manager, holdings) = (manager(&dir.path().join("notify")), holdings());
        let mut said = 0;
        while manager.unsaid.is_empty() {
            manager.status(&format!("number {said}"));
            manager.send_what_waits(&holdings);
            said += 1;
        }
        manager.ready("at last");
        manager.forget([String::from("keep")]);
        (0..1000).for_each(|_| manager.reloading());
        manager.ready("Serving");
        manager.keep(&holdings);
        assert_eq!(manager.unsaid.len(), SENTENCES_MAX);
        let mut all = Vec::new();
        while let Some(text) = heard(&socket) {
            all.push(text);
            manager.send_what_waits(&holdings);
        }
        let at = |text: &str| all.iter().rposition(|said| said.starts_with(text)).unwrap();
        let removed = at("FDSTOREREMOVE=1\nFDNAME=keep");
        let kept = at("FDSTORE=1\nFDNAME=keep");
        assert!(removed < kept && kept < at("READY=1\nSTATUS=Serving"), "{all:?}");
        assert_eq!(all.last().unwrap(), "READY=1\nSTATUS=Serving");
    }

    #[test]
    fn service_manager_that_is_gone_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (mut manager, holdings) = (manager(&dir.path().join("nobody")), holdings());
        manager.ready("Serving");
        manager.keep(&holdings);
        assert!(manager.unsaid.is_empty());
    }

    #[test]
    fn descriptors_are_given_once_and_not_again_after_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (mut manager, holdings) = (manager(&dir.path().join("notify")), holdings());
        (0..3).for_each(|_| manager.keep(&holdings));
        let all: Vec<String> = std::iter::from_fn(|| heard(&socket)).collect();
        let names: Vec<_> = all.iter().filter_map(|said| said.split('\n').nth(1)).collect();
        assert_eq!(names, ["FDNAME=keep", "FDNAME=state"]);
        manager.forget_all(&holdings);
        manager.send_what_waits(&holdings);
        let all: Vec<String> = std::iter::from_fn(|| heard(&socket)).collect();
        assert_eq!(all.len(), 2, "given nothing again: {all:?}");
    }
}
