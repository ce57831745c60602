use hickory_resolver::proto::dnssec::rdata::{NSEC, NSEC3, RRSIG, SigInput};
use hickory_resolver::proto::dnssec::{Algorithm, Nsec3HashAlgorithm};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::SerialNumber;
use hickory_resolver::proto::rr::rdata::{A, CNAME, SOA, SRV};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, data: RData, proof: Proof) -> Record {
    let mut record = Record::from_rdata(name(owner), 60, data);
    record.proof = proof;
    record
}

fn address(owner: &str, proof: Proof) -> Record {
    record(owner, RData::A(A::new(192, 0, 2, 1)), proof)
}

fn alias(owner: &str, target: &str, proof: Proof) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))), proof)
}

fn soa(owner: &str, proof: Proof) -> Record {
    let soa = SOA::new(Name::root(), Name::root(), 1, 0, 0, 0, 0);
    record(owner, RData::SOA(soa), proof)
}

/// Whether the answer for `a.example` is proven, and under which names it may have TLSA records.
fn followed(records: &[Record]) -> Option<(bool, Vec<String>)> {
    let answer = follow(&name("a.example."), RecordType::A, records)?;
    Some((answer.is_proven, answer.tlsa_bases("a.example")))
}

fn found(is_proven: bool, bases: &[&str]) -> Option<(bool, Vec<String>)> {
    Some((is_proven, bases.iter().map(|base| (*base).to_owned()).collect()))
}

const SECURE: Proof = Proof::Secure;
const INSECURE: Proof = Proof::Insecure;

#[test]
fn every_step_of_the_way_has_to_be_proven_and_nothing_beside_it_counts() {
    assert_eq!(followed(&[address("A.Example.", SECURE)]), found(true, &["a.example"]));
    assert_eq!(followed(&[address("a.example.", INSECURE)]), found(false, &[]));
    let other = [address("a.example.", SECURE), address("b.example.", INSECURE)];
    assert_eq!(followed(&other), found(true, &["a.example"]));
    let way = |first, second, last| {
        let aliases = [alias("b.example.", "c.example.", second), alias("a.example.", "b.example.", first)];
        followed(&[aliases.as_slice(), &[address("c.example.", last)]].concat())
    };
    assert_eq!(way(SECURE, SECURE, SECURE), found(true, &["c.example", "a.example"]));
    assert_eq!(way(SECURE, INSECURE, SECURE), found(false, &["a.example"]));
    assert_eq!(way(SECURE, SECURE, INSECURE), found(false, &["a.example"]));
    assert_eq!(way(INSECURE, SECURE, SECURE), found(false, &[]));
    let both = [address("a.example.", SECURE), address("a.example.", INSECURE)];
    assert_eq!(followed(&both), found(false, &[]));
}

#[test]
fn a_way_that_leads_nowhere_is_no_answer() {
    assert_eq!(followed(&[]), None);
    assert_eq!(followed(&[address("b.example.", SECURE)]), None);
    assert_eq!(followed(&[alias("a.example.", "b.example.", SECURE)]), None);
    let circle = [alias("a.example.", "b.example.", SECURE), alias("b.example.", "a.example.", SECURE)];
    assert_eq!(followed(&circle), None);
}

const DENIED: &str = "_25._tcp.mx.example.";

fn denial(records: Vec<Record>) -> NoRecords {
    let mut denial = NoRecords::new(Query::query(name(DENIED), RecordType::TLSA), ResponseCode::NoError);
    denial.authorities = (!records.is_empty()).then(|| records.into());
    denial
}

fn nsec(owner: &str) -> Record {
    let nsec = NSEC::new(name("zzz.example."), [RecordType::A]);
    record(owner, RData::DNSSEC(DNSSECRData::NSEC(nsec)), SECURE)
}

fn nsec3(owner: &str) -> Record {
    let nsec3 = NSEC3::new(Nsec3HashAlgorithm::SHA1, false, 200, Vec::new(), Vec::new(), []);
    record(owner, RData::DNSSEC(DNSSECRData::NSEC3(nsec3)), SECURE)
}

fn signature(owner: &str, type_covered: RecordType, signer: &str, proof: Proof) -> Record {
    let input = SigInput {
        type_covered,
        algorithm: Algorithm::ED25519,
        num_labels: 1,
        original_ttl: 60,
        sig_expiration: SerialNumber::new(1),
        sig_inception: SerialNumber::new(0),
        key_tag: 1,
        signer_name: name(signer),
    };
    record(owner, RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, Vec::new()))), proof)
}

