//! Whether the queue gets on: a writer that hangs in the disk, and mail that is due and that nobody takes, are seen by no
//! deadline of a single mail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::{Lane, Queue};
use crate::clock::now_ms;
use crate::events::{About, What};

/// What the queue's own parts leave behind for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Since when the writer is at what it does; `None`: it waits for work.
    busy_since: Mutex<Option<Instant>>,
    /// Messages that were given to workers.
    claims: AtomicU64,
}

/// The writer works as long as this lives.
#[derive(Debug)]
pub(super) struct Busy(Arc<Shared>);

/// Looks at a queue now and then.
pub struct ProgressWatch {
    queue: Queue,
    /// Which lanes workers may take from now.
    is_open: Box<dyn Fn(Lane) -> bool + Send>,
    /// How many claims there were, and since when there are no more though mail is due.
    claims: (u64, Instant),
    stalled: [Option<Instant>; Part::ALL.len()],
}

/// What may not get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Writer,
    Delivery,
}

// === impl Pulse ===

impl Pulse {
    pub(super) fn begin(shared: &Arc<Shared>) -> Busy {
        shared.pulse.set(Some(Instant::now()));
        Busy(Arc::clone(shared))
    }

    pub(super) fn count_claim(&self) {
        self.claims.fetch_add(1, Ordering::Relaxed);
    }

    fn set(&self, busy_since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = busy_since;
    }

    fn busy_since(&self) -> Option<Instant> {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.pulse.set(None);
    }
}

// === impl Queue ===

impl Queue {
    /// Whether the writer is at the same work for longer than any disk that works would take: nothing is accepted
    /// meanwhile, nor refused.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.shared.hung_since(Instant::now()).is_some()
    }
}

// === impl Shared ===

impl Shared {
    fn hung_since(&self, now: Instant) -> Option<Instant> {
        self.pulse.busy_since().filter(|since| now.saturating_duration_since(*since) > WRITE_TIME_MAX)
    }

    /// Whether a worker could take a message of an open lane now. Whoever keeps the index for so long that nobody can tell keeps
    /// it from the workers too.
    fn has_due(&self, is_open: impl Fn(Lane) -> bool) -> bool {
        let now_ms = now_ms();
        let index = (0..LOCK_TRIES).find_map(|_| {
            let index = self.try_index();
            if index.is_none() {
                std::thread::sleep(LOCK_PAUSE);
            }
            index
        });
        index.is_none_or(|index| index.next_due_ms(is_open).is_some_and(|at| at <= now_ms))
    }
}

// === impl ProgressWatch ===

impl ProgressWatch {
    /// Watches a queue whose workers take from the lanes that are open.
    #[must_use]
    pub fn new(queue: Queue, is_open: impl Fn(Lane) -> bool + Send + 'static) -> Self {
        let claims = (queue.shared.pulse.claims.load(Ordering::Relaxed), Instant::now());
        Self { queue, is_open: Box::new(is_open), claims, stalled: Default::default() }
    }

    /// Tells once of each part that does not get on, and once that it does again. `now` must not go back.
    pub fn look(&mut self, now: Instant) {
        let shared = Arc::clone(&self.queue.shared);
        let of_delivery = self.delivery_stalled_since(&shared, now);
        for (part, since) in [(Part::Writer, shared.hung_since(now)), (Part::Delivery, of_delivery)] {
            let Some(told) = self.stalled.get_mut(part as usize) else { continue };
            if let Some(metrics) = &shared.metrics {
                metrics.stalled(part).set(i64::from(since.is_some()));
            }
            match (*told, since) {
                (None, Some(since)) => part.tell_of_stall(&shared, now.saturating_duration_since(since)),
                (Some(since), None) => part.tell_of_end(&shared, now.saturating_duration_since(since)),
                _ => {}
            }
            *told = since;
        }
    }

    fn delivery_stalled_since(&mut self, shared: &Shared, now: Instant) -> Option<Instant> {
        let claims = shared.pulse.claims.load(Ordering::Relaxed);
        if claims != self.claims.0 || shared.is_closed() || !shared.has_due(&self.is_open) {
            self.claims = (claims, now);
        }
        Some(self.claims.1).filter(|since| now.saturating_duration_since(*since) > DUE_TIME_MAX)
    }
}

impl std::fmt::Debug for ProgressWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgressWatch").field("stalled", &self.stalled).finish_non_exhaustive()
    }
}

// === impl Part ===

impl Part {
    const ALL: [Self; 2] = [Self::Writer, Self::Delivery];

    const fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Delivery => "delivery",
        }
    }

    fn tell_of_stall(self, shared: &Shared, time: Duration) {
        let seconds = time.as_secs();
        match self {
            Self::Writer => {
                tracing::error!(
                    seconds,
                    "the queue's writer hangs in the disk: no mail is accepted meanwhile"
                );
            }
            Self::Delivery => tracing::error!(seconds, "mail is due, and no worker takes any"),
        }
        record(shared, What::Stalled { part: self.name().into(), seconds });
    }

    fn tell_of_end(self, shared: &Shared, time: Duration) {
        let (part, seconds) = (self.name(), time.as_secs());
        tracing::info!(part, seconds, "the queue gets on again");
        record(shared, What::Resumed { part: part.into(), seconds });
    }
}

