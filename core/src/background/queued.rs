//! The queue: what was put off, what is held, and what has not been tried yet.
//!
//! A finding takes nothing out of the queue: a mail that was put off is due at once, and the worker that takes it does with it
//! what the policy says, as with every infected mail. One that an operator holds stays where he wants it, since it goes nowhere
//! while he does, and is scanned again when he lets it go. What a worker has at that moment is left to him.

use std::collections::BTreeMap;

use super::filter::{may_have_attachments, wants};
use super::ground::{Ground, Judged, Obstruction, TURN_OCTETS_MAX, Tally, Turn, draw, scan};
use super::{Progress, Rooms, Settings};
use crate::clock::now_ms;
use crate::events::{About, What, evidence};
use crate::intake::{Body, Submission};
use crate::queue::{Lying, Queue, QueueId, State, Waiting};
use crate::scan::Scanner;
use crate::store::ContentHash;

/// The queue.
pub(super) struct Queued {
    queue: Queue,
    behind: Option<QueueId>,
    /// What comes in after the beginning of a walk is scanned on its way.
    until: Option<QueueId>,
    told: Told,
}

/// What a turn has found.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the walk stands behind it.
    behind: Option<QueueId>,
    infected: Vec<Infected>,
}

#[derive(Debug)]
struct Infected {
    id: QueueId,
    submission: Submission,
    pending: Vec<usize>,
    content: ContentHash,
    threat: String,
}

/// What was told of mail that lies there still, so that no later scan tells it again.
#[derive(Debug, Default)]
struct Told(BTreeMap<QueueId, String>);

// === impl Queued ===

impl Queued {
    pub(super) fn new(queue: Queue) -> Self {
        Self { queue, behind: None, until: None, told: Told::default() }
    }

    /// The next few, as many as may be in memory at a time.
    fn page(&self) -> (Vec<Lying>, u64) {
        let (mut page, mut octets) = (Vec::new(), 0_u64);
        for lying in self.queue.lying_behind(self.behind, PAGE_MESSAGES) {
            let with_it = octets.saturating_add(if is_idle(lying.state) { lying.octets } else { 0 });
            if Some(lying.id) > self.until || (with_it > TURN_OCTETS_MAX && !page.is_empty()) {
                break;
            }
            octets = with_it;
            page.push(lying);
        }
        (page, octets)
    }

    async fn look_at(&self, lying: Lying, settings: &Settings, scanner: &Scanner) -> Option<Waiting> {
        if !is_idle(lying.state) {
            return None;
        }
        let waiting = self.queue.look_at(lying.id).await?;
        is_due(&waiting, settings, scanner).await.then_some(waiting)
    }

    fn tell(&self, rooms: &Rooms, found: &Infected, state: State) {
        let Infected { id, submission, pending, content, threat } = found;
        let wait = self.queue.wait_of(*id, submission.origin.received_at_ms);
        let state = state.name();
        tracing::warn!(queue_id = %id, threat, state, "a virus was found in a mail that waits in the queue");
        let recipients = || submission.envelope.recipients.iter().enumerate();
        let named = |waits: bool| {
            let chosen = recipients().filter(move |(index, _)| pending.contains(index) == waits);
            chosen
                .map(|(_, recipient)| evidence(&recipient.path.to_string()))
                .take(RECIPIENTS_TOLD_MAX)
                .collect()
        };
        let what = What::QueueVirusFound {
            content: content.to_string(),
            threat: threat.clone(),
            state: state.into(),
            waited_s: wait.now_ms.saturating_sub(wait.since_ms) / 1_000,
            sender: evidence(&submission.envelope.reverse_path.to_string()),
            waiting: pending.len(),
            waiting_for: named(true),
            ended: recipients().count().saturating_sub(pending.len()),
            ended_for: named(false),
        };
        let about = About { queue_id: Some(id.to_string()), ..About::from(&submission.origin) };
        rooms.events.record(about, what);
    }
}

impl Ground for Queued {
    type Found = Found;

