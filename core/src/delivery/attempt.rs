//! What one attempt comes to.
//!
//! ```text
//! local, a next hop -> Attempt -> closing: queue.settle, notifications, events, metrics
//! ```

use super::Disposition;
use super::retry::Setback;
use crate::queue::QueueId;

/// What one attempt comes to for one recipient.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Index into `submission.envelope.recipients`.
    pub recipient: usize,
    /// The end, or why it has not come yet.
    pub result: Result<Disposition, Setback>,
    /// Who answered, where the mail left this machine or tried to.
    pub hop: Option<HopReport>,
}

/// The next hop's side of an attempt, as notifications and the event log tell it (RFC 3464 section 2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopReport {
    /// Its name, or its address in brackets: `Remote-MTA`.
    pub name: String,
    /// What it said, `250 2.0.0 Ok`: `Diagnostic-Code`. Printable ASCII, at most 512 octets. `None` where no reply came.
    pub reply: Option<String>,
    /// Whether it took over the duty to notify, since it offers DSN (RFC 3461 section 5.2.1).
    pub takes_dsn: bool,
}

// === impl Attempt ===

impl Attempt {
    /// Of a delivery within this machine.
    pub const fn local(recipient: usize, result: Result<Disposition, Setback>) -> Self {
        Self { recipient, result, hop: None }
    }

    /// The same for all of these recipients.
    pub fn put_off(recipients: &[usize], setback: &Setback) -> Vec<Self> {
        recipients.iter().map(|&recipient| Self::local(recipient, Err(setback.clone()))).collect()
    }

    /// The same end for all of these recipients, and why: a text with an enhanced status code first.
    pub fn given_up(recipients: &[usize], reason: &str) -> Vec<Self> {
        let bounced = Disposition::Bounced { reason: reason.to_owned() };
        recipients.iter().map(|&recipient| Self::local(recipient, Ok(bounced.clone()))).collect()
    }

    /// Of those to whom another mail goes instead.
    pub fn replaced(recipients: &[usize], by: QueueId) -> impl Iterator<Item = Self> {
        recipients.iter().map(move |&recipient| Self::local(recipient, Ok(Disposition::Replaced { by })))
    }

    /// Of those for whom nothing is left to be done.
    pub fn delivered(recipients: &[usize]) -> impl Iterator<Item = Self> {
        recipients.iter().map(|&recipient| Self::local(recipient, Ok(Disposition::Delivered)))
    }

    /// Of those whose end the store has noted.
    pub fn ended(dispositions: Vec<(u32, Disposition)>) -> impl Iterator<Item = Self> {
        dispositions
            .into_iter()
            .map(|(recipient, disposition)| Self::local(recipient as usize, Ok(disposition)))
    }

    /// Whether the recipient has a terminal disposition.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.result.is_ok()
    }
}
