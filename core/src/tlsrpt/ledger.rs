//! What came of TLS, by day and domain; bounded, and kept over a restart in a file.
//!
//! ```text
//! gatepost-tls-results 1 CRC32C\n   the checksum of all that follows, as eight hexadecimal digits
//! {"DAY":{"DOMAIN":[TALLY...]}}     days since 1970-01-01 UTC
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::ResultType;
use crate::checked_json::{self, Damaged};
use crate::delivery::tls_policy::{Applied, PolicyKind};

/// Collects results. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    days: Days,
    /// What all of it takes, about.
    octets: usize,
    /// Whether something found no room since a day was last forgotten.
    is_full: bool,
}

/// By day, counted from 1970-01-01 UTC.
type Days = BTreeMap<u64, Domains>;

/// What one domain's sessions came to on one day, a tally a policy.
type Domains = BTreeMap<String, Vec<Tally>>;

/// The sessions under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// `tlsa`, `sts` or `no-policy-found` (RFC 8460 section 4.2).
    pub kind: String,
    /// Whose policy it is.
    pub policy_domain: String,
    /// The policy itself, a line or a record each.
    pub policy: Vec<String>,
    /// The exchangers that it knows.
    pub exchangers: Vec<String>,
    /// Sessions that had what was demanded.
    pub successes: u64,
    /// Sessions that had not.
    pub failures: u64,
    /// The failures, those that are alike together; some may be left out.
    pub details: Vec<Detail>,
}

/// Failures that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// As section 4.3 names it.
    pub result: String,
    /// The exchanger's name; empty where none had a part in it.
    pub host: String,
    /// Its address, where it came to a connection.
    pub address: Option<IpAddr>,
    /// In our words.
    pub reason: String,
    /// How many.
    pub sessions: u64,
}

/// A session that did not have what was demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub result: ResultType,
    /// With which exchanger; empty where none had a part in it.
    pub host: String,
    /// At which address, where it came to a connection.
    pub address: Option<IpAddr>,
    /// In our words; cut where it is long.
    pub reason: String,
}

// === impl Ledger ===

impl Ledger {
    /// Notes a session with an exchanger of a domain; `now_ms`: since 1970. What finds no room is left out.
    pub fn note(&self, now_ms: u64, policy: &Applied, failure: Option<Failure>) {
        let mut kept = self.kept();
        let Kept { days, octets, is_full } = &mut *kept;
        let has_room = *octets < OCTETS_MAX;
        let domains = days.entry(now_ms / DAY_MS).or_default();
        let kind = kind(policy.kind);
        let is_same = |tally: &&mut Tally| {
            (tally.kind.as_str(), &tally.policy_domain, &tally.policy)
                == (kind, &policy.domain, &policy.published)
        };
        if let Some(tally) =
            domains.get_mut(&policy.mail_domain).and_then(|them| them.iter_mut().find(is_same))
        {
            *octets = octets.saturating_add(tally.add(failure, has_room));
            return;
        }
        let others = domains.get(&policy.mail_domain).map_or(0, Vec::len);
        if !has_room || others >= POLICIES_MAX {
            if !*is_full {
                tracing::warn!(
                    domain = policy.mail_domain,
                    "results of TLS go unreported: there are too many"
                );
            }
            *is_full = true;
            return;
        }
        let mut tally = Tally::new(kind, policy);
        tally.add(failure, has_room);
        *octets = octets.saturating_add(tally.octets(&policy.mail_domain));
        domains.entry(policy.mail_domain.clone()).or_default().push(tally);
    }

