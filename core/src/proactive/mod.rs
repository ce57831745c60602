//! The proactive scan: what went into mailboxes without a stamp of the current signatures is scanned at once, at low priority,
//! so that its readers need not wait.
//!
//! ```text
//! delivery -> offer -> at most 30 wait, first in, first out -> scanner, low priority -> mark, findings
//!                  \-> overflow: counted, and left to whoever wants to read it, and to the background scan
//! ```
//! A reader does not wait for its turn: the gate has the same content scanned at high priority, which takes a scan that waits
//! along, and what has its mark by then is passed over here. Nothing of this survives the process, nor need it: without a
//! mark nobody gets a message.

mod metrics;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub use metrics::Metrics;

use crate::events::Log;
use crate::findings::{Findings, FoundBy};
use crate::intake::Body;
use crate::memory::{Drawn, MemoryBudget};
use crate::remedy::Remedy;
use crate::scan::{Priority, Scanner, Stamp, Verdict};
use crate::store::{BodyMark, ContentHash, ScanMark, SqliteStore, StoreError};

/// Where delivery leaves what is to be scanned. Clones are the same scan.
#[derive(Debug, Clone)]
pub struct Proactive {
    waiting: mpsc::Sender<Offered>,
    enabled: Arc<watch::Sender<bool>>,
    metrics: Option<Metrics>,
}

/// The running scan of one database.
#[derive(Debug)]
pub struct Running {
    proactive: Proactive,
    task: JoinHandle<()>,
}

/// What it works with.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Gives the verdicts.
    pub scanner: Scanner,
    /// What operators call the database.
    pub database: String,
    /// Itself.
    pub store: Arc<SqliteStore>,
    /// The body that is being scanned is drawn from it.
    pub memory: MemoryBudget,
    /// Told of viruses.
    pub events: Log,
    /// Acts on what is found.
    pub remedy: Option<Remedy>,
    /// Counts.
    pub metrics: Option<Metrics>,
}

/// A body that lies in mailboxes.
#[derive(Debug, Clone, Copy)]
struct Offered {
    content: ContentHash,
    octets: u64,
}

struct Task {
    rooms: Rooms,
    waiting: mpsc::Receiver<Offered>,
    enabled: watch::Receiver<bool>,
    pause: Duration,
}

// === impl Proactive ===

impl Proactive {
    /// Has a body scanned that was just delivered, unless its stamp is the current one. Never waits.
    pub fn offer(&self, scanner: &Scanner, body: &Body, stamp: Option<&Stamp>) {
        if stamp.is_some_and(|stamp| scanner.is_current(stamp)) || !*self.enabled.borrow() {
            return;
        }
        let content = match body {
            Body::Memory(octets) => ContentHash::of(octets),
            Body::File(file) => ContentHash(*file.hash()),
        };
        let offered = self.waiting.try_send(Offered { content, octets: body.octets() });
        let Some(metrics) = &self.metrics else { return };
        match offered {
            Ok(()) => metrics.waiting.inc(),
            // Also where the process is about to end.
            Err(_) => metrics.overflow.inc(),
        }
    }

    /// Switches it on or off; what waits goes unscanned when it is off.
    pub fn switch(&self, enabled: bool) {
        self.enabled.send_replace(enabled);
    }
}

// === impl Running ===

