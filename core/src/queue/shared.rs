//! What the queue's doors, its writer and its claims share.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::envelope::decode_stored;
use super::index::{Due, Entry, Filter, Gathering, Index, Tally};
use super::leaps::Leaps;
use super::lost::News;
use super::progress::Pulse;
use super::record::Kind;
use super::segment::{Location, read_payload, read_record};
use super::{
    Claim, Details, IdGenerator, Metrics, NewMessage, QueueId, RecipientSummary, Selection, Stats, Summary,
    Wait, recovery,
};
use crate::clock::{ClockWatch, Moved, now_ms};
use crate::disk::Disk;
use crate::events::{About, Log, What};
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
    pub(super) counts: Counts,
    /// Set by whoever wants to know; until then nobody is told.
    pub(super) events: OnceLock<Log>,
    pub(super) news: News,
    pub(super) pulse: Pulse,
    clock: Mutex<Clock>,
    index: Mutex<Index>,
}

/// What happened since the start, for `Stats`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) appended: AtomicU64,
    pub(super) settled: AtomicU64,
    pub(super) flushes: AtomicU64,
    /// Messages carried on from old segments.
    pub(super) carried: AtomicU64,
    pub(super) is_stopped: AtomicBool,
}

/// The clock that the schedule goes by, and how it was set.
#[derive(Debug)]
struct Clock {
    watch: ClockWatch,
    leaps: Leaps,
}

/// Makes a claimed message due again when dropped before its end.
pub(super) struct Lease {
    shared: Arc<Shared>,
    id: QueueId,
    ended: bool,
}

