//! Fixtures, cgroups, containers, readers and skips for the tests of the other crates.
//!
//! Everything here is called by tests only, so a failure is a panic that says what to do.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cgroup;
mod fixtures;
mod idmap;
mod layout;
mod mounts;
pub mod oci;
pub mod reader;
mod skip;
pub mod uring;

pub use cgroup::TestCgroup;
pub use fixtures::{fixture, fixtures_dir, hosts};
pub use idmap::{UserNamespace, fuse_has_idmap};
pub use layout::{Hierarchy, Layout, cgroup_mounts, hierarchies, layout};
pub use mounts::mounts_of;
pub use skip::{figures, need_command, need_fuse, need_root, skip};
