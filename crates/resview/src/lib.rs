//! `resview` is the one binary: the daemon, the drop-in for `lxcfs` and the command line, one
//! module per subcommand.
//!
//! Called through a link named `lxcfs`, it takes LXCFS's options and behaves like LXCFS.
//!
//! A library only so that tests can make a program of it that misbehaves: [`main_with`].
#![forbid(unsafe_code)]

mod admin;
mod agent;
mod cli;
mod completions;
mod daemon;
mod doctor;
mod exit_codes;
mod explain;
mod files;
mod front_ends;
mod logging;
mod lxcfs;
mod man;
mod mountinfo;
mod mountpoint;
mod node;
mod nri;
mod output;
mod reach;
mod run;
mod runtime_dir;
mod serve;
mod size;
mod slots;
mod supervise;
mod view_options;
mod webhook;
mod worker;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::cli::{Cli, Command};

/// What to put between the transport and the file systems that a worker serves.
pub type Wrap = fn(Arc<dyn fuse::Filesystem>) -> Arc<dyn fuse::Filesystem>;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    main_with(|file_system| file_system)
}

/// The program, whose workers serve what `wrap` makes of their file systems.
#[must_use]
pub fn main_with(wrap: Wrap) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(part) = own_part(&arguments) {
        return play(part, arguments.get(2..).unwrap_or_default(), wrap);
    }
    if called_as_lxcfs(arguments.first()) {
        return lxcfs::main(&arguments);
    }
    if let Some(theirs) = front_ends::as_runtime(&arguments) {
        return front_ends::run_as_runtime(theirs);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, arguments.get(1)),
    };
    match cli.command {
        Command::Run(options) => run::main(&options),
        Command::Daemon(options) => daemon::main(&options, arguments.get(1..).unwrap_or_default()),
        Command::Status(options) => admin::status(&options),
        Command::Upgrade(options) => admin::upgrade(&options),
        Command::Stop(options) => admin::stop(&options),
        Command::Attach(options) => reach::attach(&options),
        Command::Detach(options) => reach::detach(&options),
        Command::List(options) => reach::list(&options),
        Command::Install(options) => front_ends::install(&options),
        Command::Uninstall(options) => front_ends::uninstall(&options),
        Command::OciHook(options) => front_ends::hook(&options),
        Command::OciRuntime(options) => front_ends::run_as_runtime(&options.arguments),
        Command::Nri(options) => nri::main(&options),
        Command::Webhook(options) => webhook::main(&options),
        Command::Files(options) => files::main(&options),
        Command::Explain(options) => explain::main(&options),
        Command::Doctor(options) => doctor::main(&options),
        Command::Node(options) => node::main(&options),
        Command::OnHost(options) => node::on_host(&options),
        Command::WaitForPlugin => node::wait_for_plugin(),
        Command::Completions(options) => completions::main(&options),
        Command::Man(options) => man::main(&options),
        Command::Stage(stage) => run::stage(&stage),
    }
}

/// A process of a daemon, started by another of its processes, under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Worker,
    Attach,
    Guard,
    Agent,
}

fn own_part(arguments: &[OsString]) -> Option<Part> {
    match arguments.get(1)?.to_str()? {
        "__worker" => Some(Part::Worker),
        "__attach" => Some(Part::Attach),
        "__guard" => Some(Part::Guard),
        "__agent" => Some(Part::Agent),
        _ => None,
    }
}

fn play(part: Part, arguments: &[OsString], wrap: Wrap) -> ExitCode {
    let result = match part {
        Part::Worker => return worker::main(arguments, wrap),
        Part::Attach => worker::attach(arguments),
        Part::Guard => slots::guard(arguments),
        Part::Agent => agent::main(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resview: {error:#}");
            exit_codes::FAILED.into()
        }
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

    #[test]
    fn a_daemons_own_processes_are_known_under_either_name() {
        let part = |words: &[&str]| own_part(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(part(&["lxcfs", "__worker", "lxcfs", "/mnt"]), Some(Part::Worker));
        assert_eq!(part(&["resview", "__guard", "/view", "/slots"]), Some(Part::Guard));
        assert_eq!(
            part(&["resview", "__attach", "/view", "/view/proc/pressure"]),
            Some(Part::Attach)
        );
        assert_eq!(part(&["lxcfs", "/mnt", "__worker"]), None);
        assert_eq!(part(&["resview"]), None);
    }
}
