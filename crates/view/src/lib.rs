//! `view` turns what a container may use into what its files say: limits to a
//! resource view, a resource view and the host's text to file content.
//!
//! The crate is pure: it opens no file, reads no clock and no environment.
#![forbid(unsafe_code)]

pub mod input;
