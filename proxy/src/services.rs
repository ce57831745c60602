//! The rooms of an installation: opened in the order in which they need each other, wired, closed in reverse.
//!
//! ```text
//! directory -> verifier -> authenticator ----------------------\
//! queue ------------\                                           > edge
//! engines -> scanner ---> backend, gate, delivery workers --------/
//! store ------------/
//! ```

mod clients;
mod mail_folders;
mod settings;

use std::path::Path;
use std::sync::Arc;

use gatepost_core::access::{self, ScanGate};
use gatepost_core::background::{self, Background};
use gatepost_core::badmail::Badmail;
use gatepost_core::delivery::remote::Remote;
use gatepost_core::delivery::{self, Watchdog, Workers};
use gatepost_core::directory::{self, Directory, DirectoryError, PasswordVerifier};
use gatepost_core::disk::RealDisk;
use gatepost_core::dkim::Signers;
use gatepost_core::events::{self, Log};
use gatepost_core::filter;
use gatepost_core::findings::Findings;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::quarantine::Releaser;
use gatepost_core::queue::{self, Queue};
use gatepost_core::scan::{self, Ensemble, Overruled, Reload, Scanner, engines};
use gatepost_core::store::{self, MailStore, SqliteStore};
use gatepost_core::tlsrpt::Ledger;

use crate::admission::dnsbl::{self, BlockLists, UnusableResolver};
use crate::admission::memory::Memory;
use crate::admission::networks::NetworkFileError;
use crate::admission::{self, Admission, Policy};
use crate::admission_file::AdmissionFile;
use crate::authn::Authenticator;
use crate::backend::embedded::Embedded;
use crate::config::Config;
use crate::control;
use crate::data_folder::DataFolder;
use crate::dkim_keys::{self, KeyFileError};
use crate::metrics::EdgeMetrics;
use crate::relay::{self, RelayError};
use crate::server::Services;
use crate::telemetry::Metrics;
use crate::tls::{Tls, TlsError};
use crate::tls_results::TlsResults;
pub use clients::check_authorities;
use mail_folders::MailFolders;
use settings::{
    authn_settings, backend_settings, block_list_settings, delivery_policy, engine_settings, queue_settings,
    tls_files,
};
pub use settings::{rules, scan_settings, server_settings};

/// The opened rooms.
pub struct Rooms {
    edge: Services,
    backend: Arc<Embedded>,
    shares: Shares,
    remembered: AdmissionFile,
    tls: Arc<Tls>,
    queue: Queue,
    scanner: Scanner,
    store: Arc<SqliteStore>,
    engines: Arc<Ensemble>,
    workers: Workers,
    remote: Option<Remote>,
    mail_folders: MailFolders,
    background: Background,
    tls_results: Option<TlsResults>,
    events: Log,
}

/// The memory that peers may make us hold, and what parts of it are for.
struct Shares {
    memory: Memory,
    /// Half: the rest must do for who is not being scanned.
    scans: MemoryBudget,
}

