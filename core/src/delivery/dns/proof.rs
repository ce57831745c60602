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
mod tests;
