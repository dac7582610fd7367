//! A new CA and a leaf that it signs.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;

use super::CertificateError;

/// How far a certificate's beginning lies in the past, for clocks that go behind ours.
const BACKDATED: Duration = Duration::from_secs(300);

/// The names of a Service, one of which the API server expects in the certificate: it calls
/// `SERVICE.NAMESPACE.svc`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    service: String,
    namespace: String,
}

impl Names {
    /// The names of a Service of a namespace.
    ///
    /// # Errors
    /// They are no DNS names.
    pub fn new(service: &str, namespace: &str) -> Result<Self, CertificateError> {
        let names = Self { service: service.to_owned(), namespace: namespace.to_owned() };
        names.server_name()?;
        Ok(names)
    }

    /// The Service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name by which the API server calls.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, CertificateError> {
        ServerName::try_from(format!("{}.{}.svc", self.service, self.namespace))
            .map_err(|_| rustls::Error::General("no DNS name".to_owned()).into())
    }

    fn all(&self) -> Vec<String> {
        let Self { service, namespace } = self;
        let short = format!("{service}.{namespace}");
        vec![format!("{short}.svc"), format!("{short}.svc.cluster.local"), short, service.clone()]
    }
}

/// A CA's certificate, and a leaf with its key: PEM. The CA's own key is gone: each renewal makes a
/// new CA, so that nobody can sign anything with what lies in the Secret.
#[derive(Debug)]
pub struct Pair {
    pub(super) ca: String,
    pub(super) leaf: String,
    pub(super) leaf_key: String,
}

impl Pair {
    /// Makes a pair that holds from a little before `now` for the time `life`.
    ///
    /// # Errors
    /// No random numbers, or names that no certificate can have.
    pub fn make(names: &Names, now: SystemTime, life: Duration) -> Result<Self, CertificateError> {
        let backdated = BACKDATED.min(life / 10);
        let (from, until) = (now - backdated, now + life);
        let mut ca = CertificateParams::new(Vec::new())?;
        (ca.not_before, ca.not_after) = (from.into(), until.into());
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // CAs of different renewals stand side by side in a bundle: no two have the same name.
        let age = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        ca.distinguished_name
            .push(DnType::CommonName, format!("resview webhook CA {}", age.as_millis()));
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

        let mut leaf = CertificateParams::new(names.all())?;
        (leaf.not_before, leaf.not_after) = (from.into(), until.into());
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        leaf.distinguished_name.push(DnType::CommonName, names.service.clone());
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &ca)?;
        Ok(Self { ca: ca.pem(), leaf: leaf.pem(), leaf_key: key.serialize_pem() })
    }
}
