//! The other end of the control socket.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::Value;

use crate::channel::{Channel, ChannelError};
use crate::holdings::{Holdings, IncompleteError};
use crate::listener::{Address, socket_path};
use crate::message::{Answer, Request, Role};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("nothing of Resview runs at {}: {errno}", .path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What connect(2) said.
        errno: Errno,
    },
    /// Somebody listens, and cannot be talked to.
    #[error("cannot talk to the daemon behind {}", .path.display())]
    Channel {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: ChannelError,
    },
    /// It says no.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// It says something else.
    #[error("the daemon answers with something else than what was asked")]
    Misunderstanding,
    /// Not everything came.
    #[error("cannot take over from the daemon")]
    Incomplete(#[from] IncompleteError),
}

/// How often the backlog may be full, at intervals of 10 ms.
const TRIES: u32 = 200;

fn connect_soon(socket: &OwnedFd, address: &SocketAddrUnix) -> Result<(), Errno> {
    for _ in 0..TRIES {
        match connect(socket, address) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// A connection to the control socket.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    path: PathBuf,
}

/// Everything that a supervisor, or an orphaned worker, hands over.
#[derive(Debug)]
pub struct Predecessor {
    /// Copies of its descriptors.
    pub holdings: Holdings,
    /// The worker that serves at the moment: to be killed if its supervisor ends without having
    /// ended it.
    pub worker_pid: Option<u32>,
}

impl Client {
    /// Connects to the control socket of a runtime directory.
    ///
    /// # Errors
    /// [`ClientError::Nobody`] where nobody listens (`ENOENT`, `ECONNREFUSED`), or the socket is not
    /// ours to use (`EACCES`).
    pub fn connect(runtime_dir: &Path) -> Result<Self, ClientError> {
        let path = socket_path(runtime_dir);
        let nobody = |errno| ClientError::Nobody { path: path.clone(), errno };
        // NONBLOCK: with a full backlog, connect(2) would wait for a daemon that does not accept.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(nobody)?;
        let address = Address::of(&path).map_err(nobody)?;
        connect_soon(&socket, address.get()).map_err(nobody)?;
        Ok(Self { channel: Channel::adopt(socket), path })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`ClientError`]; [`Refused`](ClientError::Refused) where the answer is that.
    pub fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, ClientError> {
        self.ask_with(request, patience).map(|(answer, _)| answer)
    }

    fn ask_with(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<(Answer, Vec<(String, OwnedFd)>), ClientError> {
        self.channel.send(request).map_err(|source| self.failed(source))?;
        let answer = self.channel.receive_with(Some(patience));
        match answer.map_err(|source| self.failed(source))? {
            (Answer::Refused { why }, _) => Err(ClientError::Refused(why)),
            answer => Ok(answer),
        }
    }

    /// [`Request::Status`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&self, patience: Duration) -> Result<Value, ClientError> {
        match self.ask(&Request::Status, patience)? {
            Answer::Report { report } => Ok(report),
            _ => Err(ClientError::Misunderstanding),
        }
    }

    /// [`Request::TakeOver`]: everything that the other side has. It goes on serving until
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn take_over(&self, patience: Duration) -> Result<Predecessor, ClientError> {
        match self.ask_with(&Request::TakeOver, patience)? {
            (Answer::Estate { estate, worker_pid }, descriptors) => {
                let holdings = Holdings::assemble(estate, descriptors)?;
                Ok(Predecessor { holdings, worker_pid })
            }
            _ => Err(ClientError::Misunderstanding),
        }
    }

    /// [`Request::Release`], and waits: whether every request was answered, and which mounts are in
    /// their place.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn release(&self, patience: Duration) -> Result<(bool, Vec<Role>), ClientError> {
        match self.ask(&Request::Release, patience)? {
            Answer::Released { clean, attached } => Ok((clean, attached)),
            _ => Err(ClientError::Misunderstanding),
        }
    }

    /// The connection itself, for somebody who cannot wait.
    #[must_use]
    pub fn into_channel(self) -> Channel {
        self.channel
    }

    fn failed(&self, source: ChannelError) -> ClientError {
        ClientError::Channel { path: self.path.clone(), source }
    }
}
