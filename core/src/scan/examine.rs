//! One message, one engine: every item is scanned, and the verdicts make one report.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::item::ItemName;
use super::memory::Held;
use super::plan::{self, Visitor};
use super::{
    Cleaning, Engine, Obstacle, POLICY_VERSION, ScanReport, Stamp, UnscannableAction, UnscannablePolicy,
    Verdict,
};

/// Scans a message as it was received. `due` is asked before every item, since another waiter may have moved it.
pub(super) fn examine_message(
    engine: &dyn Engine,
    policy: UnscannablePolicy,
    message: &[u8],
    due: &dyn Fn() -> Instant,
    held: Held<'_>,
) -> ScanReport {
    let mut examination = Examination::new(engine, policy, due, held);
    plan::walk_message(message, &mut examination);
    examination.report
}

/// The stamp of a message scanned now.
pub(super) fn stamp_of(engine: &dyn Engine) -> Stamp {
    Stamp { engine: engine.identity(), policy: POLICY_VERSION }
}

/// Scans one item and contains an engine that panics.
pub(super) fn scan_contained(engine: &dyn Engine, octets: &[u8], due: Instant) -> Verdict {
    // The engine is not used half-changed afterwards: it is shared and thus takes care of its own locks.
    catch_unwind(AssertUnwindSafe(|| engine.scan(octets, due))).unwrap_or(Verdict::Failed)
}

/// The same for its cleaning.
pub(super) fn clean_contained(engine: &dyn Engine, octets: &[u8], due: Instant) -> Cleaning {
    catch_unwind(AssertUnwindSafe(|| engine.clean(octets, due))).unwrap_or(Cleaning::Failed)
}

struct Examination<'a> {
    engine: &'a dyn Engine,
    policy: UnscannablePolicy,
    due: &'a dyn Fn() -> Instant,
    held: Held<'a>,
    report: ScanReport,
}

// === impl Examination ===

impl<'a> Examination<'a> {
    fn new(
        engine: &'a dyn Engine,
        policy: UnscannablePolicy,
        due: &'a dyn Fn() -> Instant,
        held: Held<'a>,
    ) -> Self {
        // The identity is taken first: if the signatures change during the scan, the stamp is an old one and the message is
        // scanned again when somebody asks.
        let stamp = stamp_of(engine);
        let report = ScanReport {
            verdict: Verdict::Clean,
            culprit: None,
            tolerated: Vec::new(),
            stamp,
            items: 0,
            octets: 0,
        };
        Self { engine, policy, due, held, report }
    }

    fn note(&mut self, verdict: Verdict) -> ControlFlow<()> {
        let so_far = std::mem::replace(&mut self.report.verdict, Verdict::Clean);
        self.report.verdict = so_far.worse(verdict);
        match self.report.verdict {
            // Nothing outweighs a virus, and there is no time for more after a time-out.
            Verdict::Infected { .. } | Verdict::TimedOut => ControlFlow::Break(()),
            // A virus elsewhere would still be the better answer.
            Verdict::Clean | Verdict::Failed | Verdict::Unscannable { .. } => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for Examination<'_> {
    // Names of items are mail content (file names) and stay out of the logs.
    fn item(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()> {
        let due = (self.due)();
        if Instant::now() >= due {
            return self.note(Verdict::TimedOut);
        }
        self.report.items = self.report.items.saturating_add(1);
        self.report.octets =
            self.report.octets.saturating_add(u64::try_from(octets.len()).unwrap_or(u64::MAX));
        let verdict = scan_contained(self.engine, octets, due);
        if verdict != Verdict::Clean {
            tracing::debug!(%verdict, octets = octets.len(), "item scanned");
        }
        if matches!(verdict, Verdict::Infected { .. }) {
            self.report.culprit = Some(name.clone());
        }
        match verdict {
            // An engine's obstacle is one like those of the plan.
            Verdict::Unscannable { reason } => self.obstacle(name, reason),
            verdict => self.note(verdict),
        }
    }

    fn obstacle(&mut self, _: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        tracing::debug!(%obstacle, "item cannot be looked into");
        match self.policy.action(obstacle) {
            UnscannableAction::Accept => {
                if !self.report.tolerated.contains(&obstacle) {
                    self.report.tolerated.push(obstacle);
                }
                ControlFlow::Continue(())
            }
            UnscannableAction::Refuse => self.note(Verdict::Unscannable { reason: obstacle }),
        }
    }

    fn due(&self) -> Option<Instant> {
        Some((self.due)())
    }

    fn hold(&mut self, octets: usize) -> ControlFlow<()> {
        if Instant::now() >= (self.due)() {
            return self.note(Verdict::TimedOut);
        }
        if self.held.decoded(octets) {
            return ControlFlow::Continue(());
        }
        tracing::warn!("a scan was given up: no memory for what its message unpacks to");
        let _ = self.note(Verdict::Failed);
        ControlFlow::Break(())
    }
}
