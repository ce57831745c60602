//! What is told when a scan finds a virus in a message that lies in mailboxes already: an event for each copy, with all that
//! leads to where it came from and to whom it went. Who has read it is in the log beside it (`mailbox.read`).
//!
//! What becomes of the message is another matter (`remedy`): until then its mark keeps it from every reader.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::events::{About, Details, Log, What, evidence, subject_of};
use crate::intake::trace;
use crate::queue::QueueId;
use crate::store::{ContentHash, Copied, SqliteStore, StoreError};

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
        let subject = subject_of(&body);
        let copies = self.store.copies(content, COPIES_MAX).await?;
        let details = details_of(&copies, subject.as_deref());
        for copy in copies {
            let details = details.get(&copy.queue_id).cloned().unwrap_or_default();
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
                details,
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

/// What is known of the mails that these copies have come as: of each, all who have it here are its recipients.
pub(crate) fn details_of(copies: &[Copied], subject: Option<&str>) -> HashMap<QueueId, Details> {
    let mut mails: HashMap<QueueId, Vec<&Copied>> = HashMap::new();
    for copy in copies {
        mails.entry(copy.queue_id).or_default().push(copy);
    }
    let details = |copies: Vec<&Copied>| {
        let Some(first) = copies.first() else { return Details::default() };
        let details = Details {
            sender: sender(&first.head),
            subject: subject.map(str::to_owned),
            protocol: trace::way_in(&first.head).map(evidence),
            received_at_ms: Some(first.received_at_ms),
            ..Details::default()
        };
        details.with_recipients(copies.iter().map(|copy| format!("<{}>", copy.mailbox)))
    };
    mails.into_iter().map(|(id, copies)| (id, details(copies))).collect()
}

/// Of the envelope: the first line of ours.
fn sender(head: &[u8]) -> String {
    let line = head.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let path = line.strip_prefix(b"Return-Path: ").unwrap_or_default();
    evidence(&String::from_utf8_lossy(path.trim_ascii()))
}

/// A mail to a whole company; beyond, `gatepost scan trace` tells the rest.
const COPIES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(mailbox: &str, queue_id: u64) -> Copied {
        Copied {
            mailbox: mailbox.to_owned(),
            folder: "INBOX".to_owned(),
            uid: 1,
            queue_id: QueueId(queue_id),
            received_at_ms: queue_id,
            head: "Return-Path: <a@b>\r\nDelivered-To: c\r\nReceived: from x ([::1])\r\n\tby y with ESMTPSA (z)\r\n\tid 1;\r\n"
                .into(),
        }
    }

    #[test]
    fn copies_tell_of_the_mails_that_they_came_as() {
        let copies = [copy("ann@x", 1), copy("bob@x", 2), copy("carol@x", 1)];
        let details = details_of(&copies, Some("late"));
        let of_first = Details {
            sender: "<a@b>".into(),
            recipients: 2,
            to: vec!["<ann@x>".into(), "<carol@x>".into()],
            subject: Some("late".into()),
            protocol: Some("ESMTPSA".into()),
            received_at_ms: Some(1),
            ..Details::default()
        };
        assert_eq!((details.len(), &details[&QueueId(1)]), (2, &of_first));
        assert_eq!(details[&QueueId(2)].to, ["<bob@x>"]);
    }

    #[test]
    fn a_sender_is_read_and_escaped() {
        assert_eq!(sender(b"Return-Path: <a@b>\r\nDelivered-To: c\r\n"), "<a@b>");
        assert_eq!(sender(b"Received: x\r\n"), "");
        assert_eq!(sender(b"Return-Path: <a\x1b@b>\r\n"), r"<a\x1b@b>");
    }
}
