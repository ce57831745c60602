//! Carries the last messages of an old segment on to the one in use, so that a mail that waits for days does not keep
//! all segments since then.
//!
//! A step copies a bounded number of records, each with where its message stands, and flushes them; the index points
//! to the copies from then on. Only a later step may remove the old segment, which then has nothing that counts.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::committer::Committer;
use super::envelope::{decode_stored, message_rest};
use super::facts::Facts;
use super::record::Record;
use super::segment::SegmentId;
use super::shared::Fetched;
use super::{AppendError, QueueId};

/// What is being carried on.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    from: Option<(SegmentId, VecDeque<QueueId>)>,
    /// A step failed: this many are left out before the next.
    pause: u32,
}

// === impl Committer ===

impl Committer {
    /// One step. Answers whether there is more to do soon.
    pub(super) fn carry_on(&mut self) -> bool {
        if let Some(left) = self.carrying.pause.checked_sub(1) {
            self.carrying.pause = left;
            return false;
        }
        let Some(active) = self.journal.active_segment() else { return false };
        let Some((from, mut ids)) = self.carrying.from.take().or_else(|| self.choose(active)) else {
            return false;
        };
        match self.copy_some(from, &mut ids) {
            Ok(()) if ids.is_empty() => {
                self.remove_segments();
                // A record that is not understood stays where it is, and is not asked for again at once.
                if self.shared.index().segments().has(from) {
                    self.carrying.pause = STEPS_LEFT_OUT;
                }
            }
            Ok(()) => self.carrying.from = Some((from, ids)),
            Err(error) => {
                tracing::warn!(segment = %from.path(&self.shared.root).display(), %error, "the mails of an old segment cannot be carried on now");
                self.carrying.pause = STEPS_LEFT_OUT;
                return false;
            }
        }
        true
    }

    fn choose(&self, active: SegmentId) -> Option<(SegmentId, VecDeque<QueueId>)> {
        let segment_octets = self.journal.segment_octets();
        let from = self.shared.index().segments().worth_emptying(active, segment_octets)?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            after = self.shared.index().in_segment(from, after, &mut found);
            if after.is_none() {
                return Some((from, found.into()));
            }
        }
    }

    fn copy_some(&mut self, from: SegmentId, ids: &mut VecDeque<QueueId>) -> Result<(), AppendError> {
        let (mut moved, mut units, mut octets) = (Vec::new(), Vec::new(), 0_u64);
        while units.len() < STEP_RECORDS_MAX && octets < STEP_OCTETS_MAX {
            let Some(id) = ids.pop_front() else { break };
            if let Some(record) = self.copy(from, id)? {
                octets = octets.saturating_add(record.octets());
                units.push(vec![record]);
                moved.push(id);
            }
        }
        for (id, places) in moved.into_iter().zip(self.commit_units(&units)) {
            if let Some(place) = places?.first() {
                self.shared.index().relocate(id, *place);
                self.shared.counts.carried.fetch_add(1, Ordering::Relaxed);
                if let Some(metrics) = &self.shared.metrics {
                    metrics.carried.inc();
                }
            }
        }
        Ok(())
    }

    /// The record that carries a message on; `None` where it has ended or lies elsewhere meanwhile.
    fn copy(&self, from: SegmentId, id: QueueId) -> Result<Option<Record>, AppendError> {
        let place = self.shared.index().get(id).map(super::index::Entry::place);
        let Some(place) = place.filter(|place| place.segment == from) else { return Ok(None) };
        let (kind, payload) = match self.shared.fetch(id, place) {
            Fetched::Whole(kind, payload) => (kind, payload),
            Fetched::Lost => return Ok(None),
            Fetched::Unreadable(error) => {
                tracing::error!(queue_id = %id, %error, "a queued mail cannot be read now");
                return Err(AppendError::Failed);
            }
        };
        let (Ok(head), Ok(rest)) = (decode_stored(kind, &payload), message_rest(kind, &payload)) else {
            return Ok(None);
        };
        let facts = Facts::of_head(&head);
        let standing = self.shared.index().standing(id);
        Ok(standing.map(|standing| standing.record(&facts, rest)))
    }
}

/// A step takes a few milliseconds of the writer's time; some 20 a second carry 20 MiB.
const STEP_RECORDS_MAX: usize = 256;
const STEP_OCTETS_MAX: u64 = 1024 * 1024;
/// A minute, at one a second.
const STEPS_LEFT_OUT: u32 = 60;
