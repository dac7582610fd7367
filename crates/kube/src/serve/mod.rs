//! The webhook's server: HTTPS for the API server's reviews, plain HTTP for health and metrics.
//!
//! * [`Webhook`] answers requests; [`https`] listens for them.
//! * [`plain`] serves small texts, such as health and metrics.
//! * [`Metrics`] are counted in memory and printed in Prometheus' text format.

mod body;
mod connections;
mod histogram;
mod metrics;
mod plain;
mod webhook;

use std::time::Duration;

pub use self::connections::{TlsError, https};
pub use self::metrics::Metrics;
pub use self::plain::{Page, plain};
pub use self::webhook::{LONGEST_REVIEW_BYTES, Webhook};

/// What one server allows its callers. Kubernetes' API server holds a few connections and sends what
/// it has over them at once; more than this is somebody else, or somebody who is stuck.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the header of a request may take; also, how long a connection may idle.
    pub header: Duration,
    /// How long the rest of a request may take.
    pub body: Duration,
    /// Reviews that are read and answered at the same moment; more wait.
    pub reviews: usize,
    /// How long requests in flight may take when the server is told to end.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connections: 512,
            handshake: seconds(5),
            header: seconds(30),
            body: seconds(10),
            reviews: 32,
            farewell: seconds(10),
        }
    }
}
