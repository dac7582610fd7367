//! The fourth process: takes the terminal, if it is to have it, and becomes the command.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::getpid;

use super::plan::{self, Plan, Terminal};
use super::{failed, signals, terminal};
use crate::exit_codes;

/// Does not return if all goes well.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    if let Err(error) = prepare() {
        return failed(&error);
    }
    let Some((program, arguments)) = arguments.split_first() else {
        return exit_codes::USAGE.into();
    };
    let mut command = Command::new(program);
    plan::hide_from(&mut command);
    let error = command.args(arguments).exec();
    eprintln!("resview: cannot run {}: {error}", program.display());
    match error.kind() {
        ErrorKind::NotFound => exit_codes::NOT_FOUND.into(),
        _ => exit_codes::NOT_EXECUTABLE.into(),
    }
}

fn prepare() -> anyhow::Result<()> {
    // This process and not pid 1 takes the terminal: else the command could read from it before
    // it is allowed to.
    if Plan::receive()?.terminal == Terminal::Foreground {
        terminal::give_to(getpid())?;
    }
    signals::release_all()
}
