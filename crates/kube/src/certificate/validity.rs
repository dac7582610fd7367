//! When a certificate holds, read from its DER form (RFC 5280, 4.1.2.5).

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use yasna::tags::TAG_UTCTIME;
use yasna::{ASN1Result, BERReader, BERReaderSeq, Tag};

/// A period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Validity {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl Validity {
    /// The period of a certificate, if it is one.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        yasna::parse_der(certificate, |reader| {
            reader.read_sequence(|certificate| {
                let validity = certificate.next().read_sequence(to_be_signed)?;
                skip_rest(certificate)?;
                Ok(validity)
            })
        })
        .ok()
    }

    /// How long it is.
    pub(super) fn length(&self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }
}

fn to_be_signed(fields: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Validity> {
    // The version, which certificates of version 1 do not have.
    fields.read_optional(|version| {
        version.read_tagged(Tag::context(0), |number| number.read_der())
    })?;
    for _serial_number_signature_issuer in 0..3 {
        fields.next().read_der()?;
    }
    let validity = fields.next().read_sequence(|times| {
        Ok(Validity { from: read_time(times.next())?, until: read_time(times.next())? })
    })?;
    skip_rest(fields)?;
    Ok(validity)
}

/// UTCTime until 2049, GeneralizedTime after that.
fn read_time(reader: BERReader<'_, '_>) -> ASN1Result<SystemTime> {
    if reader.lookahead_tag()? == TAG_UTCTIME {
        Ok((*reader.read_utctime()?.datetime()).into())
    } else {
        Ok((*reader.read_generalized_time()?.datetime()).into())
    }
}

fn skip_rest(fields: &mut BERReaderSeq<'_, '_>) -> ASN1Result<()> {
    while fields.read_optional(|field| field.read_der())?.is_some() {}
    Ok(())
}
