//! One turn: the next few messages that are due, scanned. It changes nothing, so it may be dropped at any point.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::filter::{is_due, may_have_attachments};
use super::{Rooms, Settings};
use crate::clock::now_ms;
use crate::intake::Body;
use crate::memory::Drawn;
use crate::scan::{Priority, ScanReport, Scanner, Verdict};
use crate::store::{BodyMark, ContentHash, Encounter, Position, ScanMark, SqliteStore, StoreError};

/// What a turn came to.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Where the walk stands behind it.
    pub(super) position: Position,
    /// Messages that it came past; none at the end of the walk.
    pub(super) messages: u64,
    /// Folders that it came into.
    pub(super) folders: u64,
    /// Bodies that were scanned.
    pub(super) scanned: u64,
    /// Verdicts to be remembered.
    pub(super) marks: Vec<BodyMark>,
    /// Threats that were not known of their bodies before.
    pub(super) news: Vec<(ContentHash, String)>,
    /// Bodies that got none.
    pub(super) unfinished: u64,
    /// Those of them that the scanner could not answer for.
    failed: u64,
}

/// Takes a turn behind this position. Waits for memory as long as it takes.
pub(super) async fn take(
    store: &SqliteStore,
    rooms: &Rooms,
    settings: &Settings,
    behind: Position,
) -> Result<Turn, StoreError> {
    let page = store.walk(behind, PAGE_MESSAGES).await?;
    let (mut turn, due, octets) = pick(&page, settings, &rooms.scanner, behind);
    if due.is_empty() {
        return Ok(turn);
    }
    let _drawn = draw(rooms, octets).await;
    let bodies = store.bodies(due.clone()).await?;
    let present = due.into_iter().zip(bodies).filter_map(|(content, body)| Some((content, body?)));
    let wanted = present.filter(|(_, body)| !settings.only_attachments || may_have_attachments(body));
    let known: HashMap<_, _> = page.iter().map(|message| (message.content, threat_of(message))).collect();
    for (content, report) in scan(rooms, wanted, settings.at_once()).await {
        turn.note(content, report, known.get(&content).copied().flatten());
    }
    Ok(turn)
}

fn threat_of(message: &Encounter) -> Option<&str> {
    message.mark.as_ref()?.threat.as_deref()
}

/// The beginning of a page that has as many bodies to scan as a turn may have, and those bodies.
fn pick(
    page: &[Encounter],
    settings: &Settings,
    scanner: &Scanner,
    behind: Position,
) -> (Turn, Vec<ContentHash>, u64) {
    let mut turn = Turn { position: behind, ..Turn::default() };
    let (mut due, mut seen, mut octets) = (Vec::new(), HashSet::new(), 0_u64);
    let now_ms = now_ms();
    let vouches = |content: &ContentHash, mark: &ScanMark| {
        scanner.vouches(&content.0, mark.threat.as_deref(), &mark.stamp)
    };
    for message in page {
        if is_due(message, settings, &vouches, now_ms) && !seen.contains(&message.content) {
            let with_it = octets.saturating_add(message.octets);
            let is_full = due.len() >= settings.messages_per_turn() || with_it > TURN_OCTETS_MAX;
            if is_full && !due.is_empty() {
                break;
            }
            octets = with_it;
            seen.insert(message.content);
            due.push(message.content);
        }
        if message.position.folder != turn.position.folder {
            turn.folders = turn.folders.saturating_add(1);
        }
        turn.position = message.position;
        turn.messages = turn.messages.saturating_add(1);
    }
    (turn, due, octets)
}

/// A body that is larger than the whole budget is scanned all the same, once nothing else is held.
async fn draw(rooms: &Rooms, octets: u64) -> Drawn {
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

/// In whatever order they come to their end.
async fn scan(
    rooms: &Rooms,
    bodies: impl Iterator<Item = (ContentHash, Bytes)>,
    at_once: usize,
) -> Vec<(ContentHash, ScanReport)> {
    let (mut scans, mut reports) = (JoinSet::new(), Vec::new());
    for (content, body) in bodies {
        while scans.len() >= at_once {
            reports.extend(scans.join_next().await.and_then(Result::ok));
        }
        let scanner = rooms.scanner.clone();
        scans.spawn(async move {
            (content, scanner.scan(Body::Memory(body), Priority::Low, SCAN_TIME_MAX).await)
        });
    }
    while let Some(ended) = scans.join_next().await {
        reports.extend(ended.ok());
    }
    reports
}

// === impl Turn ===

impl Turn {
    /// Whether the scanner was asked and answered nothing at all: an engine that is down.
    pub(super) const fn is_failing(&self) -> bool {
        self.scanned > 0 && self.failed == self.scanned
    }

    fn note(&mut self, content: ContentHash, report: ScanReport, known: Option<&str>) {
        self.scanned = self.scanned.saturating_add(1);
        let threat = match report.verdict {
            Verdict::Clean => None,
            Verdict::Infected { threat } => Some(threat),
            verdict @ (Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed) => {
                tracing::debug!(%content, %verdict, "a stored message got no verdict");
                self.unfinished = self.unfinished.saturating_add(1);
                let is_failure = !matches!(verdict, Verdict::Unscannable { .. });
                self.failed = self.failed.saturating_add(is_failure.into());
                return;
            }
        };
        if let Some(threat) = threat.as_deref().filter(|threat| Some(*threat) != known) {
            self.news.push((content, threat.to_owned()));
        }
        self.marks.push(BodyMark { content, mark: ScanMark { stamp: report.stamp, threat } });
    }
}

/// One query; most of them are passed over.
const PAGE_MESSAGES: usize = 512;
/// Bodies in memory at a time, unless a single one is larger.
const TURN_OCTETS_MAX: u64 = 8 * 1024 * 1024;
/// As long as delivery gives a scan.
const SCAN_TIME_MAX: Duration = Duration::from_secs(120);
const MEMORY_PAUSE: Duration = Duration::from_millis(200);
