//! Makes work durable and lets the index follow: what the writer's thread does, without the thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::carry::Carrying;
use super::envelope::{Change, encode_message_as};
use super::facts::Facts;
use super::journal::{Journal, Unit};
use super::record::Kind;
use super::segment::{Location, SegmentId};
use super::shared::{Lease, Shared};
use super::standing::{Marks, Rules};
use super::{AppendError, Claim, HoldRule, NewMessage, Quotas};
use crate::clock::now_ms;
use crate::disk::FreeSpace;
use crate::events::{self, What};
use crate::intake::Body;

/// The journal and what has to follow it.
pub(super) struct Committer {
    pub(super) journal: Journal,
    pub(super) shared: Arc<Shared>,
    pub(super) carrying: Carrying,
    free_space: Option<Arc<FreeSpace>>,
    quotas: Quotas,
    /// Whether something that was followed waits for a worker now or later.
    has_waiting: bool,
    /// What the event log was told last: why no mail is accepted.
    refusing: Option<&'static str>,
}

/// What a session, a worker or an operator hands in, its records made already on its own thread.
#[derive(Debug)]
pub(super) struct Work {
    unit: Unit,
    about: About,
}

#[derive(Debug)]
enum About {
    Append(Arc<NewMessage>, Box<Facts>),
    Settle(Change, Claim, Vec<(Arc<NewMessage>, Facts)>),
    Remove(Change, Option<Arc<NewMessage>>, Lease),
    Marks(Marks),
    Rules(Rules),
}

// === impl Work ===

impl Work {
    pub(super) fn append(message: NewMessage) -> Self {
        let facts = Facts::of_message(&message);
        let record = encode_message_as(Kind::Message, &message, &facts);
        Self { unit: vec![record], about: About::Append(Arc::new(message), Box::new(facts)) }
    }

    /// The claim travels along: where its record fails, the message is due again as the claim is dropped.
    pub(super) fn settle(change: Change, claim: Claim, follow_ups: Vec<NewMessage>) -> Self {
        let mut unit = Vec::with_capacity(follow_ups.len().saturating_add(1));
        let mut followed = Vec::with_capacity(follow_ups.len());
        for message in follow_ups {
            let facts = Facts::of_message(&message);
            unit.push(encode_message_as(Kind::FollowUp, &message, &facts));
            followed.push((Arc::new(message), facts));
        }
        // Last: a torn batch keeps it only where it keeps all before it.
        unit.push(change.encode());
        Self { unit, about: About::Settle(change, claim, followed) }
    }

    /// The lease was taken on the message; its body's file is in `message` where it has one.
    pub(super) fn remove(change: Change, message: Option<Arc<NewMessage>>, lease: Lease) -> Self {
        Self { unit: vec![change.encode()], about: About::Remove(change, message, lease) }
    }

    pub(super) fn marks(marks: Marks) -> Self {
        Self { unit: vec![marks.record()], about: About::Marks(marks) }
    }

    /// All standing holds, as they are from now on.
    pub(super) fn rules(rules: Vec<HoldRule>) -> Self {
        let rules = Rules::new(rules);
        Self { unit: vec![rules.record()], about: About::Rules(rules) }
    }
}

// === impl Committer ===

impl Committer {
    pub(super) fn new(
        journal: Journal,
        shared: Arc<Shared>,
        free_space: Option<Arc<FreeSpace>>,
        quotas: Quotas,
    ) -> Self {
        let (carrying, has_waiting, refusing) = (Carrying::default(), false, None);
        Self { journal, shared, carrying, free_space, quotas, has_waiting, refusing }
    }

    /// One result for each piece of work, in order.
    pub(super) fn commit(&mut self, work: Vec<Work>) -> Vec<Result<(), AppendError>> {
        let is_full = self.free_space.as_ref().is_some_and(|space| space.is_low());
        let mut units = Vec::with_capacity(work.len());
        let mut abouts = Vec::with_capacity(work.len());
        for Work { unit, about } in work {
            // What is in the queue can be settled even where nothing more comes in: that is what makes room.
            let refused = match &about {
                About::Append(..) if is_full => Some(AppendError::Full),
                About::Append(_, facts) if self.is_over(facts) => Some(AppendError::OverQuota),
                _ => None,
            };
            if refused.is_none() {
                units.push(unit);
            }
            abouts.push((about, refused));
        }
        let mut places = self.commit_units(&units).into_iter();
        let results: Vec<_> = abouts
            .into_iter()
            .map(|(about, refused)| {
                let places = refused.map_or_else(|| places.next().unwrap_or(Err(AppendError::Failed)), Err);
                self.follow(about, places)
            })
            .collect();
        if std::mem::take(&mut self.has_waiting) {
            // Once for all of them: whoever takes one tells the next.
            self.shared.due.notify_one();
        }
        self.report();
        results
    }

