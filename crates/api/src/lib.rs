//! The public control protocol, as `docs/control.md` describes it: what the command line, OCI
//! hooks and programs of others say to Resview's agent over the socket [`SOCKET`].
//!
//! One JSON object per line each way. A client sends one [`Request`] and gets [`Answer`]s until the
//! last one ([`Answer::is_last`]); then the agent closes.
//!
//! * [`Client`] asks, with a deadline for everything together.
//! * [`Conversation`] is the agent's side of one connection.
//! * [`line`](mod@line) has the framing that both use.
//!
//! Requests are read strictly: a field that this version does not know is refused, because a
//! misspelt `files` would otherwise attach all of them. Answers are read openly, so that a newer
//! agent may say more.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod answer;
mod client;
mod explain;
pub mod line;
mod policy;
mod request;
mod selector;
mod server;
mod stream;

pub use answer::{Answer, Container, ContainerAnswer, Done, Failure, FailureKind, Outcome, Status};
pub use answer::{FileAnswer, FileOutcome};
pub use client::{Client, ClientError};
pub use explain::{Explanation, Level};
pub use policy::{CpuCount, FileChoice, Policy, PolicyError, View};
pub use request::{Attach, Detach, Explain, List, Nothing, Request, RequestError};
pub use selector::{Created, Selector, SelectorError, Stopped};
pub use server::{Conversation, Peer};

/// The version of the protocol. Any change that the other side could misread is a new one.
pub const VERSION: u64 = 1;

/// The name of the socket in the daemon's runtime directory.
pub const SOCKET: &str = "resview.sock";

/// Where the socket is unless the daemon was told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/resview/resview.sock";
