//! Counters of servers behind: `gatepost_upstream_...`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Of all of them.
#[derive(Debug, Clone)]
pub struct Metrics {
    up: IntGaugeVec,
    connections: IntGaugeVec,
    connects: IntCounterVec,
    mails: IntCounterVec,
    displaced: IntCounterVec,
    names: Arc<Mutex<HashSet<String>>>,
}

/// Of one, resolved once.
#[derive(Debug)]
pub(super) struct UpstreamMetrics {
    pub(super) up: IntGauge,
    pub(super) connections: IntGauge,
    pub(super) connects_ok: IntCounter,
    pub(super) connects_failed: IntCounter,
    pub(super) mails_taken: IntCounter,
    pub(super) mails_refused: IntCounter,
    pub(super) mails_lost: IntCounter,
    pub(super) displaced: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all.
    ///
    /// # Errors
    /// One of the names is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("gatepost_upstream_{name}"), help);
        let metrics = Self {
            up: IntGaugeVec::new(
                opts("up", "Whether the server behind answers (1) or not (0)."),
                &["upstream"],
            )?,
            connections: IntGaugeVec::new(
                opts("connections", "Connections to the server behind, idle ones included."),
                &["upstream"],
            )?,
            connects: IntCounterVec::new(
                opts("connects_total", "Attempts to connect to the server behind: ok, failed."),
                &["upstream", "result"],
            )?,
            mails: IntCounterVec::new(
                opts("mails_total", "Bodies passed through: taken, refused, lost (no answer)."),
                &["upstream", "result"],
            )?,
            displaced: IntCounterVec::new(
                opts("displaced_total", "Connections that were taken from strangers who said nothing."),
                &["upstream"],
            )?,
            names: Arc::default(),
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.connects.clone()))?;
        registry.register(Box::new(metrics.mails.clone()))?;
        registry.register(Box::new(metrics.displaced.clone()))?;
        Ok(metrics)
    }

    pub(super) fn of(&self, name: &str) -> UpstreamMetrics {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        let connects = |result| self.connects.with_label_values(&[name, result]);
        let mails = |result| self.mails.with_label_values(&[name, result]);
        UpstreamMetrics {
            up: self.up.with_label_values(&[name]),
            connections: self.connections.with_label_values(&[name]),
            connects_ok: connects("ok"),
            connects_failed: connects("failed"),
            mails_taken: mails("taken"),
            mails_refused: mails("refused"),
            mails_lost: mails("lost"),
            displaced: self.displaced.with_label_values(&[name]),
        }
    }

    /// Forgets whether servers are there that nobody passes through to any more: what never changes again is no state.
    pub(super) fn keep_only(&self, kept: &[&str]) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|name| {
            let is_kept = kept.contains(&name.as_str());
            if !is_kept {
                let _ = self.up.remove_label_values(&[name]);
            }
            is_kept
        });
    }
}
