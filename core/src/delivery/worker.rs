//! The workers: each takes one due mail after the other to its end.

mod suspect;

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use super::clearance::{Clearance, about};
use super::local::Plan;
use super::lost::Mourner;
use super::remote::{Admission, Remote};
use super::retry::Setback;
use super::rooms::{Rooms, is_open};
use super::successor::Successor;
use super::watchdog::WatchedQueue;
use super::{Anew, Attempt, Closing, Disposition, Metrics, Policy, Suspects, delivered_to};
use crate::events::What;
use crate::queue::{Claim, GIVEN_UP_REASON, NewMessage, ProgressWatch, QueueId};
use crate::scan::{FailMode, ItemName, Stamp, Unscanned, Verdict};
use crate::store::{Delivery, StoreError};

/// How many workers, and how patient.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mails in delivery at the same time.
    pub workers: NonZeroUsize,
    /// How long a mail may be scanned here before it is put off.
    pub scan_deadline: Duration,
}

/// The running workers. Dropped without `stop`, they go on until the queue is closed.
pub struct Workers {
    closing: Closing,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    remote: Option<Remote>,
    watched: WatchedQueue,
}

/// What an attempt has come to as far as this machine goes.
#[derive(Default)]
struct Progress {
    attempted: Vec<Attempt>,
    /// Indices of those who live elsewhere.
    foreign: Vec<usize>,
    /// What goes to recipients in place of this mail.
    successors: Vec<Successor>,
    /// What goes on as a mail of its own.
    anew: Option<Anew>,
    /// The item in which something was found.
    culprit: Option<ItemName>,
}

/// Why the workers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The mailboxes cannot be used.
    #[error("the mailboxes: {0}")]
    Store(#[from] StoreError),
    /// The quarantine cannot be used.
    #[error("the quarantine: {0}")]
    Quarantine(io::Error),
    /// The operating system refuses a thread or randomness.
    #[error("the threads of delivery: {0}")]
    System(#[from] io::Error),
}

struct Worker {
    rooms: Rooms,
    scan_deadline: Duration,
    closing: Closing,
    stop: watch::Receiver<bool>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { workers: WORKERS_DEFAULT, scan_deadline: SCAN_DEADLINE_DEFAULT }
    }
}

// === impl Workers ===

impl Workers {
    /// Sweeps up what a crash kept the store and the quarantine from forgetting, then starts the workers. To be called before new mail
    /// comes in.
    ///
    /// # Errors
    /// When the store or the quarantine is damaged or cannot be used, or the operating system refuses a thread; a full disk or a busy
    /// database is no reason not to start.
    pub async fn start(
        rooms: Rooms,
        settings: &Settings,
        policy: Policy,
        metrics: Option<Metrics>,
    ) -> Result<Self, StartError> {
        let held: HashSet<QueueId> = rooms.queue.ids().into_iter().collect();
        rooms.quarantine.reconcile(held.clone()).await.map_err(StartError::Quarantine)?;
        match rooms.store.forget_all_but(held).await {
            Err(error @ (StoreError::Full | StoreError::Busy)) => {
                // Mail that is already here must be readable on a full disk; the sweep can wait for the next start.
                warn!(%error, "old dispositions stay remembered until the next start");
            }
            swept => swept?,
        }
        let closing = Closing::start(rooms.clone(), policy, settings.scan_deadline, metrics)?;
        rooms.sort_queue();
        let (stop, stopped) = watch::channel(false);
        let mourner = Mourner::start(closing.clone(), stopped.clone())?;
        let mut tasks: Vec<_> = (0..settings.workers.get())
            .map(|_| {
                let worker = Worker {
                    rooms: rooms.clone(),
                    scan_deadline: settings.scan_deadline,
                    closing: closing.clone(),
                    stop: stopped.clone(),
                };
                tokio::spawn(worker.run())
            })
            .collect();
        tasks.push(tokio::spawn(mourner.run()));
        let (queue, remote) = (rooms.queue.clone(), rooms.remote.clone());
        let watch = ProgressWatch::new(queue, move |lane| is_open(remote.as_ref(), lane));
        let watched = rooms.watchdog.watch_queue(watch);
        Ok(Self { closing, stop, tasks, remote: rooms.remote, watched })
    }

    /// Takes infected mail that no queue has taken.
    #[must_use]
    pub fn suspects(&self) -> Suspects {
        Suspects::new(self.closing.clone())
    }

    /// Takes a new policy on; it holds for attempts that end from now on.
    pub fn reload(&self, policy: Policy) {
        self.closing.reload(policy);
    }

