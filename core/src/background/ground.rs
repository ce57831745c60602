//! What the task walks over, and what walking over any of it takes.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Progress, Rooms, Settings};
use crate::intake::Body;
use crate::memory::Drawn;
use crate::scan::{Priority, ScanReport, Verdict};
use crate::store::StoreError;

/// Where mail lies, in an order.
pub(super) trait Ground: Send + Sync + 'static {
    /// What a turn has found.
    type Found: Send;

    /// Goes back to the beginning, and answers how many messages there are.
    fn begin(&mut self) -> impl Future<Output = Result<u64, Obstruction>> + Send;

    /// The next few messages that are due, scanned. Changes nothing, so it may be dropped at any point.
    fn turn(
        &self,
        rooms: &Rooms,
        settings: &Settings,
        progress: &Progress,
    ) -> impl Future<Output = Result<Turn<Self::Found>, Obstruction>> + Send;

    /// Tells of what was found, acts on it, and goes on behind it.
    fn take(
        &mut self,
        rooms: &Rooms,
        found: Self::Found,
        progress: &mut Progress,
    ) -> impl Future<Output = Result<(), Obstruction>> + Send;

    /// Makes durable what has to outlive the process. `at_once`: also what can wait.
    fn keep(
        &mut self,
        progress: &Progress,
        at_once: bool,
    ) -> impl Future<Output = Result<(), Obstruction>> + Send;
}

/// Why a place cannot be walked over now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstruction {
    /// It never can be again.
    #[error("it was closed")]
    Closed,
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a turn came to.
#[derive(Debug)]
pub(super) struct Turn<F> {
    pub(super) tally: Tally,
    pub(super) found: F,
}

/// The figures of a turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Messages that it came past; none at the end of the walk.
    pub(super) messages: u64,
    /// Folders that it came into.
    pub(super) folders: u64,
    /// Bodies that were scanned.
    pub(super) scanned: u64,
    /// Infected ones among them.
    pub(super) infected: u64,
    /// Those that got no verdict.
    pub(super) unfinished: u64,
    /// Those of them that the scanner could not answer for.
    failed: u64,
}

/// What a scan says of a body.
pub(super) enum Judged {
    Clean,
    Infected(String),
    Unfinished,
}

/// A body that is larger than the whole budget is scanned all the same, once nothing else is held.
pub(super) async fn draw(rooms: &Rooms, octets: u64) -> Drawn {
    let mut drawn = rooms.memory.clone().draw();
    while !drawn.try_grow(octets, 0) {
        if rooms.memory.used() == 0 {
            let _more_than_there_is = drawn.grow(octets);
            break;
        }
        sleep(MEMORY_PAUSE).await;
    }
    drawn
}

/// In whatever order they come to their end; each body with what it belongs to.
pub(super) async fn scan<T: Send + 'static>(
    rooms: &Rooms,
    bodies: impl Iterator<Item = (T, Body)>,
    at_once: usize,
) -> Vec<(T, ScanReport)> {
    let (mut scans, mut reports) = (JoinSet::new(), Vec::new());
    for (of, body) in bodies {
        while scans.len() >= at_once {
            reports.extend(scans.join_next().await.and_then(Result::ok));
        }
        let scanner = rooms.scanner.clone();
        scans.spawn(async move { (of, scanner.scan(body, Priority::Low, SCAN_TIME_MAX).await) });
    }
    while let Some(ended) = scans.join_next().await {
        reports.extend(ended.ok());
    }
    reports
}

// === impl Obstruction ===

impl From<StoreError> for Obstruction {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::Closed,
            error => Self::Store(error),
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Whether the scanner was asked and answered nothing at all: an engine that is down.
    pub(super) const fn is_failing(&self) -> bool {
        self.scanned > 0 && self.failed == self.scanned
    }

    /// Counts a scan.
    pub(super) fn judge(&mut self, verdict: Verdict) -> Judged {
        self.scanned = self.scanned.saturating_add(1);
        match verdict {
            Verdict::Clean => Judged::Clean,
            Verdict::Infected { threat } => {
                self.infected = self.infected.saturating_add(1);
                Judged::Infected(threat)
            }
            verdict @ (Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed) => {
                self.unfinished = self.unfinished.saturating_add(1);
                let is_failure = !matches!(verdict, Verdict::Unscannable { .. });
                self.failed = self.failed.saturating_add(is_failure.into());
                Judged::Unfinished
            }
        }
    }

    /// Counts a body that cannot be had.
    pub(super) fn leave_unfinished(&mut self) {
        self.unfinished = self.unfinished.saturating_add(1);
    }

    pub(super) fn pass_message(&mut self) {
        self.messages = self.messages.saturating_add(1);
    }
}

/// Bodies in memory at a time, unless a single one is larger.
pub(super) const TURN_OCTETS_MAX: u64 = 8 * 1024 * 1024;
/// As long as delivery gives a scan.
const SCAN_TIME_MAX: Duration = Duration::from_secs(120);
const MEMORY_PAUSE: Duration = Duration::from_millis(200);
