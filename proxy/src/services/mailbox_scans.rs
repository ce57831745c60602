//! What has the mail in mailboxes scanned: behind its delivery, in the background, and at the gate.

use std::sync::Arc;

use gatepost_core::access::{self, AgeMax, ScanGate};
use gatepost_core::background::{self, Background};
use gatepost_core::events::Log;
use gatepost_core::findings::Findings;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::proactive::{self, Proactive};
use gatepost_core::scan::Scanner;
use gatepost_core::store::SqliteStore;
use prometheus::Registry;

use super::opening::OpenError;
use crate::config::Config;

/// The scans of the mailbox database.
pub(super) struct MailboxScans {
    background: Background,
    proactive: proactive::Running,
    gate: ScanGate,
    age_max: AgeMax,
}

/// What all of them work with.
pub(super) struct Tools<'a> {
    pub(super) store: &'a Arc<SqliteStore>,
    pub(super) scanner: &'a Scanner,
    pub(super) memory: &'a MemoryBudget,
    pub(super) events: &'a Log,
}

// === impl MailboxScans ===

impl MailboxScans {
    /// # Errors
    /// The database cannot be read.
    pub(super) async fn start(
        config: &Config,
        tools: &Tools<'_>,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let age_max = AgeMax::new(config.scan.on_access_age_max);
        let findings = Findings::new(DATABASE.to_owned(), tools.store.clone(), tools.events.clone());
        let metrics = Some(access::Metrics::register(registry)?);
        let gate = ScanGate::new(tools.store.clone(), tools.scanner.clone(), metrics)
            .drawing_on(tools.memory.clone())
            .sparing(age_max.clone())
            .waiting(config.scan.reader_budget.duration())
            .telling(findings);
        let proactive = proactive::Rooms {
            scanner: tools.scanner.clone(),
            database: DATABASE.to_owned(),
            store: Arc::clone(tools.store),
            memory: tools.memory.clone(),
            events: tools.events.clone(),
            metrics: Some(proactive::Metrics::register(registry)?),
        };
        let proactive = proactive::Running::start(proactive, config.scan.proactive);
        let background = start_background(config, tools, registry).await?;
        Ok(Self { background, proactive, gate, age_max })
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
        self.background.reload(&config.scan.background);
        self.proactive.handle().switch(config.scan.proactive);
        self.age_max.set(config.scan.on_access_age_max);
    }

    /// To be called before the database is closed.
    pub(super) async fn close(self) {
        self.background.close().await;
        self.proactive.close().await;
    }
}

async fn start_background(
    config: &Config,
    tools: &Tools<'_>,
    registry: &Registry,
) -> Result<Background, OpenError> {
    let database = background::Database {
        name: DATABASE.to_owned(),
        store: Arc::clone(tools.store),
        settings: config.scan.background.clone(),
    };
    let rooms = background::Rooms {
        scanner: tools.scanner.clone(),
        memory: tools.memory.clone(),
        events: tools.events.clone(),
        metrics: Some(background::Metrics::register(registry)?),
    };
    Background::start(vec![database], &rooms).await.map_err(OpenError::Background)
}

/// The one mailbox database, as operators see it: `store/default.sqlite`.
const DATABASE: &str = "default";
