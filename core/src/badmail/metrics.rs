//! What the operator sees of bad mail without looking into its folder.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::Cause;

/// Counters and gauges of this room.
#[derive(Debug, Clone)]
pub struct Metrics {
    kept: [IntCounter; Cause::ALL.len()],
    pub(super) removed: IntCounter,
    pub(super) messages: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let kept =
            Opts::new("gatepost_badmail_kept_total", "Mails that could be neither delivered nor returned.");
        let kept = IntCounterVec::new(kept, &["cause"])?;
        let removed = IntCounter::new(
            "gatepost_badmail_removed_total",
            "Bad mails that had to go: too many, too old.",
        )?;
        let messages = IntGauge::new("gatepost_badmail_messages", "Bad mails that are kept.")?;
        registry.register(Box::new(kept.clone()))?;
        registry.register(Box::new(removed.clone()))?;
        registry.register(Box::new(messages.clone()))?;
        let kept = Cause::ALL.map(|cause| kept.with_label_values(&[cause.name()]));
        Ok(Self { kept, removed, messages })
    }

    pub(super) fn count(&self, cause: Cause) {
        let counters = Cause::ALL.iter().zip(&self.kept);
        counters.filter(|(counted, _)| **counted == cause).for_each(|(_, counter)| counter.inc());
    }
}
