//! The mailboxes of one database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::filter::{is_due, may_have_attachments};
use super::ground::{Ground, Judged, Obstruction, TURN_OCTETS_MAX, Tally, Turn, draw, scan};
use super::{Database, Progress, Rooms, Settings};
use crate::clock::now_ms;
use crate::findings::{Findings, FoundBy};
use crate::intake::Body;
use crate::remedy::Remedy;
use crate::scan::Scanner;
use crate::store::{BodyMark, ContentHash, Encounter, Position, ScanMark, SqliteStore};

/// One database.
pub(super) struct Mailboxes {
    name: String,
    store: Arc<SqliteStore>,
    remedy: Option<Remedy>,
    /// Verdicts that are not in the database yet.
    marks: Vec<BodyMark>,
}

/// What a turn has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where the walk stands behind it.
    position: Position,
    /// Verdicts to be remembered.
    marks: Vec<BodyMark>,
    /// Threats that were not known of their bodies before.
    news: Vec<(ContentHash, String)>,
}

// === impl Mailboxes ===

impl Mailboxes {
    pub(super) fn new(database: &Database) -> Self {
        let Database { name, store, remedy, .. } = database;
        Self { name: name.clone(), store: Arc::clone(store), remedy: remedy.clone(), marks: Vec::new() }
    }
}

impl Ground for Mailboxes {
    type Found = Found;

    async fn begin(&mut self) -> Result<u64, Obstruction> {
        self.marks.clear();
        Ok(self.store.count().await?)
    }

    async fn turn(
        &self,
        rooms: &Rooms,
        settings: &Settings,
        progress: &Progress,
    ) -> Result<Turn<Found>, Obstruction> {
        let page = self.store.walk(progress.position, PAGE_MESSAGES).await?;
        let (mut turn, due, octets) = pick(&page, settings, &rooms.scanner, progress.position);
        if due.is_empty() {
            return Ok(turn);
        }
        let _drawn = draw(rooms, octets).await;
        let bodies = self.store.bodies(due.clone()).await?;
        let present = due.into_iter().zip(bodies).filter_map(|(content, body)| Some((content, body?)));
        let wanted = present.filter(|(_, body)| !settings.only_attachments || may_have_attachments(body));
        let known: HashMap<_, _> = page.iter().map(|message| (message.content, threat_of(message))).collect();
        let wanted = wanted.map(|(content, body)| (content, Body::Memory(body)));
        for (content, report) in scan(rooms, wanted, settings.at_once()).await {
            let threat = match turn.tally.judge(report.verdict) {
                Judged::Clean => None,
                Judged::Infected(threat) => Some(threat),
                Judged::Unfinished => {
                    tracing::debug!(%content, "a stored message got no verdict");
                    continue;
                }
            };
            let known = known.get(&content).copied().flatten();
            if let Some(threat) = threat.as_deref().filter(|threat| Some(*threat) != known) {
                turn.found.news.push((content, threat.to_owned()));
            }
            turn.found.marks.push(BodyMark { content, mark: ScanMark { stamp: report.stamp, threat } });
        }
        Ok(turn)
    }

    /// Told before it is remembered: a crash in between has it told twice rather than never.
    async fn take(
        &mut self,
        rooms: &Rooms,
        found: Found,
        progress: &mut Progress,
    ) -> Result<(), Obstruction> {
        let findings = Findings::new(self.name.clone(), Arc::clone(&self.store), rooms.events.clone());
        for (content, threat) in &found.news {
            findings.tell(*content, threat, FoundBy::Background).await;
        }
        if let Some(remedy) = &self.remedy {
            for BodyMark { content, mark } in &found.marks {
                let Some(threat) = &mark.threat else { continue };
                let _done = remedy.act(*content, threat, FoundBy::Background, None).await;
            }
        }
        progress.position = found.position;
        self.marks.extend(found.marks);
        Ok(())
    }

    /// Marks and progress in one transaction: a crash never leaves a position behind messages without their marks.
    async fn keep(&mut self, progress: &Progress, at_once: bool) -> Result<(), Obstruction> {
        if !at_once && self.marks.len() < MARKS_WAITING_MAX {
            return Ok(());
        }
        let Ok(text) = serde_json::to_string(progress) else { return Ok(()) };
        self.store.note(self.marks.clone(), text).await?;
        self.marks.clear();
        Ok(())
    }
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
) -> (Turn<Found>, Vec<ContentHash>, u64) {
    let (mut tally, mut position) = (Tally::default(), behind);
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
        if message.position.folder != position.folder {
            tally.folders = tally.folders.saturating_add(1);
        }
        position = message.position;
        tally.pass_message();
    }
    (Turn { tally, found: Found { position, ..Found::default() } }, due, octets)
}

/// One query; most of them are passed over.
const PAGE_MESSAGES: usize = 512;
/// They share a flush.
const MARKS_WAITING_MAX: usize = 256;
