//! The same in a virtual machine, where nothing can be built or fetched.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{Args, Lxcfs, document};
use crate::section::Section;
use crate::sh;
use crate::test::Tee;
use crate::vm::Machine;

/// How long the checks of all trees may take under emulation, in seconds.
const LIMIT: u64 = 3600;

/// Runs this program again in the machine; what it prints says what is to be written.
///
/// # Errors
/// When the machine cannot be made, or its output has no table.
pub(crate) fn run(args: &Args, resview: Option<&Path>, lxcfs: &[Lxcfs]) -> Result<ExitCode> {
    let program = std::env::current_exe().context("this program has no path")?;
    let mut script = format!("exec {} conformance", sh::quote(&program.to_string_lossy()));
    let mut word = |option: &str, value: &Path| {
        let _ = write!(script, " {option} {}", sh::quote(&value.to_string_lossy()));
    };
    if let Some(binary) = resview {
        word("--resview", binary);
    }
    if let Some(dir) = &args.tree {
        word("--tree", dir);
    }
    args.only.iter().for_each(|name| word("--only", Path::new(name)));
    for lxcfs in lxcfs {
        // Without a slash it is the installed one, there as here.
        let by_path = lxcfs.program.is_absolute();
        word("--lxcfs", if by_path { &lxcfs.program } else { Path::new("installed") });
    }
    if args.consumers {
        script.push_str(" --consumers");
    }
    if args.no_kernel {
        script.push_str(" --no-kernel");
    }
    script.push('\n');
    let mut output = Tee::default();
    let machine = Machine { limit: LIMIT, ..Machine::for_tests() };
    let status = machine.run(&script, &mut output)?;
    if args.write {
        Section::printed(document::PAGE, &output.text())?.write()?;
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
