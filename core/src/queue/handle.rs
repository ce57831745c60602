//! The queue's door.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatepost_smtp::wire::path::ForwardPath;
use tokio::sync::{mpsc, oneshot};

use super::committer::{Committer, Work};
use super::facts::domain_of_path;
use super::index::Due;
use super::journal::Journal;
use super::recovery::{self, Mode, recover};
use super::schedule::believed;
use super::shared::{Lease, Loaded, Shared};
use super::supply::Supply;
use super::writer::{self, Message};
use super::{
    AppendError, Claim, Details, IdGenerator, Lane, Metrics, NewMessage, OpenError, Outcome, QueueId, Quotas,
    Recovered, Selection, Settings, Stats, Summary, Turn, Wait,
};
use crate::clock::{after, now_ms};
use crate::disk::{Disk, FreeSpace, IoPool};
use crate::events::Log;
use crate::intake::Spool;

/// The queue. Cheap to clone; the writer ends with `close` or with the last clone.
#[derive(Debug, Clone)]
pub struct Queue {
    pub(super) shared: Arc<Shared>,
    writer: mpsc::Sender<Message>,
    pub(super) readers: IoPool,
    free_space: Arc<FreeSpace>,
    quotas: Quotas,
    /// One change of the standing holds at a time.
    pub(super) rules_turn: Arc<tokio::sync::Mutex<()>>,
}

/// What lay in the queue when it was looked at.
#[derive(Debug)]
pub struct Snapshot {
    shared: Shared,
}

// === impl Queue ===

