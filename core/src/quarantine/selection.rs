//! Which of the mails in quarantine an operator means.

use super::Record;
use crate::queue::QueueId;

/// Mails that all of these filters let through; without any: all of them. Addresses are written without angle brackets, and
/// compared, like domains and threats, without regard to ASCII case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One of these; empty: any.
    pub ids: Vec<QueueId>,
    /// From this address; empty: the null sender.
    pub sender: Option<String>,
    /// With a copy for this address.
    pub recipient: Option<String>,
    /// With a copy for somebody in this domain.
    pub domain: Option<String>,
    /// In which this was found, before it came here or since.
    pub threat: Option<String>,
    /// Kept before this time, milliseconds since 1970.
    pub before_ms: Option<u64>,
    /// Kept at this time or later.
    pub since_ms: Option<u64>,
}

// === impl Selection ===

impl Selection {
    /// One mail.
    #[must_use]
    pub fn one(id: QueueId) -> Self {
        Self { ids: vec![id], ..Self::default() }
    }

    pub(super) fn passes(&self, id: QueueId, record: &Record) -> bool {
        let Self { ids, sender, recipient, domain, threat, before_ms, since_ms } = self;
        let is = |wanted: &Option<String>, said: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(said))
        };
        let addresses = || record.recipients.iter().map(|recipient| bare(&recipient.address));
        (ids.is_empty() || ids.contains(&id))
            && is(sender, bare(&record.sender))
            && (is(threat, &record.threat)
                || record.found_later.as_ref().is_some_and(|later| is(threat, &later.threat)))
            && (recipient.is_none() || addresses().any(|address| is(recipient, address)))
            && (domain.is_none() || addresses().any(|address| is(domain, domain_of(address))))
            && before_ms.is_none_or(|before| record.kept_at_ms < before)
            && since_ms.is_none_or(|since| record.kept_at_ms >= since)
    }
}

fn bare(path: &str) -> &str {
    path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(path)
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}
