//! The handle that the rest of the house scans with.

use std::path::PathBuf;
use std::time::Duration;

use super::{ScanReport, Stamp, UnscannablePolicy};
use crate::intake::Body;

/// How urgent a scan is. High always goes before low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits: an SMTP session before its 250, a reader.
    High,
    /// Nobody waits: queue and background.
    Low,
}

/// The room's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Scan threads. `None`, or a value outside (n+1)/2 ..= 5n+1 for n processors, means 2n+1.
    pub threads: Option<usize>,
    /// What passes although it cannot be looked into.
    pub unscannable: UnscannablePolicy,
    /// Folder with YARA rules (`*.yar`, `*.yara`) besides the built-in ones, reloaded when it changes. It need not exist.
    pub rules: Option<PathBuf>,
}

/// Scans messages on threads of its own. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Scanner {}

// === impl Scanner ===

impl Scanner {
    /// Scans a message. Never fails: what went wrong is in the verdict. Returns `TimedOut` after `deadline` at the latest,
    /// whatever the engine does.
    pub async fn scan(&self, body: Body, priority: Priority, deadline: Duration) -> ScanReport {
        let _ = (body, priority, deadline);
        todo!()
    }

    /// What a message scanned now would be stamped with.
    #[must_use]
    pub fn current_stamp(&self) -> Stamp {
        todo!()
    }

    /// Whether a message with this stamp need not be scanned again.
    #[must_use]
    pub fn is_current(&self, stamp: &Stamp) -> bool {
        *stamp == self.current_stamp()
    }
}
