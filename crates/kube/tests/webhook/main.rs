//! The webhook over real TLS on the loopback interface: its server, its certificate, and the client
//! of the API server, against a small API server of this test's own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod api_server;
mod caller;
mod client;
mod keeping;
mod reviews;
mod serving;

use std::time::Duration;

/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a test's future, and fails if it hangs.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") });
}