    /// Removes segments that nothing needs, oldest first, each durably before the next.
    pub(super) fn remove_segments(&mut self) {
        let removable = self.shared.index().segments().removable(self.journal.active_segment());
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

    /// Asks for the free space, so that those who do not wait for an answer know it.
    pub(super) fn look_at_space(&mut self) {
        if let Some(space) = &self.free_space {
            // The answer is kept.
            let _low = space.is_low();
        }
        self.report();
    }

    pub(super) fn close(&mut self) {
        self.journal.close();
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.journal.is_stopped()
    }

    pub(super) fn commit_units(&mut self, units: &[Unit]) -> Vec<Result<Vec<Location>, AppendError>> {
        let flushes = self.journal.flushes();
        let timer = self.shared.metrics.as_ref().map(|metrics| {
            metrics.batch_records.observe(units.len() as f64);
            metrics.commit_seconds.start_timer()
        });
        let places = self.journal.commit(units);
        drop(timer);
        let flushes = self.journal.flushes().saturating_sub(flushes);
        self.shared.counts.flushes.fetch_add(flushes, Ordering::Relaxed);
        if let Some(metrics) = &self.shared.metrics {
            metrics.flushes.inc_by(flushes);
        }
        self.follow_opened();
        places
    }

    fn is_over(&self, facts: &Facts) -> bool {
        self.quotas != Quotas::default()
            && self.shared.index().is_over(&self.quotas, facts.user.as_deref(), &facts.domains)
    }

    fn follow_opened(&mut self) {
        for opened in self.journal.take_opened() {
            self.shared.index().open_segment(opened);
        }
    }

    fn follow(
        &mut self,
        about: About,
        places: Result<Vec<Location>, AppendError>,
    ) -> Result<(), AppendError> {
        let places = match (&about, places) {
            (_, Ok(places)) => places,
            (About::Append(..), Err(error)) => {
                if let Some(metrics) = &self.shared.metrics {
                    metrics.refused(error);
                }
                return Err(error);
            }
            (_, Err(error)) => return Err(error),
        };
        let Some((last, before)) = places.split_last() else { return Err(AppendError::Failed) };
        match about {
            About::Append(message, facts) => self.appended(&message, &facts, *last),
            About::Settle(change, claim, follow_ups) => {
                for ((message, facts), place) in follow_ups.iter().zip(before) {
                    self.appended(message, facts, *place);
                }
                self.settled(&change, Some(&claim.message), last.segment);
                claim.lease.end();
                self.shared.counts.settled.fetch_add(1, Ordering::Relaxed);
                if let Some(metrics) = &self.shared.metrics {
                    metrics.settled.inc();
                }
            }
            About::Remove(change, message, lease) => {
                self.settled(&change, message.as_ref(), last.segment);
                lease.end();
            }
            About::Marks(marks) => {
                self.shared.index().apply_marks(&marks, last.segment);
                self.has_waiting = true;
            }
            About::Rules(rules) => self.shared.index().set_rules(rules),
        }
        Ok(())
    }

    fn appended(&mut self, message: &Arc<NewMessage>, facts: &Facts, place: Location) {
        if let Body::File(file) = &message.body {
            file.keep();
        }
        let mut index = self.shared.index();
        if index.insert(message.id, place, facts) {
            self.has_waiting |= index.schedule(message.id);
            index.keep_fresh(message);
        }
        drop(index);
        self.shared.counts.appended.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = &self.shared.metrics {
            metrics.appended.inc();
            metrics.appended_octets.inc_by(message.body.octets());
        }
    }

    fn settled(&mut self, change: &Change, message: Option<&Arc<NewMessage>>, segment: SegmentId) {
        let mut index = self.shared.index();
        index.apply(change, segment);
        // The clock may have been set back while the record was written.
        index.believe(change.id, now_ms());
        self.has_waiting |= index.schedule(change.id);
        drop(index);
        if let (Some(Body::File(file)), false) = (message.map(|message| &message.body), change.leaves_pending)
        {
            file.release();
        }
    }

    fn remove(&self, segment: SegmentId) -> std::io::Result<()> {
        self.shared.disk.remove(&segment.path(&self.shared.root))?;
        self.shared.disk.flush_folder(&self.shared.root)
    }

    fn report(&mut self) {
        self.tell_of_refusals();
        self.shared.counts.is_stopped.store(self.journal.is_stopped(), Ordering::Relaxed);
        let Some(metrics) = &self.shared.metrics else { return };
        let index = self.shared.index();
        metrics.messages.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
        metrics.segments.set(i64::try_from(index.segments().len()).unwrap_or(i64::MAX));
        metrics.stopped.set(i64::from(self.journal.is_stopped()));
    }

    /// Once for each change.
    fn tell_of_refusals(&mut self) {
        let Some(events) = self.shared.events.get() else { return };
        let is_full = || self.free_space.as_ref().is_some_and(|space| space.was_low());
        let refusing = if self.journal.is_stopped() {
            Some(FAILED)
        } else if is_full() {
            Some(FULL)
        } else {
            None
        };
        if refusing != self.refusing {
            let refusal = |reason: &'static str| What::Refusing { reason: reason.into() };
            events.record(events::About::default(), refusing.map_or(What::Accepting, refusal));
            self.refusing = refusing;
        }
    }
}

/// A write or a flush was.
const FAILED: &str = "failed";
/// Of the file system.
const FULL: &str = "full";
