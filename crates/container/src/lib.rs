//! `container` tells who is asking: from the thread id in a request to the container it runs in.
//!
//! * [`Identifier`]: thread id to [`Container`], without entering any namespace and without
//!   anything of `/proc/1`.
//! * [`Container`]: a stable key, the process that stands for the container, its clocks, and its
//!   cgroups as a [`cgroup::Group`].
//! * [`Identity`]: what another process needs to find a container again.
//! * [`registry`]: containers that somebody has registered, and what is decided about each.
//! * [`check_namespaces`]: refuses to start where the answers would be wrong.
//!
//! A container is its pid namespace's init and that init's cgroup. With a shared pid namespace, or
//! the host's, it is the caller's own cgroup. No container, a process in the root cgroup, is the
//! host.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Arc::new(hostfs::HostFs::mount()?);
//! container::check_namespaces(&host)?;
//! let layout = Arc::new(cgroup::Layout::detect(&host)?);
//! let identifier = container::Identifier::new(host, layout)?;
//! match identifier.identify(4711)? {
//!     Some(container) => println!("{} has {:?}", container.key(), container.group().cpu()?),
//!     None => println!("the host itself"),
//! }
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod anchor;
mod cache;
mod container;
mod error;
mod identify;
mod identity;
mod init;
mod ioctl;
mod lookout;
mod process;
pub mod registry;
mod startup;

#[cfg(test)]
mod fake;

pub use container::{Anchor, AnchorKind, Container, ContainerKey};
pub use error::Error;
pub use identify::Identifier;
pub use identity::Identity;
pub use startup::check_namespaces;
