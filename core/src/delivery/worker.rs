//! The workers: each takes one due mail after the other to its end.

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use super::local::Plan;
use super::retry::Setback;
use super::{Disposition, Metrics, trace};
use crate::directory::Directory;
use crate::events::Log;
use crate::queue::{Claim, NewMessage, Outcome, Queue};
use crate::scan::{Priority, Scanner, Stamp, Verdict};
use crate::store::{Delivery, MailStore, StoreError};

/// How many workers, and how patient.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mails in delivery at the same time.
    pub workers: NonZeroUsize,
    /// How long a mail may be scanned here before it is put off.
    pub scan_deadline: Duration,
}

/// The rooms that delivery stands between.
#[derive(Clone)]
pub struct Rooms {
    /// Where the mail waits.
    pub queue: Queue,
    /// Vouches for mail that comes without a current stamp.
    pub scanner: Scanner,
    /// Who lives here.
    pub directory: Directory,
    /// Where it goes.
    pub store: Arc<dyn MailStore>,
    /// Told what becomes of each recipient.
    pub events: Log,
}

/// The running workers. Dropped without `stop`, they go on until the queue is closed.
#[derive(Debug)]
pub struct Workers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

struct Worker {
    rooms: Rooms,
    scan_deadline: Duration,
    metrics: Option<Metrics>,
    stop: watch::Receiver<bool>,
}

/// What the scan said about a mail as a whole.
enum Clearance {
    Clean(Stamp),
    Infected { threat: String },
    Unknown,
}

/// What one attempt came to for one recipient.
type Attempt = (usize, Result<Disposition, Setback>);

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { workers: WORKERS_DEFAULT, scan_deadline: SCAN_DEADLINE_DEFAULT }
    }
}

// === impl Workers ===

impl Workers {
    /// Sweeps up what a crash kept the store from forgetting, then starts the workers. To be called before new mail
    /// comes in.
    ///
    /// # Errors
    /// When the store is damaged or cannot be used; a full disk or a busy database is no reason not to start.
    pub async fn start(
        rooms: Rooms,
        settings: &Settings,
        metrics: Option<Metrics>,
    ) -> Result<Self, StoreError> {
        let held = rooms.queue.ids().into_iter().collect();
        match rooms.store.forget_all_but(held).await {
            Err(error @ (StoreError::Full | StoreError::Busy)) => {
                // Mail that is already here must be readable on a full disk; the sweep can wait for the next start.
                warn!(%error, "old dispositions stay remembered until the next start");
            }
            swept => swept?,
        }
        let (stop, stopped) = watch::channel(false);
        let tasks = (0..settings.workers.get())
            .map(|_| {
                let worker = Worker {
                    rooms: rooms.clone(),
                    scan_deadline: settings.scan_deadline,
                    metrics: metrics.clone(),
                    stop: stopped.clone(),
                };
                tokio::spawn(worker.run())
            })
            .collect();
        Ok(Self { stop, tasks })
    }

    /// Lets every worker finish the mail it holds, then returns. Queue and store stay open.
    pub async fn stop(self) {
        // An error means that no worker is left.
        let _gone = self.stop.send(true);
        for task in self.tasks {
            if let Err(failed) = task.await {
                error!(error = %failed, "a delivery worker had died");
            }
        }
    }
}

// === impl Worker ===

impl Worker {
    async fn run(mut self) {
        loop {
            let claim = tokio::select! {
                biased;
                // An error means that whoever could stop us has gone: the queue's end is ours then.
                Ok(_) = self.stop.wait_for(|stop| *stop) => return,
                claim = self.rooms.queue.claim() => claim,
            };
            let Some(claim) = claim else { return };
            let id = claim.id;
            // A panic gives the claim back to the queue: the mail is due again at once.
            let handled = caught(self.handle(claim)).await.unwrap_or_else(|_| {
                error!(queue_id = %id, "a delivery worker panicked after its attempt; it goes on after a pause");
                false
            });
            if !handled {
                self.pause().await;
            }
        }
    }

    /// One attempt, from the claim to its durable outcome; answers whether the queue could keep that.
    async fn handle(&self, claim: Claim) -> bool {
        let (id, message) = (claim.id, Arc::clone(&claim.message));
        let session = message.submission.origin.session.as_str();
        let attempts = claim.attempts.saturating_add(1);
        let attempted = caught(self.attempt(&claim)).await.unwrap_or_else(|_| {
            error!(queue_id = %id, session, "a delivery worker panicked over this mail; the mail is put off");
            all(&claim.pending, Setback::Panicked)
        });
        let outcomes = attempted.iter().map(|(index, result)| (*index, outcome(result, attempts))).collect();
        if let Err(error) = self.rooms.queue.settle(claim, outcomes).await {
            error!(queue_id = %id, session, %error, "the outcome of a delivery could not be made durable");
            if let Some(metrics) = &self.metrics {
                metrics.settle_failures.inc();
            }
            return false;
        }
        self.report(&message, &attempted);
        let done = attempted.iter().filter(|(_, result)| result.is_ok());
        let forget: Vec<u32> = done.filter_map(|(index, _)| u32::try_from(*index).ok()).collect();
        if !forget.is_empty()
            && let Err(error) = self.rooms.store.forget(id, forget).await
        {
            debug!(queue_id = %id, session, %error, "dispositions stay remembered until the next start");
        }
        true
    }

    async fn attempt(&self, claim: &Claim) -> Vec<Attempt> {
        match self.clear(&claim.message).await {
            Clearance::Clean(stamp) => self.deliver(claim, stamp).await,
            Clearance::Infected { threat } => self.delete(claim, &threat).await,
            Clearance::Unknown => all(&claim.pending, Setback::Scan),
        }
    }

