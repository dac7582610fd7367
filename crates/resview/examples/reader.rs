//! The reader of `testkit`, built along with the tests that put it into containers.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    testkit::reader::program::main()
}
