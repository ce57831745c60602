//! Counters of the queue.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::AppendError;
use super::progress::Part;
use crate::clock::Moved;

/// Registered once a process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Messages made durable.
    pub(super) appended: IntCounter,
    /// Octets of their bodies.
    pub(super) appended_octets: IntCounter,
    /// Messages refused, by reason.
    refused_full: IntCounter,
    refused_failed: IntCounter,
    refused_over_quota: IntCounter,
    refused_closed: IntCounter,
    /// Attempts recorded.
    pub(super) settled: IntCounter,
    /// Recipients taken out by an operator in silence.
    pub(super) removed: IntCounter,
    /// Messages carried on from old segments.
    pub(super) carried: IntCounter,
    /// Batches flushed, openings of segments included.
    pub(super) flushes: IntCounter,
    /// Records a batch.
    pub(super) batch_records: Histogram,
    /// Seconds a batch took, from its first write to the end of its flush.
    pub(super) commit_seconds: Histogram,
    /// Messages with a pending recipient.
    pub(super) messages: IntGauge,
    /// Those of them that wait for their first attempt,
    pub(super) waiting: IntGauge,
    /// or for a later one,
    pub(super) deferred: IntGauge,
    /// or for the end of one,
    pub(super) in_delivery: IntGauge,
    /// or for an operator.
    pub(super) held: IntGauge,
    /// Seconds since the oldest one that is not held was received.
    pub(super) oldest_age: IntGauge,
    /// Segments on disk.
    pub(super) segments: IntGauge,
    /// 1 while nothing is accepted after a failed flush.
    pub(super) stopped: IntGauge,
    stalled_writer: IntGauge,
    stalled_delivery: IntGauge,
    /// Damaged records found, at the start and when they were read.
    pub(super) corrupt: IntCounter,
    clock_ahead: IntCounter,
    clock_back: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the queue's metrics.
    ///
    /// # Errors
    /// Where one is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let refused = counters(
            registry,
            "gatepost_queue_refused_total",
            "Messages that could not be made durable, by reason.",
            "reason",
        )?;
        let clock = counters(
            registry,
            "gatepost_queue_clock_jumps_total",
            "How often the clock of this machine was set.",
            "direction",
        )?;
        let by_state = gauges(
            registry,
            "gatepost_queue_state_messages",
            "Messages with a pending recipient, by what they wait for; counted every 15 seconds.",
            "state",
        )?;
        let stalled = gauges(
            registry,
            "gatepost_queue_stalled",
            "1 while a part of the queue does not get on: its writer hangs in the disk, or due mail is not taken.",
            "part",
        )?;
        Ok(Self {
            appended: counter("gatepost_queue_appended_total", "Messages made durable.")?,
            appended_octets: counter("gatepost_queue_appended_bytes_total", "Octets of their bodies.")?,
            refused_full: refused.with_label_values(&["full"]),
            refused_failed: refused.with_label_values(&["failed"]),
            refused_over_quota: refused.with_label_values(&["over_quota"]),
            refused_closed: refused.with_label_values(&["closed"]),
            settled: counter("gatepost_queue_settled_total", "Delivery attempts recorded.")?,
            removed: counter(
                "gatepost_queue_removed_total",
                "Recipients whose mail an operator took out of the queue without telling anybody.",
            )?,
            carried: counter(
                "gatepost_queue_carried_total",
                "Messages carried on from old segments, so that these could go.",
            )?,
            flushes: counter("gatepost_queue_flushes_total", "Batches flushed.")?,
            batch_records: histogram(
                registry,
                "gatepost_queue_batch_records",
                "Records that share one flush.",
                prometheus::exponential_buckets(1.0, 2.0, 10)?,
            )?,
            commit_seconds: histogram(
                registry,
                "gatepost_queue_commit_seconds",
                "Time to write and flush one batch.",
                prometheus::exponential_buckets(0.000_1, 2.5, 12)?,
            )?,
            messages: gauge("gatepost_queue_messages", "Messages with a pending recipient.")?,
            waiting: by_state.with_label_values(&["waiting"]),
            deferred: by_state.with_label_values(&["deferred"]),
            in_delivery: by_state.with_label_values(&["in_delivery"]),
            held: by_state.with_label_values(&["held"]),
            oldest_age: gauge(
                "gatepost_queue_oldest_age_seconds",
                "Seconds since the oldest message that is not held was received; 0 where there is none.",
            )?,
            segments: gauge("gatepost_queue_segments", "Segments on disk.")?,
            stopped: gauge("gatepost_queue_stopped", "1 while nothing is accepted after a failed flush.")?,
            stalled_writer: stalled.with_label_values(&["writer"]),
            stalled_delivery: stalled.with_label_values(&["delivery"]),
            corrupt: counter("gatepost_queue_corrupt_records_total", "Damaged records found.")?,
            clock_ahead: clock.with_label_values(&["ahead"]),
            clock_back: clock.with_label_values(&["back"]),
        })
    }

    pub(super) const fn stalled(&self, part: Part) -> &IntGauge {
        match part {
            Part::Writer => &self.stalled_writer,
            Part::Delivery => &self.stalled_delivery,
        }
    }

    pub(super) fn clock_jumped(&self, moved: Moved) {
        match moved {
            Moved::Little => {}
            Moved::Back(_) => self.clock_back.inc(),
            Moved::Ahead(_) => self.clock_ahead.inc(),
        }
    }

    pub(super) fn refused(&self, error: AppendError) {
        match error {
            AppendError::Full => self.refused_full.inc(),
            AppendError::Failed => self.refused_failed.inc(),
            AppendError::OverQuota => self.refused_over_quota.inc(),
            AppendError::Closed => self.refused_closed.inc(),
        }
    }
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: Vec<f64>,
) -> prometheus::Result<Histogram> {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}
