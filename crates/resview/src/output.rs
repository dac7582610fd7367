//! Standard output. Who reads it may have had enough, as `head` has: then there is nobody to tell,
//! and that is no failure.

use std::fmt::Display;
use std::io::Write;

/// Prints `text`.
pub(crate) fn print(text: impl Display) {
    // Nobody listens, or the disk is full: what was asked for is done all the same.
    let _ = write!(std::io::stdout().lock(), "{text}");
}

/// Prints `text` and ends the line.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