    async fn begin(&mut self) -> Result<u64, Obstruction> {
        (self.behind, self.until) = (None, self.queue.newest());
        let queue = &self.queue;
        self.told.0.retain(|id, _| queue.state_of(*id).is_some());
        Ok(self.queue.len() as u64)
    }

    async fn turn(
        &self,
        rooms: &Rooms,
        settings: &Settings,
        _progress: &Progress,
    ) -> Result<Turn<Found>, Obstruction> {
        if self.queue.is_closed() {
            return Err(Obstruction::Closed);
        }
        let (page, octets) = self.page();
        if page.is_empty() {
            return Ok(Turn {
                tally: Tally::default(),
                found: Found { behind: self.behind, infected: Vec::new() },
            });
        }
        let _drawn = draw(rooms, octets).await;
        let (mut tally, mut behind, mut due) = (Tally::default(), self.behind, Vec::new());
        for lying in page {
            behind = Some(lying.id);
            tally.pass_message();
            due.extend(self.look_at(lying, settings, &rooms.scanner).await);
            if due.len() >= settings.messages_per_turn() {
                break;
            }
        }
        let bodies = due.into_iter().map(|waiting| {
            let body = waiting.message.body.clone();
            (waiting, body)
        });
        let mut infected = Vec::new();
        for (Waiting { message, pending }, report) in scan(rooms, bodies, settings.at_once()).await {
            if let Judged::Infected(threat) = tally.judge(report.verdict) {
                let (id, submission, content) =
                    (message.id, message.submission.clone(), content_of(&message.body));
                infected.push(Infected { id, submission, pending, content, threat });
            }
        }
        Ok(Turn { tally, found: Found { behind, infected } })
    }

    async fn take(
        &mut self,
        rooms: &Rooms,
        found: Found,
        _progress: &mut Progress,
    ) -> Result<(), Obstruction> {
        for infected in &found.infected {
            let state = self.queue.state_of(infected.id).filter(|state| is_idle(*state));
            let Some(state) = state else { continue };
            if self.told.is_news(infected.id, &infected.threat) {
                self.tell(rooms, infected, state);
            }
            if state != State::Held {
                self.queue.hasten(infected.id);
            }
        }
        self.behind = found.behind;
        Ok(())
    }

    /// Nothing: what was found is acted on, and a walk from the beginning passes over what the current signatures vouch for.
    async fn keep(&mut self, _progress: &Progress, _at_once: bool) -> Result<(), Obstruction> {
        Ok(())
    }
}

/// Whether nobody works on it, nor gives it back to its sender.
const fn is_idle(state: State) -> bool {
    matches!(state, State::Waiting | State::Deferred | State::Held)
}

async fn is_due(waiting: &Waiting, settings: &Settings, scanner: &Scanner) -> bool {
    let Waiting { message, .. } = waiting;
    let (stamp, received_at_ms) = (message.stamp.as_ref(), message.submission.origin.received_at_ms);
    if !wants(settings, received_at_ms, stamp.is_some(), now_ms()) {
        return false;
    }
    if let Some(stamp) = stamp
        && !settings.ignore_stamps
        && Box::pin(scanner.upholds(&message.body, None, stamp)).await
    {
        return false;
    }
    match &message.body {
        Body::Memory(octets) => !settings.only_attachments || may_have_attachments(octets),
        // Texts are not as long as that.
        Body::File(_) => true,
    }
}

fn content_of(body: &Body) -> ContentHash {
    match body {
        Body::Memory(octets) => ContentHash::of(octets),
        Body::File(file) => ContentHash(*file.hash()),
    }
}

// === impl Told ===

impl Told {
    fn is_news(&mut self, id: QueueId, threat: &str) -> bool {
        let before = self.0.insert(id, threat.to_owned());
        if self.0.len() > TOLD_MAX {
            self.0.pop_first();
        }
        before.is_none_or(|before| before != threat)
    }
}

/// Records that are read in one turn; most of them are passed over.
const PAGE_MESSAGES: usize = 64;
/// In one event; `gatepost queue show` names all.
const RECIPIENTS_TOLD_MAX: usize = 100;
/// Beyond, the oldest are told once more by the next scan that finds them.
const TOLD_MAX: usize = 10_000;
