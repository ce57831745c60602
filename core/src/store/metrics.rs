//! `gatepost_store_*`.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::StoreError;

/// The counters of the store.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) commit_changes: Histogram,
    pub(super) copies: IntCounter,
    pub(super) body_octets: IntCounter,
    full: IntCounter,
    busy: IntCounter,
    corrupt: IntCounter,
    other: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let commit_changes = Histogram::with_opts(
            HistogramOpts::new(
                "gatepost_store_commit_changes",
                "Changes in one transaction of the mailbox database.",
            )
            .buckets(COMMIT_BUCKETS.to_vec()),
        )?;
        let copies = IntCounter::new("gatepost_store_copies_total", "Messages put into mailboxes.")?;
        let body_octets = IntCounter::new(
            "gatepost_store_body_octets_total",
            "Octets of bodies written, shared ones once.",
        )?;
        let errors = IntCounterVec::new(
            Opts::new("gatepost_store_errors_total", "Requests that the mailbox database refused, by kind."),
            &["kind"],
        )?;
        registry.register(Box::new(commit_changes.clone()))?;
        registry.register(Box::new(copies.clone()))?;
        registry.register(Box::new(body_octets.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        Ok(Self {
            commit_changes,
            copies,
            body_octets,
            full: errors.with_label_values(&["full"]),
            busy: errors.with_label_values(&["busy"]),
            corrupt: errors.with_label_values(&["corrupt"]),
            other: errors.with_label_values(&["other"]),
        })
    }

    pub(super) fn count_error(&self, error: StoreError) {
        match error {
            StoreError::Full => self.full.inc(),
            StoreError::Busy => self.busy.inc(),
            StoreError::Corrupt => self.corrupt.inc(),
            StoreError::BodyUnreadable
            | StoreError::BodyDamaged
            | StoreError::Failed
            | StoreError::Closed => self.other.inc(),
        }
    }
}

/// Powers of two up to the largest batch (`writer::BATCH_CHANGES_MAX`).
const COMMIT_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
