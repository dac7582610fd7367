//! The pressure files, `proc/pressure/{cpu,memory,io,irq}`: a tree of its own, mounted on a
//! directory of the shared one.
//!
//! They are the only files with triggers, that is, with something to wait for in poll(2). Everywhere
//! else POLL is refused once and for all, which the kernel remembers per connection: hence another
//! connection.
//!
//! A container's file is that of its cgroup, verbatim ([`source`]). What is written to it is a
//! [`trigger`], which the [`registrar`] registers with the kernel on a descriptor of ours; [`watch`]
//! waits for all of them in one thread and wakes whoever polls. What the last worker had registered
//! is registered anew while this one serves already.

mod held;
mod privilege;
mod registrar;
pub(crate) mod source;
mod tree;
mod trigger;
mod watch;
mod watched;

pub(crate) use source::HostPressure;
pub use tree::PressureTree;
