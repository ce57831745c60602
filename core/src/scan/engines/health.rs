//! How an engine outside this process is doing: whether it is worth asking, when to look again, and what is told of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::events::{About, Log, What, evidence};
use crate::scan::metrics::EngineMetrics;

/// The breaker of one engine. It opens when the engine cannot be reached, or has failed a few times in a row and fails when it is
/// looked at as well; then nobody asks it, until a look at it (by its watching thread) succeeds.
#[derive(Debug)]
pub(super) struct Health {
    name: String,
    events: Log,
    metrics: EngineMetrics,
    retry_delay_max: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    is_open: bool,
    failures_in_a_row: u32,
    /// Before the next look; grows until a call succeeds.
    retry_delay: Duration,
    /// As it was last told.
    signatures: Option<String>,
}

/// Why a call has failed. What an engine says is bounded and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody takes the connection.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("it does not answer in time")]
    Late,
    /// The connection ended.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The process that had the item ended without an answer.
    #[error("its process ended without an answer")]
    Crashed,
    /// An answer outside its protocol.
    #[error("its answer makes no sense: {0}")]
    WrongAnswer(String),
    /// It wants no more connections than there are.
    #[error("it takes no more connections")]
    Busy,
    /// An answer that says that it could not do it.
    #[error("it says: {0}")]
    Refused(String),
}

/// What an engine has failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// An item, which comes from anybody: whoever writes items that no engine can stand must not get rid of one.
    Item,
    /// A look, which depends on no item.
    Look,
}

/// Whether an engine has just been given up.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    No,
    /// It has failed at so many items that somebody should look at it.
    Doubtful,
    Yes,
}

// === impl Health ===

impl Health {
    /// Of an engine that has not been looked at yet, and so is not to be asked.
    pub(super) fn new(name: &str, retry_delay_max: Duration, events: Log, metrics: EngineMetrics) -> Self {
        metrics.up.set(0);
        let retry_delay = RETRY_DELAY_MIN.min(retry_delay_max);
        let state = State { is_open: true, failures_in_a_row: 0, retry_delay, signatures: None };
        Self { name: name.to_owned(), events, metrics, retry_delay_max, state: Mutex::new(state) }
    }

    pub(super) fn is_available(&self) -> bool {
        !self.lock().is_open
    }

    /// An item was scanned.
    pub(super) fn scanned(&self) {
        let mut state = self.lock();
        state.failures_in_a_row = 0;
        state.retry_delay = RETRY_DELAY_MIN.min(self.retry_delay_max);
    }

    /// A look has succeeded, and found these signatures: the engine may be asked.
    pub(super) fn loaded(&self, signatures: &str) {
        let mut state = self.lock();
        let was_open = std::mem::replace(&mut state.is_open, false);
        let is_new = state.signatures.as_deref() != Some(signatures);
        if !was_open && !is_new {
            return;
        }
        if was_open {
            state.failures_in_a_row = 0;
        }
        state.signatures = Some(signatures.to_owned());
        drop(state);
        self.metrics.up.set(1);
        tracing::info!(engine = self.name, signatures, "the scan engine is loaded");
        let (engine, signatures) = (self.name.clone(), signatures.to_owned());
        self.events.record(About::default(), What::EngineLoaded { engine, signatures });
    }

    /// A call, or a look, has failed.
    pub(super) fn failed(&self, task: Task, error: &CallError) -> Opened {
        self.metrics.failed(error.kind());
        let reason = error.to_string();
        tracing::warn!(engine = self.name, reason, "a scan engine has failed");
        let engine = self.name.clone();
        if let CallError::WrongAnswer(_) | CallError::Crashed = error {
            let what = What::EngineUnexpected { engine: engine.clone(), reason: reason.clone() };
            self.events.record(About::default(), what);
        }
        let mut state = self.lock();
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        let is_hopeless = matches!(error, CallError::Unreachable(_));
        if state.is_open || !(is_hopeless || state.failures_in_a_row >= FAILURES_MAX) {
            return Opened::No;
        }
        if task == Task::Item && !is_hopeless {
            return Opened::Doubtful;
        }
        state.is_open = true;
        drop(state);
        self.metrics.up.set(0);
        tracing::error!(engine = self.name, reason, "the scan engine is given up until it answers again");
        self.events.record(About::default(), What::EngineUnloaded { engine, reason });
        Opened::Yes
    }

