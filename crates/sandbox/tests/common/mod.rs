//! Tests in processes of their own: a test starts this program anew, and what it then does is called
//! a child. A sandbox is for good, and is entered by a process with one thread.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, ExitCode, Output, Stdio};

use libtest_mimic::{Arguments, Trial};

/// Names the child to be.
const CHILD: &str = "RESVIEW_SANDBOX_CHILD";

/// Something that is done in a process of its own, and its name.
pub type Child = (&'static str, fn());

/// A test and its name.
pub type Test = (&'static str, fn());

/// Runs the child that the environment names, or else all tests that the command line asks for.
pub fn run(tests: &[Test], children: &[Child]) -> ExitCode {
    if let Ok(name) = std::env::var(CHILD) {
        let child = children.iter().find(|(child, _)| *child == name);
        child.unwrap_or_else(|| panic!("there is no child {name:?}")).1();
        return ExitCode::SUCCESS;
    }
    let tests = tests.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}

/// This program, to become a child.
pub fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, name).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// What a child printed, which has to end well.
#[track_caller]
pub fn output_of(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}\n{}", output.status, stderr_of(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
