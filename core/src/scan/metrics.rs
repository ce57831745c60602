//! What the room counts: `gatepost_virus_scan_...`.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The room's counters and gauges. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) messages: IntCounter,
    pub(super) remembered: IntCounter,
    pub(super) items: IntCounter,
    pub(super) octets: IntCounter,
    pub(super) infected: IntCounter,
    pub(super) unscannable: IntCounter,
    pub(super) timeouts: IntCounter,
    pub(super) failures: IntCounter,
    pub(super) turned_away: IntCounter,
    pub(super) messages_cleaned: IntCounter,
    pub(super) files_cleaned: IntCounter,
    pub(super) files_removed: IntCounter,
    pub(super) clean_failures: IntCounter,
    pub(super) queue_length: IntGauge,
    pub(super) threads_overdue: IntGauge,
    pub(super) seconds: Histogram,
    pub(super) stale: IntCounter,
    unscanned: IntCounterVec,
    pub(super) stamps_refused: IntCounter,
    engines: Engines,
}

/// What is counted of each engine, by its name.
#[derive(Debug, Clone)]
struct Engines {
    calls: IntCounterVec,
    slow_calls: IntCounterVec,
    items_remembered: IntCounterVec,
    items_kept: IntGaugeVec,
    failures: IntCounterVec,
    up: IntGaugeVec,
}

/// What became of a mail that no scan vouched for in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unscanned {
    /// Its sender was asked to come again.
    Refused,
    /// It was accepted, and the queue has it scanned.
    Queued,
    /// It lies in mailboxes, where it is scanned before anybody reads it.
    Delivered,
}

/// What is counted of one engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    pub(super) calls: IntCounter,
    pub(super) slow_calls: IntCounter,
    pub(super) items_remembered: IntCounter,
    pub(super) items_kept: IntGauge,
    pub(super) up: IntGauge,
    engine: String,
    failures: IntCounterVec,
}

// === impl Metrics ===

impl Metrics {
    /// Makes the room's metrics and registers them. Fails if the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            messages: counter(registry, "messages_total", "Messages processed by the engine.")?,
            remembered: counter(
                registry,
                "remembered_total",
                "Messages answered from a verdict on the same content, without another scan.",
            )?,
            items: counter(registry, "files_total", "Items scanned: messages, parts, archive entries.")?,
            octets: counter(registry, "bytes_total", "Octets scanned.")?,
            infected: counter(registry, "infected_total", "Messages with a virus.")?,
            unscannable: counter(registry, "unscannable_total", "Messages refused as unscannable.")?,
            timeouts: counter(registry, "timeouts_total", "Scans without a verdict in time.")?,
            failures: counter(registry, "failures_total", "Scans that failed.")?,
            turned_away: counter(
                registry,
                "turned_away_total",
                "Scans not taken because the queue was full.",
            )?,
            messages_cleaned: counter(
                registry,
                "messages_cleaned_total",
                "Messages rewritten without what was found in them.",
            )?,
            files_cleaned: counter(registry, "files_cleaned_total", "Infected parts that were cleaned.")?,
            files_removed: counter(
                registry,
                "files_removed_total",
                "Infected parts that a text took the place of.",
            )?,
            clean_failures: counter(
                registry,
                "clean_failures_total",
                "Infected parts that no engine could clean.",
            )?,
            queue_length: gauge(registry, "queue_length", "Messages that wait for a scan thread.")?,
            threads_overdue: gauge(
                registry,
                "threads_overdue",
                "Scan threads still busy with a message nobody waits for any longer.",
            )?,
            seconds: histogram(registry)?,
            stamps_refused: counter(
                registry,
                "stamps_refused_total",
                "Stamps of the current signatures that are not ours, or not for the content that they lie beside.",
            )?,
            stale: counter(
                registry,
                "stale_total",
                "Scans made again because the signatures changed meanwhile.",
            )?,
            unscanned: counters(
                registry,
                "unscanned_total",
                "Mails that no scan vouched for in time, by what became of them.",
                &["outcome"],
            )?,
            engines: Engines::register(registry)?,
        })
    }

    /// Rare, so the label is looked up each time.
    pub(super) fn count_unscanned(&self, outcome: Unscanned) {
        let outcome = match outcome {
            Unscanned::Refused => "refused",
            Unscanned::Queued => "queued",
            Unscanned::Delivered => "delivered",
        };
        self.unscanned.with_label_values(&[outcome]).inc();
    }

    /// The part of one engine. Names come from the configuration, so there are few.
    #[must_use]
    pub fn engine(&self, name: &str) -> EngineMetrics {
        let Engines { calls, slow_calls, items_remembered, items_kept, failures, up } = &self.engines;
        EngineMetrics {
            calls: calls.with_label_values(&[name]),
            slow_calls: slow_calls.with_label_values(&[name]),
            items_remembered: items_remembered.with_label_values(&[name]),
            items_kept: items_kept.with_label_values(&[name]),
            up: up.with_label_values(&[name]),
            engine: name.to_owned(),
            failures: failures.clone(),
        }
    }
}

// === impl Engines ===

impl Engines {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            calls: counters(registry, "engine_calls_total", "Items given to an engine.", &["engine"])?,
            slow_calls: counters(
                registry,
                "engine_slow_calls_total",
                "Items that took an engine longer than 2.5 s.",
                &["engine"],
            )?,
            items_remembered: counters(
                registry,
                "engine_items_remembered_total",
                "Items answered from a verdict on the same content, without a call.",
                &["engine"],
            )?,
            items_kept: engine_gauge(
                registry,
                "engine_items_kept",
                "Items of which an engine's file for the next run has a verdict.",
            )?,
            failures: counters(
                registry,
                "engine_failures_total",
                "Calls that an engine failed at, by kind.",
                &["engine", "kind"],
            )?,
            up: engine_gauge(registry, "engine_up", "Whether an engine can be asked.")?,
        })
    }
}

// === impl EngineMetrics ===

impl EngineMetrics {
    /// Failures are rare: the label is looked up each time.
    pub(super) fn failed(&self, kind: &'static str) {
        self.failures.with_label_values(&[self.engine.as_str(), kind]).inc();
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::new(format!("{PREFIX}{name}"), help)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(Opts::new(format!("{PREFIX}{name}"), help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::new(format!("{PREFIX}{name}"), help)?)
}

fn engine_gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(Opts::new(format!("{PREFIX}{name}"), help), &["engine"])?)
}

fn histogram(registry: &Registry) -> prometheus::Result<Histogram> {
    let options =
        HistogramOpts::new(format!("{PREFIX}seconds"), "Time from taking a message to its verdict.")
            .buckets(BUCKETS.to_vec());
    registered(registry, Histogram::with_opts(options)?)
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> prometheus::Result<M> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

const PREFIX: &str = "gatepost_virus_scan_";
/// Seconds. 2.5 is where the classic guidance calls an engine call an error; 20 and 180 are the deadlines of a session and of
/// a reader.
const BUCKETS: [f64; 11] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 20.0, 180.0];
