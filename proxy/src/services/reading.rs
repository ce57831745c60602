//! Mailboxes and all that reads them: the gate, the background scan, and what is done about what they find.

use std::sync::Arc;

use gatepost_core::access::{self, ScanGate};
use gatepost_core::background::{self, Background};
use gatepost_core::delivery;
use gatepost_core::findings::Findings;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::remedy::{self, Policy, Remedy};
use gatepost_core::store::SqliteStore;
use prometheus::Registry;

use super::OpenError;
use crate::config::Config;

/// What stands between them.
pub(super) struct Reading {
    pub(super) gate: ScanGate,
    pub(super) background: Background,
    pub(super) remedy: Remedy,
}

// === impl Reading ===

impl Reading {
    /// Opens the gate and starts the background scan.
    pub(super) async fn open(
        config: &Config,
        rooms: delivery::Rooms,
        store: &Arc<SqliteStore>,
        memory: MemoryBudget,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let delivery::Rooms { scanner, rewriter, quarantine, queue, events, .. } = rooms;
        let of_remedy = remedy::Rooms {
            store: Arc::clone(store),
            rewriter,
            quarantine,
            queue,
            events: events.clone(),
            metrics: Some(remedy::Metrics::register(registry)?),
        };
        let remedy = Remedy::new(of_remedy, policy(config));
        let gate = ScanGate::new(store.clone(), scanner.clone(), Some(access::Metrics::register(registry)?))
            .drawing_on(memory.clone())
            .waiting(config.scan.reader_budget.duration())
            .telling(Findings::new(DATABASE.to_owned(), Arc::clone(store), events.clone()))
            .acting(remedy.clone());
        let database = background::Database {
            name: DATABASE.to_owned(),
            store: Arc::clone(store),
            settings: config.scan.background.clone(),
        };
        let of_background = background::Rooms {
            scanner,
            memory,
            events,
            remedy: Some(remedy.clone()),
            metrics: Some(background::Metrics::register(registry)?),
        };
        let background =
            Background::start(vec![database], &of_background).await.map_err(OpenError::Background)?;
        Ok(Self { gate, background, remedy })
    }

    /// Takes over what can change while the server runs.
    pub(super) fn reload(&self, config: &Config) {
        self.background.reload(&config.scan.background);
        self.remedy.reload(policy(config));
    }
}

fn policy(config: &Config) -> Policy {
    Policy { hostname: config.hostname.to_string(), action: config.scan.infected_in_mailbox }
}

/// The one mailbox database, as operators see it: `store/default.sqlite`.
const DATABASE: &str = "default";
