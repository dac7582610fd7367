//! What can go wrong between us and the API server.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;

use super::Address;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The environment of a pod is missing.
    #[error("{0} is not set: this is no pod of a cluster; name the API server on the command line")]
    NotInCluster(&'static str),
    /// A text is no address.
    #[error("{0} is no address of an API server; one looks like https://10.96.0.1:443")]
    Address(String),
    /// Token or CA cannot be read.
    #[error("cannot read {}: {error}; a pod needs automountServiceAccountToken", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file of the CA has no certificate.
    #[error("{} has no certificate in PEM form", .0.display())]
    NoCa(PathBuf),
    /// rustls does not like the configuration.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// No connection, or no TLS on it.
    #[error("cannot reach the API server {server}: {error}")]
    Connect {
        /// Where.
        server: Address,
        /// Why.
        error: std::io::Error,
    },
    /// An object that cannot be written as JSON.
    #[error("cannot write the object as JSON: {0}")]
    Object(serde_json::Error),
    /// A path or a token that no HTTP request can carry.
    #[error("this is no HTTP request: {0}")]
    Request(hyper::http::Error),
    /// The connection broke.
    #[error("{what}: the connection broke: {error}")]
    Http {
        /// The request.
        what: What,
        /// Why.
        error: hyper::Error,
    },
    /// The answer broke off, or is far too long.
    #[error("{what}: the answer broke off: {error}")]
    Body {
        /// The request.
        what: What,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{what}: no answer within {after:?}")]
    TimedOut {
        /// The request.
        what: What,
        /// How long was waited.
        after: Duration,
    },
    /// The API server said no.
    #[error("{what}: {refusal}")]
    Refused {
        /// The request.
        what: What,
        /// What it said.
        refusal: Refusal,
    },
    /// The answer is not what was asked for.
    #[error("{what}: the answer is not understood: {error}")]
    Answer {
        /// The request.
        what: What,
        /// Why.
        error: serde_json::Error,
    },
}

impl ClientError {
    /// The HTTP status with which the API server refused, if it did.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.code),
            _ => None,
        }
    }

    /// There is no such object (404).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// We have no right to do that (403).
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.status() == Some(403)
    }

    /// Somebody else was faster: the object exists (409), was changed (409), or a JSON patch's `test`
    /// failed (422).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self.status(), Some(409 | 422))
    }

    /// The resource version of a watch is too old (410): list again.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.status() == Some(410)
    }
}

/// A request, as errors name it: its method and its path.
#[derive(Clone, Debug)]
pub struct What {
    method: Method,
    path: String,
}

impl What {
    pub(super) fn new(method: &Method, path: &str) -> Self {
        Self { method: method.clone(), path: path.to_owned() }
    }
}

impl Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// The API server's `Status` object: why it refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// A word for programs, such as `AlreadyExists`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Refusal {
    /// From an answer's text, which a proxy on the way may have written.
    pub(super) fn read(code: u16, text: &[u8]) -> Self {
        let said: Self = serde_json::from_slice(text).unwrap_or_default();
        Self { code, ..said }
    }
}

impl Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the API server answered {}", self.code)?;
        if !self.reason.is_empty() {
            write!(formatter, " {}", self.reason)?;
        }
        if !self.message.is_empty() {
            write!(formatter, ": {}", self.message)?;
        }
        Ok(())
    }
}
