//! One message is one packet of a `SOCK_SEQPACKET` socket: JSON, and descriptors beside it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::PROTOCOL;

/// The longest message, in bytes. Half of what the kernel takes at the least (`net.core.wmem_default`
/// is 212 992, of which one packet may use all).
pub const MESSAGE_MAX: usize = 96 << 10;

/// The most descriptors with one message; the kernel's bound is 253 (`SCM_MAX_FD`).
pub const DESCRIPTORS_MAX: usize = 32;

/// Why a message was not sent or not understood.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side has closed its end, or is dead.
    #[error("the other side has hung up")]
    Closed,
    /// The other side does not read what it is sent.
    #[error("the other side does not take its messages")]
    Full,
    /// Nothing came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silence(Duration),
    /// The other side is of another version.
    #[error("the other side speaks protocol {theirs}, this is protocol {PROTOCOL}")]
    Protocol {
        /// Its protocol.
        theirs: u32,
    },
    /// Not a message.
    #[error("cannot understand the message: {0}")]
    Garbage(String),
    /// Not all descriptors arrived.
    #[error(
        "{sent} descriptors were sent and {came} arrived; does this process have too many open?"
    )]
    Lost {
        /// How many names.
        sent: usize,
        /// How many descriptors.
        came: usize,
    },
    /// Longer than [`MESSAGE_MAX`], or with more than [`DESCRIPTORS_MAX`] descriptors.
    #[error("the message is too long: {bytes} bytes, {descriptors} descriptors")]
    TooLong {
        /// Bytes.
        bytes: usize,
        /// Descriptors.
        descriptors: usize,
    },
    /// The socket does not work.
    #[error("cannot use the socket: {0}")]
    Socket(Errno),
}

/// One end of a connected `SOCK_SEQPACKET` socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What is around each message.
#[derive(Serialize)]
struct Outgoing<'a, M> {
    protocol: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    descriptors: Vec<&'a str>,
    message: &'a M,
}

/// The message is looked at only if the protocol is ours.
#[derive(Deserialize)]
struct Incoming<'a> {
    protocol: u32,
    /// Their names, in order.
    #[serde(default)]
    descriptors: Vec<String>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// A descriptor and what it is called.
pub type Named = (String, OwnedFd);