fn record(shared: &Shared, what: What) {
    if let Some(events) = shared.events.get() {
        events.record(About::default(), what);
    }
}

/// The index is kept for a millisecond at a time.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
const LOCK_TRIES: usize = 20;
/// Far beyond the slowest flush of a disk that works.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);
/// Longer than an attempt at a mailbox may take, scan included, so that some worker has come back; what is on its way to other
/// servers keeps no worker.
const DUE_TIME_MAX: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::test_support::message;
    use super::super::{Metrics, Selection, Settings};
    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::intake::Body;

    const DUE: Duration = DUE_TIME_MAX.saturating_add(Duration::from_secs(1));

    fn open(disk: &SimulatedDisk) -> (Queue, prometheus::Registry) {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let settings = Settings { free_octets_min: 0, free_files_min: 0, ..Settings::default() };
        let (queue, _) =
            Queue::open(Arc::new(disk.clone()), Path::new("/queue"), settings, Some(metrics)).unwrap();
        (queue, registry)
    }

    async fn append(queue: &Queue) {
        let mail = message(queue.allocate_id(), 1, Body::Memory("body".into()));
        queue.append(mail).await.unwrap();
    }

    /// Which parts the metrics call stalled.
    fn stalled(registry: &prometheus::Registry) -> Vec<String> {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == "gatepost_queue_stalled").unwrap();
        let set = family.get_metric().iter().filter(|metric| metric.get_gauge().get_value() > 0.0);
        set.map(|metric| metric.get_label()[0].value().to_owned()).collect()
    }

    /// To a time that is wound on, a writer that is just at work seems to hang.
    fn delivery_stalled(registry: &prometheus::Registry) -> bool {
        stalled(registry).iter().any(|part| part == "delivery")
    }

    #[tokio::test]
    async fn a_writer_that_hangs_in_the_disk_is_seen_and_its_end_too() {
        let disk = SimulatedDisk::new();
        let (queue, registry) = open(&disk);
        let mut watch = ProgressWatch::new(queue.clone(), |_| true);
        let hung = disk.hang();
        let theirs = queue.clone();
        let appending = tokio::spawn(async move { append(&theirs).await });
        while queue.shared.pulse.busy_since().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watch.look(Instant::now());
        assert!(stalled(&registry).is_empty() && !queue.hangs(), "a flush may take a while");
        watch.look(Instant::now() + WRITE_TIME_MAX + Duration::from_secs(1));
        assert_eq!(stalled(&registry), ["writer"]);
        drop(hung);
        appending.await.unwrap();
        while queue.shared.pulse.busy_since().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watch.look(Instant::now());
        assert!(stalled(&registry).is_empty());
    }

    #[tokio::test]
    async fn due_mail_that_nobody_takes_is_seen_until_somebody_does() {
        let (queue, registry) = open(&SimulatedDisk::new());
        let mut watch = ProgressWatch::new(queue.clone(), |_| true);
        let start = Instant::now();
        watch.look(start + DUE);
        assert!(!delivery_stalled(&registry), "nothing is due");
        append(&queue).await;
        append(&queue).await;
        watch.look(start + DUE + DUE_TIME_MAX);
        assert!(!delivery_stalled(&registry), "not for long enough");
        watch.look(start + DUE + DUE);
        assert!(delivery_stalled(&registry));
        let claim = queue.claim().await.unwrap();
        watch.look(start + DUE + DUE);
        assert!(!delivery_stalled(&registry), "one was taken");
        watch.look(start + DUE + DUE + DUE);
        assert!(delivery_stalled(&registry), "and the other one waits");
        queue.hold(&Selection::default()).await.unwrap();
        let taken = tokio::time::timeout(Duration::from_millis(50), queue.claim()).await;
        assert!(taken.is_err(), "workers look, and find nothing");
        watch.look(start + DUE + DUE + DUE);
        assert!(!delivery_stalled(&registry), "that is what a hold is for");
        drop(claim);
    }

    #[tokio::test]
    async fn mail_that_workers_may_not_take_now_is_not_waited_for() {
        let (queue, registry) = open(&SimulatedDisk::new());
        append(&queue).await;
        let mut watch = ProgressWatch::new(queue.clone(), |lane| lane == Lane::Remote);
        watch.look(Instant::now() + DUE);
        assert!(!delivery_stalled(&registry));
        // Whoever never gives the index back keeps all workers from it.
        let index = queue.shared.index();
        watch.look(Instant::now() + DUE + DUE);
        assert!(delivery_stalled(&registry));
        drop(index);
    }
}
