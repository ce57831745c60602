//! The seam to a mailbox database, and the values that cross it.

use std::collections::HashSet;

use bytes::Bytes;

use super::{DATABASE, StoreError};
use crate::BoxFuture;
use crate::delivery::Disposition;
use crate::intake::Body;
use crate::queue::QueueId;
use crate::scan::Stamp;

/// Mailboxes with one folder (INBOX) each.
///
/// Every change is durable before its future returns `Ok`. A change whose future was dropped may still happen.
/// Mailbox names are compared without regard to ASCII case.
pub trait MailStore: Send + Sync + 'static {
    /// Puts a mail into mailboxes, all copies or none, and answers with the disposition of each recipient in
    /// `delivery.copies`, each recipient once, in rising order; one who is left out could not be served now.
    ///
    /// A recipient with a remembered disposition keeps it: nothing is delivered for him again. A mailbox that is named
    /// more than once gets one copy, the first. Mailboxes come into being when first delivered to.
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>>;

    /// Remembers terminal dispositions that put nothing into a mailbox, and answers with what holds: an earlier
    /// disposition wins over the one given here.
    fn record(
        &self,
        queue_id: QueueId,
        dispositions: Vec<(u32, Disposition)>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>>;

    /// The dispositions of these recipients, of those who have one, in the order in which they are asked for.
    fn remembered(
        &self,
        queue_id: QueueId,
        recipients: Vec<u32>,
    ) -> BoxFuture<'_, Result<Vec<(u32, Disposition)>, StoreError>>;

    /// Forgets dispositions, now that the queue's own record of them is durable. It may happen later, together with
    /// another change, and not at all when the process dies before: `forget_all_but` sweeps up at the next start.
    fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Forgets the dispositions of every mail but these, which the queue still holds.
    fn forget_all_but(&self, held: HashSet<QueueId>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All mailboxes that ever got mail, by name.
    fn mailboxes(&self) -> BoxFuture<'_, Result<Vec<MailboxTotals>, StoreError>>;

    /// What lies in a mailbox, oldest first. Empty for one that never got mail.
    fn list(&self, mailbox: &str) -> BoxFuture<'_, Result<Listing, StoreError>>;

    /// One message without its octets.
    fn summary(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<Summary>, StoreError>>;

    /// A message with its octets. For `access::gate` alone: everything that a reader gets goes through there.
    fn fetch(&self, mailbox: &str, uid: u32) -> BoxFuture<'_, Result<Option<StoredMessage>, StoreError>>;

    /// Deletes messages for good and answers how many there were.
    fn delete(&self, mailbox: &str, uids: Vec<u32>) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Remembers what a scan said about a message's body, for all mailboxes that share this body.
    fn mark(&self, mailbox: &str, uid: u32, mark: ScanMark) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Deletes a mailbox with all it holds and answers whether there was one: a later user of the same name must not
    /// find his predecessor's mail.
    fn remove_mailbox(&self, mailbox: &str) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// What operators call the database that has a mailbox.
    fn database_of(&self, _mailbox: &str) -> &str {
        DATABASE
    }

    /// Whether nothing can be changed any more: the database was closed, or its writer died.
    fn is_closed(&self) -> bool;

    /// Finishes what was handed in and closes the database. Every later call fails with `Closed`.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// One mail for one or more mailboxes.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its id in the queue.
    pub queue_id: QueueId,
    /// Its body, written once however many copies there are.
    pub body: Body,
    /// Under which it was found clean. `None`: no scan has vouched for it, so the gate has it scanned first.
    pub stamp: Option<Stamp>,
    /// When it was accepted, milliseconds since 1970-01-01T00:00Z.
    pub received_at_ms: u64,
    /// At least one.
    pub copies: Vec<MailboxCopy>,
}

/// One mailbox for one recipient. An alias gives several with the same recipient; they share its disposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxCopy {
    /// Index into the recipients of the envelope; with the queue id the key of the disposition.
    pub recipient: u32,
    /// The mailbox, named as the account.
    pub mailbox: String,
    /// Header lines of ours that stand before the body, CRLF lines.
    pub head: Bytes,
}

/// A mailbox as `gatepost mailbox list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxTotals {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: u64,
    /// Their octets as a reader counts them, shared bodies counted for each.
    pub octets: u64,
}

/// The messages of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// With a message's uid it names that message for ever (RFC 9051 section 2.3.1.1); 0 while nothing was ever
    /// delivered here.
    pub uid_validity: u32,
    /// Oldest first.
    pub messages: Vec<Summary>,
}

/// A message without its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Rises within the folder, never used twice.
    pub uid: u32,
    /// Octets of head and body: what POP3 announces.
    pub octets: u64,
    /// When it was accepted, milliseconds since 1970.
    pub received_at_ms: u64,
    /// What the last scan said.
    pub mark: Option<ScanMark>,
}

/// A message with its octets.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Header lines of ours, and behind them the body as it was received: one buffer, so that nobody has to copy a
    /// large message to send it.
    pub octets: Bytes,
    /// Where in `octets` the body begins.
    pub body_at: usize,
    /// The mail that it came as.
    pub queue_id: QueueId,
    /// When it was accepted, milliseconds since 1970.
    pub received_at_ms: u64,
    /// What the last scan said; `None` when that cannot be told, which means: scan first.
    pub mark: Option<ScanMark>,
}

/// What a scan said about a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanMark {
    /// With which signatures and policy.
    pub stamp: Stamp,
    /// The threat, if it is infected.
    pub threat: Option<String>,
}

// === impl StoredMessage ===

impl StoredMessage {
    /// The body alone, sharing the buffer.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.octets.clone().split_off(self.body_at.min(self.octets.len()))
    }
}
