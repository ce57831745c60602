//! The handle that the rest of the house scans with.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::examine::stamp_of;
use super::pool::{JobKey, Pool, Submitted, ThreadCount, timed_out};
use super::{Engine, Metrics, Overruled, ScanReport, SealKey, Stamp, UnscannablePolicy, Unscanned, Verdict};
use crate::intake::Body;
use crate::intake::body::INLINE_OCTETS_MAX;
use crate::memory::MemoryBudget;

/// How urgent a scan is. High always goes before low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits: an SMTP session before its 250, a reader.
    High,
    /// Nobody waits: queue and background.
    Low,
}

/// The room's settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Scan threads. `None`, or a value outside (n+1)/2 ..= 5n+1 for n processors, means 2n+1.
    pub threads: Option<usize>,
    /// What passes although it cannot be looked into.
    pub unscannable: UnscannablePolicy,
    /// What running scans may hold together. A scan that runs alone gets what it needs, so that it ends at all.
    pub memory: MemoryBudget,
    /// Findings that do not count.
    pub overruled: Overruled,
    /// What stamps are sealed with.
    pub key: SealKey,
}

/// Scans messages on threads of its own. Cheap to clone; the threads end with the last clone.
///
/// A running scan holds the message (up to the message limit) and at most [`super::plan::ITEM_OCTETS_MAX`] of decoded octets.
#[derive(Clone)]
pub struct Scanner {
    pub(super) engine: Arc<dyn Engine>,
    pool: Arc<Pool>,
    overruled: Overruled,
    key: SealKey,
    pub(super) metrics: Metrics,
}

// === impl Scanner ===

