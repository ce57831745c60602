//! Counters of the password verifier.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

/// Children are resolved once.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) right: IntCounter,
    pub(super) wrong: IntCounter,
    pub(super) busy: IntCounter,
    pub(super) seconds: Histogram,
}

// === impl Metrics ===

impl Metrics {
    /// Adds them to a registry.
    ///
    /// # Errors
    /// Where the names are taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let verifications = IntCounterVec::new(
            Opts::new(
                "gatepost_directory_password_verifications_total",
                "Passwords checked, by result: right, wrong (unknown users too), busy (queue full, not checked).",
            ),
            &["result"],
        )?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new("gatepost_directory_password_hash_seconds", "Time to hash one password.")
                .buckets(vec![0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28]),
        )?;
        registry.register(Box::new(verifications.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            right: verifications.get_metric_with_label_values(&["right"])?,
            wrong: verifications.get_metric_with_label_values(&["wrong"])?,
            busy: verifications.get_metric_with_label_values(&["busy"])?,
            seconds,
        })
    }
}
