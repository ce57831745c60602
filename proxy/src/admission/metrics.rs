//! Counters of admission: `gatepost_admission_...`.

use gatepost_core::memory::MemoryBudget;
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
    memory: IntGauge,
    memory_limit: IntGauge,
    body_memory: IntGauge,
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
            memory: gauge("memory_octets", "Memory that peers make us hold now.")?,
            memory_limit: gauge("memory_limit_octets", "How much of it they may make us hold.")?,
            body_memory: gauge("body_memory_octets", "Memory that bodies on their way in take now.")?,
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

    pub(super) fn set_memory(&self, whole: &MemoryBudget, bodies: &MemoryBudget) {
        let number = |octets: u64| i64::try_from(octets).unwrap_or(i64::MAX);
        self.memory.set(number(whole.used()));
        self.memory_limit.set(number(whole.octets_max()));
        self.body_memory.set(number(bodies.used()));
    }

    pub(super) const fn tarpitted(&self) -> &IntGauge {
        &self.tarpitted
    }
}
