//! What an answer is worth: the way from the name that was asked for to its records, and what DNSSEC proves of it.
//!
//! ```text
//! answer section -> from alias to alias -> records of the wanted type: proven if every step is
//! no records     -> the denial's own records: proven, or of a zone that has no signatures, or no answer at all
//! ```
//! Signatures are checked by the resolver, which marks each record with what came of it. Only records on this way count: an
//! answer may hold others that somebody has put in.

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::op::ResponseCode;
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
            if resolver.options().validate && !is_believed(resolver, denial).await {
                return Err(bogus(name, wanted));
            }
            denied(denial).ok_or_else(|| unanswered(name, wanted, error))?
        }
        DnsError::Nsec { response, proof: Proof::Insecure, .. } => match response.response_code {
            ResponseCode::NXDomain => Err(Unresolved::NoSuchName),
            _ => Ok(Answer::default()),
        },
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

/// What a denial says; `None` where it is none.
fn denied(denial: &NoRecords) -> Option<Result<Answer, Unresolved>> {
    match denial.response_code {
        ResponseCode::NXDomain => Some(Err(Unresolved::NoSuchName)),
        ResponseCode::NoError => Some(Ok(Answer { is_proven: is_proven(denial), ..Answer::default() })),
        _ => None,
    }
}

fn is_proven(denial: &NoRecords) -> bool {
    denial.authorities.iter().flat_map(|records| records.iter()).any(|record| record.proof.is_secure())
}

/// Whether a denial comes from whom it would have to come. The resolver has checked the proofs of signed zones, but lets
/// everything pass whose records belong to some zone without signatures, be it another one: so those must be of a zone that
/// the name is in. A denial without such records has to be followed by the zone's own record.
async fn is_believed(resolver: &TokioResolver, denial: &NoRecords) -> bool {
    if is_proven(denial) || is_of_unsigned_zone(denial) {
        return true;
    }
    let name = denial.query.name().clone();
    match resolver.lookup(name.clone(), RecordType::SOA).await {
        Ok(found) => {
            found.answers().iter().chain(found.authorities()).any(|record| is_unsigned_over(record, &name))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(denial))) => is_of_unsigned_zone(&denial),
        Err(_) => false,
    }
}

fn is_of_unsigned_zone(denial: &NoRecords) -> bool {
    let name = denial.query.name();
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
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::rdata::{A, CNAME, SOA};

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

    #[test]
    fn only_a_zone_that_a_name_is_in_can_deny_it_without_signatures() {
        let denial = |records: Vec<Record>| {
            let query = Query::query(name("_25._tcp.mx.example."), RecordType::TLSA);
            let mut denial = NoRecords::new(query, ResponseCode::NoError);
            denial.authorities = (!records.is_empty()).then(|| records.into());
            denial
        };
        assert!(is_of_unsigned_zone(&denial(vec![soa("mx.example.", INSECURE)])));
        for none in
            [soa("other.example.", INSECURE), soa("mx.example.", Proof::Bogus), soa("example.", SECURE)]
        {
            assert!(!is_of_unsigned_zone(&denial(vec![none])));
        }
        assert!(!is_of_unsigned_zone(&denial(Vec::new())));
        assert!(is_proven(&denial(vec![soa("example.", SECURE)])));
        assert!(!is_proven(&denial(vec![soa("mx.example.", INSECURE)])));
        let said = denied(&denial(vec![soa("example.", SECURE)])).unwrap().unwrap();
        assert!(said.is_proven && said.data.is_empty());
    }
}
