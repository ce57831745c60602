//! The messages of an open mailbox and the marks on them.

use std::collections::BTreeSet;

use super::contract::{Entry, Maildrop};
use super::reply::Reply;

/// A mailbox as it was opened, and what the client has marked as deleted.
#[derive(Debug)]
pub(super) struct Messages {
    maildrop: Maildrop,
    /// Numbers of messages.
    deleted: BTreeSet<usize>,
}

// === impl Messages ===

impl Messages {
    pub(super) const fn new(maildrop: Maildrop) -> Self {
        Self { maildrop, deleted: BTreeSet::new() }
    }

    /// Marks a message as deleted.
    pub(super) fn mark(&mut self, number: usize) -> Result<(), Reply> {
        self.entry(number)?;
        self.deleted.insert(number);
        Ok(())
    }

    /// Takes all marks off.
    pub(super) fn unmark_all(&mut self) {
        self.deleted.clear();
    }

    /// A message that is not marked, by its number.
    pub(super) fn entry(&self, number: usize) -> Result<Entry, Reply> {
        let index = number.checked_sub(1).ok_or(Reply::NO_SUCH_MESSAGE)?;
        let entry = self.maildrop.entries.get(index).ok_or(Reply::NO_SUCH_MESSAGE)?;
        if self.deleted.contains(&number) { Err(Reply::DELETED) } else { Ok(*entry) }
    }

    /// Messages that are not marked, with their numbers.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, Entry)> {
        (1..).zip(self.maildrop.entries.iter().copied()).filter(|(number, _)| !self.deleted.contains(number))
    }

    /// Their number and their octets together.
    pub(super) fn totals(&self) -> (usize, u64) {
        let add = |(count, octets): (usize, u64), (_, entry): (usize, Entry)| {
            (count.saturating_add(1), octets.saturating_add(entry.octets))
        };
        self.entries().fold((0, 0), add)
    }

    /// The unique id of a message: never used again, the same in every session (RFC 1939 section 7).
    pub(super) fn unique_id(&self, entry: Entry) -> String {
        format!("{}.{}", self.maildrop.uid_validity, entry.uid)
    }

    /// What has to be deleted.
    pub(super) fn deleted_uids(&self) -> Vec<u32> {
        let entries = (1..).zip(&self.maildrop.entries);
        entries.filter(|(number, _)| self.deleted.contains(number)).map(|(_, entry)| entry.uid).collect()
    }
}