impl Channel {
    /// Two ends. Neither outlives an exec; [`Command`](std::process::Command) can make one a
    /// child's standard input.
    ///
    /// # Errors
    /// Where socketpair(2) fails.
    pub fn pair() -> Result<(Self, OwnedFd), ChannelError> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(ChannelError::Socket)?;
        Ok((Self(one), other))
    }

    /// A worker's end: standard input, in whose place /dev/null comes, so that no child of the
    /// worker holds the channel open.
    ///
    /// # Errors
    /// Where /dev/null cannot be opened or descriptors cannot be duplicated.
    pub fn from_stdin() -> Result<Self, ChannelError> {
        let stdin = std::io::stdin();
        let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).map_err(ChannelError::Socket)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(ChannelError::Socket)?;
        rustix::stdio::dup2_stdin(&null).map_err(ChannelError::Socket)?;
        Ok(Self(socket))
    }

    /// A socket from elsewhere.
    #[must_use]
    pub fn adopt(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends a message without descriptors. Never waits.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn send<M: Serialize>(&self, message: &M) -> Result<(), ChannelError> {
        self.send_with(message, &[])
    }

    /// Sends a message with copies of descriptors. Never waits.
    ///
    /// # Errors
    /// See [`ChannelError`]; [`Full`](ChannelError::Full) where the other side has not read several
    /// messages.
    pub fn send_with<M: Serialize>(
        &self,
        message: &M,
        descriptors: &[(String, BorrowedFd<'_>)],
    ) -> Result<(), ChannelError> {
        let names = descriptors.iter().map(|(name, _)| name.as_str()).collect();
        let outgoing = Outgoing { protocol: PROTOCOL, descriptors: names, message };
        let bytes = serde_json::to_vec(&outgoing)
            .map_err(|error| ChannelError::Garbage(error.to_string()))?;
        let fds: Vec<_> = descriptors.iter().map(|(_, fd)| *fd).collect();
        self.send_raw(&bytes, &fds)
    }

    fn send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let too_long = ChannelError::TooLong { bytes: bytes.len(), descriptors: fds.len() };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if bytes.len() > MESSAGE_MAX
            || fds.len() > DESCRIPTORS_MAX
            || (!fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)))
        {
            return Err(too_long);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Err(ChannelError::Full),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(errno) => return Err(ChannelError::Socket(errno)),
            }
        }
    }

    /// The next message, if one is there. Descriptors that come with it are closed.
    ///
    /// # Errors
    /// See [`ChannelError`]. After [`Garbage`](ChannelError::Garbage) the next message can be read.
    pub fn try_receive<M: DeserializeOwned>(&self) -> Result<Option<M>, ChannelError> {
        // Without room for descriptors the kernel closes those that come.
        let bytes = self.receive_raw(&mut RecvAncillaryBuffer::new(&mut []))?;
        bytes.map(|bytes| decode(&bytes).map(|(message, _)| message)).transpose()
    }

    /// As [`try_receive`](Self::try_receive), with the descriptors.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn try_receive_with<M: DeserializeOwned>(
        &self,
    ) -> Result<Option<(M, Vec<Named>)>, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let Some(bytes) = self.receive_raw(&mut ancillary)? else { return Ok(None) };
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
        let (message, names) = decode(&bytes)?;
        if names.len() != descriptors.len() {
            // The kernel hands over none where this process has too many open (RLIMIT_NOFILE).
            return Err(ChannelError::Lost { sent: names.len(), came: descriptors.len() });
        }
        Ok(Some((message, names.into_iter().zip(descriptors).collect())))
    }

    fn receive_raw(
        &self,
        ancillary: &mut RecvAncillaryBuffer<'_>,
    ) -> Result<Option<Vec<u8>>, ChannelError> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], ancillary, flags) {
                Ok(packet) if packet.bytes == 0 => return Err(ChannelError::Closed),
                Ok(packet) if packet.flags.contains(ReturnFlags::TRUNC) => {
                    let text = format!("longer than {MESSAGE_MAX} bytes");
                    return Err(ChannelError::Garbage(text));
                }
                Ok(packet) => {
                    bytes.truncate(packet.bytes);
                    return Ok(Some(bytes));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET | Errno::PIPE) => return Err(ChannelError::Closed),
                Err(errno) => return Err(ChannelError::Socket(errno)),
            }
        }
    }

    /// Waits for the next message; for ever without a `patience`. For workers and clients; the
    /// supervisor never waits.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn receive<M: DeserializeOwned>(
        &self,
        patience: Option<Duration>,
    ) -> Result<M, ChannelError> {
        self.receive_with(patience).map(|(message, _)| message)
    }

    /// As [`receive`](Self::receive), with the descriptors.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn receive_with<M: DeserializeOwned>(
        &self,
        patience: Option<Duration>,
    ) -> Result<(M, Vec<Named>), ChannelError> {
        let deadline = patience.map(|patience| (patience, Instant::now() + patience));
        loop {
            if let Some(received) = self.try_receive_with()? {
                return Ok(received);
            }
            self.wait(deadline)?;
        }
    }

    /// Waits until there may be something to receive.
    fn wait(&self, deadline: Option<(Duration, Instant)>) -> Result<(), ChannelError> {
        let left = deadline.map(|(_, at)| at.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
            Ok(0) => match deadline {
                Some((patience, _)) => Err(ChannelError::Silence(patience)),
                None => Ok(()),
            },
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(ChannelError::Socket(errno)),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The message, and the names of the descriptors that were sent with it.
fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<(M, Vec<String>), ChannelError> {
    let garbage = |error: serde_json::Error| ChannelError::Garbage(error.to_string());
    let envelope: Incoming<'_> = serde_json::from_slice(bytes).map_err(garbage)?;
    if envelope.protocol != PROTOCOL {
        return Err(ChannelError::Protocol { theirs: envelope.protocol });
    }
    let message = envelope.message.map_or("null", RawValue::get);
    let message = serde_json::from_str(message).map_err(garbage)?;
    Ok((message, envelope.descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use proptest::prelude::*;

    use super::*;
    use crate::message::{FromWorker, ToWorker};

    fn pair() -> (Channel, Channel) {
        let (one, other) = Channel::pair().unwrap();
        (one, Channel::adopt(other))
    }

    #[test]
    fn messages_and_named_descriptors_arrive_as_sent() {
        let (one, other) = pair();
        let (reading, writing) = std::io::pipe().unwrap();
        let (mut reading, writing) = (reading, OwnedFd::from(writing));
        one.send_with(&ToWorker::Stop, &[("pipe".to_owned(), writing.as_fd())]).unwrap();
        drop(writing);
        let (message, mut descriptors) = other.receive_with::<ToWorker>(None).unwrap();
        assert_eq!(message, ToWorker::Stop);
        let (name, fd) = descriptors.pop().unwrap();
        assert_eq!(name, "pipe");
        std::fs::File::from(fd).write_all(b"x").unwrap();
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn descriptors_that_nobody_wants_are_closed() {
        let (one, other) = pair();
        let (mut reading, writing) = std::io::pipe().unwrap();
        one.send_with(&FromWorker::Ready, &[("pipe".to_owned(), writing.as_fd())]).unwrap();
        drop(writing);
        assert_eq!(other.try_receive().unwrap(), Some(FromWorker::Ready));
        assert_eq!(reading.read(&mut [0]).unwrap(), 0, "no end for writing is left");
    }

    #[test]
    fn other_protocol_is_refused_by_number_whatever_the_message_looks_like() {
        let (one, other) = pair();
        one.send_raw(br#"{"protocol":7,"message":{"type":"unheard_of"}}"#, &[]).unwrap();
        let error = other.try_receive::<FromWorker>().unwrap_err();
        let said = "the other side speaks protocol 7, this is protocol 1";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn one_that_does_not_read_never_makes_the_sender_wait() {
        let (one, _other) = pair();
        let error = (0..100_000).find_map(|_| one.send(&ToWorker::Status).err());
        assert!(matches!(error, Some(ChannelError::Full)), "{error:?}");
    }

    #[test]
    fn closed_and_silent_ends_are_told_apart() {
        let (one, other) = pair();
        let silence = one.receive::<FromWorker>(Some(Duration::from_millis(1)));
        assert!(matches!(silence, Err(ChannelError::Silence(_))), "{silence:?}");
        other.send(&FromWorker::Stopped).unwrap();
        drop(other);
        assert_eq!(one.receive::<FromWorker>(None).unwrap(), FromWorker::Stopped);
        let end = one.receive::<FromWorker>(None);
        assert!(matches!(end, Err(ChannelError::Closed)), "{end:?}");
        assert!(matches!(one.send(&ToWorker::Stop), Err(ChannelError::Closed)));
    }

    #[test]
    fn too_long_messages_are_neither_sent_nor_taken_in_part() {
        let (one, other) = pair();
        let why = "x".repeat(MESSAGE_MAX);
        let sent = one.send(&FromWorker::Failed { why: why.clone() });
        assert!(matches!(sent, Err(ChannelError::TooLong { .. })), "{sent:?}");
        let packet = [why.as_bytes(), b"yz"].concat();
        rustix::net::send(&one, &packet, SendFlags::NOSIGNAL).unwrap();
        let error = other.try_receive::<FromWorker>().unwrap_err();
        assert!(matches!(error, ChannelError::Garbage(_)), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_garbage_and_nothing_worse(
            bytes in proptest::collection::vec(any::<u8>(), 1..500),
        ) {
            let (one, other) = pair();
            one.send_raw(&bytes, &[]).unwrap();
            let received = other.try_receive::<FromWorker>();
            let refused = matches!(
                received,
                Err(ChannelError::Garbage(_) | ChannelError::Protocol { .. })
            );
            prop_assert!(refused, "{received:?}");
        }
    }
}
