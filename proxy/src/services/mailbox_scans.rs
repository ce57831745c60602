//! What has the mail in mailboxes scanned: behind its delivery, in the background, and at the gate; and what is done about what is
//! found. Each database has its own settings. The background scan of queue and quarantine is here too, being the same one.

use std::collections::HashMap;
use std::sync::Arc;

use gatepost_core::access::{self, AgeMax, ScanGate, Way};
use gatepost_core::background::{self, Background, Elsewhere, Place};
use gatepost_core::delivery;
use gatepost_core::findings::Findings;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::proactive::{self, Proactive};
use gatepost_core::remedy::{self, Remedy};
use gatepost_core::store::SqliteStore;
use prometheus::Registry;

use super::databases::Stores;
use super::opening::OpenError;
use super::settings::delivery_policy;
use crate::config::{Config, DatabaseScan};

/// The scans of the mailbox databases.
pub(super) struct MailboxScans {
    background: Background,
    databases: Vec<Scans>,
    gate: ScanGate,
}

/// What one database has.
struct Scans {
    name: String,
    proactive: proactive::Running,
    age_max: AgeMax,
    remedy: Remedy,
}

/// What all databases share.
struct Shared<'a> {
    rooms: &'a delivery::Rooms,
    memory: &'a MemoryBudget,
    remedies: remedy::Metrics,
    proactive: proactive::Metrics,
}

// === impl MailboxScans ===

impl MailboxScans {
    /// # Errors
    /// A database cannot be read.
    pub(super) async fn start(
        config: &Config,
        rooms: &delivery::Rooms,
        stores: &Stores,
        memory: &MemoryBudget,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let shared = Shared {
            rooms,
            memory,
            remedies: remedy::Metrics::register(registry)?,
            proactive: proactive::Metrics::register(registry)?,
        };
        let scans: HashMap<&str, &DatabaseScan> = config.databases.scans().collect();
        let (mut databases, mut ways, mut walked) = (Vec::new(), HashMap::new(), Vec::new());
        for (name, store) in stores.each() {
            let Some(scan) = scans.get(name) else { continue };
            let scans = Scans::start(name, store, config, scan, &shared);
            ways.insert(name.to_owned(), scans.way(store, rooms));
            walked.push(background::Database {
                name: name.to_owned(),
                store: Arc::clone(store),
                settings: scan.background.clone(),
                remedy: Some(scans.remedy.clone()),
            });
            databases.push(scans);
        }
        let gate = ScanGate::new(
            stores.all().clone(),
            rooms.scanner.clone(),
            Some(access::Metrics::register(registry)?),
        );
        let gate = gate.drawing_on(memory.clone()).waiting(config.scan.reader_budget.duration()).going(ways);
        let of_background = background::Rooms {
            scanner: rooms.scanner.clone(),
            memory: memory.clone(),
            events: rooms.events.clone(),
            metrics: Some(background::Metrics::register(registry)?),
        };
        let elsewhere = Elsewhere {
            queue: rooms.queue.clone(),
            quarantine: rooms.quarantine.clone(),
            settings: config.scan.background.clone(),
        };
        let background = Background::start(walked, Some(elsewhere), &of_background);
        let background = background.await.map_err(OpenError::Background)?;
        Ok(Self { background, databases, gate })
    }

    /// What every reader goes through.
    pub(super) fn gate(&self) -> ScanGate {
        self.gate.clone()
    }

    /// Where delivery leaves what has no current stamp, by database.
    pub(super) fn proactive(&self) -> HashMap<String, Proactive> {
        self.databases.iter().map(|it| (it.name.clone(), it.proactive.handle())).collect()
    }

    /// What operators order about.
    pub(super) fn background(&self) -> Background {
        self.background.clone()
    }

    pub(super) fn reload(&self, config: &Config) {
        for place in [Place::Queue, Place::Quarantine] {
            self.background.reload(&place, &config.scan.background);
        }
        for (name, scan) in config.databases.scans() {
            self.background.reload(&Place::Mailboxes(name.to_owned()), &scan.background);
            for database in self.databases.iter().filter(|database| database.name == name) {
                database.proactive.handle().switch(scan.proactive);
                database.age_max.set(scan.on_access_age_max);
                database.remedy.reload(policy(config, scan));
            }
        }
    }

    /// To be called before the databases are closed.
    pub(super) async fn close(self) {
        self.background.close().await;
        for database in self.databases {
            database.proactive.close().await;
        }
    }
}

// === impl Scans ===

impl Scans {
    fn start(
        name: &str,
        store: &Arc<SqliteStore>,
        config: &Config,
        scan: &DatabaseScan,
        shared: &Shared<'_>,
    ) -> Self {
        let Shared { rooms, memory, remedies, proactive } = shared;
        let of_remedy = remedy::Rooms {
            database: name.to_owned(),
            store: Arc::clone(store),
            delivery: delivery::Rooms::clone(rooms),
            metrics: Some(remedies.clone()),
        };
        let remedy = Remedy::new(of_remedy, policy(config, scan));
        let proactive = proactive::Rooms {
            scanner: rooms.scanner.clone(),
            database: name.to_owned(),
            store: Arc::clone(store),
            memory: MemoryBudget::clone(memory),
            events: rooms.events.clone(),
            remedy: Some(remedy.clone()),
            metrics: Some(proactive.clone()),
        };
        Self {
            name: name.to_owned(),
            proactive: proactive::Running::start(proactive, scan.proactive),
            age_max: AgeMax::new(scan.on_access_age_max),
            remedy,
        }
    }

    /// What its readers meet at the gate.
    fn way(&self, store: &Arc<SqliteStore>, rooms: &delivery::Rooms) -> Way {
        Way {
            findings: Some(Findings::new(self.name.clone(), Arc::clone(store), rooms.events.clone())),
            age_max: self.age_max.clone(),
            remedy: Some(self.remedy.clone()),
        }
    }
}

fn policy(config: &Config, scan: &DatabaseScan) -> remedy::Policy {
    remedy::Policy { action: scan.infected_in_mailbox, delivery: Arc::new(delivery_policy(config)) }
}
