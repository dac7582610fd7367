//! The program `resview`, also called as `lxcfs`; see the library of the same name.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    resview::main()
}
