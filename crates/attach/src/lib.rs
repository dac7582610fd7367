//! `attach` mounts files into a container from outside, and takes them away again.
//!
//! Nothing of the container is executed and nothing of its image is needed: a thread of this
//! process visits the container's mount namespace, looks at what is there, and puts mounts in
//! place that were made ready before. The container may be hostile: it can get a refusal or its
//! view, and nothing outside of its mount namespace changes.
//!
//! * [`attach`]: all bindings or none, repeatable; mounts of ours that are dead or of another
//!   daemon are replaced without a moment of wrong content.
//! * [`detach`]: takes away what is ours, also from under other mounts.
//! * [`inspect`]: what is attached, told from the mount table; no file server is asked anything.
//! * [`namespaces_of`]: the other mount namespaces of a container's processes.
//!
//! ```no_run
//! use attach::{Attach, Binding, Ours, Process, attach};
//!
//! # fn main() -> Result<(), attach::Error> {
//! let ours = Ours::types(&["fuse.resview", "fuse.lxcfs"]);
//! let mut request = Attach::new(Process::running(4711)?, ours);
//! request.bindings.push(Binding::file("/var/lib/resview/proc/meminfo", "/proc/meminfo"));
//! for file in attach(request)?.files {
//!     println!("{}: {}", file.target.display(), file.outcome);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Needs Linux 5.12 and CAP_SYS_ADMIN over the container's mount namespace. Before Linux 6.5 a dead
//! mount is covered, not taken away.

mod attaching;
mod clone;
mod detaching;
mod error;
mod hidden;
mod inspect;
mod namespaces;
mod process;
mod removal;
mod request;
mod syscalls;
mod table;
mod target;
mod thread;
mod undo;
mod visit;

pub use attaching::attach;
pub use clone::device_of;
pub use detaching::{Detach, Detached, detach};
pub use error::Error;
pub use inspect::{Ask, Found, Inspect, Life, inspect};
pub use namespaces::namespaces_of;
pub use process::Process;
pub use request::{
    Attach, Binding, FileReport, Kind, Nesting, Ours, Outcome, Propagation, Report, Root, Source,
};
pub use table::Mount;
