//! Verdicts by content, so that the same message is scanned once: for a hundred recipients, for a sender who tries again, for
//! the delivery after the session.

use std::collections::{HashMap, VecDeque};

use super::{ScanReport, Stamp, Verdict};

/// BLAKE3 of a message's octets.
pub(super) type ContentHash = [u8; 32];

/// The latest verdicts under one stamp. New signatures empty it.
#[derive(Debug, Default)]
pub(super) struct VerdictCache {
    stamp: Option<Stamp>,
    reports: HashMap<ContentHash, ScanReport>,
    /// Oldest first.
    order: VecDeque<ContentHash>,
}

// === impl VerdictCache ===

impl VerdictCache {
    /// Keeps a verdict. A scan that came to no end is none: the next one may.
    pub(super) fn insert(&mut self, content: ContentHash, report: &ScanReport) {
        if matches!(report.verdict, Verdict::TimedOut | Verdict::Failed) {
            return;
        }
        if self.stamp.as_ref() != Some(&report.stamp) {
            self.reports.clear();
            self.order.clear();
            self.stamp = Some(report.stamp.clone());
        }
        if self.reports.insert(content, report.clone()).is_none() {
            self.order.push_back(content);
        }
        if self.order.len() > REPORTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.reports.remove(&oldest);
        }
    }

    /// The verdict on this content under this very stamp.
    pub(super) fn lookup(&self, content: &ContentHash, stamp: &Stamp) -> Option<&ScanReport> {
        if self.stamp.as_ref() != Some(stamp) {
            return None;
        }
        self.reports.get(content)
    }
}

/// Some 300 octets each, so 2.5 MiB: a few minutes of a busy server, which covers retries and the way from session to delivery.
const REPORTS_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::super::{EngineIdentity, Obstacle};
    use super::*;

    fn report(signatures: &str, verdict: Verdict) -> ScanReport {
        let stamp = Stamp::new(EngineIdentity::new("fake", signatures).unwrap(), 1);
        ScanReport { verdict, culprit: None, tolerated: Vec::new(), stamp, items: 1, octets: 1 }
    }

    fn content(number: usize) -> ContentHash {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn a_verdict_is_found_under_its_own_stamp_only() {
        let mut cache = VerdictCache::default();
        let old = report("1", Verdict::Clean);
        cache.insert(content(1), &old);
        assert_eq!(cache.lookup(&content(1), &old.stamp), Some(&old));
        let new = report("2", Verdict::Unscannable { reason: Obstacle::Broken });
        assert_eq!(cache.lookup(&content(1), &new.stamp), None);
        cache.insert(content(2), &new);
        assert_eq!(cache.lookup(&content(1), &old.stamp), None);
    }

    #[test]
    fn a_scan_without_an_end_is_not_remembered() {
        let mut cache = VerdictCache::default();
        for verdict in [Verdict::TimedOut, Verdict::Failed] {
            let report = report("1", verdict);
            cache.insert(content(1), &report);
            assert_eq!(cache.lookup(&content(1), &report.stamp), None);
        }
    }

    #[test]
    fn the_oldest_verdict_leaves_first_and_the_size_is_bounded() {
        let mut cache = VerdictCache::default();
        let clean = report("1", Verdict::Clean);
        for number in 0..REPORTS_MAX + 10 {
            cache.insert(content(number), &clean);
        }
        assert_eq!(cache.reports.len(), REPORTS_MAX);
        assert_eq!(cache.order.len(), REPORTS_MAX);
        assert!(cache.lookup(&content(9), &clean.stamp).is_none());
        assert!(cache.lookup(&content(10), &clean.stamp).is_some());
    }
}
