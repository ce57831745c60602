//! What one recipient hears of a next hop.

use gatepost_smtp::client::{Outcome, Unsuited};

use super::HopFailure;
use crate::delivery::HopReport;

/// What an attempt at a next hop came to for one recipient.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Index into `submission.envelope.recipients`.
    pub recipient: usize,
    /// The end, or why it has not come.
    pub verdict: Verdict,
    /// The hop's side of it.
    pub report: HopReport,
}

/// The end of an attempt.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The hop has taken over: `Disposition::Delivered`.
    Delivered,
    /// The hop refused for good, or cannot take this mail: `Disposition::Bounced`.
    Refused {
        /// An enhanced status code of class 5, then why.
        reason: String,
    },
    /// The hop refused for now; there is no use in asking another address of it at once.
    PutOff {
        /// An enhanced status code of class 4, then why.
        reason: String,
    },
    /// The session ended without an answer for this recipient: another address may be tried at once, unless
    /// `Failure::may_have_delivered`.
    Failed(HopFailure),
}

// === impl Served ===

impl Served {
    /// Of a recipient whom the hop was not asked about, such as where there is no connection.
    pub fn failed(recipient: usize, hop: &str, failure: &HopFailure) -> Self {
        let reply = failure.reply().map(ToString::to_string);
        let report = HopReport { name: hop.to_owned(), reply, takes_dsn: false };
        Self { recipient, verdict: Verdict::Failed(failure.clone()), report }
    }
}

// === impl Verdict ===

impl Verdict {
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Accepted(_) => Self::Delivered,
            Outcome::Temporary(reply) => Self::PutOff { reason: reason("4.0.0", &reply) },
            Outcome::Permanent(reply) => Self::Refused { reason: reason("5.0.0", &reply) },
            // Another server may.
            Outcome::Unsuited(Unsuited::RequireTls) => Self::Failed(HopFailure::NoRequireTls),
            Outcome::Unsuited(unsuited) => Self::Refused { reason: unsuited.to_string() },
            Outcome::Lost(failure) => Self::Failed(HopFailure::Session(failure)),
        }
    }
}

// === impl HopReport ===

impl HopReport {
    pub(super) fn of(name: &str, outcome: &Outcome, takes_dsn: bool) -> Self {
        let (reply, takes_dsn) = match outcome {
            Outcome::Accepted(reply) => (Some(reply), takes_dsn),
            Outcome::Temporary(reply) | Outcome::Permanent(reply) => (Some(reply), false),
            Outcome::Lost(failure) => (failure.reply(), false),
            Outcome::Unsuited(_) => (None, false),
        };
        Self { name: name.to_owned(), reply: reply.map(ToString::to_string), takes_dsn }
    }
}

/// The reply's own status where it has one, otherwise the one that says nothing (RFC 3463 section 2).
fn reason(status: &str, reply: &gatepost_smtp::wire::reply_parse::ServerReply) -> String {
    let status = reply.enhanced().unwrap_or(status);
    format!("{status} the next hop said: {reply}")
}
