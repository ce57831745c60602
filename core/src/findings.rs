//! What is told when a scan finds a virus in a message that lies in mailboxes already: an event for each copy, with all that
//! leads to where it came from and to whom it went. Who has read it is in the log beside it (`mailbox.read`).
//!
//! What becomes of the message is another matter (`remedy`): until then its mark keeps it from every reader.

use std::borrow::Cow;
use std::sync::Arc;

use mail_parser::MessageParser;

use crate::events::{About, Log, What, evidence};
use crate::store::{ContentHash, SqliteStore, StoreError};

/// Tells of what is found in one database. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Findings {
    database: String,
    store: Arc<SqliteStore>,
    events: Log,
}

/// How a virus was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// By a background scan.
    Background,
    /// By the scan behind its delivery.
    Proactive,
    /// Because somebody wanted to read it.
    Access,
}

// === impl Findings ===

impl Findings {
    /// Of this database.
    #[must_use]
    pub const fn new(database: String, store: Arc<SqliteStore>, events: Log) -> Self {
        Self { database, store, events }
    }

    /// Tells of every copy of a body, `COPIES_MAX` of them at most. To be called once for each threat that is news.
    pub async fn tell(&self, content: ContentHash, threat: &str, found_by: FoundBy) {
        if let Err(error) = self.try_tell(content, threat, found_by).await {
            tracing::warn!(%content, threat, %error, "the copies of an infected message cannot be told");
        }
    }

    async fn try_tell(
        &self,
        content: ContentHash,
        threat: &str,
        found_by: FoundBy,
    ) -> Result<(), StoreError> {
        let body = self.store.bodies(vec![content]).await?.pop().flatten().unwrap_or_default();
        let subject = subject(&body);
        for copy in self.store.copies(content, COPIES_MAX).await? {
            let (mailbox, uid, found_by) = (copy.mailbox, copy.uid, found_by.name());
            tracing::warn!(
                mailbox,
                uid,
                queue_id = %copy.queue_id,
                threat,
                found_by,
                "a virus was found in a mailbox"
            );
            let about = About { queue_id: Some(copy.queue_id.to_string()), ..About::default() };
            let what = What::VirusFound {
                database: self.database.clone(),
                mailbox: evidence(&mailbox),
                folder: copy.folder,
                uid,
                content: content.to_string(),
                threat: threat.to_owned(),
                found_by: Cow::Borrowed(found_by),
                sender: sender(&copy.head),
                subject: subject.clone(),
                received_at_ms: copy.received_at_ms,
            };
            self.events.record(about, what);
        }
        Ok(())
    }
}

// === impl FoundBy ===

impl FoundBy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Proactive => "proactive",
            Self::Access => "access",
        }
    }
}

/// As the sender wrote it, decoded; only the header is looked at.
fn subject(body: &[u8]) -> String {
    let header = body.get(..HEADER_OCTETS_MAX).unwrap_or(body);
    let parsed = MessageParser::new().parse_headers(header);
    evidence(parsed.as_ref().and_then(|message| message.subject()).unwrap_or_default())
}

/// Of the envelope: the first line of ours.
fn sender(head: &[u8]) -> String {
    let line = head.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let path = line.strip_prefix(b"Return-Path: ").unwrap_or_default();
    evidence(&String::from_utf8_lossy(path.trim_ascii()))
}

/// A mail to a whole company; beyond, `gatepost scan trace` tells the rest.
const COPIES_MAX: usize = 1_000;
/// A subject stands before this, or nobody sees it.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_and_subject_are_read_and_escaped() {
        assert_eq!(sender(b"Return-Path: <a@b>\r\nDelivered-To: c\r\n"), "<a@b>");
        assert_eq!(sender(b"Received: x\r\n"), "");
        assert_eq!(
            subject(b"From: x\r\nSubject: =?utf-8?q?caf=C3=A9?= today\r\n\r\nSubject: y\r\n"),
            r"caf\xc3\xa9 today"
        );
        assert_eq!(subject(b""), "");
    }
}
