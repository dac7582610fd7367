//! Runs each hot path once, in the state it is in after many reads, for `cargo xtask instructions`:
//! callgrind counts what is executed between entering and leaving [`measured`], and writes one file of
//! counts each time. The names of the paths go to standard output in the same order.
//!
//! Counts and not times, because they are the same on a busy machine.

#![forbid(unsafe_code)]

#[path = "../../view/tests/common/captured.rs"]
mod captured;
mod cgroups;
mod dispatch;
mod identity;
mod render;

use std::hint::black_box;

use anyhow::{Context, Result};

/// Something that is done for every read, or for many.
struct HotPath {
    /// What and of which size, such as `view/meminfo/64-cpus`.
    name: String,
    /// Does it once. A failure would be cheaper than the work, so it has to be told.
    work: Box<dyn FnMut() -> Result<()>>,
}

impl HotPath {
    fn new(name: impl Into<String>, work: impl FnMut() -> Result<()> + 'static) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }
}

fn main() -> Result<()> {
    let mut paths = render::paths()?;
    paths.extend(dispatch::paths()?);
    paths.extend(cgroups::paths()?);
    paths.extend(identity::paths()?);
    for HotPath { name, mut work } in paths {
        // Descriptors are open and buffers as large as they get when it counts.
        for _ in 0..2 {
            work().with_context(|| name.clone())?;
        }
        measured(&mut *work).with_context(|| name.clone())?;
        println!("{name}");
    }
    Ok(())
}

/// Callgrind knows by this function's name where to count.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // Without it the call would be a jump, and nothing be left to leave.
    black_box(work())
}
