//! Mails that lie here, for those who scan them again, and what they find.

use std::io;
use std::ops::Bound;

use super::super::record::{FoundLater, Record};
use super::Folder;
use crate::queue::QueueId;

// === impl Folder ===

impl Folder {
    /// The next so many mails behind `after` that nobody releases.
    pub(in super::super) fn behind(&self, after: Option<QueueId>, most: usize) -> Vec<(QueueId, Record)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let whole = self
            .kept
            .range((from, Bound::Unbounded))
            .filter(|(_, entry)| !entry.busy && !entry.record.recipients.is_empty());
        whole.take(most).map(|(id, entry)| (*id, entry.record.clone())).collect()
    }

    /// What is known of a mail; `None` where it is gone.
    pub(in super::super) fn record(&self, id: QueueId) -> Option<Record> {
        let entry = self.kept.get(&id).filter(|entry| !entry.record.recipients.is_empty())?;
        Some(entry.record.clone())
    }

    /// Notes what was found in a mail since it came here.
    pub(in super::super) fn note(&mut self, id: QueueId, later: FoundLater) -> io::Result<()> {
        let Some(record) = self.record(id) else { return Ok(()) };
        let record = Record { found_later: Some(later), ..record };
        self.write_record(id, &record)?;
        if let Some(entry) = self.kept.get_mut(&id) {
            entry.record = record;
        }
        Ok(())
    }

    /// How many mails there are.
    pub(in super::super) fn len(&self) -> usize {
        self.kept.values().filter(|entry| !entry.record.recipients.is_empty()).count()
    }
}
