//! What the queue's doors, its writer and its claims share.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::envelope::decode_message;
use super::index::{Due, Index};
use super::segment::{Location, read_payload, read_record};
use super::{Claim, Details, IdGenerator, Metrics, NewMessage, QueueId, RecipientSummary, Summary, recovery};
use crate::disk::Disk;
use crate::intake::Spool;

pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    pub(super) spool: Spool,
    pub(super) ids: Arc<IdGenerator>,
    pub(super) metrics: Option<Metrics>,
    /// Told once for each message that becomes due.
    pub(super) due: Notify,
    pub(super) closed: AtomicBool,
    index: Mutex<Index>,
}

/// Makes a claimed message due again when dropped before its end.
pub(super) struct Lease {
    shared: Arc<Shared>,
    id: QueueId,
    ended: bool,
}

/// What came of reading a due message back.
pub(super) enum Loaded {
    Whole(Arc<NewMessage>),
    /// The record is damaged: it was set aside and the message is gone.
    Damaged,
    /// The disk could not be read now.
    Unreadable(io::Error),
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        spool: Spool,
        ids: Arc<IdGenerator>,
        index: Index,
        metrics: Option<Metrics>,
    ) -> Self {
        let (due, closed) = (Notify::new(), AtomicBool::new(false));
        Self { disk, root, spool, ids, metrics, due, closed, index: Mutex::new(index) }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Reads a message back from its segment. Blocking.
    pub(super) fn load(&self, id: QueueId, place: Location) -> Loaded {
        match read_payload(&*self.disk, &self.root, place) {
            Ok(payload) => {
                if let Ok(head) = decode_message(&payload) {
                    return Loaded::Whole(Arc::new(head.into_message(&payload, &self.spool)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return Loaded::Unreadable(error),
        }
        tracing::error!(queue_id = %id, segment = %place.segment.path(&self.root).display(), offset = place.offset, "the record of a queued mail was damaged on disk; the mail is lost");
        let set_aside = read_record(&*self.disk, &self.root, place).and_then(|record| {
            recovery::set_aside(&*self.disk, &self.root, place.segment, place.offset, &record)
        });
        if let Err(error) = set_aside {
            tracing::error!(queue_id = %id, %error, "a damaged record could not be set aside");
        }
        if let Some(metrics) = &self.metrics {
            metrics.corrupt.inc();
        }
        self.index().forget(id);
        Loaded::Damaged
    }

    /// All that is known of a message but its body. Blocking. `None` where it is gone meanwhile or unreadable.
    pub(super) fn describe(&self, id: QueueId) -> Option<Details> {
        let place = self.index().get(id)?.place;
        let payload = read_payload(&*self.disk, &self.root, place).ok()?;
        let head = decode_message(&payload).ok()?;
        let index = self.index();
        let entry = index.get(id)?;
        let envelope = &head.submission.envelope;
        let recipients = envelope.recipients.iter().enumerate().map(|(number, recipient)| RecipientSummary {
            address: recipient.path.to_string(),
            pending: entry.pending.contains(number),
        });
        let summary = Summary {
            id,
            received_at_ms: head.submission.origin.received_at_ms,
            octets: head.body_octets(),
            sender: envelope.reverse_path.to_string(),
            recipients: recipients.collect(),
            attempts: entry.attempts,
            not_before_ms: entry.not_before_ms,
            last_reason: entry.last_reason.as_deref().map(str::to_owned),
        };
        drop(index);
        Some(Details { summary, submission: head.submission, trace: head.trace, stamp: head.stamp })
    }

    /// All messages, oldest first. Blocking.
    pub(super) fn describe_all(&self) -> Vec<Summary> {
        let ids = self.index().ids();
        ids.into_iter().filter_map(|id| self.describe(id)).map(|details| details.summary).collect()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("root", &self.root).finish_non_exhaustive()
    }
}

// === impl Lease ===

impl Lease {
    pub(super) fn claim(shared: &Arc<Shared>, due: &Due, message: Arc<NewMessage>) -> Claim {
        let lease = Self::claim_guard(shared, due.id);
        Claim { id: due.id, message, pending: due.pending.clone(), attempts: due.attempts, lease }
    }

    /// The same promise without a claim.
    pub(super) fn claim_guard(shared: &Arc<Shared>, id: QueueId) -> Self {
        Self { shared: Arc::clone(shared), id, ended: false }
    }

    /// The outcome is durable and the schedule has been told.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.index().schedule_now(self.id);
            self.shared.due.notify_one();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
