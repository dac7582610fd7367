//! Containers that somebody has registered, and what is decided about the view of each.
//!
//! A registration is a file, `<id>.json`, in a directory of the daemon's on a tmpfs. Whoever
//! registers containers has the [`Writer`]; whoever serves them has a [`Registry`], which needs
//! nothing but the directory's descriptor and so works from within a sandbox. A registration says
//! how to find the container again ([`Target`]); [`find`] does so, and never takes another one for
//! it, even if that has the same process id or cgroup path by now.

mod id;
mod reader;
mod registration;
mod target;
mod writer;

pub use id::{BadId, Id};
pub use reader::{Registered, Registry};
pub use registration::{
    CpuCount, FilePolicy, Init, Policy, Registration, Target, VERSION, Version, View, is_name,
};
pub use target::{Found, find};
pub use writer::{WriteError, Writer};

/// A file of this many bytes is too large to be a registration.
const MOST_BYTES: u64 = 1 << 20;
/// What the file of a registration is called after its id.
const SUFFIX: &str = ".json";

/// FNV-1a over parts, each with its length.
fn hash(parts: &[&[u8]]) -> u64 {
    let lengths_and_bytes = parts
        .iter()
        .flat_map(|part| part.len().to_le_bytes().into_iter().chain(part.iter().copied()));
    lengths_and_bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
