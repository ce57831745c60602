//! What the tests of delivery and of the gate share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::scan::{Engine, EngineIdentity, POLICY_VERSION, Stamp, Verdict};

/// An engine that finds what it is told to find, in items that contain `MARK`.
pub(crate) struct Teachable {
    known: Mutex<(String, Verdict)>,
    scans: AtomicUsize,
}

// === impl Teachable ===

impl Teachable {
    /// Signatures `1`, which find nothing.
    pub(crate) fn new() -> Self {
        Self { known: Mutex::new(("1".to_owned(), Verdict::Clean)), scans: AtomicUsize::new(0) }
    }

    pub(crate) fn learn(&self, signatures: &str, verdict_on_mark: Verdict) {
        *self.known.lock().unwrap() = (signatures.to_owned(), verdict_on_mark);
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { engine: self.identity(), policy: POLICY_VERSION }
    }

    pub(crate) fn scans(&self) -> usize {
        self.scans.load(Ordering::SeqCst)
    }
}

impl Engine for Teachable {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("teachable", &self.known.lock().unwrap().0).unwrap()
    }

    fn scan(&self, item: &[u8], _deadline: Instant) -> Verdict {
        self.scans.fetch_add(1, Ordering::SeqCst);
        let (_, verdict) = self.known.lock().unwrap().clone();
        if item.windows(4).any(|word| word == b"MARK") { verdict } else { Verdict::Clean }
    }
}
