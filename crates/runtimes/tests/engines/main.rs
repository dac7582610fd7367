//! Real runtimes through the wrapper, with the hook, and containers found while they run.
//!
//! runc and crun start this program again: as the wrapper under its name, and as hook. The agent
//! at the other end of the socket is a stand-in that writes down what it is asked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod agent;
mod bundle;
mod tests;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use runtimes::{hook, wrapper};

/// Where the hook finds the stand-in's socket.
const SOCKET: &str = "RESVIEW_TEST_SOCKET";
/// How long it has, in seconds.
const DEADLINE: &str = "RESVIEW_TEST_DEADLINE";

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let program = PathBuf::from(arguments.next().unwrap_or_default());
    let arguments: Vec<OsString> = arguments.collect();
    if program.file_name().is_some_and(|name| name == wrapper::NAME) {
        // The configuration lies beside the link under which this was called.
        let error = wrapper::exec(&arguments, &program.with_file_name("oci-runtime.json"));
        eprintln!("{:#}", error.unwrap_err());
        return ExitCode::FAILURE;
    }
    if arguments.first().is_some_and(|word| word == "oci-hook") {
        return as_hook(&arguments);
    }
    let trials = tests::ALL.iter().flat_map(|&(name, test)| {
        ["runc", "crun"].map(|runtime| {
            Trial::test(format!("{name}_{runtime}"), move || {
                let root = testkit::need_root(name);
                if root && testkit::need_command(name, runtime) {
                    test(runtime);
                }
                Ok(())
            })
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn as_hook(arguments: &[OsString]) -> ExitCode {
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let socket = env::var_os(SOCKET).unwrap_or_default();
    let deadline = env::var(DEADLINE).ok().and_then(|seconds| seconds.parse().ok());
    hook::main(&hook::Options {
        stage: word(1).parse().unwrap(),
        socket: Path::new(&socket).to_owned(),
        required: word(2) == "--required",
        deadline: deadline.map_or(hook::DEADLINE, Duration::from_secs),
    })
}
