//! Supervisors and workers as processes, with readers that must not notice anything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod control_socket;
mod deaths;
mod helpers;
mod rest;
mod successors;
mod upgrades;
mod view;

#[test]
#[ignore = "the process that serves in the other tests"]
fn worker() {
    common::worker::main();
}

fn text(path: std::path::PathBuf) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}