#[test]
fn only_a_zone_that_a_name_is_in_can_deny_it_without_signatures() {
    let is_of_unsigned_zone = |records| is_of_unsigned_zone(&denial(records), &name(DENIED));
    assert!(is_of_unsigned_zone(vec![soa("mx.example.", INSECURE)]));
    for none in [soa("other.example.", INSECURE), soa("mx.example.", Proof::Bogus), soa("example.", SECURE)] {
        assert!(!is_of_unsigned_zone(vec![none]));
    }
    assert!(!is_of_unsigned_zone(Vec::new()));
    // Where the denial is of another name, that does not count.
    let mut elsewhere = denial(vec![soa("evil.", INSECURE)]);
    *elsewhere.query = Query::query(name("y.evil."), RecordType::SOA);
    assert!(!super::is_of_unsigned_zone(&elsewhere, &name(DENIED)));
}

#[tokio::test]
async fn a_name_that_no_name_server_is_asked_for_is_denied_without_a_proof() {
    let server = "127.0.0.1:9".parse().unwrap();
    let servers =
        super::super::NameServers::validating(&[server], &super::super::TrustAnchor::default()).unwrap();
    for none in ["mx.invalid", "Invalid", "abc.onion"] {
        let answer = ask(&servers.resolver, none, RecordType::MX).await;
        assert_eq!(answer.unwrap_err(), Unresolved::NoSuchName, "{none}");
    }
    let answer = ask(&servers.resolver, "localhost", RecordType::MX).await.unwrap();
    assert!(answer.data.is_empty() && !answer.is_proven);
    assert!(!is_special(&name("invalid.example.")));
}

#[test]
fn a_proof_counts_only_if_the_zone_of_the_name_has_signed_it() {
    let of = |signer| signature("a.example.", RecordType::NSEC, signer, SECURE);
    for signer in [".", "example.", "MX.example."] {
        let proven = denial(vec![soa("example.", SECURE), nsec("a.example."), of(signer)]);
        let said = denied(&proven, true).unwrap().unwrap();
        assert!(said.is_proven && said.data.is_empty());
        assert!(!denied(&proven, false).unwrap().unwrap().is_proven, "an alias that is not signed");
    }
    for unproven in [
        vec![nsec("a.example."), of("a.example.")],
        vec![nsec("a.example."), of("other.example.")],
        vec![nsec("a.example.")],
        vec![nsec("a.example."), signature("b.example.", RecordType::NSEC, "example.", SECURE)],
        vec![nsec("a.example."), signature("a.example.", RecordType::A, "example.", SECURE)],
        vec![nsec("a.example."), signature("a.example.", RecordType::NSEC, "example.", Proof::Bogus)],
        vec![nsec("a.example."), of("example."), nsec("b.other.")],
        vec![soa("example.", SECURE)],
        vec![soa("mx.example.", INSECURE)],
    ] {
        assert!(!is_proven(&denial(unproven.clone())), "{unproven:?}");
    }
}

#[test]
fn a_denial_by_costly_hashes_is_taken_only_from_the_zone_of_the_name() {
    let is_taken = |records: &[Record]| is_hashed_in_zone_of(records, &name(DENIED));
    assert!(is_taken(&[soa("example.", SECURE), nsec3("0p9mhaveqvm6t7vb.example.")]));
    assert!(!is_taken(&[nsec3("0p9mhaveqvm6t7vb.evil.")]));
    assert!(!is_taken(&[nsec3("0p9mhaveqvm6t7vb.example."), nsec3("0p9mhaveqvm6t7vb.evil.")]));
    assert!(!is_taken(&[nsec("a.example.")]));
    assert!(!is_taken(&[]));
}

#[test]
fn only_an_alias_that_holds_leads_to_another_name() {
    let is_led = |record: Record| {
        let target = name("y.evil.");
        alias_of(&name("a.example."), &[record])
            .map(|(next, is_secure)| (*next == target).then_some(is_secure))
    };
    assert_eq!(is_led(alias("A.example.", "y.evil.", SECURE)), Some(Some(true)));
    assert_eq!(is_led(alias("a.example.", "y.evil.", INSECURE)), Some(Some(false)));
    assert_eq!(is_led(alias("a.example.", "y.evil.", Proof::Bogus)), None);
    assert_eq!(is_led(alias("x.evil.", "y.evil.", INSECURE)), None);
    let srv = RData::SRV(SRV::new(0, 0, 25, name("y.evil.")));
    assert_eq!(is_led(record("a.example.", srv, INSECURE)), None);
}
