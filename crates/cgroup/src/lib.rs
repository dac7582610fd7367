//! `cgroup` reads cgroup v1, hybrid and v2 into typed values: which limits hold for a container,
//! and what it uses.
//!
//! * [`Layout`]: which controller lives in which hierarchy of this machine.
//! * [`CgroupPaths`]: where in each hierarchy a container is.
//! * [`Group`]: a container's cgroup in all hierarchies, with one method per controller. The
//!   methods give the types of [`view::input`], the same for v1 and v2, and the effective limit is
//!   always the tightest of the cgroup and all its ancestors.
//! * [`Group::explain`]: which file decided each limit, for people.
//!
//! Nothing is ever written, and no cgroup file system is ever mounted.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = hostfs::HostFs::mount()?;
//! let layout = Arc::new(cgroup::Layout::detect(&host)?);
//! let mut text = Vec::new();
//! host.proc.read("self/cgroup", &mut text)?;
//! let mut mounts = Vec::new();
//! host.proc.read("self/mountinfo", &mut mounts)?;
//! let paths = cgroup::CgroupPaths::of_container(&layout, &text, &mounts);
//! let group = cgroup::Group::new(&layout, paths);
//! if let Some(memory) = group.memory()? {
//!     println!("{} cgroups above and including this one", memory.levels.len());
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod controller;
mod cpu;
mod cpu_time;
mod cpuset;
mod error;
mod explain;
mod group;
mod hugetlb;
mod io;
mod layout;
mod level;
mod memory;
mod numa;
mod paths;
mod pressure;
mod tasks;
mod vm;

#[cfg(test)]
mod fake;

pub use controller::{Controller, Version};
pub use error::Error;
pub use explain::{Decided, Explained};
pub use group::Group;
pub use layout::{Hierarchy, Layout};
pub use paths::CgroupPaths;
pub use pressure::Pressure;
