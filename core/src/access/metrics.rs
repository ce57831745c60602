//! `gatepost_access_*`.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::{Released, Withheld};

/// The counters of the scan gate.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) rescans: IntCounter,
    released: IntCounter,
    infected: IntCounter,
    replaced: IntCounter,
    gone: IntCounter,
    unavailable: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let rescans = IntCounter::new(
            "gatepost_access_rescans_total",
            "Stored messages scanned before they were shown, because their stamp was not current.",
        )?;
        let requests = IntCounterVec::new(
            Opts::new("gatepost_access_requests_total", "Messages that readers asked for, by what they got."),
            &["outcome"],
        )?;
        registry.register(Box::new(rescans.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            rescans,
            released: requests.with_label_values(&["released"]),
            infected: requests.with_label_values(&["infected"]),
            replaced: requests.with_label_values(&["replaced"]),
            gone: requests.with_label_values(&["gone"]),
            unavailable: requests.with_label_values(&["unavailable"]),
        })
    }

    pub(super) fn count(&self, outcome: &Result<Released, Withheld>) {
        match outcome {
            Ok(_) => self.released.inc(),
            Err(Withheld::Infected { .. }) => self.infected.inc(),
            Err(Withheld::Replaced { .. }) => self.replaced.inc(),
            Err(Withheld::Gone) => self.gone.inc(),
            Err(Withheld::Unavailable) => self.unavailable.inc(),
        }
    }
}
