//! `gatepost scan FILE`: a file scanned as a message and as it is, with every item's verdict.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::examine::{scan_contained, stamp_of};
use super::item::ItemName;
use super::plan::{self, Visitor};
use super::{Engine, Obstacle, Stamp, Verdict};

/// What was found in a file. `Display` prints it for a terminal; names are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Every item, in the order of the walk; first the file as it is, then, if it begins like one, the file as a message.
    pub findings: Vec<Finding>,
    /// The worst of all. What cannot be looked into counts, whatever a server's policy lets pass.
    pub verdict: Verdict,
    /// What it was scanned with.
    pub stamp: Stamp,
}

/// One item, or one place that could not be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it lies.
    pub name: ItemName,
    /// Its length; `None` for what could not be looked into.
    pub octets: Option<usize>,
    /// What the engine said.
    pub verdict: Verdict,
}

/// Scans a file's octets. Blocking, for a command line: it ends at the deadline, or when all items are scanned; a virus does
/// not end it.
#[must_use]
pub fn inspect(engine: &dyn Engine, octets: &[u8], time: Duration) -> Inspection {
    let now = Instant::now();
    let mut inspector = Inspector { engine, due: now.checked_add(time).unwrap_or(now), findings: Vec::new() };
    let stamp = stamp_of(engine);
    let walked = catch_unwind(AssertUnwindSafe(|| {
        plan::walk_file(octets, &mut inspector);
        if plan::begins_like_a_message(octets) {
            plan::walk_message(octets, &mut inspector);
        }
    }));
    let mut findings = inspector.findings;
    if walked.is_err() {
        findings.push(Finding { name: ItemName::root("file"), octets: None, verdict: Verdict::Failed });
    }
    let verdict = findings.iter().fold(Verdict::Clean, |worst, finding| worst.worse(finding.verdict.clone()));
    Inspection { findings, verdict, stamp }
}

struct Inspector<'a> {
    engine: &'a dyn Engine,
    due: Instant,
    findings: Vec<Finding>,
}

// === impl Inspector ===

impl Visitor for Inspector<'_> {
    fn item(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()> {
        let late = Instant::now() >= self.due;
        let verdict =
            if late { Verdict::TimedOut } else { scan_contained(self.engine, octets, self.due, &|_| false) };
        self.findings.push(Finding { name: name.clone(), octets: Some(octets.len()), verdict });
        if late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn obstacle(&mut self, name: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        let verdict = Verdict::Unscannable { reason: obstacle };
        self.findings.push(Finding { name: name.clone(), octets: None, verdict });
        ControlFlow::Continue(())
    }

    fn due(&self) -> Option<Instant> {
        Some(self.due)
    }
}

// === impl Inspection ===

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(f, "{}: {}", finding.name, finding.verdict)?;
            match finding.octets {
                Some(octets) => writeln!(f, " ({octets} octets)")?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "verdict: {}", self.verdict)?;
        writeln!(f, "scanned with {}", self.stamp)
    }
}
