//! What the processes of Resview say to each other, and how descriptors go from one to the next.
//!
//! * The **supervisor** and each **worker** talk over a [`Channel`], a socket pair whose one end is
//!   the worker's standard input: [`ToWorker`], [`FromWorker`].
//! * The **command line**, and a supervisor that wants to take over, talk to the supervisor over
//!   the socket [`socket_path`]: [`Request`], [`Answer`], by way of a [`Client`].
//! * When its supervisor is dead, a worker goes on serving and answers on that socket itself:
//!   [`orphan::answer`].
//!
//! Every message is one packet of JSON that says which [`PROTOCOL`] it is in. A message in another
//! one is refused with both numbers, never half understood. Descriptors have names
//! ([`Holdings`]), the same over both kinds of socket and in systemd's descriptor store.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod channel;
mod client;
mod desk;
mod holdings;
mod listener;
mod message;
pub mod orphan;

pub use channel::{Channel, ChannelError, DESCRIPTORS_MAX, MESSAGE_MAX, Named};
pub use client::{Client, ClientError, Predecessor};
pub use desk::{Desk, Visitor};
pub use holdings::{Held, Holdings, IncompleteError};
pub use listener::{ListenError, Listener, socket_path};
pub use message::{
    Answer, ConnectionState, Degraded, Estate, FromWorker, Hello, Recovery, Request, Role, ToWorker,
};

/// The version of messages and of [`Estate`]. Any change that the other side could misread is a
/// new one.
pub const PROTOCOL: u32 = 1;