impl Running {
    /// Starts the task of a database. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(rooms: Rooms, enabled: bool) -> Self {
        Self::start_pausing(rooms, enabled, FAILURE_PAUSE)
    }

    fn start_pausing(rooms: Rooms, enabled: bool, pause: Duration) -> Self {
        let (enabled, switched) = watch::channel(enabled);
        let (waiting, offered) = mpsc::channel(WAITING_MAX);
        let proactive = Proactive { waiting, enabled: Arc::new(enabled), metrics: rooms.metrics.clone() };
        let task = Task { rooms, waiting: offered, enabled: switched, pause };
        Self { proactive, task: tokio::spawn(task.run()) }
    }

    /// Where delivery leaves what is to be scanned.
    #[must_use]
    pub fn handle(&self) -> Proactive {
        self.proactive.clone()
    }

    /// Ends the task. To be called before the database is closed.
    pub async fn close(self) {
        self.task.abort();
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the proactive scan had died");
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        while let Some(offered) = self.waiting.recv().await {
            if let Some(metrics) = &self.rooms.metrics {
                metrics.waiting.dec();
            }
            for attempt in 1..=ATTEMPTS_MAX {
                if !*self.enabled.borrow() {
                    break;
                }
                match self.scan(offered).await {
                    Ok(Outcome::Done) => break,
                    Ok(Outcome::NoVerdict) if attempt < ATTEMPTS_MAX => sleep(self.pause).await,
                    Ok(Outcome::NoVerdict) => self.count_unfinished(offered),
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(content = %offered.content, %error, "a delivered message is not scanned ahead");
                        self.count_unfinished(offered);
                        break;
                    }
                }
            }
        }
    }

    async fn scan(&self, offered: Offered) -> Result<Outcome, StoreError> {
        let Rooms { scanner, store, .. } = &self.rooms;
        let mark = store.mark_of(offered.content).await?;
        if mark.as_ref().is_some_and(|mark| scanner.is_current(&mark.stamp)) {
            // Somebody has read it meanwhile.
            return Ok(Outcome::Done);
        }
        let _drawn = self.draw(offered.octets).await;
        let Some(body) = store.bodies(vec![offered.content]).await?.pop().flatten() else {
            return Ok(Outcome::Done);
        };
        let report = scanner.scan(Body::Memory(body), Priority::Low, SCAN_TIME_MAX).await;
        let threat = match report.verdict {
            Verdict::Clean => None,
            Verdict::Infected { threat } => Some(threat),
            // No attempt says more: it is told to whoever wants to read it.
            Verdict::Unscannable { .. } => return Ok(Outcome::Done),
            Verdict::TimedOut | Verdict::Failed => return Ok(Outcome::NoVerdict),
        };
        if let Some(metrics) = &self.rooms.metrics {
            metrics.messages.inc();
            metrics.infected.inc_by(u64::from(threat.is_some()));
        }
        let known = mark.and_then(|mark| mark.threat);
        if let Some(threat) = threat.as_deref().filter(|threat| Some(*threat) != known.as_deref()) {
            let findings =
                Findings::new(self.rooms.database.clone(), Arc::clone(store), self.rooms.events.clone());
            findings.tell(offered.content, threat, FoundBy::Proactive).await;
        }
        let found = threat.clone();
        let mark = BodyMark { content: offered.content, mark: ScanMark { stamp: report.stamp, threat } };
        store.mark_bodies(vec![mark]).await?;
        if let (Some(remedy), Some(threat)) = (&self.rooms.remedy, found) {
            let _done = remedy.act(offered.content, &threat, FoundBy::Proactive, None).await;
        }
        Ok(Outcome::Done)
    }

    /// A body that is larger than the whole budget is scanned all the same, once nothing else is held.
    async fn draw(&self, octets: u64) -> Drawn {
        let mut drawn = self.rooms.memory.clone().draw();
        while !drawn.try_grow(octets, 0) {
            if self.rooms.memory.used() == 0 {
                let _more_than_there_is = drawn.grow(octets);
                break;
            }
            sleep(MEMORY_PAUSE).await;
        }
        drawn
    }

    fn count_unfinished(&self, offered: Offered) {
        tracing::debug!(content = %offered.content, "a delivered message is left to its reader's scan");
        if let Some(metrics) = &self.rooms.metrics {
            metrics.unfinished.inc();
        }
    }
}

/// What scanning a body came to.
enum Outcome {
    /// There is nothing left to do.
    Done,
    /// Later there may be one.
    NoVerdict,
}

/// The classic bound of the queue at low priority.
const WAITING_MAX: usize = 30;
/// As long as delivery gives a scan.
const SCAN_TIME_MAX: Duration = Duration::from_secs(120);
/// An engine that is down is often back soon.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// Then the body at hand may be to blame, and others wait behind it.
const ATTEMPTS_MAX: u32 = 3;
const MEMORY_PAUSE: Duration = Duration::from_millis(200);