/// Why a room cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Certificate or key.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] queue::OpenError),
    /// The mailboxes.
    #[error("the mailboxes: {0}")]
    Store(#[from] store::OpenError),
    /// The scan of the mailboxes.
    #[error("the background scan: {0}")]
    Background(store::StoreError),
    /// The workers of delivery.
    #[error("delivery: {0}")]
    Delivery(#[from] delivery::StartError),
    /// The scanner's engines.
    #[error("the scan engines: {0}")]
    Engines(#[from] engines::StartError),
    /// The scanner's threads.
    #[error("the scanner: {0}")]
    Scanner(std::io::Error),
    /// The accounts.
    #[error("the accounts: {0}")]
    Directory(#[from] DirectoryError),
    /// There is nobody to ask for block lists.
    #[error("block lists: {0}")]
    BlockLists(#[from] UnusableResolver),
    /// Delivery to other servers.
    #[error("delivery: {0}")]
    Relay(#[from] RelayError),
    /// The folder of bad mail.
    #[error("the badmail folder: {0}")]
    Badmail(std::io::Error),
    /// The quarantine.
    #[error("the quarantine: {0}")]
    Quarantine(std::io::Error),
    /// The watch over the pickup folder.
    #[error("the pickup folder: {0}")]
    Pickup(std::io::Error),
    /// The thread that watches deliveries.
    #[error("delivery: {0}")]
    Watchdog(std::io::Error),
    /// Lists of networks.
    #[error("admission: {0}")]
    Admission(#[from] NetworkFileError),
    /// Keys that mail is signed with.
    #[error("dkim: {0}")]
    Dkim(#[from] KeyFileError),
    /// The event log.
    #[error("the event log: {0}")]
    Events(std::io::Error),
    /// Two rooms count under one name: a bug.
    #[error("the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

// === impl Rooms ===

impl Rooms {
    /// Opens everything and starts delivery. Blocks on the disk, so it is for the thread that starts the program, inside
    /// its runtime.
    ///
    /// # Errors
    /// The first room that cannot be opened.
    pub async fn open(
        config: &Config,
        folder: &DataFolder,
        directory: Directory,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let registry = metrics.registry();
        let tls = Arc::new(load_tls(config, folder)?);
        let events = Log::start(&folder.events(), Some(events::Metrics::register(registry)?))
            .map_err(OpenError::Events)?;
        let queue = open_queue(config, folder, registry)?;
        let overruled = Overruled::default();
        let mut mail_folders = MailFolders::open(config, folder, &overruled, &events, registry)?;
        let store = Arc::new(open_store(folder, registry)?);
        let shares = Shares::new(config);
        let Memory { whole, bodies } = shares.memory.clone();
        let (engines, scanner) = start_scanner(config, folder, &shares, overruled, &events, registry)?;
        let verifier = start_verifier(&directory, registry)?;
        let (delivery_metrics, watchdog) = start_watchdog(&events, registry)?;
        let ledger = TlsResults::recall(config, folder);
        let remote = relay::start(config, registry, watchdog.clone(), ledger.clone())?;
        let workers = Workers::start(
            delivery::Rooms {
                queue: queue.clone(),
                scanner: scanner.clone(),
                directory: directory.clone(),
                store: store.clone(),
                remote: remote.clone(),
                watchdog,
                badmail: Some(mail_folders.badmail().clone()),
                quarantine: mail_folders.quarantine().clone(),
                events: events.clone(),
            },
            &delivery::Settings::default(),
            delivery_policy(config),
            Some(delivery_metrics),
        )
        .await?;
        mail_folders.watch_pickup(config, &queue, &directory, &bodies, &events, registry)?;
        let background = start_background(config, &store, &scanner, &whole, &events, registry).await?;
        let backend = Arc::new(Embedded::new(
            directory.clone(),
            queue.clone(),
            scanner.clone(),
            events.clone(),
            Some(filter::Metrics::register(registry)?),
            bodies,
            backend_settings(config),
        ));
        backend.sign_with(dkim_keys::load(config)?);
        backend.stand_before(relay::behind(config, remote.as_ref())?);
        directory.rewrite_with(config.srs.clone());
        let edge = Services {
            block_lists: BlockLists::start(block_list_settings(config), dnsbl::Metrics::register(registry)?)?,
            admission: open_admission(config, &shares, registry)?,
            backend: backend.clone(),
            authenticator: Authenticator::new(directory, verifier.clone(), authn_settings(config)),
            verifier,
            store: store.clone(),
            gate: open_gate(config, &store, &scanner, whole, &events, registry)?,
            tls: Some(tls.clone()),
            events: events.clone(),
            metrics: EdgeMetrics::register(registry)?,
        };
        let tls_results = report_on_tls(config, folder, ledger, &queue, &backend, registry)?;
        let remembered = AdmissionFile::open(Arc::clone(&edge.admission), folder.clone());
        Ok(Self {
            edge,
            backend,
            shares,
            remembered,
            tls,
            queue,
            scanner,
            store,
            engines,
            workers,
            remote,
            mail_folders,
            background,
            tls_results,
            events,
        })
    }

    /// What the edge works with.
    #[must_use]
    pub fn edge(&self) -> Services {
        self.edge.clone()
    }

    /// The queue.
    #[must_use]
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What the operator has a hand on while the server runs.
    #[must_use]
    pub fn under_control(&self) -> control::Rooms {
        let releaser = Releaser {
            quarantine: self.mail_folders.quarantine().clone(),
            queue: self.queue.clone(),
            scanner: self.scanner.clone(),
            memory: self.shares.memory.bodies.clone(),
        };
        control::Rooms {
            queue: self.queue.clone(),
            remote: self.remote.clone(),
            engines: Arc::clone(&self.engines),
            releaser,
            background: self.background.clone(),
        }
    }

    /// Where mail goes that can be neither delivered nor returned.
    #[must_use]
    pub const fn badmail(&self) -> &Badmail {
        self.mail_folders.badmail()
    }

    /// The mailboxes.
    #[must_use]
    pub const fn store(&self) -> &Arc<SqliteStore> {
        &self.store
    }

    /// Certificate and key in use.
    #[must_use]
    pub const fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// Takes over what can change while the server runs: admission, certificate, backend, routes, rules. Check certificate
    /// and routes before (`load_tls`, `relay::load`): here the old ones stay where the new ones are bad.
    pub fn reload(&self, config: &Config, folder: &DataFolder, policy: Policy, signers: Signers) {
        self.edge.admission.reload(policy);
        self.shares.resize(config);
        let (certificate, key) = tls_files(config, folder);
        if let Err(error) = self.tls.reload(&certificate, &key) {
            tracing::error!(%error, "the new certificate cannot be used; the old one stays");
        }
        if let Err(error) = self.edge.block_lists.reload(block_list_settings(config)) {
            tracing::error!(%error, "the new block lists cannot be asked; the old ones stay");
        }
        self.backend.reload(backend_settings(config));
        self.mail_folders.reload(config);
        match (&self.remote, relay::load(config)) {
            (Some(remote), Ok(Some(settings))) => remote.reload(settings),
            (_, Err(error)) => tracing::error!(%error, "the new routes cannot be used; the old ones stay"),
            (_, Ok(_)) => (),
        }
        match relay::behind(config, self.remote.as_ref()) {
            Ok(behind) => self.backend.stand_before(behind),
            Err(error) => tracing::error!(%error, "the new recipients cannot be used; the old ones stay"),
        }
        self.backend.sign_with(signers);
        self.background.reload(&config.scan.background);
        self.edge.verifier.directory().rewrite_with(config.srs.clone());
        self.workers.reload(delivery_policy(config));
        let engines = Arc::clone(&self.engines);
        // An engine outside of this process may take its time.
        tokio::task::spawn_blocking(move || reload_engines(&engines));
    }

    /// Lets delivery finish what it holds, then closes queue and mailboxes. No session may be left.
    pub async fn close(self) {
        self.background.close().await;
        self.remembered.close().await;
        self.mail_folders.close().await;
        self.workers.stop().await;
        if let Some(tls_results) = self.tls_results {
            tls_results.close().await;
        }
        self.queue.close().await;
        self.store.close().await;
        self.events.flush().await;
    }
}

fn report_on_tls(
    config: &Config,
    folder: &DataFolder,
    ledger: Option<Ledger>,
    queue: &Queue,
    backend: &Arc<Embedded>,
    registry: &prometheus::Registry,
) -> Result<Option<TlsResults>, RelayError> {
    let backend = Arc::clone(backend);
    let signers = Box::new(move || backend.signers());
    TlsResults::start(config, folder, ledger, queue.clone(), signers, registry)
}

fn open_queue(
    config: &Config,
    folder: &DataFolder,
    registry: &prometheus::Registry,
) -> Result<Queue, OpenError> {
    let (disk, metrics) = (Arc::new(RealDisk), Some(queue::Metrics::register(registry)?));
    let (queue, recovered) = Queue::open(disk, &folder.queue(), queue_settings(config), metrics)?;
    report(&recovered);
    Ok(queue)
}

fn open_store(folder: &DataFolder, registry: &prometheus::Registry) -> Result<SqliteStore, OpenError> {
    let metrics = Some(store::Metrics::register(registry)?);
    Ok(SqliteStore::open(&folder.store(), &store::Settings::default(), metrics)?)
}

fn open_gate(
    config: &Config,
    store: &Arc<SqliteStore>,
    scanner: &Scanner,
    memory: MemoryBudget,
    events: &Log,
    registry: &prometheus::Registry,
) -> Result<ScanGate, OpenError> {
    let metrics = Some(access::Metrics::register(registry)?);
    Ok(ScanGate::new(store.clone(), scanner.clone(), metrics)
        .drawing_on(memory)
        .waiting(config.scan.reader_budget.duration())
        .telling(Findings::new(DATABASE.to_owned(), store.clone(), events.clone())))
}

fn open_admission(
    config: &Config,
    shares: &Shares,
    registry: &prometheus::Registry,
) -> Result<Arc<Admission>, OpenError> {
    let metrics = admission::Metrics::register(registry)?;
    Ok(Admission::new(load_policy(config)?, shares.memory.clone(), metrics))
}

fn start_watchdog(
    events: &Log,
    registry: &prometheus::Registry,
) -> Result<(delivery::Metrics, Watchdog), OpenError> {
    let metrics = delivery::Metrics::register(registry)?;
    let watchdog = Watchdog::start(events.clone(), Some(metrics.stuck())).map_err(OpenError::Watchdog)?;
    Ok((metrics, watchdog))
}

fn start_scanner(
    config: &Config,
    folder: &DataFolder,
    shares: &Shares,
    overruled: Overruled,
    events: &Log,
    registry: &prometheus::Registry,
) -> Result<(Arc<Ensemble>, Scanner), OpenError> {
    let metrics = scan::Metrics::register(registry)?;
    let engines = start_engines(config, Some(&rules(config, folder)), events, &metrics)?;
    let settings = scan::Settings { memory: shares.scans.clone(), overruled, ..scan_settings(config) };
    let scanner = Scanner::start(engines.clone(), &settings, metrics).map_err(OpenError::Scanner)?;
    Ok((engines, scanner))
}

/// Starts the engines that the configuration has, the embedded one with the rules of this folder.
///
/// # Errors
/// The first that cannot be started.
pub fn start_engines(
    config: &Config,
    rules: Option<&Path>,
    events: &Log,
    metrics: &scan::Metrics,
) -> Result<Arc<Ensemble>, engines::StartError> {
    engines::start(&engine_settings(config, rules), config.scan.policy, events, metrics)
}

fn reload_engines(engines: &Ensemble) {
    for (engine, reload) in engines.reload_each() {
        match reload {
            Reload::Unchanged => (),
            Reload::Replaced => tracing::info!(engine, "a scan engine uses new signatures"),
            Reload::Kept(reason) => {
                tracing::error!(engine, reason, "new signatures cannot be used; the old ones stay");
            }
        }
    }
}

async fn start_background(
    config: &Config,
    store: &Arc<SqliteStore>,
    scanner: &Scanner,
    memory: &MemoryBudget,
    events: &Log,
    registry: &prometheus::Registry,
) -> Result<Background, OpenError> {
    let database = background::Database {
        name: DATABASE.to_owned(),
        store: Arc::clone(store),
        settings: config.scan.background.clone(),
    };
    let rooms = background::Rooms {
        scanner: scanner.clone(),
        memory: memory.clone(),
        events: events.clone(),
        metrics: Some(background::Metrics::register(registry)?),
    };
    Background::start(vec![database], &rooms).await.map_err(OpenError::Background)
}

// === impl Shares ===

impl Shares {
    fn new(config: &Config) -> Self {
        let whole = MemoryBudget::new(config.limits.memory.count());
        let bodies = whole.share(config.limits.body_memory.count());
        let scans = whole.share(config.limits.memory.half().count());
        Self { memory: Memory { whole, bodies }, scans }
    }

    fn resize(&self, config: &Config) {
        self.memory.whole.resize(config.limits.memory.count());
        self.memory.bodies.resize(config.limits.body_memory.count());
        self.scans.resize(config.limits.memory.half().count());
    }
}

fn start_verifier(
    directory: &Directory,
    registry: &prometheus::Registry,
) -> Result<PasswordVerifier, OpenError> {
    let metrics = directory::Metrics::register(registry)?;
    Ok(PasswordVerifier::start(directory.clone(), directory::Settings::default(), metrics)?)
}

/// Reads and checks the certificate that the configuration means.
///
/// # Errors
/// It cannot be used.
pub fn load_tls(config: &Config, folder: &DataFolder) -> Result<Tls, TlsError> {
    let (certificate, key) = tls_files(config, folder);
    Tls::load(&certificate, &key)
}

/// Reads the lists of networks that the configuration means.
///
/// # Errors
/// One of them cannot be used.
pub fn load_policy(config: &Config) -> Result<Policy, NetworkFileError> {
    let mut admission = config.admission.clone();
    // No ban or limit may hit a balancer or a relay, with which it would hit everybody behind it.
    for listener in &config.listeners {
        let listed = listener.proxy_protocol_from.iter().chain(&listener.xclient_from);
        admission.trusted.extend(listed.map(|network| network.network()));
    }
    Policy::load(&admission)
}

fn report(recovered: &queue::Recovered) {
    let queue::Recovered { messages, segments, torn_octets, corrupt_records, .. } = recovered;
    if *corrupt_records > 0 {
        tracing::error!(corrupt_records, "damaged records of the queue were set aside in corrupt/");
    }
    tracing::info!(messages, segments, torn_octets, "the queue is open");
}

/// The one mailbox database, as operators see it: `store/default.sqlite`.
const DATABASE: &str = "default";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::SandboxMode;
    use crate::first_run;
    use crate::sandbox::{self, Sandbox};

    /// An alert on a metric that does not exist never fires.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_metric_that_an_alert_watches_exists() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        let config = Config::embedded_default();
        first_run::make_certificate(&folder, "localhost").unwrap();
        let directory = first_run::open_directory(&folder).unwrap();
        let metrics = Metrics::new().unwrap();
        let rooms = Rooms::open(&config, &folder, directory, &metrics).await.unwrap();
        let sandbox =
            Sandbox::enter(SandboxMode::Off, sandbox::folders(&config, None, folder.root())).unwrap();
        sandbox::Metrics::register(&sandbox, metrics.registry()).unwrap();
        let exposed = metrics.render().unwrap();
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let alerts = include_str!("../../deploy/prometheus-alerts.yml");
        let watched: BTreeSet<_> = alerts
            .split(|c| !is_name(c))
            .filter(|word| word.starts_with("gatepost_") || word.starts_with("process_"))
            .map(|word| word.trim_end_matches("_bucket"))
            .collect();
        assert!(watched.len() > 10, "{watched:?}");
        for name in watched {
            assert!(exposed.contains(&format!("# TYPE {name} ")), "{name}");
        }
        rooms.close().await;
    }
}