impl Queue {
    /// Recovers what lies in `root` (made if missing) and starts the writer. Blocking: call it before the runtime
    /// serves, or on a blocking thread. One process a folder: the caller holds the lock.
    ///
    /// # Errors
    /// A segment of a newer version, or the disk's. A damaged segment is no error: see `Recovered`.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        settings: Settings,
        metrics: Option<Metrics>,
    ) -> Result<(Self, Recovered), OpenError> {
        settings.check()?;
        disk.make_folder(root).map_err(OpenError::io(root))?;
        if let Some(parent) = root.parent() {
            disk.flush_folder(parent).map_err(OpenError::io(parent))?;
        }
        let free_space = FreeSpace::new(
            Arc::clone(&disk),
            root.to_owned(),
            settings.free_octets_min,
            settings.free_files_min,
        );
        let free_space = Arc::new(free_space);
        let bodies = root.join(BODIES_FOLDER);
        let spool = Spool::open(Arc::clone(&disk), &bodies, Some(Arc::clone(&free_space)))
            .map_err(OpenError::io(&bodies))?;
        disk.flush_folder(root).map_err(OpenError::io(root))?;
        let (mut committer, shared, recovered) =
            assemble(disk, root, &settings, spool, metrics, Some(Arc::clone(&free_space)), true)?;
        if !committer.lift_stop() {
            tracing::warn!("the queue cannot take mail yet: no segment could be opened");
        }
        committer.remove_segments();
        let writer = writer::start(committer).map_err(OpenError::Thread)?;
        let readers = IoPool::start("gatepost-requeue", READERS).map_err(OpenError::Thread)?;
        let (quotas, rules_turn) = (settings.quotas, Arc::default());
        Ok((Self { shared, writer, readers, free_space, quotas, rules_turn }, recovered))
    }

    /// Reads the queue without changing it, also beside a running server. Blocking.
    ///
    /// # Errors
    /// As `open`.
    pub fn inspect(disk: Arc<dyn Disk>, root: &Path) -> Result<Snapshot, OpenError> {
        let bodies = root.join(BODIES_FOLDER);
        let spool = Spool::inline(Arc::clone(&disk), &bodies).map_err(OpenError::io(&bodies))?;
        let mut state = recover(&*disk, root, &spool, Mode::Look)?;
        state.index.schedule_all(0, now_ms());
        let ids = Arc::new(IdGenerator::above(state.id_floor));
        Ok(Snapshot { shared: Shared::new(disk, root.to_owned(), spool, ids, state.index, None) })
    }

    /// Has the event log told from now on of what the queue does on its own and of what operators take out. Once a queue.
    pub fn report_to(&self, events: Log) {
        // A second log would hear nothing that the first does not.
        let _first_stays = self.shared.events.set(events);
    }

    /// How long a message has waited that was received at that time (milliseconds since 1970), whatever was done to the clock
    /// meanwhile.
    #[must_use]
    pub fn wait_of(&self, id: QueueId, received_at_ms: u64) -> Wait {
        self.shared.wait_of(id, received_at_ms)
    }

    /// Where bodies of this queue are collected: `BodyBuffer::new(queue.spool(), budget)`.
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.shared.spool.clone()
    }

    /// A fresh id, greater than every one before it.
    #[must_use]
    pub fn allocate_id(&self) -> QueueId {
        // A jump of the clock is seen before the first id behind it: what was accepted before is told by that.
        let now_ms = self.shared.watch_clock();
        self.shared.ids.allocate(now_ms)
    }

    /// Makes a message durable; returns after the flush. Where this future is dropped the message may be taken all the
    /// same: the window in which SMTP itself doubles mail.
    ///
    /// # Errors
    /// Nothing was taken: see `AppendError`.
    pub async fn append(&self, message: NewMessage) -> Result<QueueId, AppendError> {
        let id = message.id;
        self.commit(Work::append(message)).await.map(|()| id)
    }

    /// Tells which lane the mail for a domain (A-labels, lower case; empty: none) belongs in, now and later; until then all is
    /// local. Goes through all messages: call it before workers start.
    pub fn sort_by(&self, lane_of: impl Fn(&str) -> Lane + Send + Sync + 'static) {
        self.shared.index().set_lanes(lane_of);
        self.shared.due.notify_one();
    }

    /// Waits for the next due message. `None` once the queue is closed.
    pub async fn claim(&self) -> Option<Claim> {
        self.claim_where(|_| true).await
    }

    /// As `claim`, of lanes that are open. Whoever opens one again says so by `look_again`.
    pub async fn claim_where(&self, is_open: impl Fn(Lane) -> bool) -> Option<Claim> {
        loop {
            if self.shared.is_closed() {
                // The next one that waits is told by the one that was.
                self.shared.due.notify_one();
                return None;
            }
            let now = self.shared.watch_clock();
            let (due, next_ms) = {
                let mut index = self.shared.index();
                (index.pop_due(now, &is_open), index.next_due_ms(&is_open))
            };
            if let Some(due) = due {
                self.shared.pulse.count_claim();
                // Tells of several messages may have become one: whoever takes a message wakes the next for the rest.
                if next_ms.is_some_and(|at| at <= now) {
                    self.shared.due.notify_one();
                }
                match self.take(due).await {
                    Some(claim) => return Some(claim),
                    None => continue,
                }
            }
            let pause = next_ms
                .map_or(LOOK_PAUSE, |at| Duration::from_millis(at.saturating_sub(now)).min(LOOK_PAUSE));
            tokio::select! {
                () = self.shared.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// There is room for mail that nobody could take before.
    pub fn look_again(&self) {
        self.shared.due.notify_one();
    }

    /// Records what became of recipients; flushed before it returns. The message is due again when its first recipient
    /// is; recipients without an outcome are due at once. On an error nothing is recorded and the message is due again
    /// at once.
    ///
    /// # Errors
    /// As `append`.
    pub async fn settle(&self, claim: Claim, outcomes: Vec<(usize, Outcome)>) -> Result<(), AppendError> {
        self.settle_with(claim, Turn::Taken, outcomes, Vec::new()).await
    }

    /// As `settle`; what the attempt has to tell the sender becomes durable with it or not at all, whenever the power
    /// goes: no notification is lost, and none is made a second time for an attempt that a crash undid. Each follow-up
    /// has an id from `allocate_id`. They are taken even where new mail is refused.
    ///
    /// # Errors
    /// As `append`; then no follow-up was taken either.
    pub async fn settle_with(
        &self,
        claim: Claim,
        turn: Turn,
        outcomes: Vec<(usize, Outcome)>,
        follow_ups: Vec<NewMessage>,
    ) -> Result<(), AppendError> {
        let Some(mut change) = self.shared.index().plan(claim.id, outcomes) else { return Ok(()) };
        if turn == Turn::Missed {
            change.attempts = claim.attempts;
        }
        self.commit(Work::settle(change, claim, follow_ups)).await
    }

    /// Gives a claim back, due after a pause that no record tells: nothing was tried. Until then `reason` says what it waits for.
    pub fn postpone(&self, claim: Claim, pause: Duration, reason: Option<&str>) {
        let now_ms = now_ms();
        self.shared.index().postpone(claim.id, believed(after(now_ms, pause), now_ms), reason);
        claim.lease.end();
        self.shared.due.notify_one();
    }

    /// All messages with a pending recipient, oldest first. Reads their records.
    pub async fn list(&self) -> Vec<Summary> {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || shared.describe_all()).await.unwrap_or_default()
    }

    /// The ids of all messages with a pending recipient, oldest first, also of those whose records cannot be read now.
    #[must_use]
    pub fn ids(&self) -> Vec<QueueId> {
        self.shared.index().ids()
    }

    /// One message. Reads its record.
    pub async fn show(&self, id: QueueId) -> Option<Details> {
        let shared = Arc::clone(&self.shared);
        self.readers.run(move || shared.describe(id)).await.ok().flatten()
    }

    /// Messages with a pending recipient.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.index().len()
    }

    /// Whether no message has a pending recipient.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether new mail is refused with `Full` for want of space. Blocking: asks the disk, at most once a second.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free_space.is_low()
    }

    /// What `is_full` answered at most two seconds ago; does not ask the disk. For MAIL, so that nobody sends a body that
    /// cannot be kept.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.free_space.was_low()
    }

    /// Whether one more mail of this user to this recipient's domain may wait; `append` asks again. For RCPT, so that the other
    /// recipients of the mail are not refused with this one.
    #[must_use]
    pub fn admits(&self, user: Option<&str>, recipient: &ForwardPath) -> bool {
        !self.shared.index().is_over(&self.quotas, user, &[domain_of_path(recipient)])
    }

    /// Whether nothing can be appended any more: the queue was closed, or its writer died.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed() || self.writer.is_closed()
    }

    /// Stops the writer after what it has been given; every later append gets `Closed`, every claim `None`.
    pub async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.due.notify_one();
        self.shared.news.wake();
        let (reply, closed) = oneshot::channel();
        if self.writer.send(Message::Close(reply)).await.is_ok() {
            // An error means that the writer has ended already.
            let _ended = closed.await;
        }
    }

    pub(super) async fn commit(&self, work: Work) -> Result<(), AppendError> {
        self.hand_in(work).await?.await.unwrap_or(Err(AppendError::Closed))
    }

    /// The first half of `commit`: what comes of it is told later.
    pub(super) async fn hand_in(
        &self,
        work: Work,
    ) -> Result<oneshot::Receiver<Result<(), AppendError>>, AppendError> {
        let (reply, result) = oneshot::channel();
        self.writer.send(Message::Work(work, reply)).await.map_err(|_| AppendError::Closed)?;
        Ok(result)
    }

    /// Makes a claim of a due message, which is read back unless it is still in memory.
    async fn take(&self, mut due: Due) -> Option<Claim> {
        if let Some(message) = due.fresh.take() {
            return Some(Lease::claim(&self.shared, &due, message));
        }
        // Where this future is dropped while the disk is read, the guard makes the message due again.
        let guard = Lease::claim_guard(&self.shared, due.id);
        let shared = Arc::clone(&self.shared);
        let (id, place) = (due.id, due.place);
        match self.readers.run(move || shared.load(id, place)).await {
            Ok(Loaded::Whole(message)) => {
                guard.end();
                Some(Lease::claim(&self.shared, &due, message))
            }
            Ok(Loaded::Damaged) => None,
            Ok(Loaded::Unreadable(error)) | Err(error) => {
                tracing::error!(queue_id = %id, %error, "a queued mail cannot be read now");
                self.shared.index().postpone(id, now_ms().saturating_add(REREAD_PAUSE_MS), None);
                guard.end();
                None
            }
        }
    }
}

