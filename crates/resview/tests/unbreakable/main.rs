//! No crash, kill, stop or upgrade of the daemon is noticed in a container.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod isolation;
mod kills;
mod neighbours;
mod out_of_memory;
mod slots;
mod stuck_tasks;
mod successors;
mod support;
mod surroundings;
mod triggers;
