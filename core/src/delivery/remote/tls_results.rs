//! What the reports to domains hear of their mail exchangers (RFC 8460).

use super::super::hop::{Connection, HopFailure, NextHop};
use super::super::mx::Host;
use super::super::tls_policy::dane::Association;
use super::super::tls_policy::sts::{Mode, Policy};
use super::super::tls_policy::{Applied, Demands, PolicyKind, Unfetched};
use super::tls_wish::TlsWish;
use crate::clock::now_ms;
use crate::tlsrpt::{Failure, Ledger, ResultType};

/// Notes results of mail that goes by the domain's own policy. What the sender asks for besides says nothing about it.
#[derive(Clone, Copy)]
pub(super) struct TlsResults<'a> {
    ledger: Option<&'a Ledger>,
}

// === impl TlsResults ===

impl<'a> TlsResults<'a> {
    pub(super) fn new(ledger: Option<&'a Ledger>, wish: TlsWish) -> Self {
        Self { ledger: ledger.filter(|_| wish == TlsWish::None) }
    }

    pub(super) const fn are_noted(self) -> bool {
        self.ledger.is_some()
    }

    pub(super) fn connected(self, target: &NextHop, connection: &Connection) {
        let fault = || target.policy().and_then(|policy| policy.fault.clone());
        let in_clear = || {
            let reason = "the server does not offer TLS".to_owned();
            connection.tls().is_none().then_some((ResultType::StarttlsNotSupported, reason))
        };
        let missed = connection.missed().and_then(named);
        self.note(target, missed.or_else(in_clear).or_else(fault));
    }

    /// There was no session where TLS was not what kept it from being one.
    pub(super) fn failed(self, target: &NextHop, failure: &HopFailure) {
        if let Some(failure) = named(failure) {
            self.note(target, Some(failure));
        }
    }

    /// An exchanger whose TLSA records cannot be had.
    pub(super) fn unproven(self, domain: &str, host: &str, why: &str) {
        let policy = Applied { domain: host.to_owned(), ..Applied::new(domain, PolicyKind::Dane) };
        self.refused(&policy, host, ResultType::DnssecInvalid, why);
    }

    /// An exchanger that the domain's policy, in force, does not know.
    pub(super) fn unlisted(self, domain: &str, host: &str, policy: &Policy) {
        let policy = Applied::by_policy(domain, host, policy);
        self.refused(&policy, host, ResultType::ValidationFailure, UNLISTED);
    }

    /// The policy that a domain announces cannot be had. That is a failure of the policy; what becomes of the sessions that
    /// happen all the same is told under the policy that they go by.
    pub(super) fn unfetched(self, domain: &str, demands: &Demands) {
        let Some(Unfetched { result, reason }) = &demands.fault else { return };
        let applied = Applied::new(domain, PolicyKind::MtaSts);
        let applied = match &demands.policy {
            Some(older) => Applied { published: older.lines(), exchangers: older.exchangers(), ..applied },
            None => applied,
        };
        self.refused(&applied, "", *result, reason);
    }

    fn refused(self, policy: &Applied, host: &str, result: ResultType, reason: &str) {
        let Some(ledger) = self.ledger else { return };
        let (host, reason) = (host.to_owned(), reason.to_owned());
        ledger.note(now_ms(), policy, Some(Failure { result, host, address: None, reason }));
    }

    fn note(self, target: &NextHop, failure: Option<(ResultType, String)>) {
        let (Some(ledger), Some(policy)) = (self.ledger, target.policy()) else { return };
        let failure = failure.map(|(result, reason)| Failure {
            result,
            host: target.name().to_owned(),
            address: Some(target.address().ip()),
            reason,
        });
        ledger.note(now_ms(), policy, failure);
    }
}

fn named(failure: &HopFailure) -> Option<(ResultType, String)> {
    ResultType::of(failure).map(|result| (result, failure.to_string()))
}

// === impl Applied ===

impl Applied {
    /// What holds for a host of this domain.
    pub(super) fn of(
        domain: &str,
        host: &Host,
        association: Option<&Association>,
        policy: Option<&Policy>,
    ) -> Self {
        match (association, policy) {
            (Some(association), _) => Self::by_association(domain, association),
            (None, Some(policy)) if policy.mode != Mode::None => {
                Self::by_policy(domain, host.name.as_deref().unwrap_or(domain), policy)
            }
            _ => Self::new(domain, PolicyKind::None),
        }
    }

    fn new(domain: &str, kind: PolicyKind) -> Self {
        let (domain, mail_domain) = (domain.to_owned(), domain.to_owned());
        Self { kind, domain, mail_domain, published: Vec::new(), exchangers: Vec::new(), fault: None }
    }