    /// The days that are over, with their domains. Days that nobody could be told of for long are forgotten.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Vec<(u64, String)> {
        let mut kept = self.kept();
        let today = now_ms / DAY_MS;
        let open = kept.days.split_off(&today.saturating_sub(DAYS_MAX));
        let old = std::mem::replace(&mut kept.days, open);
        if !old.is_empty() {
            kept.recount();
        }
        let over = kept.days.range(..today);
        over.flat_map(|(day, domains)| domains.keys().map(|domain| (*day, domain.clone()))).collect()
    }

    /// What there is of a domain and a day.
    #[must_use]
    pub fn tallies(&self, day: u64, domain: &str) -> Vec<Tally> {
        let kept = self.kept();
        kept.days.get(&day).and_then(|domains| domains.get(domain)).cloned().unwrap_or_default()
    }

    /// It is reported, or nobody wants it.
    pub fn forget(&self, day: u64, domain: &str) {
        let mut kept = self.kept();
        let Some(domains) = kept.days.get_mut(&day) else { return };
        let tallies = domains.remove(domain).unwrap_or_default();
        let is_last = domains.is_empty();
        let freed = tallies.iter().map(|tally| tally.octets(domain)).sum();
        kept.octets = kept.octets.saturating_sub(freed);
        if is_last {
            kept.days.remove(&day);
            kept.is_full = false;
        }
    }

    /// All of it, as the octets of a file. The same results give the same octets.
    #[must_use]
    pub fn remember(&self) -> Vec<u8> {
        checked_json::write(TITLE, &self.kept().days)
    }

    /// Takes over what a file has; it comes before anything is noted.
    ///
    /// # Errors
    /// The file cannot be believed; nothing is taken over.
    pub fn recall(&self, octets: &[u8]) -> Result<(), Damaged> {
        let days = checked_json::read(TITLE, octets)?;
        let mut kept = self.kept();
        *kept = Kept { days, ..Kept::default() };
        kept.recount();
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Kept ===

impl Kept {
    fn recount(&mut self) {
        let domains = self.days.values().flatten();
        self.octets = domains
            .flat_map(|(domain, tallies)| tallies.iter().map(|tally| tally.octets(domain)))
            .fold(0, usize::saturating_add);
        self.is_full = false;
    }
}

// === impl Tally ===

impl Tally {
    fn new(kind: &str, policy: &Applied) -> Self {
        Self {
            kind: kind.to_owned(),
            policy_domain: policy.domain.clone(),
            policy: policy.published.clone(),
            exchangers: policy.exchangers.clone(),
            successes: 0,
            failures: 0,
            details: Vec::new(),
        }
    }

    /// How many octets more it takes now.
    fn add(&mut self, failure: Option<Failure>, has_room: bool) -> usize {
        let Some(failure) = failure else {
            self.successes = self.successes.saturating_add(1);
            return 0;
        };
        self.failures = self.failures.saturating_add(1);
        let Failure { result, host, address, mut reason } = failure;
        let is_same = |known: &&mut Detail| {
            known.result == result.name() && known.host == host && known.address == address
        };
        let has_room = has_room && self.details.len() < DETAILS_MAX;
        match self.details.iter_mut().find(is_same) {
            Some(known) => known.sessions = known.sessions.saturating_add(1),
            None if has_room => {
                reason.truncate(reason.floor_char_boundary(REASON_OCTETS_MAX));
                let detail = Detail { result: result.name().to_owned(), host, address, reason, sessions: 1 };
                let octets = detail.octets();
                self.details.push(detail);
                return octets;
            }
            None => {}
        }
        0
    }

    fn octets(&self, domain: &str) -> usize {
        let texts = self.policy.iter().chain(&self.exchangers);
        let own = [domain.len(), self.policy_domain.len(), ENTRY_OCTETS].into_iter();
        own.chain(texts.map(|text| text.len().saturating_add(TEXT_OCTETS)))
            .chain(self.details.iter().map(Detail::octets))
            .fold(0, usize::saturating_add)
    }
}

// === impl Detail ===

impl Detail {
    const fn octets(&self) -> usize {
        ENTRY_OCTETS.saturating_add(self.host.len()).saturating_add(self.reason.len())
    }
}

const fn kind(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Dane => "tlsa",
        PolicyKind::MtaSts => "sts",
        PolicyKind::None => "no-policy-found",
    }
}