    /// The first look has failed: the engine is not loaded.
    pub(super) fn not_loaded(&self, error: &CallError) {
        let (engine, reason) = (self.name.clone(), error.to_string());
        tracing::error!(engine, reason, "a scan engine cannot be loaded; it is tried again");
        self.metrics.failed(error.kind());
        self.events.record(About::default(), What::EngineFailed { engine, reason });
    }

    /// The engine is not set up as this server needs it.
    pub(super) fn misconfigured(&self, reason: String) {
        let engine = self.name.clone();
        tracing::warn!(engine, reason, "a scan engine is not configured as this server needs it");
        self.events.record(About::default(), What::EngineMisconfigured { engine, reason });
    }

    /// How long to wait before the next look at an engine that was given up. Longer each time.
    pub(super) fn next_retry_delay(&self) -> Duration {
        let mut state = self.lock();
        let delay = state.retry_delay;
        state.retry_delay = delay.saturating_mul(2).min(self.retry_delay_max);
        delay
    }

    /// A poisoned lock is taken all the same: nothing under it panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl CallError ===

impl CallError {
    /// For what an engine has said.
    pub(super) fn wrong_answer(said: &str) -> Self {
        Self::WrongAnswer(evidence(said))
    }

    /// For what an engine gives as its reason.
    pub(super) fn refused(said: &str) -> Self {
        Self::Refused(evidence(said))
    }

    /// The label of the metric.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Late => "late",
            Self::Lost(_) => "lost",
            Self::Crashed => "crashed",
            Self::WrongAnswer(_) => "wrong-answer",
            Self::Busy => "busy",
            Self::Refused(_) => "refused",
        }
    }
}

/// One may be the fault of an item, three in a row are worth a look.
const FAILURES_MAX: u32 = 3;
/// A process that is restarted is back within seconds.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::scan::Metrics;

    fn health() -> Health {
        let metrics = Metrics::register(&Registry::new()).unwrap().engine("test");
        Health::new("test", Duration::from_secs(30), Log::discarding(), metrics)
    }

    #[test]
    fn an_engine_that_cannot_be_reached_is_given_up_at_once_and_one_that_is_late_after_three_looks() {
        let health = health();
        assert!(!health.is_available(), "not before it was looked at");
        health.loaded("1");
        assert_eq!(health.failed(Task::Look, &CallError::Late), Opened::No);
        assert_eq!(health.failed(Task::Look, &CallError::Late), Opened::No);
        assert_eq!(health.failed(Task::Look, &CallError::Late), Opened::Yes);
        assert_eq!(health.failed(Task::Look, &CallError::Late), Opened::No, "it is told once");
        health.loaded("1");
        assert_eq!(health.failed(Task::Item, &CallError::Unreachable("refused".into())), Opened::Yes);
        assert!(!health.is_available());
    }

    #[test]
    fn items_alone_do_not_get_rid_of_an_engine() {
        let health = health();
        health.loaded("1");
        assert_eq!(health.failed(Task::Item, &CallError::Late), Opened::No);
        assert_eq!(health.failed(Task::Item, &CallError::Late), Opened::No);
        for _ in 0..3 {
            assert_eq!(health.failed(Task::Item, &CallError::Late), Opened::Doubtful);
            assert!(health.is_available());
        }
        assert_eq!(health.failed(Task::Look, &CallError::Late), Opened::Yes);
    }

    #[test]
    fn a_success_between_failures_counts() {
        let health = health();
        health.loaded("1");
        for _ in 0..10 {
            let _ = health.failed(Task::Look, &CallError::Late);
            let _ = health.failed(Task::Look, &CallError::Late);
            health.scanned();
        }
        assert!(health.is_available());
    }

    #[test]
    fn the_pauses_grow_until_an_item_is_scanned() {
        let health = health();
        let delays: Vec<u64> = (0..7).map(|_| health.next_retry_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        health.loaded("1");
        assert_eq!(health.next_retry_delay().as_secs(), 30, "to be looked at is not enough");
        health.scanned();
        assert_eq!(health.next_retry_delay().as_secs(), 1);
    }
}
