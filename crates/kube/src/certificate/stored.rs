//! What the replicas share, as it lies in the Secret.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use serde_json::{Value, json};

use super::validity::Validity;
use super::{CertificateError, Identity, Names, Pair, all_certificates};
use crate::tls::provider;

/// The members of the Secret's `data`, named as in Secrets of the type kubernetes.io/tls.
const CA: &str = "ca.crt";
const LEAF: &str = "tls.crt";
const KEY: &str = "tls.key";

/// A leaf with its key, and the CAs that the API server is to trust: the leaf's own and, while
/// replicas still serve the leaf before, the CA of that one.
#[derive(Clone, Debug)]
pub struct Stored {
    bundle: String,
    leaf: String,
    leaf_key: String,
    pub(super) identity: Identity,
    /// The leaf's own CA.
    pub(super) ca: CertificateDer<'static>,
}

impl Stored {
    /// From a Secret, if what is in there can be served now under these names.
    ///
    /// # Errors
    /// What would keep the API server from trusting it, or us from serving it.
    pub fn read(secret: &Value, names: &Names, now: SystemTime) -> Result<Self, CertificateError> {
        let [bundle, leaf, leaf_key] = [CA, LEAF, KEY].map(|key| text(&secret["data"][key]));
        let identity = Identity::read(leaf.as_bytes(), leaf_key.as_bytes())?;
        let ca = verified(&identity, &all_certificates(bundle.as_bytes()), names, now)?;
        Ok(Self { bundle, leaf, leaf_key, identity, ca })
    }

    /// A new one, which goes on trusting the CAs of the Secret that still hold.
    ///
    /// # Errors
    /// As [`Pair::make`].
    pub fn renew(
        pair: Pair,
        secret: &Value,
        names: &Names,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let identity = Identity::read(pair.leaf.as_bytes(), pair.leaf_key.as_bytes())?;
        let ca = verified(&identity, &all_certificates(pair.ca.as_bytes()), names, now)?;
        let before = all_certificates(text(&secret["data"][CA]).as_bytes());
        let bundle = std::iter::once(pair.ca.trim().to_owned())
            .chain(before.iter().filter(|ca| holds(ca, now)).map(pem));
        let bundle = bundle.take(MOST_CAS).collect::<Vec<_>>().join("\n") + "\n";
        Ok(Self { bundle, leaf: pair.leaf, leaf_key: pair.leaf_key, identity, ca })
    }

    /// Whether two thirds of its life are over.
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        let Validity { until, .. } = self.identity.validity;
        now + self.identity.validity.length() / 3 >= until
    }

    /// The Secret's `data`.
    #[must_use]
    pub fn data(&self) -> Value {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        json!({ CA: encode(&self.bundle), LEAF: encode(&self.leaf), KEY: encode(&self.leaf_key) })
    }

    /// The CAs as a webhook's `caBundle`.
    #[must_use]
    pub fn ca_bundle(&self) -> String {
        BASE64_STANDARD.encode(&self.bundle)
    }

    /// Whether a `caBundle` makes the API server trust the leaf.
    #[must_use]
    pub fn is_trusted_by(&self, ca_bundle: &Value) -> bool {
        all_certificates(text(ca_bundle).as_bytes()).contains(&self.ca)
    }
}

/// The new CA, the one before, and one more if somebody renews by hand.
const MOST_CAS: usize = 3;

/// The text of a base64 string; empty if it is none.
fn text(value: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn holds(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    Validity::of(certificate).is_some_and(|validity| validity.until > now)
}

fn pem(certificate: &CertificateDer<'static>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----")
}

/// Looks at a leaf as the API server will, and returns the CA that it trusts it by.
fn verified(
    identity: &Identity,
    cas: &[CertificateDer<'static>],
    names: &Names,
    now: SystemTime,
) -> Result<CertificateDer<'static>, CertificateError> {
    let leaf = ParsedCertificate::try_from(identity.key.end_entity_cert()?)?;
    verify_server_name(&leaf, &names.server_name()?)?;
    if !identity.holds(now) {
        return Err(CertificateError::NotNow);
    }
    let now = UnixTime::since_unix_epoch(
        now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| CertificateError::NotNow)?,
    );
    let algorithms = provider().signature_verification_algorithms.all;
    let signs = |ca: &CertificateDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, algorithms)
    };
    let mut refusal = rustls::Error::General("there is no CA".to_owned());
    for ca in cas {
        match signs(ca) {
            Ok(()) => return Ok(ca.clone()),
            Err(error) => refusal = error,
        }
    }
    Err(refusal.into())
}