    fn by_association(domain: &str, association: &Association) -> Self {
        let unusable = || (ResultType::TlsaInvalid, "none of the TLSA records can be checked".to_owned());
        Self {
            domain: association.base.clone(),
            published: association.published.iter().map(ToString::to_string).collect(),
            fault: (!association.is_authenticating()).then(unusable),
            ..Self::new(domain, PolicyKind::Dane)
        }
    }

    fn by_policy(domain: &str, host: &str, policy: &Policy) -> Self {
        let fault = (!policy.lists(host)).then(|| (ResultType::ValidationFailure, UNLISTED.to_owned()));
        let (published, exchangers) = (policy.lines(), policy.exchangers());
        Self { published, exchangers, fault, ..Self::new(domain, PolicyKind::MtaSts) }
    }
}

/// Why a policy does not let mail go to a host.
const UNLISTED: &str = "the mail exchanger is not in the MTA-STS policy";

#[cfg(test)]
mod tests {
    use super::super::super::tls_policy::dane::Tlsa;
    use super::*;

    fn host() -> Host {
        Host { name: Some("mx.to.example".to_owned()), addresses: Vec::new(), tlsa_bases: Vec::new() }
    }

    fn policy(mode: &str, exchanger: &str) -> Policy {
        let text = format!("version: STSv1\nmode: {mode}\nmx: {exchanger}\nmax_age: 3600\n");
        Policy::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_report_names_the_policy_that_holds_and_what_is_wrong_with_it() {
        let association = |matching, octets| {
            let record = Tlsa { usage: 3, selector: 1, matching, data: vec![7; octets] };
            Association::new("mx.to.example".to_owned(), vec![record])
        };
        let of = |association: Option<Association>, policy: Option<Policy>| {
            let applied = Applied::of("to.example", &host(), association.as_ref(), policy.as_ref());
            assert_eq!(applied.mail_domain, "to.example");
            (applied.kind, applied.domain, applied.fault.map(|fault| fault.0))
        };
        let (mx, domain) = ("mx.to.example".to_owned(), "to.example".to_owned());
        let listed = || Some(policy("testing", "*.to.example"));
        assert_eq!(of(Some(association(1, 32)), listed()), (PolicyKind::Dane, mx.clone(), None));
        let unusable = Some(ResultType::TlsaInvalid);
        assert_eq!(of(Some(association(9, 32)), None), (PolicyKind::Dane, mx, unusable));
        assert_eq!(of(None, listed()), (PolicyKind::MtaSts, domain.clone(), None));
        let unlisted = Some(ResultType::ValidationFailure);
        let other = Some(policy("testing", "mx.else.example"));
        assert_eq!(of(None, other), (PolicyKind::MtaSts, domain.clone(), unlisted));
        assert_eq!(of(None, None), (PolicyKind::None, domain, None));
    }

    #[test]
    fn a_host_that_may_get_no_mail_is_a_failure_unless_the_sender_asked_for_something_else() {
        let ledger = Ledger::default();
        for wish in [TlsWish::None, TlsWish::Required, TlsWish::Waived] {
            let results = TlsResults::new(Some(&ledger), wish);
            results.unproven("to.example", "mx.to.example", "no name server answers");
            results.unlisted("to.example", "mx.to.example", &policy("enforce", "mx.else.example"));
        }
        let due = ledger.due(now_ms() + 24 * 60 * 60 * 1000);
        let tallies = ledger.tallies(due[0].0, "to.example");
        let told: Vec<_> = tallies
            .iter()
            .map(|it| {
                (it.kind.as_str(), it.failures, it.details[0].result.as_str(), it.exchangers.as_slice())
            })
            .collect();
        let listed = ["mx.else.example".to_owned()];
        let expected = [("tlsa", 1, "dnssec-invalid", &[][..]), ("sts", 1, "validation-failure", &listed)];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_policy_that_cannot_be_had_is_told_with_the_older_one_where_that_holds() {
        let ledger = Ledger::default();
        let results = TlsResults::new(Some(&ledger), TlsWish::None);
        let demands = |policy, fault| Demands { policy, fault };
        let older = policy("enforce", "mx.to.example");
        results.unfetched("to.example", &Demands::default());
        results.unfetched("to.example", &demands(None, Some(Unfetched::unproven("expired"))));
        results.unfetched("to.example", &demands(Some(older.into()), Some(Unfetched::unanswered("404"))));
        let due = ledger.due(now_ms() + 24 * 60 * 60 * 1000);
        let tallies = ledger.tallies(due[0].0, "to.example");
        let told: Vec<_> = tallies
            .iter()
            .map(|it| (it.kind.as_str(), it.policy.len(), it.details[0].result.as_str()))
            .collect();
        assert_eq!(told, [("sts", 0, "sts-webpki-invalid"), ("sts", 4, "sts-policy-fetch-error")]);
        assert!(tallies.iter().all(|it| it.details[0].host.is_empty()));
    }
}
