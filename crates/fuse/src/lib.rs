//! The FUSE wire protocol for a read-mostly tree, spoken straight to `/dev/fuse`.
//!
//! [`Connection::mount`] mounts, [`Connection::init`] answers the kernel's INIT, and the
//! [`Session`] that comes out serves a [`Filesystem`] with a fixed number of threads. No libfuse, no
//! fusermount.
//!
//! The mount outlives any one server. A process that keeps a duplicate of the device's descriptor,
//! and one of the [`Journal`], can hand both to the next server, which goes on with
//! [`Session::adopt`] and, where the one before died, with what that one had in hand
//! ([`Recovery`]). [`glance`] and [`has_pending`] tell the keeper whether a server still answers.
//!
//! A connection that has agreed to it is served over io_uring instead, with [`Rings`]. It ends with
//! its server.
//!
//! [`Dispatcher`] is the same way from request to reply without a device, for tests and fuzzing.

mod abi;
mod device;
mod dispatch;
mod doze;
mod fair;
mod filesystem;
mod init;
mod interrupt;
mod journal;
mod mapping;
mod memory;
mod mount;
mod notify;
mod quiet;
mod reply;
mod request;
mod serve;
mod session;
mod types;
mod uring;
mod wake;
mod worker;

pub use dispatch::Dispatcher;
pub use fair::Fairness;
pub use filesystem::{Context, Filesystem};
pub use init::{Features, InitFlags, Negotiated};
pub use interrupt::InFlight;
pub use journal::{Glance, Journal, JournalError, glance};
pub use mapping::MAX_THREADS;
pub use memory::MappedFile;
pub use mount::{
    Connection, InitError, MountError, MountOptions, UnmountError, abort, attach, unmount,
};
pub use notify::Notifier;
pub use reply::{DirSink, ReadBuf};
pub use rustix::event::PollFlags;
pub use rustix::fs::{Access, OFlags};
pub use rustix::io::Errno;
pub use serve::{Ended, ServeHandle, Stopper};
pub use session::{Recovery, Serve, ServeError, Session, has_pending};
pub use types::{
    Attr, AttrReply, Caller, Entry, Fh, FileType, NodeId, OpenFlags, OpenReply, Peek, Poll,
    PollHandle, Result, Statfs,
};
pub use uring::{Rings, RingsError};
