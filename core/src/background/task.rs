//! The task of one place: waits for a reason, then walks turn by turn, and obeys orders at any point.

use std::ops::ControlFlow;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::ground::{Ground, Obstruction, Tally, Turn};
use super::metrics::Counters;
use super::{Order, Place, Progress, Reason, Rooms, Settings, Shown, State};
use crate::clock::{millis, now_ms};
use crate::events::{About, What};
use crate::scan::Stamp;

/// One place and the scan of it.
pub(super) struct Task<G: Ground> {
    place: Place,
    ground: G,
    rooms: Rooms,
    counters: Option<Counters>,
    settings: watch::Receiver<Settings>,
    orders: mpsc::Receiver<Order>,
    shown: Shown,
    progress: Option<Progress>,
    saved_at: Instant,
    /// When the next turn may begin.
    resume_at: Instant,
    /// Turns in a row that the scanner gave nothing for.
    failed_turns: u32,
    /// The stamp at the last look: new signatures count once they stay.
    seen: Option<Stamp>,
}

/// What interrupts a task, or ends one of its steps.
enum Event<F> {
    Order(Option<Order>),
    Look,
    Turn(Result<Turn<F>, Obstruction>),
}

// === impl Task ===

impl<G: Ground> Task<G> {
    pub(super) fn new(
        place: Place,
        ground: G,
        rooms: Rooms,
        settings: watch::Receiver<Settings>,
        orders: mpsc::Receiver<Order>,
        shown: Shown,
    ) -> Self {
        let progress = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Instant::now();
        let counters = rooms.metrics.as_ref().map(|metrics| metrics.of(&place));
        Self {
            place,
            ground,
            rooms,
            counters,
            settings,
            orders,
            shown,
            progress,
            saved_at: now,
            resume_at: now,
            failed_turns: 0,
            seen: None,
        }
    }

    pub(super) async fn run(mut self) {
        if self.is_running() {
            tracing::info!(place = %self.place, "the background scan goes on where it stood");
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
                Ok(ControlFlow::Break(())) | Err(Obstruction::Closed) => return,
                Err(error) => {
                    tracing::warn!(place = %self.place, %error, "the background scan pauses");
                    self.pause(FAILURE_PAUSE);
                }
            }
        }
    }

    fn is_running(&self) -> bool {
        self.progress.as_ref().is_some_and(Progress::is_running)
    }

    async fn rest(&mut self) -> Event<G::Found> {
        tokio::select! {
            biased;
            order = self.orders.recv() => Event::Order(order),
            () = sleep(LOOK_INTERVAL) => Event::Look,
        }
    }

    /// To be called while a scan runs.
    async fn turn(&mut self) -> Event<G::Found> {
        let settings = self.settings.borrow().clone();
        let (ground, rooms, resume_at) = (&self.ground, &self.rooms, self.resume_at);
        let progress = self.progress.as_ref();
        let turn = async {
            sleep_until(resume_at).await;
            match progress {
                Some(progress) => ground.turn(rooms, &settings, progress).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            order = self.orders.recv() => Event::Order(order),
            turn = turn => Event::Turn(turn),
        }
    }

    async fn obey(&mut self, order: Option<Order>) -> Result<ControlFlow<()>, Obstruction> {
        let done = match order {
            None | Some(Order::Close) => {
                self.save(true).await?;
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
    async fn look(&mut self) -> Result<ControlFlow<()>, Obstruction> {
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

    async fn take(
        &mut self,
        turn: Result<Turn<G::Found>, Obstruction>,
    ) -> Result<ControlFlow<()>, Obstruction> {
        let Turn { tally, found } = turn?;
        let stamp = self.rooms.scanner.current_stamp();
        if self.progress.as_ref().is_some_and(|progress| progress.stamp != stamp.to_string()) {
            // What was scanned so far is stale again. What this turn found is not worth keeping either.
            self.begin(Reason::NewSignatures).await?;
            return Ok(ControlFlow::Continue(()));
        }
        if tally.messages == 0 {
            self.end(State::Finished).await?;
            return Ok(ControlFlow::Continue(()));
        }
        if tally.is_failing() && self.failed_turns < FAILED_TURNS_MAX {
            self.failed_turns = self.failed_turns.saturating_add(1);
            tracing::warn!(
                place = %self.place,
                "the scanner gives no verdicts; the background scan waits"
            );
            self.pause(FAILURE_PAUSE);
            return Ok(ControlFlow::Continue(()));
        }
        self.failed_turns = 0;
        if let Some(progress) = &mut self.progress {
            self.ground.take(&self.rooms, found, progress).await?;
        }
        self.advance(tally);
        self.save(self.saved_at.elapsed() >= SAVE_INTERVAL).await?;
        Ok(ControlFlow::Continue(()))
    }

    fn advance(&mut self, tally: Tally) {
        if let Some(counters) = &self.counters {
            counters.count(tally);
        }
        if let Some(progress) = &mut self.progress {
            progress.count(tally);
        }
        self.show();
        let rate = self.settings.borrow().messages_per_second;
        if let Some(rate) = rate {
            let scanned = u32::try_from(tally.scanned).unwrap_or(u32::MAX);
            let due =
                Duration::from_secs(1).saturating_mul(scanned).checked_div(rate.get()).unwrap_or_default();
            // From the end of the turn, so that a slow scanner has as much rest as a fast one.
            self.pause(due.max(TURN_PAUSE));
        }
    }

    async fn begin(&mut self, reason: Reason) -> Result<(), Obstruction> {
        let total = self.ground.begin().await?;
        let stamp = self.rooms.scanner.current_stamp();
        if !self.is_running() {
            self.count_running(1);
        }
        let progress = Progress::new(reason, &stamp, now_ms(), total);
        tracing::info!(
            place = %self.place,
            reason = reason.name(),
            messages = total,
            "a background scan begins"
        );
        let what = What::BackgroundStarted {
            place: self.place.kind().into(),
            database: self.place.database().map(str::to_owned),
            reason: reason.name().into(),
            signatures: progress.stamp.clone(),
            messages: total,
        };
        self.rooms.events.record(About::default(), what);
        self.progress = Some(progress);
        self.failed_turns = 0;
        self.resume_at = Instant::now();
        self.save(true).await
    }

    async fn end(&mut self, state: State) -> Result<(), Obstruction> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        progress.state = state;
        progress.ended_at_ms = Some(now_ms());
        let Progress { started_at_ms, messages, scanned, infected, unfinished, .. } = *progress;
        tracing::info!(
            place = %self.place,
            outcome = state.name(),
            messages,
            scanned,
            infected,
            unfinished,
            "a background scan has ended"
        );
        let what = What::BackgroundFinished {
            place: self.place.kind().into(),
            database: self.place.database().map(str::to_owned),
            outcome: state.name().into(),
            messages,
            scanned,
            infected,
            unfinished,
            seconds: now_ms().saturating_sub(started_at_ms) / 1000,
        };
        self.rooms.events.record(About::default(), what);
        self.count_running(-1);
        self.save(true).await
    }

    /// An end is shown once it is durable.
    async fn save(&mut self, at_once: bool) -> Result<(), Obstruction> {
        if at_once {
            self.saved_at = Instant::now();
        }
        let Some(progress) = &self.progress else { return Ok(()) };
        self.ground.keep(progress, at_once).await?;
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
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// Then the messages at hand may be to blame: they are left to whoever wants to read them.
const FAILED_TURNS_MAX: u32 = 3;
