//! The control socket: `<runtime directory>/control.sock`, for root only.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};

use crate::channel::Channel;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Where the control socket is.
#[must_use]
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}

/// The address of a socket, whose path may be longer than the 107 bytes that unix(7) has room for.
pub(crate) struct Address {
    address: SocketAddrUnix,
    /// The directory by way of which the address leads to the socket.
    _directory: Option<OwnedFd>,
}

impl Address {
    pub(crate) fn of(path: &Path) -> Result<Self, Errno> {
        match (SocketAddrUnix::new(path), path.parent(), path.file_name()) {
            (Err(Errno::NAMETOOLONG), Some(parent), Some(name)) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = rustix::fs::open(parent, flags, Mode::empty())?;
                let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
                let address = SocketAddrUnix::new(Path::new(&short).join(name))?;
                Ok(Self { address, _directory: Some(directory) })
            }
            (address, ..) => Ok(Self { address: address?, _directory: None }),
        }
    }

    /// To be used while this lives.
    pub(crate) fn get(&self) -> &SocketAddrUnix {
        &self.address
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}: {errno}", .path.display())]
pub struct ListenError {
    /// Where.
    pub path: PathBuf,
    /// What the system call said.
    pub errno: Errno,
}

/// The control socket that listens. Closing it, or its process's end, leaves the socket's file.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Makes the socket, mode 0600, in place of one that nobody listens on any more. The caller has
    /// found out that nobody does, and keeps others from doing the same at this moment.
    ///
    /// # Errors
    /// Where one of the system calls fails.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let refused = |errno| ListenError { path: path.to_owned(), errno };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(refused)?;
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(refused(errno)),
        }
        let address = Address::of(path).map_err(refused)?;
        bind(&socket, address.get()).map_err(refused)?;
        // Nobody can connect before listen(2), so nobody gets in between.
        rustix::fs::chmodat(CWD, path, Mode::RUSR | Mode::WUSR, rustix::fs::AtFlags::empty())
            .map_err(refused)?;
        listen(&socket, BACKLOG).map_err(refused)?;
        Ok(Self(socket))
    }

    /// A socket from another process.
    #[must_use]
    pub fn adopt(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The next connection, if one waits. Those of other users than root are closed.
    ///
    /// # Errors
    /// What accept4(2) says; `EMFILE` where too many files are open.
    pub fn accept(&self) -> Result<Option<Channel>, Errno> {
        let connection = loop {
            match accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(connection) => break connection,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno),
            }
        };
        let peer = sockopt::socket_peercred(&connection)?;
        Ok(peer.uid.is_root().then(|| Channel::adopt(connection)))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::Client;

    #[test]
    fn runtime_directory_may_have_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = dir.path().join("long".repeat(30)).join("path".repeat(30));
        std::fs::create_dir_all(&runtime_dir).unwrap();
        let missing = Client::connect(&runtime_dir).unwrap_err();
        assert!(missing.to_string().contains("No such file"), "{missing}");
        let listener = Listener::bind(&socket_path(&runtime_dir)).unwrap();
        assert!(socket_path(&runtime_dir).exists());
        let _client = Client::connect(&runtime_dir).unwrap();
        assert!(listener.accept().unwrap().is_some());
    }
}
