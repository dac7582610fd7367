//! Certificates by themselves; how replicas share them is tested against an API server.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A moment in whole seconds, as certificates have them.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn names() -> Names {
    Names::new("hook", "ns").unwrap()
}

#[test]
fn the_period_of_a_certificate_is_read_on_both_sides_of_2050() {
    for from in [now(), now() + 40 * 365 * DAY] {
        let pair = Pair::make(&names(), from, 90 * DAY).unwrap();
        let identity = Identity::read(pair.leaf.as_bytes(), pair.leaf_key.as_bytes()).unwrap();
        assert_eq!(identity.validity.until, from + 90 * DAY);
        assert_eq!(identity.validity.from, from - Duration::from_secs(300));
        assert!(identity.holds(from) && !identity.holds(from + 90 * DAY));
        assert!(!identity.holds(from - DAY));
    }
}

/// denverdino #26: "x509: certificate specifies an incompatible key usage".
#[test]
fn a_leaf_is_for_servers_and_for_all_names_of_the_service() {
    let pair = Pair::make(&names(), now(), DAY).unwrap();
    let stored = Stored::renew(pair, &serde_json::Value::Null, &names(), now()).unwrap();
    let der = stored.identity.key.cert[0].to_vec();
    let has = |bytes: &[u8]| der.windows(bytes.len()).any(|window| window == bytes);
    // 1.3.6.1.5.5.7.3.1, serverAuth, in DER.
    assert!(has(&[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01]));
    for name in ["hook.ns.svc", "hook.ns", "hook", "hook.ns.svc.cluster.local"] {
        assert!(has(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_pair_is_due_when_two_thirds_of_its_life_are_over() {
    let pair = Pair::make(&names(), now(), 90 * DAY).unwrap();
    let stored = Stored::renew(pair, &serde_json::Value::Null, &names(), now()).unwrap();
    assert!(!stored.is_due(now() + 59 * DAY));
    assert!(stored.is_due(now() + 61 * DAY));
}

#[test]
fn what_cannot_be_served_is_refused() {
    let pair = Pair::make(&names(), now(), DAY).unwrap();
    let other = Pair::make(&names(), now(), DAY).unwrap();
    let read = |certificate: &str, key: &str| {
        Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap_err()
    };
    assert!(matches!(read("", &pair.leaf_key), CertificateError::NoCertificate));
    assert!(matches!(read(&pair.leaf, ""), CertificateError::NoKey));
    assert!(matches!(read(&pair.leaf, &other.leaf_key), CertificateError::Unusable(_)));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(read(garbage, &pair.leaf_key), CertificateError::NoValidity));
}

#[test]
fn a_life_of_minutes_makes_everything_faster() {
    let seconds = Duration::from_secs;
    let usual = Pace::of(90 * DAY);
    assert_eq!((usual.interval, usual.settle), (seconds(15), seconds(10)));
    let short = Pace::of(seconds(60));
    assert_eq!((short.interval, short.settle), (seconds(1), seconds(2)));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Validity::of(&CertificateDer::from(bytes.clone()));
        let _ = Identity::read(&bytes, &bytes);
    }

    #[test]
    fn a_certificate_with_one_byte_changed_is_read_or_not(at in 0_usize..1000, byte in any::<u8>()) {
        let pair = Pair::make(&names(), now(), DAY).unwrap();
        let mut der = all_certificates(pair.leaf.as_bytes())[0].to_vec();
        let at = at % der.len();
        der[at] = byte;
        let _ = Validity::of(&CertificateDer::from(der));
    }
}
