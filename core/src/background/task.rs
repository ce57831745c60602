//! The task of one database: waits for a reason, then walks turn by turn, and obeys orders at any point.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::turn::{self, Turn};
use super::{Order, Progress, Reason, Rooms, Settings, Shown, State};
use crate::clock::{millis, now_ms};
use crate::events::{About, What};
use crate::findings::{Findings, FoundBy};
use crate::remedy::Remedy;
use crate::scan::Stamp;
use crate::store::{BodyMark, SqliteStore, StoreError};

/// One database and the scan of it.
pub(super) struct Task {
    database: String,
    store: Arc<SqliteStore>,
    remedy: Option<Remedy>,
    rooms: Rooms,
    settings: watch::Receiver<Settings>,
    orders: mpsc::Receiver<Order>,
    shown: Shown,
    progress: Option<Progress>,
    /// Verdicts that are not in the database yet.
    marks: Vec<BodyMark>,
    saved_at: Instant,
    /// When the next turn may begin.
    resume_at: Instant,
    /// Turns in a row that the scanner gave nothing for.
    failed_turns: u32,
    /// The stamp at the last look: new signatures count once they stay.
    seen: Option<Stamp>,
}

/// What interrupts a task, or ends one of its steps.
enum Event {
    Order(Option<Order>),
    Look,
    Turn(Result<Turn, StoreError>),
}

// === impl Task ===

impl Task {
    pub(super) fn new(
        database: String,
        store: Arc<SqliteStore>,
        remedy: Option<Remedy>,
        rooms: Rooms,
        settings: watch::Receiver<Settings>,
        orders: mpsc::Receiver<Order>,
        shown: Shown,
    ) -> Self {
        let progress = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Instant::now();
        Self {
            database,
            store,
            remedy,
            rooms,
            settings,
            orders,
            shown,
            progress,
            marks: Vec::new(),
            saved_at: now,
            resume_at: now,
            failed_turns: 0,
            seen: None,
        }
    }

