//! Container engines: which containers there are, and the ways by which they call Resview.
//!
//! * [`find`]: from a name, an id, a pid, a cgroup or "all" to containers, by the engines' state
//!   files and by cgroup paths. No engine is asked, so it works with engines that hang.
//! * [`hook`]: the OCI hook, `resview oci-hook`.
//! * [`wrapper`]: the OCI runtime wrapper, `resview oci-runtime`.
//! * [`install`]: what makes engines call hook or wrapper, as steps that can be printed first.
//!
//! Nothing here knows the file system: hook and command line talk to the agent over the socket of
//! the crate `api`.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod find;
pub mod hook;
pub mod install;
mod json_file;
mod log;
mod policy;
mod rooted;
pub mod wrapper;

pub use policy::OptIn;
