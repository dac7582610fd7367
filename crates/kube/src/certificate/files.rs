//! A certificate from files that somebody else renews, such as a mounted Secret of cert-manager's.

use std::path::{Path, PathBuf};

use super::{CertificateError, Identity, Shown};

/// The files, and what they had when they were last read.
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    seen: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// They are no certificate with its key.
    #[error("{} with {}: {error}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
}

impl Files {
    /// PEM files: a certificate, followed by those that lead to its CA, and its key.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, seen: None }
    }

    /// Reads them, and if they have changed shows what they have; `true` if so.
    ///
    /// # Errors
    /// They cannot be used; what was shown before goes on being shown. The same content is complained
    /// about once.
    pub fn refresh(&mut self, shown: &Shown) -> Result<bool, FilesError> {
        let content = (read(&self.certificate)?, read(&self.key)?);
        if self.seen.as_ref() == Some(&content) {
            return Ok(false);
        }
        let identity = Identity::read(&content.0, &content.1);
        self.seen = Some(content);
        let identity = identity.map_err(|error| FilesError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        })?;
        shown.show(identity);
        Ok(true)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    std::fs::read(path).map_err(|error| FilesError::Read { path: path.to_owned(), error })
}
