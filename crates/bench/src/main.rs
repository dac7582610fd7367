//! What reading the view costs, beside the kernel's own files and LXCFS: `cargo xtask bench`.
//!
//! All trees are measured in turn by one process in one container, since on a shared machine only
//! ratios within one run mean anything.

#![forbid(unsafe_code)]

mod alone;
mod client;
mod container;
mod files;
mod measure;
mod protocol;
mod quantiles;
mod report;
mod scale;
mod start;
mod trees;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures what reading the view costs
#[derive(Debug, Parser)]
#[command(name = "resview-bench")]
enum Command {
    /// Compare the trees
    Compare(measure::Options),
    /// Serve many containers
    Scale(scale::Options),
    /// Start, and do nothing
    Start(start::Options),
    #[command(name = "__client", hide = true)]
    Client,
    #[command(name = scale::herd::READER, hide = true)]
    Container {
        tasks: u32,
        #[arg(action = clap::ArgAction::Set)]
        has_mounts: bool,
    },
    #[command(name = "__reader", hide = true)]
    Reader { root: PathBuf, file: String },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Compare(options) => measure::compare(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Start(options) => start::run(&options),
        Command::Container { tasks, has_mounts } => scale::reader::serve(tasks, has_mounts),
        Command::Client => client::serve(),
        Command::Reader { root, file } => client::reader(&root, &file),
    }
}
