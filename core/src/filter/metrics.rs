//! `gatepost_filter_*`.

use prometheus::{IntCounterVec, Opts, Registry};

use super::headers::{Stripped, rules};

/// The counters of what is taken out.
#[derive(Debug, Clone)]
pub struct Metrics {
    stripped: IntCounterVec,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Trust headers taken out of accepted mail, by name.";
        let stripped =
            IntCounterVec::new(Opts::new("gatepost_filter_headers_stripped_total", help), &["field"])?;
        registry.register(Box::new(stripped.clone()))?;
        for field in rules() {
            stripped.with_label_values(&[field]).inc_by(0);
        }
        Ok(Self { stripped })
    }

    /// Counts those of one mail.
    pub fn count(&self, stripped: &Stripped) {
        for (field, count) in stripped.counts() {
            self.stripped.with_label_values(&[field]).inc_by(u64::from(count));
        }
    }
}
