//! `resview` is the one binary: the daemon, the drop-in for `lxcfs` and the command line, one
//! module per subcommand.
//!
//! Called through a link named `lxcfs`, it takes LXCFS's options and behaves like LXCFS.
#![forbid(unsafe_code)]

mod cli;
mod daemon;
mod exit_codes;
mod files;
mod logging;
mod lxcfs;
mod mountinfo;
mod mountpoint;
mod run;
mod runtime_dir;
mod serve;
mod service;
mod size;
mod view_options;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if called_as_lxcfs(arguments.first()) {
        return lxcfs::main(&arguments);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, arguments.get(1)),
    };
    match cli.command {
        Command::Run(options) => run::main(&options),
        Command::Daemon(options) => daemon::main(&options),
        Command::Files(options) => files::main(&options),
        Command::Stage(stage) => run::stage(&stage),
    }
}

fn called_as_lxcfs(program: Option<&OsString>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new("lxcfs"))
}

/// Prints clap's message, or the help that was asked for. `resview run` keeps its exit codes apart
/// from those of the command it would have run, so its usage errors are 125, as Docker's are.
fn usage(error: &clap::Error, subcommand: Option<&OsString>) -> ExitCode {
    // Nothing is left to do if standard error is closed.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if subcommand.is_some_and(|name| name == "run") {
        return exit_codes::RUN_FAILED.into();
    }
    exit_codes::USAGE.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_decides_who_we_are() {
        for (name, lxcfs) in [("lxcfs", true), ("/usr/bin/lxcfs", true), ("resview", false)] {
            assert_eq!(called_as_lxcfs(Some(&name.into())), lxcfs, "{name}");
        }
        assert!(!called_as_lxcfs(Some(&"/opt/lxcfs/resview".into())));
        assert!(!called_as_lxcfs(None));
    }
}
