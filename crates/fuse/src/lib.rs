//! The FUSE wire protocol for a read-mostly tree, spoken straight to `/dev/fuse`.
//!
//! [`Connection::mount`] mounts, [`Connection::init`] answers the kernel's INIT, and the
//! [`Session`] that comes out serves a [`Filesystem`] with a fixed number of threads. A session can
//! also be made over a descriptor that another process has mounted and initialised
//! ([`Session::adopt`]): the mount outlives any one server. No libfuse, no fusermount.
//!
//! [`Dispatcher`] is the same way from request to reply without a device, for tests and fuzzing.

#![forbid(unsafe_code)]

mod abi;
mod device;
mod dispatch;
mod filesystem;
mod init;
mod interrupt;
mod mount;
mod notify;
mod reply;
mod request;
mod session;
mod types;

pub use dispatch::Dispatcher;
pub use filesystem::{Context, Filesystem};
pub use init::{Features, InitFlags, Negotiated};
pub use interrupt::InFlight;
pub use mount::{Connection, InitError, MountError, MountOptions, UnmountError, unmount};
pub use notify::Notifier;
pub use reply::{DirSink, ReadBuf};
pub use rustix::event::PollFlags;
pub use rustix::fs::{Access, OFlags};
pub use rustix::io::Errno;
pub use session::{Ended, ServeError, ServeHandle, Session, Stopper};
pub use types::{
    Attr, AttrReply, Caller, Entry, Fh, FileType, NodeId, OpenFlags, OpenReply, Poll, PollHandle,
    Result, Statfs,
};
