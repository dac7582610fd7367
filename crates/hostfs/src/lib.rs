//! `hostfs` reads the host's own `/proc` and `/sys` through private, detached mounts, and cgroup
//! files through descriptors that are kept open.
//!
//! Never by path: the day one of our virtual files lies on the host's `/proc/meminfo`, a daemon
//! that opens that path waits for itself, for ever.
//!
//! * [`HostFs`]: the two mounts, each as a [`Dir`].
//! * [`Dir`]: a directory descriptor and reads below it. On a plain path it serves tests with a
//!   made-up tree.
//! * [`KeptDir`]: a directory whose files stay open between reads, which makes reading a cgroup
//!   file five to ten times cheaper; [`Kept`] bounds how many stay open.
//!
//! ```
//! # fn main() -> Result<(), hostfs::Error> {
//! let tree = hostfs::Dir::open("/proc")?; // a program would take `HostFs::mount()?.proc`
//! let mut text = Vec::new();
//! tree.read("self/stat", &mut text)?;
//! assert!(text.ends_with(b"\n"));
//!
//! let kept = hostfs::Kept::new(16);
//! let own = hostfs::KeptDir::open(&tree, "self", &kept)?;
//! own.read("cgroup", &mut text)?; // opens the file
//! own.read("cgroup", &mut text)?; // reads it again through the same descriptor
//! assert_eq!(kept.counters().opens, 2); // the directory and the file
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod dir;
mod error;
mod host;
mod kept;
mod kept_dir;
mod read;

pub use dir::{Dir, Entry};
pub use error::Error;
pub use host::HostFs;
pub use kept::{Counters, Kept};
pub use kept_dir::KeptDir;
pub use rustix::fs::FileType;
