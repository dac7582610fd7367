//! The reader of [`testkit::reader`] as a program.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    testkit::reader::program::main()
}