    /// Lets every worker finish the mail it holds, and those on their way to other servers arrive if they do so soon, then
    /// returns. Queue and store stay open.
    pub async fn stop(self) {
        drop(self.watched);
        // An error means that no worker is left.
        let _gone = self.stop.send(true);
        for task in self.tasks {
            if let Err(failed) = task.await {
                error!(error = %failed, "a delivery worker had died");
            }
        }
        if let Some(remote) = self.remote {
            remote.stop().await;
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
                claim = self.rooms.queue.claim_where(|lane| self.rooms.is_open(lane)) => claim,
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

    /// One attempt, from the claim to its durable outcome, or to the moment when it goes on elsewhere; answers whether the
    /// queue could keep that.
    async fn handle(&self, claim: Claim) -> bool {
        let id = claim.id;
        let progress = caught(self.attempt(&claim)).await.unwrap_or_else(|_| {
            let session = claim.message.submission.origin.session.as_str();
            error!(queue_id = %id, session, "a delivery worker panicked over this mail; the mail is put off");
            Attempt::put_off(&claim.pending, &Setback::Panicked).into()
        });
        let Progress { mut attempted, foreign, successors, anew, culprit } = progress;
        if foreign.is_empty() {
            return self.closing.close_with(claim, attempted, successors, anew, culprit).await;
        }
        match &self.rooms.remote {
            Some(remote) => self.send_on(remote, claim, attempted, &foreign, anew).await,
            None => {
                attempted.extend(Attempt::given_up(&foreign, UNROUTABLE));
                self.closing.close(claim, attempted, anew).await
            }
        }
    }

    /// Hands a mail over to remote delivery, which closes it. Where that has no room, what was done here is closed now, and
    /// the rest comes again when it has.
    async fn send_on(
        &self,
        remote: &Remote,
        claim: Claim,
        mut attempted: Vec<Attempt>,
        foreign: &[usize],
        anew: Option<Anew>,
    ) -> bool {
        match remote.admit(&claim.message, foreign) {
            Admission::Admitted(mut admitted) => {
                attempted.append(&mut admitted.attempted);
                admitted.attempted = attempted;
                let (message, closing) = (Arc::clone(&claim.message), self.closing.clone());
                let close = async move |attempted| closing.close(claim, attempted, anew).await;
                let queue = self.rooms.queue.clone();
                remote.spawn(message, admitted, close, move || queue.look_again());
                true
            }
            Admission::NotYet { pause, reason } if attempted.is_empty() => {
                self.rooms.queue.postpone(claim, pause, reason.as_deref());
                true
            }
            Admission::NotYet { pause, reason } => {
                let reason = reason.unwrap_or_else(|| CROWDED.to_owned());
                attempted.extend(Attempt::put_off(foreign, &Setback::KeptBack { reason, pause }));
                self.closing.close(claim, attempted, anew).await
            }
        }
    }

    async fn attempt(&self, claim: &Claim) -> Progress {
        let limit = self.scan_deadline.saturating_add(STORE_TIME_MAX);
        let _watched = self.rooms.watchdog.watch(&claim.message, "delivery into mailboxes", limit);
        if claim.given_up {
            let bounced = Disposition::Bounced { reason: GIVEN_UP_REASON.to_owned() };
            return self.end(claim, &claim.pending, &bounced).await.into();
        }
        match Clearance::of(&claim.message, &self.rooms, self.scan_deadline).await {
            Clearance::Clean(stamp) => self.deliver(claim, Ok(stamp)).await,
            Clearance::Suspect { is_infected, evidence } => self.put_away(claim, is_infected, evidence).await,
            Clearance::Unknown(verdict) if self.closing.fails_open(&claim.message) => {
                self.deliver(claim, Err(verdict)).await
            }
            Clearance::Unknown(_) => Attempt::put_off(&claim.pending, &Setback::Scan).into(),
        }
    }

    /// With the stamp of its scan, or with what the scan said instead of one: then it goes into mailboxes alone, where the gate
    /// has it scanned before anybody reads it, and whoever lives elsewhere waits.
    async fn deliver(&self, claim: &Claim, vouched: Result<Stamp, Verdict>) -> Progress {
        let message = &claim.message;
        let mail_leaves = self.rooms.remote.is_some();
        let mut plan = Plan::new(message, &claim.pending, mail_leaves, |path| self.rooms.resolve(path));
        let mut attempted = self.take_out_ended(claim, &mut plan.foreign).await;
        attempted.extend(self.take_out_ended(claim, &mut plan.late).await);
        if vouched.is_err() {
            let elsewhere = [mem::take(&mut plan.foreign), mem::take(&mut plan.late)].concat();
            attempted.extend(Attempt::put_off(&elsewhere, &Setback::Scan));
        }
        let anew = self.go_on(message, mem::take(&mut plan.late), &mut attempted).await;
        attempted.extend(Attempt::put_off(&plan.stuck, &Setback::NextHop { reason: STUCK.to_owned() }));
        attempted.extend(Attempt::given_up(&plan.gone, GONE));
        attempted.extend(Attempt::delivered(&plan.expanded));
        if plan.can_loop(message) {
            let been_in = delivered_to(&self.closing.beginning(message).await);
            attempted.extend(Attempt::given_up(&plan.take_out_loops(message, &been_in), LOOPED));
        }
        if plan.copies.is_empty() {
            return Progress { attempted, foreign: plan.foreign, anew, ..Progress::default() };
        }
        let databases = self.rooms.databases_of(&plan.copies);
        let delivery = Delivery {
            queue_id: claim.id,
            body: message.body.clone(),
            stamp: vouched.as_ref().ok().cloned(),
            received_at_ms: message.submission.origin.received_at_ms,
            copies: plan.copies,
        };
        match self.rooms.store.deliver(delivery).await {
            Ok(dispositions) => {
                let left_out =
                    |index: &usize| dispositions.iter().all(|(ended, _)| *ended as usize != *index);
                plan.served.retain(left_out);
                attempted.extend(Attempt::put_off(&plan.served, &Setback::Store(StoreError::Failed)));
                attempted.extend(Attempt::ended(dispositions));
                for proactive in databases.iter().filter_map(|name| self.rooms.proactive.get(*name)) {
                    proactive.offer(&self.rooms.scanner, &message.body, vouched.as_ref().ok());
                }
                if let Err(verdict) = vouched {
                    self.tell_unscanned(message, &verdict);
                }
            }
            Err(error) => attempted.extend(Attempt::put_off(&plan.served, &error.into())),
        }
        Progress { attempted, foreign: plan.foreign, anew, ..Progress::default() }
    }

    /// For those whose addresses have come to lead elsewhere, the mail begins anew; what it was is done with them.
    async fn go_on(
        &self,
        message: &NewMessage,
        late: Vec<usize>,
        attempted: &mut Vec<Attempt>,
    ) -> Option<Anew> {
        if late.is_empty() {
            return None;
        }
        match Anew::make(&self.rooms, message, late.clone()).await {
            Ok(anew) => {
                attempted.extend(Attempt::delivered(&late));
                Some(anew)
            }
            Err(setback) => {
                attempted.extend(Attempt::put_off(&late, &setback));
                None
            }
        }
    }

    fn tell_unscanned(&self, message: &NewMessage, verdict: &Verdict) {
        let (verdict, fail) = (verdict.to_string(), FailMode::Open.name().into());
        let what = What::Unscanned { verdict, fail, details: message.into() };
        self.rooms.events.record(about(message), what);
        self.rooms.scanner.count_unscanned(Unscanned::Delivered);
    }

    /// Those who live elsewhere never come by the store, which may know all the same that an earlier scan kept the mail from
    /// them, where a crash kept the queue from knowing.
    async fn take_out_ended(&self, claim: &Claim, foreign: &mut Vec<usize>) -> Vec<Attempt> {
        if foreign.is_empty() {
            return Vec::new();
        }
        let asked = foreign.iter().filter_map(|index| u32::try_from(*index).ok()).collect();
        match self.rooms.store.remembered(claim.id, asked).await {
            Ok(dispositions) => {
                let ended: Vec<Attempt> = Attempt::ended(dispositions).collect();
                foreign.retain(|index| ended.iter().all(|attempt| attempt.recipient != *index));
                ended
            }
            Err(error) => Attempt::put_off(&std::mem::take(foreign), &Setback::Store(error)),
        }
    }

    /// Ends these recipients the same way, but for what the store knows to have ended before.
    async fn end(&self, claim: &Claim, recipients: &[usize], disposition: &Disposition) -> Vec<Attempt> {
        let dispositions = recipients
            .iter()
            .filter_map(|index| u32::try_from(*index).ok())
            .map(|recipient| (recipient, disposition.clone()))
            .collect();
        match self.rooms.store.record(claim.id, dispositions).await {
            Ok(dispositions) => Attempt::ended(dispositions).collect(),
            Err(error) => Attempt::put_off(recipients, &Setback::Store(error)),
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

// === impl Progress ===

impl From<Vec<Attempt>> for Progress {
    fn from(attempted: Vec<Attempt>) -> Self {
        Self { attempted, ..Self::default() }
    }
}

/// Runs a future to its end, or to its panic: a bug that one mail meets must not cost the others their worker. Nothing
/// that a worker holds is changed halfway: the rooms guard their own state.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> thread::Result<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
    })
    .await
}

/// A delivery waits for two flushes, the store's and the queue's; these many share them. Each holds at most 256 KiB of
/// body, larger ones being files.
const WORKERS_DEFAULT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// Longer than the session's budget: nobody waits here, and a large archive may need it.
const SCAN_DEADLINE_DEFAULT: Duration = Duration::from_secs(120);

/// Far beyond any flush of a disk that works: who waits longer is told of.
const STORE_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// The address was local when the mail was accepted and is not, or nobody's, now.
const GONE: &str = "5.1.1 the mailbox that this was accepted for is gone";

/// RFC 3463: unable to route. Accepted for a mailbox here or while mail left this server, neither of which holds now.
const UNROUTABLE: &str = "5.4.4 the address is not here, and no mail leaves this server";

/// RFC 3463: unable to route. The alias led to a mailbox here when the mail was accepted: somebody is about to change where
/// mail goes, and may not be done with it.
const STUCK: &str = "4.4.4 the address leads to other servers by now, and no mail leaves this one";

/// RFC 3463: routing loop detected.
const LOOPED: &str = "5.4.6 the mail has been at this address already";

const SETTLE_PAUSE: Duration = Duration::from_secs(5);

/// RFC 3463: mail system congestion.
const CROWDED: &str = "4.4.5 waits for other mail to other servers";

#[cfg(test)]
mod tests;
