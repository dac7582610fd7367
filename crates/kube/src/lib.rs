//! Kubernetes.
//!
//! * [`certificate`]: the webhook's certificate.
//! * [`client`]: a small client of the API server.
//! * [`policy`]: which pods get the view, for the NRI plugin and the webhook alike.
//! * [`review`]: from an AdmissionReview to its answer.
//! * [`serve`]: HTTPS for reviews, HTTP for health and metrics.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod certificate;
pub mod client;
pub mod policy;
pub mod review;
pub mod serve;
mod tls;