/// Recovers, and builds what the writer's thread then owns. `threaded`: whether segments are made ahead of time.
pub(super) fn assemble(
    disk: Arc<dyn Disk>,
    root: &Path,
    settings: &Settings,
    spool: Spool,
    metrics: Option<Metrics>,
    free_space: Option<Arc<FreeSpace>>,
    threaded: bool,
) -> Result<(Committer, Arc<Shared>, Recovered), OpenError> {
    let recovery::State { mut index, recovered, ends, last_segment, id_floor } =
        recover(&*disk, root, &spool, Mode::Repair)?;
    index.schedule_all(settings.clock_back_ms, now_ms());
    let rules = index.rules().clone();
    if let Some(metrics) = &metrics {
        metrics.corrupt.inc_by(recovered.corrupt_records as u64);
    }
    let ids = Arc::new(IdGenerator::above(id_floor));
    let shared = Shared::new(Arc::clone(&disk), root.to_owned(), spool, Arc::clone(&ids), index, metrics);
    shared.news.add_all(&recovered.damage);
    let shared = Arc::new(shared);
    let supply = Supply::inline(Arc::clone(&disk), root.to_owned(), last_segment);
    let supply = if threaded { supply.threaded().map_err(OpenError::Thread)? } else { supply };
    let journal = Journal::new(disk, root.to_owned(), settings.segment_octets, supply, ids, ends, rules);
    Ok((Committer::new(journal, Arc::clone(&shared), free_space, settings.quotas), shared, recovered))
}

