use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;

use super::*;

/// An authority of the domain's own, and a server's certificate that it has signed.
struct House {
    authority: CertificateDer<'static>,
    server: CertificateDer<'static>,
}

impl House {
    fn new(name: &str) -> Self {
        Self::valid(name, 2020, 2999)
    }

    fn valid(name: &str, from: i32, until: i32) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let server = params.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        Self { authority: authority.der().clone(), server: server.der().clone() }
    }

    /// What comes of these records, with the authority in the chain.
    fn check(&self, records: &[Tlsa]) -> Result<(), String> {
        self.check_chain(records, std::slice::from_ref(&self.authority))
    }

    fn check_chain(&self, records: &[Tlsa], chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let association = Association::new("mx.example".into(), records.to_vec());
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let verifier = association.verifier(&["to.example", "alias.example"], algorithms);
        let checked = verifier.judge(&self.server, chain, UnixTime::now());
        checked.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(ours))) => ours.to_string(),
            other => other.to_string(),
        })
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Vec<u8> {
    ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info().to_vec()
}

fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
    let octets = if selector == 1 { public_key(certificate) } else { certificate.to_vec() };
    let data = match matching {
        1 => digest(&SHA256, &octets).as_ref().to_vec(),
        2 => digest(&SHA512, &octets).as_ref().to_vec(),
        _ => octets,
    };
    Tlsa { usage, selector, matching, data }
}

#[test]
fn every_form_of_a_record_for_the_certificate_itself_or_its_authority_is_understood() {
    let (house, other) = (House::new("mx.example"), House::new("mx.example"));
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let own = |house: &House| record(3, selector, matching, &house.server);
            let anchor = |house: &House| record(2, selector, matching, &house.authority);
            assert_eq!(house.check(&[own(&house)]), Ok(()), "3 {selector} {matching}");
            assert_eq!(house.check(&[anchor(&house)]), Ok(()), "2 {selector} {matching}");
            assert!(house.check(&[own(&other)]).unwrap_err().contains("no TLSA record is for it"));
            let refused = house.check(&[anchor(&other)]).unwrap_err();
            assert!(!refused.is_empty(), "2 {selector} {matching}");
            // One that fits is enough.
            assert_eq!(house.check(&[own(&other), anchor(&house)]), Ok(()));
        }
    }
}

#[test]
fn names_and_dates_count_under_an_authority_and_nowhere_else() {
    let foreign = House::new("elsewhere.example");
    assert_eq!(foreign.check(&[record(3, 1, 1, &foreign.server)]), Ok(()));
    let refused = foreign.check(&[record(2, 1, 1, &foreign.authority)]).unwrap_err();
    assert!(refused.contains("not valid for name"), "{refused}");
    let expired = House::valid("mx.example", 2001, 2002);
    assert_eq!(expired.check(&[record(3, 1, 1, &expired.server)]), Ok(()));
    let refused = expired.check(&[record(2, 1, 1, &expired.authority)]).unwrap_err();
    assert!(refused.contains("expired"), "{refused}");
    for name in ["mx.example", "to.example", "alias.example"] {
        let house = House::new(name);
        assert_eq!(house.check(&[record(2, 0, 1, &house.authority)]), Ok(()), "{name}");
    }
}

#[test]
fn an_authority_that_is_not_shown_has_to_be_in_the_record() {
    let house = House::new("mx.example");
    assert_eq!(house.check_chain(&[record(2, 0, 0, &house.authority)], &[]), Ok(()));
    for record in [record(2, 1, 0, &house.authority), record(2, 0, 1, &house.authority)] {
        let refused = house.check_chain(&[record], &[]).unwrap_err();
        assert!(refused.contains("no TLSA record is for it"), "{refused}");
    }
    // The certificate itself is not its own authority.
    assert!(house.check(&[record(2, 0, 0, &house.server)]).is_err());
    // Nor is one that merely lies beside it.
    let other = House::new("mx.example");
    assert!(
        house
            .check_chain(&[record(2, 1, 1, &other.authority)], std::slice::from_ref(&other.authority))
            .is_err()
    );
}

#[test]
fn what_cannot_be_checked_asks_for_no_certificate() {
    let house = House::new("mx.example");
    let broken = |change: fn(&mut Tlsa)| {
        let mut broken = record(3, 1, 1, &house.server);
        change(&mut broken);
        Association::new("mx.example".into(), vec![broken])
    };
    for unusable in [
        broken(|record| record.usage = 0),
        broken(|record| record.usage = 1),
        broken(|record| record.usage = 255),
        broken(|record| record.selector = 2),
        broken(|record| record.matching = 3),
        broken(|record| record.data.truncate(31)),
        broken(|record| (record.matching, record.data) = (0, Vec::new())),
    ] {
        assert!(!unusable.is_authenticating(), "{unusable:?}");
        assert_eq!(unusable.published.len(), 1);
    }
    assert!(broken(|_| ()).is_authenticating());
}

#[test]
fn of_two_digests_of_one_thing_the_stronger_counts() {
    let (house, other) = (House::new("mx.example"), House::new("mx.example"));
    let weak = record(3, 1, 1, &house.server);
    assert_eq!(house.check(&[weak.clone(), record(3, 1, 2, &house.server)]), Ok(()));
    assert!(house.check(&[weak.clone(), record(3, 1, 2, &other.server)]).is_err());
    // Of something else it says nothing.
    assert_eq!(house.check(&[weak, record(3, 0, 2, &other.server)]), Ok(()));
}

#[test]
fn a_record_is_written_as_in_a_zone_file() {
    let record = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0, 0xab] };
    assert_eq!(record.to_string(), "3 1 1 00ab");
}
