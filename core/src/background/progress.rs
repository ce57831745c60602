//! How far a scan has come. A database keeps it for its own scan.

use serde::{Deserialize, Serialize};

use super::ground::Tally;
use crate::scan::Stamp;
use crate::store::Position;

/// One scan of one place: the one that runs, or the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether it goes on.
    pub state: State,
    /// What it was started by.
    pub reason: Reason,
    /// The engine, its signatures and the policy, as a stamp is written.
    pub stamp: String,
    /// When it began, milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
    /// Messages that were there at its beginning.
    pub total: u64,
    /// Folders that it has come into; none outside of mailboxes.
    pub folders: u64,
    /// Messages that it has come past.
    pub messages: u64,
    /// How many of these were scanned: the others need not be.
    pub scanned: u64,
    /// How many bodies of them are infected.
    pub infected: u64,
    /// Messages without a verdict: out of time, or not to be looked into. They are scanned when somebody wants to read them.
    pub unfinished: u64,
    /// Where it stands in the mailboxes.
    pub position: Position,
}

/// Whether a scan goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does, also after a restart.
    Running,
    /// It was stopped by an order.
    Stopped,
    /// It has come to its end.
    Finished,
}

/// What started a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Stamps became stale.
    NewSignatures,
    /// An operator.
    Command,
    /// The calendar.
    Schedule,
}

// === impl Progress ===

impl Progress {
    pub(super) fn new(reason: Reason, stamp: &Stamp, started_at_ms: u64, total: u64) -> Self {
        Self {
            state: State::Running,
            reason,
            stamp: stamp.to_string(),
            started_at_ms,
            ended_at_ms: None,
            total,
            folders: 0,
            messages: 0,
            scanned: 0,
            infected: 0,
            unfinished: 0,
            position: Position::default(),
        }
    }

    pub(super) fn count(&mut self, tally: Tally) {
        let Tally { messages, folders, scanned, infected, unfinished, .. } = tally;
        self.messages = self.messages.saturating_add(messages);
        self.folders = self.folders.saturating_add(folders);
        self.scanned = self.scanned.saturating_add(scanned);
        self.infected = self.infected.saturating_add(infected);
        self.unfinished = self.unfinished.saturating_add(unfinished);
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }
}

// === impl State ===

impl State {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }
}

// === impl Reason ===

impl Reason {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewSignatures => "new-signatures",
            Self::Command => "command",
            Self::Schedule => "schedule",
        }
    }
}
