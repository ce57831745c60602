//! What a body goes through before the server behind gets it: the header firewall, the scanner.
//!
//! A scan needs the whole body. So it is kept, in memory or in a file as in the queue, and the server hears of it only once
//! there is a verdict; nothing goes through unscanned. Without a scan the body streams.

use std::fmt;
use std::sync::Arc;

use gatepost_core::delivery::hop::Live;
use gatepost_core::filter::{self, HeaderFirewall, Stripped};
use gatepost_core::intake::{Body, BodyBuffer, Spool};
use gatepost_core::memory::MemoryBudget;
use gatepost_core::scan::{Priority, Scanner, Verdict};
use gatepost_smtp::server::{BodySink, Refusal, Rights};

use super::super::keeping::{refusal, trust};
use super::road::Road;

/// The rooms that look at mail.
#[derive(Clone)]
pub struct Inspectors {
    /// Looks for viruses.
    pub scanner: Scanner,
    /// Where bodies lie that are too large for memory.
    pub spool: Spool,
    /// What bodies draw on.
    pub memory: MemoryBudget,
    /// Counts header fields that were taken out.
    pub filter_metrics: Option<filter::Metrics>,
}

/// One body.
pub(super) struct Inspection {
    firewall: Option<HeaderFirewall>,
    kept: Option<BodyBuffer>,
    /// Why it cannot be kept: told at its end.
    failure: Option<Refusal>,
}

/// What was found, for the events of the session.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The scanner's verdict, where the mail is not clean.
    pub(crate) verdict: Option<String>,
    /// Header fields that were taken out.
    pub(crate) stripped: Option<Stripped>,
}

// === impl Inspection ===

impl Inspection {
    /// `None` where the listener has bodies go through as they are.
    pub(super) fn of(road: &Road, rights: Rights) -> Option<Self> {
        let inspectors = &road.inspectors;
        let firewall =
            road.header_firewall.then(|| HeaderFirewall::new(Arc::clone(&road.hostname), trust(rights)));
        let kept =
            road.scan_time.map(|_| BodyBuffer::new(inspectors.spool.clone(), inspectors.memory.clone()));
        (firewall.is_some() || kept.is_some()).then_some(Self { firewall, kept, failure: None })
    }

    /// Whether the server is to hear of the body only once it is whole.
    pub(super) const fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// Octets of ours, which nobody has to look at.
    pub(super) fn put_ours(&mut self, octets: &[u8], live: &mut Live) {
        match &mut self.kept {
            Some(kept) => kept.put(octets),
            None => live.put(octets),
        }
    }

    pub(super) fn put(&mut self, octets: &[u8], live: &mut Live) {
        // What cannot be kept must not fill the memory either.
        if self.failure.is_some() {
            return;
        }
        let Self { firewall, kept, .. } = self;
        let mut out = |octets: &[u8]| match kept.as_mut() {
            Some(kept) => kept.put(octets),
            None => live.put(octets),
        };
        match firewall {
            Some(firewall) => firewall.put(octets, &mut out),
            None => out(octets),
        }
    }

    pub(super) fn wants_settling(&self) -> bool {
        self.failure.is_none() && self.kept.as_ref().is_some_and(BodyBuffer::wants_settling)
    }

    pub(super) async fn settle(&mut self) {
        if let Some(kept) = self.kept.as_mut().filter(|_| self.failure.is_none())
            && let Err(error) = kept.settle().await
        {
            self.failure = Some(refusal(error));
        }
    }

    /// The body is whole: what was kept of it, where it may go through.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) async fn finish(
        mut self,
        road: &Road,
        live: &mut Live,
        findings: &mut Findings,
    ) -> Result<Option<Body>, Refusal> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(mut firewall) = self.firewall.take() {
            let stripped = firewall.finish(&mut |octets| self.put(octets, live));
            // Where the section is too large, what stood in the rest of it was not looked at.
            let stripped = stripped.map_err(|_| Refusal::ContentRejected)?;
            if let Some(metrics) = &road.inspectors.filter_metrics {
                metrics.count(&stripped);
            }
            findings.stripped = Some(stripped).filter(|stripped| !stripped.is_empty());
        }
        let (Some(kept), Some(time_max)) = (self.kept, road.scan_time) else { return Ok(None) };
        let body = kept.finish().await.map_err(refusal)?;
        let verdict = road.inspectors.scanner.scan(body.clone(), Priority::High, time_max).await.verdict;
        if verdict == Verdict::Clean {
            return Ok(Some(body));
        }
        findings.verdict = Some(verdict.to_string());
        Err(match verdict {
            Verdict::Infected { .. } => Refusal::Infected,
            Verdict::Unscannable { .. } => Refusal::ContentRejected,
            Verdict::TimedOut | Verdict::Failed if road.fails_open => return Ok(Some(body)),
            // There is no queue that could scan it later.
            _ => Refusal::ScanUnavailable,
        })
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection").field("failure", &self.failure).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inspectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspectors").field("spool", &self.spool).finish_non_exhaustive()
    }
}
