//! The Node Resource Interface of containerd and CRI-O, seen from a plugin that wants to know when
//! containers come and go.
//!
//! [`serve`] connects to a runtime's socket, registers a [`Plugin`] and tells it what happens, for
//! ever: whatever breaks, it connects again, and the runtime then tells what it has. A [`Handle`]
//! says how things stand and ends it.
//!
//! A plugin stands in the way of every container of the node, so the first rule here is to do no
//! harm. The runtime never gets an error from us and always an answer in time; what is slow goes on
//! behind it ([`Config::deadline`]). What waits is bounded, and what is dropped for that is asked
//! for again.
//!
//! From the wire upwards: `frame` (several byte streams over one), `ttrpc` (messages on such a
//! stream), [`messages`], `session` (one connection), `calls` (what is asked on it), `lanes` (threads
//! and order of the plugin's methods), `reconnect`.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod calls;
mod config;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod frame;
mod handle;
mod inventory;
mod lanes;
pub mod messages;
mod plugin;
mod reconnect;
mod reply;
mod session;
mod ttrpc;

pub use config::{Config, SOCKET};
pub use error::Error;
pub use handle::{Handle, Status};
pub use messages::{Container, ContainerState, LinuxContainer, LinuxNamespace, PodSandbox};
pub use plugin::{Listing, Plugin, Runtime, Target};
pub use reconnect::serve;
