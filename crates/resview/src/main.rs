//! The resview command.
#![forbid(unsafe_code)]
fn main() {}
