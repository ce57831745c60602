//! The quarantine. Everything there is suspect already, so what counts is news: a virus where nothing could be looked into
//! before, or another one. Nothing is done about it, as nobody gets the mail.

use super::filter::{may_have_attachments, wants};
use super::ground::{Ground, Judged, Obstruction, TURN_OCTETS_MAX, Tally, Turn, draw, scan};
use super::{Progress, Rooms, Settings};
use crate::clock::now_ms;
use crate::intake::Body;
use crate::quarantine::{FoundLater, Quarantine, Record};
use crate::queue::QueueId;
use crate::scan::ScanReport;
use crate::store::ContentHash;

/// The quarantine.
pub(super) struct Quarantined {
    quarantine: Quarantine,
    behind: Option<QueueId>,
}

/// What a turn has found.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the walk stands behind it.
    behind: Option<QueueId>,
    /// Of which mails, in which contents.
    infected: Vec<(QueueId, ContentHash, FoundLater)>,
}

// === impl Quarantined ===

impl Quarantined {
    pub(super) const fn new(quarantine: Quarantine) -> Self {
        Self { quarantine, behind: None }
    }

    /// The bodies of the mails that are due, as far as they can be read.
    async fn bodies(
        &self,
        due: Vec<(QueueId, Record)>,
        settings: &Settings,
        tally: &mut Tally,
    ) -> Vec<((QueueId, ContentHash), Body)> {
        let mut bodies = Vec::with_capacity(due.len());
        for (id, record) in due {
            match self.quarantine.body(id, &record).await {
                Ok(Some(body)) if settings.only_attachments && !may_have_attachments(&body) => (),
                Ok(Some(body)) => bodies.push(((id, ContentHash::of(&body)), Body::Memory(body))),
                Ok(None) => tally.leave_unfinished(),
                // It may have been deleted.
                Err(error) => {
                    tracing::debug!(queue_id = %id, %error, "a mail in quarantine is not scanned now");
                    tally.leave_unfinished();
                }
            }
        }
        bodies
    }
}

impl Ground for Quarantined {
    type Found = Found;

    async fn begin(&mut self) -> Result<u64, Obstruction> {
        self.behind = None;
        Ok(self.quarantine.len().await? as u64)
    }

    async fn turn(
        &self,
        rooms: &Rooms,
        settings: &Settings,
        _progress: &Progress,
    ) -> Result<Turn<Found>, Obstruction> {
        let page = self.quarantine.behind(self.behind, PAGE_MESSAGES).await?;
        let stamp = rooms.scanner.current_stamp().to_string();
        let Picked { mut tally, behind, due, octets } = pick(page, self.behind, settings, &stamp);
        let mut infected = Vec::new();
        if due.is_empty() {
            return Ok(Turn { tally, found: Found { behind, infected } });
        }
        let _drawn = draw(rooms, octets).await;
        let bodies = self.bodies(due, settings, &mut tally).await;
        for ((id, content), report) in scan(rooms, bodies.into_iter(), settings.at_once()).await {
            let ScanReport { verdict, culprit, stamp, .. } = report;
            if let Judged::Infected(threat) = tally.judge(verdict) {
                let (item, stamp) = (culprit.map(|item| item.to_string()), stamp.unsealed().to_string());
                infected.push((id, content, FoundLater { threat, item, stamp, found_at_ms: now_ms() }));
            }
        }
        Ok(Turn { tally, found: Found { behind, infected } })
    }

    async fn take(
        &mut self,
        _rooms: &Rooms,
        found: Found,
        _progress: &mut Progress,
    ) -> Result<(), Obstruction> {
        for (id, content, later) in found.infected {
            if let Err(error) = self.quarantine.find(id, later, content.to_string()).await {
                tracing::warn!(queue_id = %id, %error, "what was found in a mail in quarantine could not be kept beside it");
            }
        }
        self.behind = found.behind;
        Ok(())
    }

    /// Nothing: what was found lies beside the mails.
    async fn keep(&mut self, _progress: &Progress, _at_once: bool) -> Result<(), Obstruction> {
        Ok(())
    }
}

/// The beginning of a page that has as many mails to scan as a turn may have.
struct Picked {
    tally: Tally,
    behind: Option<QueueId>,
    due: Vec<(QueueId, Record)>,
    octets: u64,
}

fn pick(page: Vec<(QueueId, Record)>, behind: Option<QueueId>, settings: &Settings, stamp: &str) -> Picked {
    let mut picked = Picked { tally: Tally::default(), behind, due: Vec::new(), octets: 0 };
    for (id, record) in page {
        let is_current = !settings.ignore_stamps && record.was_found_by(stamp);
        if !is_current && wants(settings, record.origin.received_at_ms, record.stamp.is_some(), now_ms()) {
            let with_it = picked.octets.saturating_add(record.octets);
            let is_full = picked.due.len() >= settings.messages_per_turn() || with_it > TURN_OCTETS_MAX;
            if is_full && !picked.due.is_empty() {
                break;
            }
            picked.octets = with_it;
            picked.due.push((id, record));
        }
        picked.behind = Some(id);
        picked.tally.pass_message();
    }
    picked
}

/// They are in memory anyway; what is copied of them are envelopes.
const PAGE_MESSAGES: usize = 64;
