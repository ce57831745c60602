//! What has the mail in mailboxes scanned: behind its delivery, in the background, and at the gate; and what is done about what is
//! found.

use std::sync::Arc;

use gatepost_core::access::{self, AgeMax, ScanGate};
use gatepost_core::background::{self, Background};
use gatepost_core::delivery;
use gatepost_core::findings::Findings;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::proactive::{self, Proactive};
use gatepost_core::remedy::{self, Remedy};
use gatepost_core::store::SqliteStore;
use prometheus::Registry;

use super::opening::OpenError;
use crate::config::{Config, DATABASE};

/// The scans of the mailbox database.
pub(super) struct MailboxScans {
    background: Background,
    proactive: proactive::Running,
    gate: ScanGate,
    age_max: AgeMax,
    remedy: Remedy,
}

// === impl MailboxScans ===

impl MailboxScans {
    /// # Errors
    /// The database cannot be read.
    pub(super) async fn start(
        config: &Config,
        rooms: &delivery::Rooms,
        store: &Arc<SqliteStore>,
        memory: &MemoryBudget,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let age_max = AgeMax::new(config.database.on_access_age_max);
        let of_remedy = remedy::Rooms {
            store: Arc::clone(store),
            rewriter: rooms.rewriter.clone(),
            quarantine: rooms.quarantine.clone(),
            queue: rooms.queue.clone(),
            events: rooms.events.clone(),
            metrics: Some(remedy::Metrics::register(registry)?),
        };
        let remedy = Remedy::new(of_remedy, policy(config));
        let findings = Findings::new(DATABASE.to_owned(), store.clone(), rooms.events.clone());
        let metrics = Some(access::Metrics::register(registry)?);
        let gate = ScanGate::new(store.clone(), rooms.scanner.clone(), metrics)
            .drawing_on(memory.clone())
            .sparing(age_max.clone())
            .waiting(config.scan.reader_budget.duration())
            .telling(findings)
            .acting(remedy.clone());
        let proactive = proactive::Rooms {
            scanner: rooms.scanner.clone(),
            database: DATABASE.to_owned(),
            store: Arc::clone(store),
            memory: memory.clone(),
            events: rooms.events.clone(),
            remedy: Some(remedy.clone()),
            metrics: Some(proactive::Metrics::register(registry)?),
        };
        let proactive = proactive::Running::start(proactive, config.database.proactive);
        let background = start_background(config, rooms, store, memory, remedy.clone(), registry).await?;
        Ok(Self { background, proactive, gate, age_max, remedy })
    }

    /// What every reader goes through.
    pub(super) fn gate(&self) -> ScanGate {
        self.gate.clone()
    }

    /// Where delivery leaves what has no current stamp.
    pub(super) fn proactive(&self) -> Proactive {
        self.proactive.handle()
    }

    /// What operators order about.
    pub(super) fn background(&self) -> Background {
        self.background.clone()
    }

    pub(super) fn reload(&self, config: &Config) {
        self.background.reload(&config.database.background);
        self.proactive.handle().switch(config.database.proactive);
        self.age_max.set(config.database.on_access_age_max);
        self.remedy.reload(policy(config));
    }

    /// To be called before the database is closed.
    pub(super) async fn close(self) {
        self.background.close().await;
        self.proactive.close().await;
    }
}

fn policy(config: &Config) -> remedy::Policy {
    remedy::Policy { hostname: config.hostname.to_string(), action: config.database.infected_in_mailbox }
}

async fn start_background(
    config: &Config,
    rooms: &delivery::Rooms,
    store: &Arc<SqliteStore>,
    memory: &MemoryBudget,
    remedy: Remedy,
    registry: &Registry,
) -> Result<Background, OpenError> {
    let database = background::Database {
        name: DATABASE.to_owned(),
        store: Arc::clone(store),
        settings: config.database.background.clone(),
    };
    let of_background = background::Rooms {
        scanner: rooms.scanner.clone(),
        memory: memory.clone(),
        events: rooms.events.clone(),
        remedy: Some(remedy),
        metrics: Some(background::Metrics::register(registry)?),
    };
    Background::start(vec![database], &of_background).await.map_err(OpenError::Background)
}