    /// The session's scan counts while its stamp is current; otherwise the mail is scanned here.
    async fn clear(&self, message: &NewMessage) -> Clearance {
        if let Some(stamp) = &message.stamp
            && self.rooms.scanner.is_current(stamp)
        {
            return Clearance::Clean(stamp.clone());
        }
        let report = self.rooms.scanner.scan(message.body.clone(), Priority::Low, self.scan_deadline).await;
        match report.verdict {
            Verdict::Clean => Clearance::Clean(report.stamp),
            Verdict::Infected { threat } => Clearance::Infected { threat },
            verdict @ (Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed) => {
                let session = message.submission.origin.session.as_str();
                warn!(queue_id = %message.id, session, %verdict, "not delivered: no scan vouches for it");
                Clearance::Unknown
            }
        }
    }

    async fn deliver(&self, claim: &Claim, stamp: Stamp) -> Vec<Attempt> {
        let message = &claim.message;
        let plan = Plan::new(message, &claim.pending, |path| self.rooms.directory.resolve(path));
        let mut attempted = all(&plan.gone, Setback::RecipientGone);
        if plan.copies.is_empty() {
            return attempted;
        }
        let delivery = Delivery {
            queue_id: claim.id,
            body: message.body.clone(),
            stamp,
            received_at_ms: message.submission.origin.received_at_ms,
            copies: plan.copies,
        };
        match self.rooms.store.deliver(delivery).await {
            Ok(dispositions) => attempted.extend(done(dispositions)),
            Err(error) => attempted.extend(all(&plan.served, Setback::Store(error))),
        }
        attempted
    }

    async fn delete(&self, claim: &Claim, threat: &str) -> Vec<Attempt> {
        let session = claim.message.submission.origin.session.as_str();
        warn!(queue_id = %claim.id, session, threat, "infected mail found in the queue");
        let deleted = Disposition::DeletedByPolicy { threat: threat.to_owned() };
        let dispositions = claim
            .pending
            .iter()
            .filter_map(|index| u32::try_from(*index).ok())
            .map(|recipient| (recipient, deleted.clone()))
            .collect();
        match self.rooms.store.record(claim.id, dispositions).await {
            Ok(dispositions) => done(dispositions).collect(),
            Err(error) => all(&claim.pending, Setback::Store(error)),
        }
    }

    fn report(&self, message: &NewMessage, attempted: &[Attempt]) {
        let (queue_id, session) = (message.id, message.submission.origin.session.as_str());
        for (recipient, result) in attempted {
            trace::record(&self.rooms.events, message, *recipient, result);
            match result {
                Ok(disposition) => debug!(%queue_id, session, recipient, ?disposition, "recipient done"),
                Err(Setback::RecipientGone) => {
                    let address =
                        message.submission.envelope.recipients.get(*recipient).map(|known| &known.path);
                    error!(
                        %queue_id, session, recipient, ?address,
                        "accepted for a mailbox that is gone; kept in the queue, since nobody could be told"
                    );
                }
                Err(setback) => warn!(%queue_id, session, recipient, %setback, "recipient put off"),
            }
            if let Some(metrics) = &self.metrics {
                match result {
                    Ok(disposition) => metrics.count_done(disposition),
                    Err(setback) => metrics.count_retry(*setback),
                }
            }
        }
        let finished = attempted.iter().filter(|(_, result)| result.is_ok()).count();
        if finished > 0 {
            let waited_ms = now_ms().saturating_sub(message.submission.origin.received_at_ms);
            info!(%queue_id, session, recipients = finished, waited_ms, "recipients have their disposition");
            if let Some(metrics) = &self.metrics {
                metrics.seconds.observe(Duration::from_millis(waited_ms).as_secs_f64());
            }
        }
    }

    /// The mail is due again at once, and the disk that could not take its record needs time, not a busy loop.
    async fn pause(&mut self) {
        let stopped = self.stop.wait_for(|stop| *stop);
        if tokio::time::timeout(SETTLE_PAUSE, stopped).await.is_ok() {
            debug!("the pause after a failed flush ends early");
        }
    }
}

/// Runs a future to its end, or to its panic: a bug that one mail meets must not cost the others their worker. Nothing
/// that a worker holds is changed halfway: the rooms guard their own state.
async fn caught<T>(future: impl Future<Output = T>) -> thread::Result<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
    })
    .await
}

fn outcome(result: &Result<Disposition, Setback>, attempts: u32) -> Outcome {
    match result {
        Ok(disposition) => Outcome::Done(disposition.clone()),
        Err(setback) => {
            let delay_ms = u64::try_from(setback.delay(attempts).as_millis()).unwrap_or(u64::MAX);
            let not_before_ms = now_ms().saturating_add(delay_ms);
            Outcome::Retry { reason: setback.to_string(), not_before_ms }
        }
    }
}

fn all(recipients: &[usize], setback: Setback) -> Vec<Attempt> {
    recipients.iter().map(|index| (*index, Err(setback))).collect()
}

fn done(dispositions: Vec<(u32, Disposition)>) -> impl Iterator<Item = Attempt> {
    dispositions
        .into_iter()
        .filter_map(|(recipient, disposition)| Some((usize::try_from(recipient).ok()?, Ok(disposition))))
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// A delivery waits for two flushes, the store's and the queue's; these many share them. Each holds at most 256 KiB of
/// body, larger ones being files.
const WORKERS_DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// Longer than the session's budget: nobody waits here, and a large archive may need it.
const SCAN_DEADLINE_DEFAULT: Duration = Duration::from_secs(120);

const SETTLE_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
