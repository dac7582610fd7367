//! `/proc/pressure` of containers: whose it is, what is missing, and triggers, written and polled as
//! on the kernel's own files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod polls;
mod support;
mod triggers;
