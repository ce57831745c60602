//! What travels for `gatepost scan background`.

use gatepost_core::background::{self, Background, Reason, State};
use serde::{Deserialize, Serialize};

/// What can be asked of the background scan. Each is answered by `Line::BackgroundScan` for each place, as it stands
/// behind the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackgroundOrder {
    /// Begin.
    Start,
    /// End.
    Stop,
    /// Tell.
    Status,
}

/// How the scan of one place stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundStatus {
    /// `mailboxes`, `queue` or `quarantine`.
    pub place: String,
    /// The mailbox database, where it is one.
    pub database: Option<String>,
    /// `None`: it was never scanned in the background. Queue and quarantine do not remember scans before the start.
    pub scan: Option<BackgroundScan>,
}

/// The scan that runs, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundScan {
    /// Whether it goes on.
    pub state: State,
    /// What it was started by.
    pub reason: Reason,
    /// Engine, signatures and policy.
    pub signatures: String,
    /// When it began, milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
    /// Messages at its beginning.
    pub total: u64,
    /// Folders that it has come into.
    pub folders: u64,
    /// Messages that it has come past.
    pub messages: u64,
    /// Bodies that were scanned.
    pub scanned: u64,
    /// Infected ones among them.
    pub infected: u64,
    /// Those without a verdict.
    pub unfinished: u64,
}

// === impl BackgroundOrder ===

impl BackgroundOrder {
    /// For logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "background-scan start",
            Self::Stop => "background-scan stop",
            Self::Status => "background-scan status",
        }
    }

    /// Gives the order, and tells what came of it.
    pub(super) async fn give(self, background: &Background) -> Vec<BackgroundStatus> {
        match self {
            Self::Start => background.begin().await,
            Self::Stop => background.stop().await,
            Self::Status => (),
        }
        background.status().into_iter().map(BackgroundStatus::from).collect()
    }
}

// === impl BackgroundStatus ===

impl From<background::Status> for BackgroundStatus {
    fn from(status: background::Status) -> Self {
        let background::Status { place, progress } = status;
        let database = place.database().map(str::to_owned);
        Self { place: place.kind().to_owned(), database, scan: progress.map(BackgroundScan::from) }
    }
}

// === impl BackgroundScan ===

impl From<background::Progress> for BackgroundScan {
    fn from(progress: background::Progress) -> Self {
        Self {
            state: progress.state,
            reason: progress.reason,
            signatures: progress.stamp,
            started_at_ms: progress.started_at_ms,
            ended_at_ms: progress.ended_at_ms,
            total: progress.total,
            folders: progress.folders,
            messages: progress.messages,
            scanned: progress.scanned,
            infected: progress.infected,
            unfinished: progress.unfinished,
        }
    }
}
