//! Why a connection to a runtime is not there, or not any more.

use std::io;
use std::path::PathBuf;

/// Why a connection ended, or could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name or index of the plugin is one that runtimes refuse.
    #[error("{what} `{value}` is not one that NRI takes: it has to be {must_be}")]
    Name {
        /// What is wrong: the plugin's name or its index.
        what: &'static str,
        /// What was given.
        value: String,
        /// What it has to be made of.
        must_be: &'static str,
    },
    /// There is nobody to connect to.
    #[error(
        "cannot connect to the runtime at {path}: {source}; is the runtime running, with NRI enabled?"
    )]
    Connect {
        /// The runtime's socket.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the runtime broke: {0}")]
    Io(#[from] io::Error),
    /// The runtime closed the connection.
    #[error("the runtime closed the connection")]
    Closed,
    /// What comes is not NRI.
    #[error("the runtime does not speak NRI as it is known here: {0}")]
    Garbage(String),
    /// The runtime refused the plugin.
    #[error("the runtime refused the plugin with code {code}: {message}")]
    Refused {
        /// gRPC's status code.
        code: i32,
        /// The runtime's words.
        message: String,
    },
    /// The runtime accepted the connection and did not go on.
    #[error("the runtime did not register the plugin within {seconds} s")]
    Unregistered {
        /// How long was waited.
        seconds: u64,
    },
    /// Events were dropped since too many waited; the runtime's listing tells again.
    #[error(
        "{dropped} events were dropped because too many waited; asking for all containers anew"
    )]
    Overrun {
        /// How many.
        dropped: u64,
    },
    /// Somebody called [`Handle::resync`](crate::Handle::resync).
    #[error("asked to connect anew")]
    Resync,
    /// Somebody called [`Handle::stop`](crate::Handle::stop).
    #[error("asked to stop")]
    Stopped,
}
