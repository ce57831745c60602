//! Makes work durable and lets the index follow: what the writer's thread does, without the thread.

use std::sync::Arc;

use super::envelope::{Change, encode_message};
use super::journal::Journal;
use super::record::Record;
use super::segment::{Location, SegmentId};
use super::shared::Shared;
use super::{AppendError, Claim, NewMessage};
use crate::disk::FreeSpace;
use crate::intake::Body;

/// The journal and what has to follow it.
pub(super) struct Committer {
    journal: Journal,
    shared: Arc<Shared>,
    free_space: Option<Arc<FreeSpace>>,
}

/// What a session or a worker hands in, its record made already on its own thread.
#[derive(Debug)]
pub(super) struct Work {
    record: Record,
    about: About,
}

#[derive(Debug)]
enum About {
    Append(Arc<NewMessage>),
    Settle(Change, Claim),
}

// === impl Work ===

impl Work {
    pub(super) fn append(message: NewMessage) -> Self {
        Self { record: encode_message(&message), about: About::Append(Arc::new(message)) }
    }

    /// The claim travels along: where its record fails, the message is due again as the claim is dropped.
    pub(super) fn settle(change: Change, claim: Claim) -> Self {
        Self { record: change.encode(), about: About::Settle(change, claim) }
    }
}

// === impl Committer ===

impl Committer {
    pub(super) const fn new(
        journal: Journal,
        shared: Arc<Shared>,
        free_space: Option<Arc<FreeSpace>>,
    ) -> Self {
        Self { journal, shared, free_space }
    }

    /// One result for each piece of work, in order.
    pub(super) fn commit(&mut self, work: Vec<Work>) -> Vec<Result<(), AppendError>> {
        let refused = self.free_space.as_ref().is_some_and(|space| space.is_low());
        let mut records = Vec::with_capacity(work.len());
        let mut abouts = Vec::with_capacity(work.len());
        for Work { record, about } in work {
            // What is in the queue can be settled even where nothing more comes in: that is what makes room.
            let taken = !(refused && matches!(about, About::Append(_)));
            abouts.push((about, taken));
            if taken {
                records.push(record);
            }
        }
        let mut places = self.commit_records(&records).into_iter();
        let results: Vec<_> = abouts
            .into_iter()
            .map(|(about, taken)| {
                let place = if taken {
                    places.next().unwrap_or(Err(AppendError::Failed))
                } else {
                    Err(AppendError::Full)
                };
                self.follow(about, place)
            })
            .collect();
        self.report();
        results
    }

    /// Removes segments that nothing needs, oldest first, each durably before the next.
    pub(super) fn remove_segments(&mut self) {
        let removable = self.shared.index().removable(self.journal.active_segment());
        for segment in removable {
            if let Err(error) = self.remove(segment) {
                let path = segment.path(&self.shared.root);
                tracing::warn!(path = %path.display(), %error, "a segment that is not needed any more stays for now");
                return;
            }
            self.shared.index().removed(segment);
        }
    }

    pub(super) fn lift_stop(&mut self) -> bool {
        let lifted = self.journal.lift_stop().is_ok();
        if lifted {
            self.follow_opened();
        }
        self.report();
        lifted
    }

    pub(super) fn close(&mut self) {
        self.journal.close();
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.journal.is_stopped()
    }

    fn commit_records(&mut self, records: &[Record]) -> Vec<Result<Location, AppendError>> {
        let flushes = self.journal.flushes();
        let timer = self.shared.metrics.as_ref().map(|metrics| {
            metrics.batch_records.observe(records.len() as f64);
            metrics.commit_seconds.start_timer()
        });
        let places = self.journal.commit(records);
        drop(timer);
        if let Some(metrics) = &self.shared.metrics {
            metrics.flushes.inc_by(self.journal.flushes().saturating_sub(flushes));
        }
        self.follow_opened();
        places
    }

    fn follow_opened(&mut self) {
        for opened in self.journal.take_opened() {
            self.shared.index().open_segment(opened);
        }
    }

    fn follow(&self, about: About, place: Result<Location, AppendError>) -> Result<(), AppendError> {
        match (about, place) {
            (About::Append(message), Ok(place)) => self.appended(&message, place),
            (About::Settle(change, claim), Ok(place)) => self.settled(&change, claim, place.segment),
            (About::Append(_), Err(error)) => {
                if let Some(metrics) = &self.shared.metrics {
                    metrics.refused(error);
                }
                return Err(error);
            }
            (About::Settle(..), Err(error)) => return Err(error),
        }
        Ok(())
    }

    fn appended(&self, message: &Arc<NewMessage>, place: Location) {
        if let Body::File(file) = &message.body {
            file.keep();
        }
        let recipients = message.submission.envelope.recipients.len();
        let mut index = self.shared.index();
        if index.insert(message.id, place, recipients) {
            index.keep_fresh(message);
            index.schedule(message.id);
        }
        drop(index);
        self.shared.due.notify_one();
        if let Some(metrics) = &self.shared.metrics {
            metrics.appended.inc();
            metrics.appended_octets.inc_by(message.body.octets());
        }
    }

    fn settled(&self, change: &Change, claim: Claim, segment: SegmentId) {
        let mut index = self.shared.index();
        index.apply(change, segment);
        index.schedule(change.id);
        drop(index);
        if let (Body::File(file), false) = (&claim.message.body, change.leaves_pending) {
            file.release();
        }
        claim.lease.end();
        self.shared.due.notify_one();
        if let Some(metrics) = &self.shared.metrics {
            metrics.settled.inc();
        }
    }

    fn remove(&self, segment: SegmentId) -> std::io::Result<()> {
        self.shared.disk.remove(&segment.path(&self.shared.root))?;
        self.shared.disk.flush_folder(&self.shared.root)
    }

    fn report(&self) {
        let Some(metrics) = &self.shared.metrics else { return };
        let index = self.shared.index();
        metrics.messages.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
        metrics.segments.set(i64::try_from(index.segments()).unwrap_or(i64::MAX));
        metrics.stopped.set(i64::from(self.journal.is_stopped()));
    }
}
