//! What both ends of TLS here have in common.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one implementation of cryptography in this program, said explicitly: without a choice rustls
/// would look for a process-wide default, and panic if there is none.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
