//! What programs see in a container: by `resview run`, and by runc and crun with the mounts that
//! LXCFS is used with. Natively on cgroup v1 and hybrid, in a virtual machine on v2.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod cpu_time;
mod disks;
mod files;
mod limits;
mod others;
mod programs;
mod support;
mod topology;
