//! `gatepost_remedies_total`.

use prometheus::{IntCounterVec, Opts, Registry};

/// What has become of infected messages in mailboxes.
#[derive(Debug, Clone)]
pub struct Metrics {
    remedies: IntCounterVec,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has a counter of this name.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let remedies = IntCounterVec::new(
            Opts::new(
                "gatepost_remedies_total",
                "Infected messages in mailboxes that were rewritten, quarantined or deleted, by action.",
            ),
            &["action"],
        )?;
        for action in ["rewritten", "quarantined", "deleted"] {
            remedies.with_label_values(&[action]);
        }
        registry.register(Box::new(remedies.clone()))?;
        Ok(Self { remedies })
    }

    pub(super) fn count(&self, action: &str, messages: usize) {
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        self.remedies.with_label_values(&[action]).inc_by(messages);
    }
}
