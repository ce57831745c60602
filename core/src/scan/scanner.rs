//! The handle that the rest of the house scans with.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::examine::stamp_of;
use super::pool::{JobKey, Pool, Submitted, ThreadCount, timed_out};
use super::{Engine, Metrics, Overruled, ScanReport, Stamp, UnscannablePolicy, Unscanned, Verdict};
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
}

/// Scans messages on threads of its own. Cheap to clone; the threads end with the last clone.
///
/// A running scan holds the message (up to the message limit) and at most [`super::plan::ITEM_OCTETS_MAX`] of decoded octets.
#[derive(Clone)]
pub struct Scanner {
    pub(super) engine: Arc<dyn Engine>,
    pool: Arc<Pool>,
    overruled: Overruled,
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
        let (unscannable, memory) = (settings.unscannable, settings.memory.clone());
        let overruled = settings.overruled.clone();
        let pool = Pool::start(Arc::clone(&engine), unscannable, threads, memory, metrics.clone())?;
        Ok(Self { engine, pool: Arc::new(pool), overruled, metrics })
    }

    /// Scans a message. Never fails: what went wrong is in the verdict. Returns `TimedOut` after `deadline` (an hour at most)
    /// whatever the engine does, and at once if too many messages wait already. The same content under the same stamp is
    /// scanned once; what an operator has overruled counts as clean. Cancel-safe: a scan that nobody waits for is not begun.
    pub async fn scan(&self, body: Body, priority: Priority, deadline: Duration) -> ScanReport {
        let key = JobKey { content: content_hash(&body).await, stamp: self.current_stamp() };
        let deadline = deadline.min(DEADLINE_MAX);
        let now = Instant::now();
        let due = now.checked_add(deadline).unwrap_or(now);
        let report = match self.pool.submit(key.clone(), body, priority, due) {
            Submitted::Known(report) => return self.overruled.apply(&key.content, report),
            Submitted::TurnedAway => timed_out(key.stamp.clone()),
            Submitted::Pending(report) => self.wait(&key, report, deadline).await,
        };
        if report.verdict == Verdict::TimedOut {
            self.metrics.timeouts.inc();
        }
        self.overruled.apply(&key.content, report)
    }

    async fn wait(
        &self,
        key: &JobKey,
        mut report: watch::Receiver<Option<ScanReport>>,
        deadline: Duration,
    ) -> ScanReport {
        let waited = tokio::time::timeout(deadline, report.wait_for(Option::is_some)).await;
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

    /// Whether a message with this stamp need not be scanned again.
    #[must_use]
    pub fn is_current(&self, stamp: &Stamp) -> bool {
        *stamp == self.current_stamp()
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
