//! `view` turns what a container may use into what its files say: limits to a
//! [`ResourceView`], a view and the host's text to file content.
//!
//! The crate is pure: it opens no file, reads no clock and no environment. One immutable view per
//! container and moment feeds every file, so that the files cannot disagree with one another.
//!
//! ```
//! use view::{ResourceView, catalogue};
//!
//! // Without any part of its own, a view is the host's: its bytes come out unchanged.
//! let host = b"MemTotal:       24684084 kB\n";
//! let mut out = Vec::new();
//! let file = catalogue::proc_file("meminfo").unwrap();
//! (file.render)(host, &ResourceView::default(), &mut out).unwrap();
//! assert_eq!(out, host);
//! ```
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod input;
pub mod policy;
pub mod render;
mod resource;

pub use resource::ResourceView;
pub use resource::clock::Clock;
pub use resource::cpu_time::{CpuAccount, CpuTimes, Hint, Step};
pub use resource::cpus::Cpus;
pub use resource::disks::Disks;
pub use resource::load::{LoadHistory, Sample, Tasks};
pub use resource::memory::{HostMemory, HugePagePool, HugePages, Memory};
pub use resource::nodes::{HostNode, Node, NodeMemory, Nodes};
pub use resource::vm::{DirtyLimit, HostVm, Vm};
