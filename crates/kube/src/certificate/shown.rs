//! The certificate that new connections are shown; it can be changed while the server runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;

/// A place for the certificate; nothing is in it at first, and connections fail until there is.
#[derive(Debug, Default)]
pub struct Shown(RwLock<Option<Identity>>);

impl Shown {
    /// Shows another one from now on. Connections that are open go on with theirs.
    pub(crate) fn show(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    /// The one that is shown.
    pub(crate) fn current(&self) -> Option<Identity> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the shown one expires.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.current().map(|identity| identity.validity.until)
    }
}

impl ResolvesServerCert for Shown {
    /// The name that is asked for does not matter: there is one certificate, and the API server may
    /// call by an address.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|identity| identity.key)
    }
}
