//! One POP3 session a mailbox (RFC 1939 section 4).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The mailboxes that are open now.
#[derive(Debug, Clone, Default)]
pub(crate) struct MailboxLocks {
    held: Arc<Mutex<HashSet<String>>>,
}

/// An open mailbox; dropping it closes the mailbox.
#[derive(Debug)]
pub(crate) struct MailboxLock {
    mailbox: String,
    locks: MailboxLocks,
}

// === impl MailboxLocks ===

impl MailboxLocks {
    /// The lock on a mailbox, unless another session has it. Names are account names: already in their one spelling.
    #[must_use]
    pub(crate) fn acquire(&self, mailbox: &str) -> Option<MailboxLock> {
        let is_free = self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(mailbox.to_owned());
        is_free.then(|| MailboxLock { mailbox: mailbox.to_owned(), locks: self.clone() })
    }
}

// === impl MailboxLock ===

impl MailboxLock {
    pub(crate) fn mailbox(&self) -> &str {
        &self.mailbox
    }
}

impl Drop for MailboxLock {
    fn drop(&mut self) {
        self.locks.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.mailbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_opens_once_at_a_time() {
        let locks = MailboxLocks::default();
        let first = locks.acquire("me@localhost").unwrap();
        assert!(locks.acquire("me@localhost").is_none());
        assert!(locks.acquire("you@localhost").is_some());
        drop(first);
        assert!(locks.acquire("me@localhost").is_some());
    }
}
