//! `gatepost_virus_scan_background_*`.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::Place;
use super::ground::Tally;

/// The counters of all background scans.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Of all mailbox databases together.
    mailboxes: Counters,
    queue: Counters,
    quarantine: Counters,
    pub(super) running: IntGauge,
}

/// Those of one kind of place.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    messages: IntCounter,
    /// Where there are any.
    folders: Option<IntCounter>,
    infected: IntCounter,
    unfinished: IntCounter,
}

// === impl Metrics ===

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry already has counters of these names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("{PREFIX}_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let elsewhere = |name: &str, help: &str| {
            let counters =
                IntCounterVec::new(Opts::new(format!("{PREFIX}_elsewhere_{name}"), help), &["place"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let running = IntGauge::new(
            format!("{PREFIX}_running"),
            "Databases and other places that are scanned in the background now.",
        )?;
        registry.register(Box::new(running.clone()))?;
        let mailboxes = Counters {
            messages: counter("messages_total", "Messages scanned in background.")?,
            folders: Some(counter("folders_total", "Folders scanned in background.")?),
            infected: counter("infected_total", "Stored messages that the background scan found infected.")?,
            unfinished: counter(
                "unfinished_total",
                "Stored messages on which the background scan got no verdict.",
            )?,
        };
        let messages = elsewhere("messages_total", "Mails of queue and quarantine scanned in background.")?;
        let infected = elsewhere(
            "infected_total",
            "Mails of queue and quarantine that the background scan found infected.",
        )?;
        let unfinished = elsewhere(
            "unfinished_total",
            "Mails of queue and quarantine on which the background scan got no verdict.",
        )?;
        let of = |place: &Place| Counters {
            messages: messages.with_label_values(&[place.kind()]),
            folders: None,
            infected: infected.with_label_values(&[place.kind()]),
            unfinished: unfinished.with_label_values(&[place.kind()]),
        };
        Ok(Self { mailboxes, queue: of(&Place::Queue), quarantine: of(&Place::Quarantine), running })
    }

    pub(super) fn of(&self, place: &Place) -> Counters {
        match place {
            Place::Mailboxes(_) => self.mailboxes.clone(),
            Place::Queue => self.queue.clone(),
            Place::Quarantine => self.quarantine.clone(),
        }
    }
}

// === impl Counters ===

impl Counters {
    pub(super) fn count(&self, tally: Tally) {
        self.messages.inc_by(tally.scanned);
        if let Some(folders) = &self.folders {
            folders.inc_by(tally.folders);
        }
        self.infected.inc_by(tally.infected);
        self.unfinished.inc_by(tally.unfinished);
    }
}

const PREFIX: &str = "gatepost_virus_scan_background";