    pub(super) async fn run(mut self) {
        if self.is_running() {
            tracing::info!(database = self.database, "the background scan goes on where it stood");
            self.count_running(1);
        }
        loop {
            let event = if self.is_running() { self.turn().await } else { self.rest().await };
            let next = match event {
                Event::Order(order) => self.obey(order).await,
                Event::Look => self.look().await,
                Event::Turn(turn) => self.take(turn).await,
            };
            match next {
                Ok(ControlFlow::Continue(())) => (),
                Ok(ControlFlow::Break(())) | Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(database = self.database, %error, "the background scan pauses");
                    self.pause(FAILURE_PAUSE);
                }
            }
        }
    }

    fn is_running(&self) -> bool {
        self.progress.as_ref().is_some_and(Progress::is_running)
    }

    fn findings(&self) -> Findings {
        Findings::new(self.database.clone(), Arc::clone(&self.store), self.rooms.events.clone())
    }

    async fn rest(&mut self) -> Event {
        tokio::select! {
            biased;
            order = self.orders.recv() => Event::Order(order),
            () = sleep(LOOK_INTERVAL) => Event::Look,
        }
    }

    async fn turn(&mut self) -> Event {
        let settings = self.settings.borrow().clone();
        let behind = self.progress.as_ref().map(|progress| progress.position).unwrap_or_default();
        let (store, rooms, resume_at) = (&*self.store, &self.rooms, self.resume_at);
        let turn = async {
            sleep_until(resume_at).await;
            turn::take(store, rooms, &settings, behind).await
        };
        tokio::select! {
            biased;
            order = self.orders.recv() => Event::Order(order),
            turn = turn => Event::Turn(turn),
        }
    }

    async fn obey(&mut self, order: Option<Order>) -> Result<ControlFlow<()>, StoreError> {
        let done = match order {
            None | Some(Order::Close) => {
                self.save().await?;
                return Ok(ControlFlow::Break(()));
            }
            Some(Order::Start(done)) => {
                if !self.is_running() {
                    self.begin(Reason::Command).await?;
                }
                done
            }
            Some(Order::Stop(done)) => {
                if self.is_running() {
                    self.end(State::Stopped).await?;
                }
                done
            }
        };
        // Whoever gave the order may have gone.
        let _gone = done.send(());
        Ok(ControlFlow::Continue(()))
    }

    /// Whether there is a reason to begin.
    async fn look(&mut self) -> Result<ControlFlow<()>, StoreError> {
        let stamp = self.rooms.scanner.current_stamp();
        let stays = self.seen.as_ref() == Some(&stamp);
        let (enabled, every) = {
            let settings = self.settings.borrow();
            (settings.enabled, settings.every)
        };
        let reason = match &self.progress {
            None => Some(Reason::NewSignatures),
            Some(last) if last.stamp != stamp.to_string() => Some(Reason::NewSignatures),
            Some(last) => every.and_then(|every| {
                // A clock that was set back does not keep the next one away for as long.
                (now_ms().abs_diff(last.started_at_ms) >= millis(every)).then_some(Reason::Schedule)
            }),
        };
        self.seen = Some(stamp);
        if let Some(reason) = reason.filter(|_| enabled && stays) {
            self.begin(reason).await?;
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn take(&mut self, turn: Result<Turn, StoreError>) -> Result<ControlFlow<()>, StoreError> {
        let turn = turn?;
        let stamp = self.rooms.scanner.current_stamp();
        if self.progress.as_ref().is_some_and(|progress| progress.stamp != stamp.to_string()) {
            // What was scanned so far is stale again. What this turn found is not worth keeping either.
            self.begin(Reason::NewSignatures).await?;
            return Ok(ControlFlow::Continue(()));
        }
        if turn.messages == 0 {
            self.end(State::Finished).await?;
            return Ok(ControlFlow::Continue(()));
        }
        if turn.is_failing() && self.failed_turns < FAILED_TURNS_MAX {
            self.failed_turns = self.failed_turns.saturating_add(1);
            tracing::warn!(
                database = self.database,
                "the scanner gives no verdicts; the background scan waits"
            );
            self.pause(FAILURE_PAUSE);
            return Ok(ControlFlow::Continue(()));
        }
        self.failed_turns = 0;
        // Told before it is remembered: a crash in between has it told twice rather than never.
        let findings = self.findings();
        for (content, threat) in &turn.news {
            findings.tell(*content, threat, FoundBy::Background).await;
        }
        if let Some(remedy) = &self.remedy {
            for BodyMark { content, mark } in &turn.marks {
                let Some(threat) = &mark.threat else { continue };
                let _done = remedy.act(*content, threat, FoundBy::Background, None).await;
            }
        }
        self.advance(turn);
        if self.marks.len() >= MARKS_WAITING_MAX || self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.save().await?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn advance(&mut self, turn: Turn) {
        let found = turn.marks.iter().filter(|mark| mark.mark.threat.is_some());
        let infected = u64::try_from(found.count()).unwrap_or(u64::MAX);
        if let Some(metrics) = &self.rooms.metrics {
            metrics.messages.inc_by(turn.scanned);
            metrics.folders.inc_by(turn.folders);
            metrics.infected.inc_by(infected);
            metrics.unfinished.inc_by(turn.unfinished);
        }
        if let Some(progress) = &mut self.progress {
            progress.position = turn.position;
            progress.messages = progress.messages.saturating_add(turn.messages);
            progress.folders = progress.folders.saturating_add(turn.folders);
            progress.scanned = progress.scanned.saturating_add(turn.scanned);
            progress.infected = progress.infected.saturating_add(infected);
            progress.unfinished = progress.unfinished.saturating_add(turn.unfinished);
        }
        self.marks.extend(turn.marks);
        self.show();
        let rate = self.settings.borrow().messages_per_second;
        if let Some(rate) = rate {
            let scanned = u32::try_from(turn.scanned).unwrap_or(u32::MAX);
            let due =
                Duration::from_secs(1).saturating_mul(scanned).checked_div(rate.get()).unwrap_or_default();
            // From the end of the turn, so that a slow scanner has as much rest as a fast one.
            self.pause(due.max(TURN_PAUSE));
        }
    }

    async fn begin(&mut self, reason: Reason) -> Result<(), StoreError> {
        let total = self.store.count().await?;
        let stamp = self.rooms.scanner.current_stamp();
        if !self.is_running() {
            self.count_running(1);
        }
        let progress = Progress::new(reason, &stamp, now_ms(), total);
        tracing::info!(
            database = self.database,
            reason = reason.name(),
            messages = total,
            "a background scan begins"
        );
        let what = What::BackgroundStarted {
            database: self.database.clone(),
            reason: reason.name().into(),
            signatures: progress.stamp.clone(),
            messages: total,
        };
        self.rooms.events.record(About::default(), what);
        self.progress = Some(progress);
        self.marks.clear();
        self.failed_turns = 0;
        self.resume_at = Instant::now();
        self.save().await
    }

    async fn end(&mut self, state: State) -> Result<(), StoreError> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        progress.state = state;
        progress.ended_at_ms = Some(now_ms());
        let Progress { started_at_ms, messages, scanned, infected, unfinished, .. } = *progress;
        tracing::info!(
            database = self.database,
            outcome = state.name(),
            messages,
            scanned,
            infected,
            unfinished,
            "a background scan has ended"
        );
        let what = What::BackgroundFinished {
            database: self.database.clone(),
            outcome: state.name().into(),
            messages,
            scanned,
            infected,
            unfinished,
            seconds: now_ms().saturating_sub(started_at_ms) / 1000,
        };
        self.rooms.events.record(About::default(), what);
        self.count_running(-1);
        self.save().await
    }

    /// Marks and progress in one transaction: a crash never leaves a position behind messages without their marks. An end is
    /// shown once it is durable.
    async fn save(&mut self) -> Result<(), StoreError> {
        self.saved_at = Instant::now();
        let Some(progress) = &self.progress else { return Ok(()) };
        let Ok(text) = serde_json::to_string(progress) else { return Ok(()) };
        self.store.note(self.marks.clone(), text).await?;
        self.marks.clear();
        self.show();
        Ok(())
    }

    fn show(&self) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.progress);
    }

    fn pause(&mut self, time: Duration) {
        let now = Instant::now();
        self.resume_at = now.checked_add(time).unwrap_or(now);
    }

    fn count_running(&self, change: i64) {
        if let Some(metrics) = &self.rooms.metrics {
            metrics.running.add(change);
        }
    }
}

/// Short beside the seconds in which the scanner itself takes up new rules.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two turns of a throttled scan, also where nothing was due.
const TURN_PAUSE: Duration = Duration::from_millis(5);
/// After a crash so much is scanned again, and a throttled scan costs one flush in this time.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// They share a flush.
const MARKS_WAITING_MAX: usize = 256;
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// Then the messages at hand may be to blame: they are left to whoever wants to read them.
const FAILED_TURNS_MAX: u32 = 3;
