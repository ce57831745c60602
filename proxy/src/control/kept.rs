//! What travels of the quarantine. The same promises hold as for `message`.

use gatepost_core::quarantine::{Details, FoundLater, KeptOrigin, Record, Selection};
use serde::{Deserialize, Serialize};

use super::message::{NotAnId, parse_id};

/// What can be asked of the quarantine. An empty filter means all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum QuarantineRequest {
    /// `Line::Kept` for each mail.
    List(QuarantineFilter),
    /// `Line::KeptDetails` of one mail.
    Show(String),
    /// `Line::LetGo` for each mail: scanned afresh and put back into the queue, or not.
    Release {
        /// Which.
        filter: QuarantineFilter,
        /// Whether also what is infected.
        force: bool,
    },
    /// Deletes for good; `Line::Affected`.
    Delete(QuarantineFilter),
}

/// `quarantine::Selection` as it travels. A key that is not known is refused: a filter that was overlooked would delete too
/// much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineFilter {
    /// One of these; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// From this address; empty: the null sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// With a copy for this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// With a copy for somebody there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// In which this was found, before it was kept or since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<String>,
    /// Kept before, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<u64>,
    /// Kept then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
}

/// One mail of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its queue id.
    pub id: String,
    /// When it came into the quarantine, milliseconds since 1970.
    pub kept_at_ms: u64,
    /// When it was received.
    pub received_at_ms: u64,
    /// Octets, trace headers included.
    pub octets: u64,
    /// With angle brackets.
    pub sender: String,
    /// As it is shown to readers, escaped.
    #[serde(default)]
    pub subject: Option<String>,
    /// Whose copies are here, with angle brackets.
    pub recipients: Vec<String>,
    /// What was found.
    pub threat: String,
    /// In which part.
    pub item: Option<String>,
    /// With which engine, signatures and policy.
    pub stamp: Option<String>,
    /// What newer signatures have found in it since, where that is something else.
    #[serde(default)]
    pub found_later: Option<FoundLater>,
    /// Whether it is not whole.
    pub damaged: bool,
}

/// Everything about one mail but its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDetails {
    /// As in a list.
    #[serde(flatten)]
    pub kept: Kept,
    /// The session that handed it in.
    pub session: String,
    /// The listener.
    pub listener: String,
    /// The peer's address and port.
    pub peer: String,
    /// What the peer called itself.
    pub helo: String,
    /// The account it authenticated as.
    pub user: Option<String>,
    /// The version of TLS.
    pub tls: Option<String>,
    /// Its header section, trace headers first.
    pub header: String,
}

/// What came of the order to let one mail go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetGo {
    /// Its queue id.
    pub id: String,
    /// The one that it has now.
    pub released_as: Option<String>,
    /// The findings that do not count any more in this content.
    pub overruled: Vec<String>,
    /// Why it stays.
    pub failure: Option<String>,
    /// Whether `force` would overrule that.
    #[serde(default)]
    pub can_be_forced: bool,
}

// === impl QuarantineFilter ===

impl TryFrom<QuarantineFilter> for Selection {
    type Error = NotAnId;

    fn try_from(filter: QuarantineFilter) -> Result<Self, NotAnId> {
        let QuarantineFilter { ids, sender, recipient, domain, threat, before_ms, since_ms } = filter;
        let ids = ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?;
        Ok(Self { ids, sender, recipient, domain, threat, before_ms, since_ms })
    }
}

// === impl Kept ===

impl From<Record> for Kept {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            kept_at_ms: record.kept_at_ms,
            received_at_ms: record.origin.received_at_ms,
            octets: record.octets,
            sender: record.sender,
            subject: record.subject,
            recipients: record.recipients.into_iter().map(|kept| kept.address).collect(),
            threat: record.threat,
            item: record.item,
            stamp: record.stamp,
            found_later: record.found_later,
            damaged: record.damaged,
        }
    }
}

// === impl KeptDetails ===

impl From<Details> for KeptDetails {
    fn from(Details { record, header }: Details) -> Self {
        let KeptOrigin { session, listener, peer, helo, user, tls, .. } = record.origin.clone();
        let (peer, tls) = (peer.to_string(), tls.map(|(version, _)| version));
        Self { kept: record.into(), session, listener, peer, helo, user, tls, header }
    }
}
