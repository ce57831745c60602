//! Counters of admission: `gatepost_admission_...`.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::overload::Level;
use super::verdict::{Mode, Rule};

/// Counters and gauges of admission.
#[derive(Debug, Clone)]
pub struct Metrics {
    refusals: IntCounterVec,
    displaced: IntCounter,
    level: IntGauge,
    bans: IntGauge,
    tarpitted: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Makes the counters and registers them.
    ///
    /// # Errors
    /// The registry has one of them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("gatepost_admission_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let refusals = IntCounterVec::new(
            Opts::new(
                "gatepost_admission_refusals_total",
                "What admission refused, or would have refused (mode \"detect\"), by rule.",
            ),
            &["rule", "mode"],
        )?;
        registry.register(Box::new(refusals.clone()))?;
        let displaced = IntCounter::new(
            "gatepost_admission_displaced_total",
            "Sessions of strangers that were closed to make room.",
        )?;
        registry.register(Box::new(displaced.clone()))?;
        Ok(Self {
            refusals,
            displaced,
            level: gauge("overload_level", "0 normal, 1 stressed, 2 overloaded.")?,
            bans: gauge("bans", "Networks that are banned now.")?,
            tarpitted: gauge("tarpitted_sessions", "Sessions whose answer is held back now.")?,
        })
    }

    pub(super) fn refused(&self, rule: Rule, mode: Mode) {
        let mode = if mode == Mode::Enforce { "enforce" } else { "detect" };
        self.refusals.with_label_values(&[rule.name(), mode]).inc();
    }

    pub(super) fn displaced(&self) {
        self.displaced.inc();
    }

    pub(super) fn set_level(&self, level: Level) {
        self.level.set(level.number());
    }

    pub(super) fn set_bans(&self, bans: usize) {
        self.bans.set(i64::try_from(bans).unwrap_or(i64::MAX));
    }

    pub(super) const fn tarpitted(&self) -> &IntGauge {
        &self.tarpitted
    }
}
