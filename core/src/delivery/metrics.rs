//! `gatepost_delivery_*`.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::Disposition;
use super::dsn::Action;
use super::retry::Setback;

/// The counters of delivery.
#[derive(Debug, Clone)]
pub struct Metrics {
    delivered: IntCounter,
    deleted_by_policy: IntCounter,
    quarantined: IntCounter,
    bounced: IntCounter,
    replaced: IntCounter,
    retried_scan: IntCounter,
    retried_store: IntCounter,
    retried_quarantine: IntCounter,
    retried_rewriting: IntCounter,
    retried_next_hop: IntCounter,
    retried_damaged: IntCounter,
    retried_left_alone: IntCounter,
    retried_kept_back: IntCounter,
    retried_panicked: IntCounter,
    told_failed: IntCounter,
    told_delayed: IntCounter,
    told_relayed: IntCounter,
    told_delivered: IntCounter,
    told_expanded: IntCounter,
    pub(super) settle_failures: IntCounter,
    pub(super) unreported: IntCounter,
    pub(super) deleted_messages: IntCounter,
    warnings: IntCounter,
    stuck: IntGauge,
    pub(super) seconds: Histogram,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let recipients = IntCounterVec::new(
            Opts::new(
                "gatepost_delivery_recipients_total",
                "Recipients with a terminal disposition, by disposition.",
            ),
            &["disposition"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new("gatepost_delivery_retries_total", "Recipients put off to a later attempt, by reason."),
            &["reason"],
        )?;
        let told = IntCounterVec::new(
            Opts::new(
                "gatepost_delivery_notified_total",
                "Recipients of whom senders were told in notifications, by action.",
            ),
            &["action"],
        )?;
        let settle_failures = IntCounter::new(
            "gatepost_delivery_settle_failures_total",
            "Attempts whose outcome the queue could not make durable.",
        )?;
        let unreported = IntCounter::new(
            "gatepost_delivery_unreported_total",
            "Recipients refused where their mail went on to, whose outside senders are not told.",
        )?;
        let deleted_messages = IntCounter::new(
            "gatepost_virus_scan_messages_deleted_total",
            "Mails that were deleted since a virus was found in them.",
        )?;
        let warnings = IntCounter::new(
            "gatepost_delivery_warnings_total",
            "Mails that warn somebody here of infected mail.",
        )?;
        registry.register(Box::new(warnings.clone()))?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new(
                "gatepost_delivery_seconds",
                "From acceptance to the disposition of a mail's recipients.",
            )
            .buckets(SECONDS_BUCKETS.to_vec()),
        )?;
        let stuck =
            IntGauge::new("gatepost_delivery_stuck", "Deliveries that go on beyond all their time limits.")?;
        registry.register(Box::new(stuck.clone()))?;
        registry.register(Box::new(recipients.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(told.clone()))?;
        registry.register(Box::new(settle_failures.clone()))?;
        registry.register(Box::new(unreported.clone()))?;
        registry.register(Box::new(deleted_messages.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            delivered: recipients.with_label_values(&["delivered"]),
            deleted_by_policy: recipients.with_label_values(&["deleted_by_policy"]),
            quarantined: recipients.with_label_values(&["quarantined"]),
            bounced: recipients.with_label_values(&["bounced"]),
            replaced: recipients.with_label_values(&["replaced"]),
            retried_scan: retries.with_label_values(&["scan"]),
            retried_store: retries.with_label_values(&["store"]),
            retried_quarantine: retries.with_label_values(&["quarantine"]),
            retried_rewriting: retries.with_label_values(&["rewriting"]),
            retried_next_hop: retries.with_label_values(&["next_hop"]),
            retried_damaged: retries.with_label_values(&["damaged"]),
            retried_left_alone: retries.with_label_values(&["left_alone"]),
            retried_kept_back: retries.with_label_values(&["kept_back"]),
            retried_panicked: retries.with_label_values(&["panicked"]),
            told_failed: told.with_label_values(&[Action::Failed.name()]),
            told_delayed: told.with_label_values(&[Action::Delayed.name()]),
            told_relayed: told.with_label_values(&[Action::Relayed.name()]),
            told_delivered: told.with_label_values(&[Action::Delivered.name()]),
            told_expanded: told.with_label_values(&[Action::Expanded.name()]),
            settle_failures,
            unreported,
            deleted_messages,
            warnings,
            stuck,
            seconds,
        })
    }

    /// What the watchdog counts.
    #[must_use]
    pub fn stuck(&self) -> IntGauge {
        self.stuck.clone()
    }

    /// What the pace of warnings counts.
    #[must_use]
    pub fn warnings(&self) -> IntCounter {
        self.warnings.clone()
    }

    pub(super) fn count_done(&self, disposition: &Disposition) {
        match disposition {
            Disposition::Delivered => self.delivered.inc(),
            Disposition::DeletedByPolicy { .. } => self.deleted_by_policy.inc(),
            Disposition::Quarantined { .. } => self.quarantined.inc(),
            Disposition::Bounced { .. } => self.bounced.inc(),
            Disposition::Replaced { .. } => self.replaced.inc(),
        }
    }

    pub(super) fn count_told(&self, action: Action) {
        match action {
            Action::Failed => self.told_failed.inc(),
            Action::Delayed => self.told_delayed.inc(),
            Action::Relayed => self.told_relayed.inc(),
            Action::Delivered => self.told_delivered.inc(),
            Action::Expanded => self.told_expanded.inc(),
        }
    }

    pub(super) fn count_retry(&self, setback: &Setback) {
        match setback {
            Setback::Scan => self.retried_scan.inc(),
            Setback::Store(_) => self.retried_store.inc(),
            Setback::Quarantine => self.retried_quarantine.inc(),
            Setback::Rewriting => self.retried_rewriting.inc(),
            Setback::NextHop { .. } => self.retried_next_hop.inc(),
            Setback::Damaged => self.retried_damaged.inc(),
            Setback::LeftAlone { .. } => self.retried_left_alone.inc(),
            Setback::KeptBack { .. } => self.retried_kept_back.inc(),
            Setback::Panicked => self.retried_panicked.inc(),
        }
    }
}

/// From a quick commit to the days that a mail may wait.
const SECONDS_BUCKETS: [f64; 12] =
    [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 900.0, 3600.0, 21_600.0, 86_400.0];
