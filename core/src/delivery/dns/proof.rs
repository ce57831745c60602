//! What an answer is worth: the way from the name that was asked for to its records, and what DNSSEC proves of it.
//!
//! ```text
//! answer section -> from alias to alias -> records of the wanted type: proven if every step is
//! no records     -> the denial's own records: proven, or of a zone that has no signatures, or no answer at all
//! ```
//! Signatures are checked by the resolver, which marks each record with what came of it. Only records on this way count: an
//! answer may hold others that somebody has put in. The resolver also follows SRV records to other names, whoever they belong
//! to, and believes denials of other zones: so a denial counts only for a name that the aliases do lead to, and from a zone
//! that this name is in.

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::dnssec::rdata::DNSSECRData;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::domain::usage::{INVALID, LOCALHOST, ONION};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::{Unresolved, relative};

/// Records of one type, and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// None where there are none.
    pub(super) data: Vec<RData>,
    /// Whether DNSSEC proves them, or that there are none.
    pub(super) is_proven: bool,
    /// Where the aliases have led to, without the final dot; `None` where there are none.
    target: Option<String>,
    /// Whether the alias at the name itself is proven.
    is_alias_proven: bool,
}

/// Asks for the records of a name (without a final dot).
pub(super) async fn ask(
    resolver: &TokioResolver,
    name: &str,
    wanted: RecordType,
) -> Result<Answer, Unresolved> {
    // The final dot keeps the resolver from trying the machine's own domain.
    let Ok(asked) = Name::from_ascii(format!("{name}.")) else { return Err(Unresolved::NoSuchName) };
    let error = match resolver.lookup(asked.clone(), wanted).await {
        Ok(found) => {
            let answer = follow(&asked, wanted, found.answers());
            return answer.ok_or_else(|| unanswered(name, wanted, &"nothing that was asked for"));
        }
        Err(error) => error,
    };
    let NetError::Dns(error) = &error else { return Err(unanswered(name, wanted, &error)) };
    match error {
        DnsError::NoRecordsFound(denial) => {
            let mut is_way_proven = false;
            if resolver.options().validate {
                let way = way_to(resolver, &asked, denial.query.name()).await;
                is_way_proven = way.ok_or_else(|| bogus(name, wanted))?;
                if !is_believed(resolver, denial).await {
                    return Err(bogus(name, wanted));
                }
            }
            denied(denial, is_way_proven).ok_or_else(|| unanswered(name, wanted, error))?
        }
        DnsError::Nsec { query, response, proof: Proof::Insecure, .. } => {
            let is_believed = is_hashed_in_zone_of(&response.authorities, query.name());
            if !is_believed || way_to(resolver, &asked, query.name()).await.is_none() {
                return Err(bogus(name, wanted));
            }
            match response.response_code {
                ResponseCode::NXDomain => Err(Unresolved::NoSuchName),
                _ => Ok(Answer::default()),
            }
        }
        DnsError::Nsec { .. } | DnsError::DnssecBogus => Err(bogus(name, wanted)),
        _ => Err(unanswered(name, wanted, error)),
    }
}

// === impl Answer ===

impl Answer {
    /// Under which names TLSA records of this host may be (RFC 7672 section 2.2.3).
    pub(super) fn tlsa_bases(&self, host: &str) -> Vec<String> {
        let host = host.to_owned();
        match &self.target {
            Some(target) if self.is_proven => vec![target.clone(), host],
            // The alias leads out of what is signed: what it says of itself still holds.
            Some(_) if self.is_alias_proven => vec![host],
            None if self.is_proven => vec![host],
            _ => Vec::new(),
        }
    }
}

/// From alias to alias. `None` where that leads to nothing of the wanted type.
fn follow(asked: &Name, wanted: RecordType, records: &[Record]) -> Option<Answer> {
    let mut answer = Answer { is_proven: true, ..Answer::default() };
    let mut name = asked;
    for step in 0..=ALIASES_MAX {
        let is_meant = |record: &&Record| record.name == *name && record.record_type() == wanted;
        let found: Vec<&Record> = records.iter().filter(is_meant).collect();
        if !found.is_empty() {
            answer.is_proven &= found.iter().all(|record| record.proof.is_secure());
            answer.data = found.into_iter().map(|record| record.data.clone()).collect();
            return Some(answer);
        }
        let (proof, next) = records.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if record.name == *name => Some((record.proof, &alias.0)),
            _ => None,
        })?;
        answer.is_proven &= proof.is_secure();
        if step == 0 {
            answer.is_alias_proven = proof.is_secure();
        }
        answer.target = Some(relative(next));
        name = next;
    }
    None
}

/// Whether aliases lead from the name that was asked for to the one that was denied, each asked for by itself, and whether
/// all of them are proven. `None` where they do not, or nobody could have made one of them.
async fn way_to(resolver: &TokioResolver, asked: &Name, denied: &Name) -> Option<bool> {
    let (mut name, mut is_proven) = (asked.clone(), true);
    for _ in 0..=ALIASES_MAX {
        if name == *denied {
            return Some(is_proven);
        }
        let found = resolver.lookup(name.clone(), RecordType::CNAME).await.ok()?;
        let (next, is_secure) = alias_of(&name, found.answers())?;
        is_proven &= is_secure;
        name = next.clone();
    }
    None
}