/// What came of reading a message's record.
pub(super) enum Fetched {
    Whole(Kind, Bytes),
    /// It was damaged and set aside, and the message is gone.
    Lost,
    /// The disk could not be read now.
    Unreadable(io::Error),
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
        Self {
            disk,
            root,
            spool,
            ids,
            metrics,
            due: Notify::new(),
            closed: AtomicBool::new(false),
            counts: Counts::default(),
            events: OnceLock::new(),
            news: News::default(),
            pulse: Pulse::default(),
            clock: Mutex::new(Clock { watch: ClockWatch::start(), leaps: Leaps::default() }),
            index: Mutex::new(index),
        }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `index`; `None` while somebody else has it.
    pub(super) fn try_index(&self) -> Option<MutexGuard<'_, Index>> {
        match self.index.try_lock() {
            Ok(index) => Some(index),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The time, milliseconds since 1970. Where the clock was set, those who go by it are told first.
    pub(super) fn watch_clock(&self) -> u64 {
        let mut clock = self.clock();
        let (now, moved) = clock.watch.look();
        let by_ms = match moved {
            Moved::Little => return now,
            Moved::Back(by_ms) => 0_i64.saturating_sub_unsigned(by_ms),
            Moved::Ahead(by_ms) => 0_i64.saturating_add_unsigned(by_ms),
        };
        clock.leaps.note(QueueId(self.ids.greatest()), by_ms);
        drop(clock);
        self.follow_clock(moved, by_ms);
        now
    }

    /// How long a message has waited, whatever was done to the clock meanwhile.
    pub(super) fn wait_of(&self, id: QueueId, received_at_ms: u64) -> Wait {
        let now_ms = self.watch_clock();
        Wait { since_ms: self.clock().leaps.since_ms(id, received_at_ms), now_ms }
    }

    fn follow_clock(&self, moved: Moved, by_ms: i64) {
        match moved {
            Moved::Little => return,
            Moved::Back(by) => {
                tracing::warn!(by_ms, "the clock was set back: the times of later attempts follow it");
                self.index().set_back(by);
            }
            // All that is due by it is tried, which is no harm: nothing is older for it.
            Moved::Ahead(_) => {
                tracing::warn!(by_ms, "the clock was set ahead: later attempts come early");
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.clock_jumped(moved);
        }
        if let Some(events) = self.events.get() {
            events.record(About::default(), What::ClockJumped { by_ms });
        }
        self.due.notify_one();
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Reads a message back from its segment. Blocking.
    pub(super) fn load(&self, id: QueueId, place: Location) -> Loaded {
        match self.fetch(id, place) {
            Fetched::Whole(kind, payload) => match decode_stored(kind, &payload) {
                Ok(head) => Loaded::Whole(Arc::new(head.into_message(&payload, &self.spool))),
                Err(_) => self.lose(id, place),
            },
            Fetched::Lost => Loaded::Damaged,
            Fetched::Unreadable(error) => Loaded::Unreadable(error),
        }
    }

    /// As `load`, but nothing follows from damage: for those who only look.
    pub(super) fn glimpse(&self, place: Location) -> Loaded {
        match read_payload(&*self.disk, &self.root, place) {
            Ok((kind, payload)) => decode_stored(kind, &payload).map_or(Loaded::Damaged, |head| {
                Loaded::Whole(Arc::new(head.into_message(&payload, &self.spool)))
            }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Loaded::Damaged,
            Err(error) => Loaded::Unreadable(error),
        }
    }

    /// Reads a message's record, wherever it is carried meanwhile; sets it aside where it is damaged. Blocking.
    pub(super) fn fetch(&self, id: QueueId, mut place: Location) -> Fetched {
        loop {
            let error = match read_payload(&*self.disk, &self.root, place) {
                Ok((kind, payload)) => return Fetched::Whole(kind, payload),
                Err(error) => error,
            };
            let known = self.index().get(id).map(Entry::place);
            match known {
                Some(moved) if moved != place => place = moved,
                Some(_) if error.kind() == io::ErrorKind::InvalidData => {
                    self.lose(id, place);
                    return Fetched::Lost;
                }
                _ => return Fetched::Unreadable(error),
            }
        }
    }

    /// All that is known of a message but its body. Blocking. `None` where it is gone meanwhile or unreadable.
    pub(super) fn describe(&self, id: QueueId) -> Option<Details> {
        let (kind, payload) = self.peek(id).ok()??;
        let head = decode_stored(kind, &payload).ok()?;
        let index = self.index();
        let entry = index.get(id)?;
        let envelope = &head.submission.envelope;
        let recipients = envelope.recipients.iter().enumerate().map(|(number, recipient)| RecipientSummary {
            address: recipient.path.to_string(),
            pending: entry.pending.contains(number),
            stands_for: head.submission.forwards.of(number).map(ToString::to_string),
        });
        let summary = Summary {
            id,
            received_at_ms: head.submission.origin.received_at_ms,
            octets: head.body_octets(),
            sender: envelope.reverse_path.to_string(),
            recipients: recipients.collect(),
            attempts: entry.attempts,
            not_before_ms: entry.not_before_ms,
            last_reason: index.last_reason(entry).map(|reason| reason.as_ref().to_owned()),
            state: entry.state(),
            held: entry.held,
            given_up: entry.given_up,
        };
        drop(index);
        Some(Details { summary, submission: head.submission, trace: head.trace, stamp: head.stamp })
    }

    /// A message as it would be delivered: our trace headers, then the body. Blocking, and so is the reader.
    pub(super) fn content(&self, id: QueueId) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        let Some((kind, payload)) = self.peek(id)? else { return Ok(None) };
        let head = decode_stored(kind, &payload).map_err(|_| io::ErrorKind::InvalidData)?;
        let message = head.into_message(&payload, &self.spool);
        let body = message.body.reader()?;
        Ok(Some(Box::new(io::Read::chain(io::Cursor::new(message.trace), body))))
    }

    /// The ids that a selection lets through, oldest first. Blocking: where it names a recipient, records are read.
    pub(super) fn select(&self, selection: &Selection) -> Vec<QueueId> {
        let (filter, mut found, mut after) = (Filter::new(selection), Vec::new(), None);
        loop {
            after = self.index().select(&filter, after, &mut found);
            if after.is_none() {
                break;
            }
        }
        if let Some(recipient) = &selection.recipient {
            let wanted = format!("<{recipient}>").to_lowercase();
            found.retain(|id| {
                let details = self.describe(*id);
                let pending = details.iter().flat_map(|details| &details.summary.recipients);
                pending.filter(|to| to.pending).any(|to| to.address.to_lowercase() == wanted)
            });
        }
        found
    }

    /// The figures that the index has.
    pub(super) fn stats(&self) -> Stats {
        let (now, mut gathering, mut after) = (now_ms(), Gathering::default(), None);
        loop {
            after = self.index().gather(now, after, &mut gathering);
            if after.is_none() {
                break;
            }
        }
        Stats {
            appended: self.counts.appended.load(Ordering::Relaxed),
            settled: self.counts.settled.load(Ordering::Relaxed),
            flushes: self.counts.flushes.load(Ordering::Relaxed),
            is_stopped: self.counts.is_stopped.load(Ordering::Relaxed),
            ..gathering.finish()
        }
    }

    /// Has the gauges show what waits for what. Goes through all messages.
    pub(super) fn measure(&self) {
        let Some(metrics) = &self.metrics else { return };
        let (mut tally, mut after) = (Tally::default(), None);
        loop {
            after = self.index().tally(after, &mut tally);
            if after.is_none() {
                break;
            }
        }
        let age = tally.oldest_s.map_or(0, |at| (now_ms() / 1_000).saturating_sub(u64::from(at)));
        metrics.waiting.set(tally.waiting);
        metrics.deferred.set(tally.deferred);
        metrics.in_delivery.set(tally.in_delivery);
        metrics.held.set(tally.held);
        metrics.oldest_age.set(i64::try_from(age).unwrap_or(i64::MAX));
    }

    /// All messages, oldest first. Blocking.
    pub(super) fn describe_all(&self) -> Vec<Summary> {
        let ids = self.index().ids();
        ids.into_iter().filter_map(|id| self.describe(id)).map(|details| details.summary).collect()
    }

    /// A message's record, of which only this call depends: damage is left for delivery to find.
    pub(super) fn peek(&self, id: QueueId) -> io::Result<Option<(Kind, Bytes)>> {
        let mut last = None;
        loop {
            let Some(place) = self.index().get(id).map(Entry::place) else { return Ok(None) };
            match read_payload(&*self.disk, &self.root, place) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if last == Some(place) => return Err(error),
                // It may have been carried on, or have ended, since the index was asked.
                Err(_) => last = Some(place),
            }
        }
    }

    /// A message whose record is damaged is gone; what is left of the record is kept.
    fn lose(&self, id: QueueId, place: Location) -> Loaded {
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
        let set_aside = recovery::aside_name(place.segment, place.offset);
        if let Some(events) = self.events.get() {
            let set_aside = set_aside.clone();
            let about = About { queue_id: Some(id.to_string()), ..About::default() };
            events.record(about, What::Damaged { set_aside });
        }
        self.index().forget(id);
        self.news.add(set_aside);
        Loaded::Damaged
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
        let (pending, attempts) = (due.pending.clone(), due.attempts);
        let (given_up, sender_knows) = (due.given_up, due.sender_knows);
        Claim { id: due.id, message, pending, attempts, given_up, sender_knows, lease }
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
            self.shared.index().give_back(self.id);
            self.shared.due.notify_one();
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).finish_non_exhaustive()
    }
}
