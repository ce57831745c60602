//! What travels about the mails of the queue, and of orders to it. The same promises hold as for `message`.

use std::fmt;

use gatepost_core::events::{What, evidence};
use gatepost_core::queue::{self, Affected, Details, Selection, Summary};
use serde::{Deserialize, Serialize};

use super::message::{NotAnId, parse_id};

/// `queue::Selection` as it travels. A key that is not known is refused: a filter that was overlooked would delete too much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// One of these; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// From this address; empty: the null sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// With this pending recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// With a pending recipient there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Received before, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<u64>,
    /// Received then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Held, or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// `queue::State` as it travels, and as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not tried yet.
    Waiting,
    /// Being delivered right now.
    InDelivery,
    /// Tried in vain, or put off, and tried again later.
    Deferred,
    /// Held back by an operator.
    Held,
    /// Deleted with a bounce, which is still to be sent.
    Bouncing,
}

/// What changes the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Keeps back.
    Hold(Filter),
    /// Lifts holds.
    Release(Filter),
    /// Makes due at once.
    Retry(Filter),
    /// Takes out of the queue.
    Delete {
        /// What.
        filter: Filter,
        /// Whether senders are told.
        bounce: bool,
    },
}

/// One message of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its queue id.
    pub id: String,
    /// When it was received, milliseconds since 1970.
    pub received_at_ms: u64,
    /// Octets of its body.
    pub octets: u64,
    /// With angle brackets.
    pub sender: String,
    /// In the order of RCPT.
    pub recipients: Vec<Recipient>,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it is tried next.
    pub not_before_ms: u64,
    /// Where it stands.
    pub state: State,
    /// Whether it is held.
    pub held: bool,
    /// Whether it was deleted with a bounce that is still to be sent.
    pub given_up: bool,
    /// Why the last attempt was in vain.
    pub last_reason: Option<String>,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// With angle brackets.
    pub address: String,
    /// Whether he still waits.
    pub pending: bool,
    /// What became of him otherwise, as far as the event log tells; filled in by who shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
    /// The address of this server that led to him, with angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
}

/// Everything about one message but its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detailed {
    /// As in a list.
    #[serde(flatten)]
    pub item: Item,
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
    /// The signatures of the scan that found it clean.
    pub stamp: Option<String>,
    /// Our trace headers.
    pub trace: String,
}

/// What an order came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Messages that it changed.
    pub messages: usize,
    /// Messages that it would have changed but for a delivery under way.
    pub in_delivery: usize,
    /// Recipients that the filter does not name, of messages that were held or taken out.
    pub other_recipients: usize,
}

// === impl Filter ===

impl TryFrom<Filter> for Selection {
    type Error = NotAnId;

    fn try_from(filter: Filter) -> Result<Self, NotAnId> {
        let Filter { ids, sender, recipient, domain, before_ms, since_ms, held, state } = filter;
        let state = state.map(queue::State::from);
        let ids = ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?;
        Ok(Self { ids, sender, recipient, domain, before_ms, since_ms, held, state })
    }
}

/// As logs have it: `domain=example.org held=true`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ids, sender, recipient, domain, before_ms, since_ms, held, state } = self;
        let text = |text: &Option<String>| text.as_deref().map(evidence);
        let words = [
            ("ids", Some(ids).filter(|ids| !ids.is_empty()).map(|ids| evidence(&ids.join(",")))),
            ("from", text(sender)),
            ("to", text(recipient)),
            ("domain", text(domain)),
            ("before_ms", before_ms.map(|at| at.to_string())),
            ("since_ms", since_ms.map(|at| at.to_string())),
            ("held", held.map(|held| held.to_string())),
            ("state", state.map(|state| state.name().to_owned())),
        ];
        let given = words.into_iter().filter_map(|(key, word)| Some(format!("{key}={}", word?)));
        let given: Vec<_> = given.collect();
        f.write_str(if given.is_empty() { "everything" } else { "" })?;
        f.write_str(&given.join(" "))
    }
}

// === impl State ===

impl State {
    /// As it is written on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::InDelivery => "in-delivery",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Bouncing => "bouncing",
        }
    }
}

impl From<State> for queue::State {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::InDelivery => Self::InDelivery,
            State::Deferred => Self::Deferred,
            State::Held => Self::Held,
            State::Bouncing => Self::Bouncing,
        }
    }
}

impl From<queue::State> for State {
    fn from(state: queue::State) -> Self {
        match state {
            queue::State::Waiting => Self::Waiting,
            queue::State::InDelivery => Self::InDelivery,
            queue::State::Deferred => Self::Deferred,
            queue::State::Held => Self::Held,
            queue::State::Bouncing => Self::Bouncing,
        }
    }
}

// === impl Order ===

impl Order {
    /// For logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Retry(_) => "retry",
            Self::Delete { bounce: false, .. } => "delete",
            Self::Delete { bounce: true, .. } => "bounce",
        }
    }

    /// What it is about, for logs: bounded and escaped.
    #[must_use]
    pub fn about(&self) -> String {
        let (Self::Hold(filter) | Self::Release(filter) | Self::Retry(filter) | Self::Delete { filter, .. }) =
            self;
        filter.to_string()
    }

    /// The event of an order that came to this.
    #[must_use]
    pub fn event(name: &'static str, filter: String, by: &str, affected: Affected) -> What {
        let Affected { messages, in_delivery, .. } = affected;
        What::Ordered { by: by.to_owned(), order: name.into(), filter, messages, in_delivery }
    }
}

// === impl Item ===

impl From<Summary> for Item {
    fn from(summary: Summary) -> Self {
        let recipients = summary.recipients.into_iter();
        Self {
            id: summary.id.to_string(),
            received_at_ms: summary.received_at_ms,
            octets: summary.octets,
            sender: summary.sender,
            recipients: recipients
                .map(|queue::RecipientSummary { address, pending, stands_for }| Recipient {
                    address,
                    pending,
                    became: None,
                    stands_for,
                })
                .collect(),
            attempts: summary.attempts,
            not_before_ms: summary.not_before_ms,
            state: summary.state.into(),
            held: summary.held,
            given_up: summary.given_up,
            last_reason: summary.last_reason,
        }
    }
}

// === impl Detailed ===

impl From<Details> for Detailed {
    fn from(details: Details) -> Self {
        let Details { summary, submission, trace, stamp, .. } = details;
        let origin = submission.origin;
        Self {
            item: summary.into(),
            session: origin.session,
            listener: origin.listener,
            peer: origin.peer.to_string(),
            helo: origin.helo,
            user: origin.user,
            tls: origin.tls.map(|tls| tls.version),
            stamp: stamp.map(|stamp| stamp.unsealed().to_string()),
            trace: String::from_utf8_lossy(&trace).into_owned(),
        }
    }
}

// === impl Reached ===

impl From<Affected> for Reached {
    fn from(Affected { messages, in_delivery, others }: Affected) -> Self {
        Self { messages, in_delivery, other_recipients: others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_told_in_words() {
        assert_eq!(Filter::default().to_string(), "everything");
        let (sender, state) = (Some(String::new()), Some(State::InDelivery));
        let filter = Filter { sender, state, held: Some(true), ..Filter::default() };
        assert_eq!(filter.to_string(), "from= held=true state=in-delivery");
    }
}