/// Where the alias at this name leads to, and whether it is proven. `None` without one that is, or that needs no proof.
fn alias_of<'a>(name: &Name, records: &'a [Record]) -> Option<(&'a Name, bool)> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(alias)
            if record.name == *name && (record.proof.is_secure() || record.proof.is_insecure()) =>
        {
            Some((&alias.0, record.proof.is_secure()))
        }
        _ => None,
    })
}

/// What a denial says; `None` where it is none.
fn denied(denial: &NoRecords, is_way_proven: bool) -> Option<Result<Answer, Unresolved>> {
    match denial.response_code {
        ResponseCode::NXDomain => Some(Err(Unresolved::NoSuchName)),
        ResponseCode::NoError => {
            let is_proven = is_way_proven && is_proven(denial);
            Some(Ok(Answer { is_proven, ..Answer::default() }))
        }
        _ => None,
    }
}

/// Whether there are records which prove that there is nothing, and all of them were signed by a zone that the name is in.
/// The resolver only looks at the order of names, which those of another zone fit into as well.
fn is_proven(denial: &NoRecords) -> bool {
    let authorities = denial.authorities.as_deref().unwrap_or_default();
    let mut proofs = authorities.iter().filter(|record| is_proof(record)).peekable();
    proofs.peek().is_some() && proofs.all(|proof| is_signed_over(proof, authorities, denial.query.name()))
}

/// A secure record that says what there is not.
fn is_proof(record: &Record) -> bool {
    record.proof.is_secure() && matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3)
}

/// Whether the signature that a record was proven by is of a zone that the name is in.
fn is_signed_over(proof: &Record, records: &[Record], name: &Name) -> bool {
    records.iter().any(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
            let input = signature.input();
            record.proof.is_secure()
                && record.name == proof.name
                && input.type_covered == proof.record_type()
                && input.signer_name.zone_of(name)
        }
        _ => false,
    })
}

/// Whether a denial that the resolver takes unproven, since its hashes cost too much, is of a zone that the name is in.
fn is_hashed_in_zone_of(authorities: &[Record], name: &Name) -> bool {
    let mut proofs = authorities.iter().filter(|record| is_proof(record)).peekable();
    let is_over =
        |proof: &Record| proof.record_type() == RecordType::NSEC3 && proof.name.base_name().zone_of(name);
    proofs.peek().is_some() && proofs.all(is_over)
}

/// Whether a denial comes from whom it would have to come. The resolver has checked the proofs of signed zones, but lets
/// everything pass whose records belong to some zone without signatures, be it another one: so those must be of a zone that
/// the name is in. A denial without such records has to be followed by the zone's own record.
async fn is_believed(resolver: &TokioResolver, denial: &NoRecords) -> bool {
    let name = denial.query.name();
    if is_special(name) || is_proven(denial) || is_of_unsigned_zone(denial, name) {
        return true;
    }
    match resolver.lookup(name.clone(), RecordType::SOA).await {
        Ok(found) => {
            found.answers().iter().chain(found.authorities()).any(|record| is_unsigned_over(record, name))
        }
        // It may have been led to another name.
        Err(NetError::Dns(DnsError::NoRecordsFound(denial))) => is_of_unsigned_zone(&denial, name),
        Err(_) => false,
    }
}

/// Whether the resolver denies names like this one by itself (RFC 6761 sections 6.3 and 6.4, RFC 7686), so that there are no
/// records to show for it.
fn is_special(name: &Name) -> bool {
    [&*LOCALHOST, &*INVALID, &*ONION].into_iter().any(|zone| zone.zone_of(name))
}

fn is_of_unsigned_zone(denial: &NoRecords, name: &Name) -> bool {
    let soa = denial.soa.as_ref().is_some_and(|soa| soa.proof.is_insecure() && soa.name.zone_of(name));
    let authorities = denial.authorities.iter().flat_map(|records| records.iter());
    soa || authorities.into_iter().any(|record| is_unsigned_over(record, name))
}

/// No zone can have names that are signed below one that is not, but by a trust anchor of its own.
fn is_unsigned_over(record: &Record, name: &Name) -> bool {
    record.proof.is_insecure() && record.name.zone_of(name)
}

fn unanswered(name: &str, wanted: RecordType, why: &dyn std::fmt::Display) -> Unresolved {
    tracing::debug!(name, %wanted, %why, "the DNS does not answer");
    Unresolved::NoAnswer
}

fn bogus(name: &str, wanted: RecordType) -> Unresolved {
    tracing::info!(name, %wanted, "an answer of the DNS fails DNSSEC validation");
    Unresolved::Bogus
}

/// As resolvers do; a longer chain is a loop.
const ALIASES_MAX: usize = 16;

#[cfg(test)]
mod tests {
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
            let aliases =
                [alias("b.example.", "c.example.", second), alias("a.example.", "b.example.", first)];
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
        for none in
            [soa("other.example.", INSECURE), soa("mx.example.", Proof::Bogus), soa("example.", SECURE)]
        {
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
}
