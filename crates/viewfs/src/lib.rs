//! `viewfs` serves the trees of virtual files: it finds out who asks, gathers what the file is made
//! from, has it rendered and keeps the snapshot for the reads that follow.
//!
//! The way of a read goes straight down: [`SharedTree`] (which file, which handle) →
//! [`Contents`] (which container, host's text) → `gather` (cgroup values to a resource view) →
//! a renderer of crate `view`. [`ContainerTree`] has the same files once for each registered
//! container, for the page cache to answer for.
#![forbid(unsafe_code)]

mod accounts;
mod adopt;
mod classes;
mod clocks;
mod container_tree;
mod contents;
mod decisions;
mod degraded;
mod disks;
mod gather;
mod handles;
mod keep;
mod linux32;
mod listing;
mod look;
mod nodes;
mod numa;
mod open;
mod places;
mod pressure;
mod recent;
mod sampler;
mod shared_tree;
mod startup_log;
mod store;
mod sys;
mod tasks;
mod taskstats;
mod upkeep;
mod vm;

#[cfg(test)]
mod tests;

pub use container_tree::ContainerTree;
pub use contents::{Contents, Opened, StartError};
pub use degraded::Degraded;
pub use keep::{Keep, KeepError};
pub use pressure::PressureTree;
pub use shared_tree::SharedTree;
pub use upkeep::Upkeep;