// === impl Snapshot ===

impl Snapshot {
    /// All messages with a pending recipient, oldest first. Blocking.
    #[must_use]
    pub fn list(&self) -> Vec<Summary> {
        self.shared.describe_all()
    }

    /// One message. Blocking.
    #[must_use]
    pub fn show(&self, id: QueueId) -> Option<Details> {
        self.shared.describe(id)
    }

    pub(super) const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The ids that a selection lets through, oldest first. Blocking.
    #[must_use]
    pub fn select(&self, selection: &Selection) -> Vec<QueueId> {
        self.shared.select(selection)
    }

    /// The queue at a glance; what is counted since the start of a server is zero.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// A message as it would be delivered: our trace headers, then the body; `None` where it is not there. Blocking, as
    /// the reader is, which fails at the end of a damaged body.
    ///
    /// # Errors
    /// The disk's; `InvalidData` where the record is damaged.
    pub fn content(&self, id: QueueId) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        self.shared.content(id)
    }
}

/// Of bodies that are too large for a record.
pub(super) const BODIES_FOLDER: &str = "bodies";
/// Messages are read back after a restart or a retry only.
const READERS: usize = 2;
/// The wall clock may be set: nobody sleeps longer than this on its word.
const LOOK_PAUSE: Duration = Duration::from_secs(30);
/// A disk that cannot be read is left alone for a minute.
const REREAD_PAUSE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::super::test_support::message;
    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::intake::Body;

    #[tokio::test]
    async fn a_queue_whose_writer_is_gone_says_that_it_is_closed() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
        let settings = Settings { segment_octets: 1024 * 1024, free_octets_min: 0, ..Settings::default() };
        let (mut queue, _recovered) = Queue::open(disk, Path::new("/queue"), settings, None).unwrap();
        assert!(!queue.is_closed());
        // What a panic of the writer's thread leaves behind.
        queue.writer = mpsc::channel(1).0;
        assert!(queue.is_closed());
        let refused = queue.append(message(QueueId(1), 1, Body::Memory("body".into()))).await;
        assert!(matches!(refused, Err(AppendError::Closed)));
    }
}