impl Scanner {
    /// Starts the scan threads.
    ///
    /// # Errors
    /// The system's, if it does not grant the threads.
    pub fn start(engine: Arc<dyn Engine>, settings: &Settings, metrics: Metrics) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = thread_count(settings.threads, processors);
        if let Some(wanted) = settings.threads.filter(|wanted| *wanted != threads.regular) {
            let (threads, most) = (threads.regular, threads.most);
            tracing::warn!(wanted, most, threads, "so many scan threads make no sense on this machine");
        }
        let overruled = settings.overruled.clone();
        let pool = Pool::start(Arc::clone(&engine), settings, threads, metrics.clone())?;
        Ok(Self { engine, pool: Arc::new(pool), overruled, key: settings.key.clone(), metrics })
    }

    /// Scans a message. Never fails: what went wrong is in the verdict. Returns `TimedOut` after `deadline` (an hour at most)
    /// whatever the engine does, and at once if too many messages wait already. The same content under the same stamp is
    /// scanned once; a finding that an operator has overruled does not count, and others do. Who joins a scan that ends for want
    /// of time has another one in what is left of his own. Cancel-safe: a scan that nobody waits for is not begun.
    pub async fn scan(&self, body: Body, priority: Priority, deadline: Duration) -> ScanReport {
        self.scan_forgiving(body, &[], priority, deadline).await
    }

    /// The same, as if these findings had been overruled in this content. Nobody else hears of this verdict: who asks for the
    /// content meanwhile has it scanned for himself.
    pub async fn scan_forgiving(
        &self,
        body: Body,
        forgiven: &[String],
        priority: Priority,
        deadline: Duration,
    ) -> ScanReport {
        let content = Box::pin(content_hash(&body)).await;
        let deadline = deadline.min(DEADLINE_MAX);
        let now = Instant::now();
        let due = now.checked_add(deadline).unwrap_or(now);
        let mut patience = deadline;
        loop {
            let key = JobKey { content, stamp: self.current_stamp(), forgiven: forgiven.to_vec() };
            let submitted = self.pool.submit(key.clone(), body.clone(), priority, due);
            let has_joined = matches!(submitted, Submitted::Joined(_));
            let report = match submitted {
                Submitted::Known(report) => return self.sealed(&content, report),
                Submitted::TurnedAway => timed_out(key.stamp.clone()),
                Submitted::Begun(report) | Submitted::Joined(report) => {
                    self.wait(&key, report, patience).await
                }
            };
            patience = due.saturating_duration_since(Instant::now());
            // What the engine was doing then had the time of those who came before.
            if has_joined && report.verdict == Verdict::TimedOut && !patience.is_zero() {
                continue;
            }
            // A scan that had begun before has not looked any further. There are as many rounds as rulings at most.
            if self.overruled.overtakes(&content, &report.verdict) {
                continue;
            }
            if report.verdict == Verdict::TimedOut {
                self.metrics.timeouts.inc();
            }
            return self.sealed(&content, report);
        }
    }

    /// The report, its stamp sealed for what it says of this content.
    fn sealed(&self, content: &[u8; 32], report: ScanReport) -> ScanReport {
        let threat = match &report.verdict {
            Verdict::Clean => None,
            Verdict::Infected { threat } => Some(threat.as_str()),
            // Vouches for nothing.
            Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed => return report,
        };
        let stamp = self.key.seal(content, threat, &report.stamp);
        ScanReport { stamp, ..report }
    }

    async fn wait(
        &self,
        key: &JobKey,
        mut report: watch::Receiver<Option<ScanReport>>,
        patience: Duration,
    ) -> ScanReport {
        let waited = tokio::time::timeout(patience, report.wait_for(Option::is_some)).await;
        let known = waited.ok().and_then(|told| told.ok().and_then(|known| known.clone()));
        if let Some(known) = known {
            return known;
        }
        drop(report);
        self.pool.waiter_left(key);
        timed_out(key.stamp.clone())
    }

    /// Counts a mail that is dealt with although no scan has vouched for it.
    pub fn count_unscanned(&self, outcome: Unscanned) {
        self.metrics.count_unscanned(outcome);
    }

    /// What a message scanned now would be stamped with.
    #[must_use]
    pub fn current_stamp(&self) -> Stamp {
        stamp_of(&*self.engine)
    }

    /// Forgets every verdict: the engines may know more than their versions tell.
    pub fn forget(&self) {
        self.pool.forget();
    }

    /// Whether what a mark says of a body still holds: its stamp vouches for it, and no operator has overruled it since.
    pub async fn upholds(&self, body: &Body, threat: Option<&str>, stamp: &Stamp) -> bool {
        if *stamp != self.current_stamp() {
            return false;
        }
        let content = Box::pin(content_hash(body)).await;
        let is_overruled = threat.is_some_and(|threat| self.overruled.contains(&content, threat));
        !is_overruled && self.vouches(&content, threat, stamp)
    }

    /// Whether a message with this stamp need not be scanned again: it is the current one, and ours, for this content (BLAKE3
    /// of the body) and what was found in it.
    #[must_use]
    pub fn vouches(&self, content: &[u8; 32], threat: Option<&str>, stamp: &Stamp) -> bool {
        if *stamp != self.current_stamp() {
            return false;
        }
        let is_ours = self.has_sealed(content, threat, stamp);
        if !is_ours {
            self.metrics.stamps_refused.inc();
        }
        is_ours
    }

    /// Whether a stamp of whichever signatures is ours, for this content and what was found in it.
    #[must_use]
    pub fn has_sealed(&self, content: &[u8; 32], threat: Option<&str>, stamp: &Stamp) -> bool {
        self.key.holds(content, threat, stamp)
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("stamp", &self.current_stamp()).finish_non_exhaustive()
    }
}

/// The classic bounds of a scan pool: more threads than processors, since an engine may wait for a file or another process.
fn thread_count(wanted: Option<usize>, processors: usize) -> ThreadCount {
    let least = processors.saturating_add(1) / 2;
    let most = processors.saturating_mul(5).saturating_add(1);
    let default = processors.saturating_mul(2).saturating_add(1);
    let regular = wanted.filter(|threads| (least..=most).contains(threads)).unwrap_or(default);
    ThreadCount { regular, most }
}

/// A body from the queue that lies in memory is one slice, hashed in less time than a hand-over to another thread takes. One from
/// a mailbox may be as large as a message gets: between slices others have their turn.
async fn content_hash(body: &Body) -> [u8; 32] {
    let octets = match body {
        Body::Memory(octets) => octets,
        Body::File(file) => return *file.hash(),
    };
    let mut hasher = blake3::Hasher::new();
    let mut slices = octets.chunks(INLINE_OCTETS_MAX);
    if let Some(first) = slices.next() {
        hasher.update(first);
    }
    for slice in slices {
        tokio::task::yield_now().await;
        hasher.update(slice);
    }
    *hasher.finalize().as_bytes()
}

/// Readers wait for three minutes by default; whoever asks for more than this means "as long as it takes".
const DEADLINE_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
