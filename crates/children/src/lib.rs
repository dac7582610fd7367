//! The child processes of a supervisor, which must not wait for any of them: programs that can be
//! started again though their file was replaced, processes whose end can be waited for together with
//! other things, workers with the channel to them, and helpers that are started anew when they end.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod helper;
mod process;
mod program;
mod worker;

pub use helper::Helper;
pub use process::{Process, has_ended};
pub use program::{CommandLine, Program};
pub use worker::{Phase, Worker};
