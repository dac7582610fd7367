//! Containers that run already get the view, lose it and keep it, whatever they and the daemon do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod again;
mod agent;
mod choices;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
#[path = "../../../attach/tests/common/container.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod inside;
mod isolation;
mod lxcfs;
mod many;
mod nri;
mod nri_faults;
mod pods;
mod reach;
#[path = "../unbreakable/support.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod support;
