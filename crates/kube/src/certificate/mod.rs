//! The webhook's certificate: its own, kept in a Secret and renewed, or one from files.
//!
//! * [`Pair`] is what is made: a CA that signs once and whose key is thrown away, and a leaf.
//! * [`Stored`] is what the replicas share.
//! * [`Keeper`] looks after it; [`Files`] reads one that somebody else looks after.
//! * [`Shown`] is what new connections get.

mod files;
mod keeper;
mod pair;
mod shown;
mod stored;
mod validity;

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub use self::files::Files;
pub use self::keeper::{Keeper, KeeperError, Look, Objects, Pace};
pub use self::pair::{Names, Pair};
pub use self::shown::Shown;
pub use self::stored::Stored;
use self::validity::Validity;
use crate::tls::provider;

/// A certificate with its key, ready to be served, and when it holds.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
}

/// Why certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate in the text.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// There is no private key in the text.
    #[error("there is no private key in PEM form")]
    NoKey,
    /// rustls cannot use them: an unknown kind of key, or a key of another certificate.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
    /// Its period cannot be read.
    #[error("the certificate's period of validity cannot be read")]
    NoValidity,
    /// It has expired, or does not hold yet.
    #[error("the certificate does not hold now")]
    NotNow,
    /// It cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Identity {
    /// From the PEM texts of a certificate, with others that lead to its CA after it, and of its key.
    pub(crate) fn read(certificates: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = all_certificates(certificates);
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let validity = Validity::of(leaf).ok_or(CertificateError::NoValidity)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &provider())?;
        Ok(Self { key: Arc::new(key), validity })
    }

    pub(crate) fn holds(&self, now: SystemTime) -> bool {
        self.validity.from <= now && now < self.validity.until
    }
}

/// The certificates of a PEM text; others' things in it are passed over.
fn all_certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests;
