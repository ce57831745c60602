//! How the sandbox stands, for whoever watches many machines.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::{Deed, Sandbox, SelfTest};
use crate::config::SandboxMode;

/// Gauges of the sandbox: `gatepost_sandbox_...`, brought up to date when they are read.
#[derive(Debug)]
pub struct Metrics {
    test: SelfTest,
    enforced: IntGauge,
    parts: IntGaugeVec,
    holes: IntGaugeVec,
    threads: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Makes the gauges and registers them.
    ///
    /// # Errors
    /// The registry has one of them already.
    pub fn register(sandbox: &Sandbox, registry: &Registry) -> prometheus::Result<()> {
        let metrics = Self {
            test: sandbox.test().clone(),
            enforced: IntGauge::new(
                "gatepost_sandbox_enforced",
                "1 where the server would not run without the whole sandbox.",
            )?,
            parts: IntGaugeVec::new(
                Opts::new("gatepost_sandbox_part", "1 where this part of the sandbox holds."),
                &["part"],
            )?,
            holes: IntGaugeVec::new(
                Opts::new(
                    "gatepost_sandbox_holes",
                    "Threads that could do a thing which the sandbox forbids, by thing.",
                ),
                &["deed"],
            )?,
            threads: IntGauge::new(
                "gatepost_sandbox_threads_tested",
                "Threads that tried it at their start.",
            )?,
        };
        metrics.enforced.set((sandbox.mode == SandboxMode::Enforce).into());
        for (part, holds) in sandbox.parts() {
            metrics.parts.with_label_values(&[part.name()]).set(holds.into());
        }
        registry.register(Box::new(metrics))
    }

    fn update(&self) {
        let holes = self.test.holes();
        for deed in Deed::ALL {
            let count = holes.iter().filter(|hole| hole.deed == deed).count();
            self.holes.with_label_values(&[deed.name()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.threads.set(i64::try_from(self.test.tested()).unwrap_or(i64::MAX));
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.enforced.desc(), self.parts.desc(), self.holes.desc(), self.threads.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        [self.enforced.collect(), self.parts.collect(), self.holes.collect(), self.threads.collect()].concat()
    }
}