/// Each day since 1970-01-01 UTC.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A day that nobody could be told of in the next two is given up.
const DAYS_MAX: u64 = 2;
/// Some 50,000 domains with a policy of usual size.
const OCTETS_MAX: usize = 16 * 1024 * 1024;
/// A domain has few exchangers, and changes its policy now and then.
const POLICIES_MAX: usize = 12;
/// Kinds of failures by host.
const DETAILS_MAX: usize = 20;
/// An alert or a reply of the server may stand in it.
const REASON_OCTETS_MAX: usize = 200;
/// What a tally or a detail takes besides its texts.
const ENTRY_OCTETS: usize = 200;
/// What a text takes besides its octets.
const TEXT_OCTETS: usize = 24;
/// With the version of the format.
const TITLE: &str = "gatepost-tls-results 1 ";

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(domain: &str) -> Applied {
        Applied {
            kind: PolicyKind::Dane,
            domain: format!("mx.{domain}"),
            mail_domain: domain.to_owned(),
            published: vec!["3 1 1 00".to_owned()],
            exchangers: Vec::new(),
            fault: None,
        }
    }

    fn failure(host: &str) -> Option<Failure> {
        let reason = "why".to_owned();
        Some(Failure { result: ResultType::ValidationFailure, host: host.to_owned(), address: None, reason })
    }

    #[test]
    fn sessions_are_counted_by_day_domain_and_policy_and_like_failures_once() {
        let ledger = Ledger::default();
        ledger.note(1, &policy("a.example"), None);
        ledger.note(2, &policy("a.example"), failure("mx"));
        ledger.note(3, &policy("a.example"), failure("mx"));
        ledger.note(3, &policy("b.example"), failure("mx"));
        ledger.note(DAY_MS, &policy("a.example"), None);
        assert_eq!(ledger.due(DAY_MS - 1), [], "the day is not over");
        let due = [(0, "a.example".to_owned()), (0, "b.example".to_owned())];
        assert_eq!(ledger.due(DAY_MS), due);
        let tallies = ledger.tallies(0, "a.example");
        let [tally] = tallies.as_slice() else { panic!("one policy: {tallies:?}") };
        assert_eq!((tally.successes, tally.failures, tally.details.len()), (1, 2, 1));
        assert_eq!((tally.details[0].sessions, tally.details[0].result.as_str()), (2, "validation-failure"));
        ledger.forget(0, "a.example");
        assert_eq!(ledger.due(DAY_MS), due[1..]);
        assert_eq!(ledger.due(2 * DAY_MS).len(), 2, "the next day is over too");
        assert_eq!(ledger.due(10 * DAY_MS), [], "it is too late");
    }

    #[test]
    fn a_restart_loses_nothing_and_a_damaged_file_is_nothing() {
        let (ledger, other) = (Ledger::default(), Ledger::default());
        ledger.note(1, &policy("a.example"), failure("mx"));
        let octets = ledger.remember();
        other.recall(&octets).unwrap();
        assert_eq!(other.tallies(0, "a.example"), ledger.tallies(0, "a.example"));
        assert_eq!((other.remember(), other.kept().octets), (octets.clone(), ledger.kept().octets));
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            assert!(other.recall(&damaged).is_err(), "at {at}");
            assert!(other.recall(&octets[..at]).is_err(), "cut at {at}");
        }
        let formless = b"gatepost-tls-results 1 00000000\n";
        assert_eq!(other.recall(formless), Err(Damaged::Form));
        assert_eq!(other.recall(b"gatepost-tls-results 2 00000000\n"), Err(Damaged::Version));
        assert_eq!(other.remember(), octets, "what was there stays");
    }

    #[test]
    fn there_is_a_bound_to_everything_and_room_again_once_days_are_forgotten() {
        let ledger = Ledger::default();
        for number in 0..50 {
            let changed = Applied { published: vec![number.to_string()], ..policy("a.example") };
            ledger.note(1, &changed, None);
            ledger.note(
                1,
                &Applied { published: vec!["0".to_owned()], ..changed },
                failure(&number.to_string()),
            );
        }
        let tallies = ledger.tallies(0, "a.example");
        assert_eq!(tallies.len(), POLICIES_MAX);
        assert_eq!((tallies[0].failures, tallies[0].details.len()), (50, DETAILS_MAX));
        let large = Applied { published: vec!["x".repeat(1024 * 1024)], ..policy("a.example") };
        for number in 0..50 {
            ledger.note(1, &Applied { mail_domain: number.to_string(), ..large.clone() }, None);
        }
        let due = ledger.due(DAY_MS);
        assert!((16..19).contains(&due.len()), "{}", due.len());
        let octets = ledger.kept().octets;
        ledger.kept().recount();
        assert_eq!(ledger.kept().octets, octets, "counted as it grew");
        for (day, domain) in due {
            ledger.forget(day, &domain);
        }
        assert_eq!(ledger.kept().octets, 0);
        ledger.note(DAY_MS, &large, None);
        assert_eq!(ledger.due(2 * DAY_MS).len(), 1);
    }
}
