//! The rooms of an installation: opened in the order in which they need each other, wired, closed in reverse.
//!
//! ```text
//! directory -> verifier -> authenticator --------------------\
//! queue ------------\                                         > edge
//! engines -> scanner --> backend, gate, delivery workers ----/
//! store ------------/
//! ```

mod clients;
mod databases;
mod mail_folders;
mod mailbox_scans;
mod opening;
mod settings;
mod shares;

use std::collections::HashMap;
use std::sync::Arc;

use gatepost_core::badmail::Badmail;
use gatepost_core::delivery::remote::Remote;
use gatepost_core::delivery::{self, Workers};
use gatepost_core::directory::Directory;
use gatepost_core::dkim::Signers;
use gatepost_core::events::Log;
use gatepost_core::quarantine::Releaser;
use gatepost_core::queue::Queue;
use gatepost_core::scan::{Overruled, Scanner};
use gatepost_core::store::{Databases, MailStore};

use crate::admission::Policy;
use crate::admission::dnsbl::{self, BlockLists};
use crate::admission::memory::Memory;
use crate::admission_file;
use crate::authn::Authenticator;
use crate::backend::embedded::Embedded;
use crate::config::Config;
use crate::control;
use crate::data_folder::DataFolder;
use crate::metrics::EdgeMetrics;
use crate::pass_through;
use crate::pauses_file;
use crate::relay;
use crate::scan_helper::Helpers;
use crate::server::Services;
use crate::state_file::StateFile;
use crate::telemetry::Metrics;
use crate::tls::Tls;
use crate::tls_results::TlsResults;
use crate::verdict_files::VerdictFiles;
pub use clients::check_authorities;
pub use databases::Stores;
use mail_folders::MailFolders;
use mailbox_scans::MailboxScans;
pub use opening::{OpenError, load_policy, load_tls, start_engines};
use opening::{
    open_admission, open_backend, open_events, open_pass_through, open_queue, open_stores, reload_engines,
    report_on_tls, start_scanner, start_verifier, start_watchdog, start_workers,
};
use settings::{authn_settings, backend_settings, block_list_settings, delivery_policy, tls_files};
pub use settings::{rules, scan_settings, server_settings};
use shares::Shares;

/// The opened rooms.
pub struct Rooms {
    edge: Services,
    backend: Arc<Embedded>,
    shares: Shares,
    remembered: StateFile,
    tls: Arc<Tls>,
    queue: Queue,
    scanner: Scanner,
    store: Arc<Databases>,
    kept_engines: VerdictFiles,
    workers: Workers,
    remote: Option<Remote>,
    mail_folders: MailFolders,
    mailbox_scans: MailboxScans,
    tls_results: Option<TlsResults>,
    pauses: Option<StateFile>,
    events: Log,
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
        helpers: &Helpers,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let (registry, tls) = (metrics.registry(), Arc::new(load_tls(config, folder)?));
        let (events, clock_back_ms) = open_events(folder, registry)?;
        let queue = open_queue(config, folder, &events, clock_back_ms, registry)?;
        let (overruled, shares) = (Overruled::default(), Shares::new(config));
        let mut mail_folders = MailFolders::open(config, folder, &overruled, &events, registry)?;
        let stores = open_stores(config, folder, registry)?;
        let store = Arc::clone(stores.all());
        let Memory { whole, bodies } = shares.memory.clone();
        let (kept_engines, scanner, rewriter) =
            start_scanner(config, folder, &shares, helpers, overruled, &events, registry)?;
        let verifier = start_verifier(&directory, registry)?;
        let (delivery_metrics, watchdog) = start_watchdog(&events, registry)?;
        let (ledger, pauses) = (TlsResults::recall(config, folder), pauses_file::recall(folder));
        let remote =
            relay::start(config, registry, watchdog.clone(), ledger.clone(), &scanner, pauses.clone())?;
        let mut rooms = delivery::Rooms {
            queue: queue.clone(),
            scanner: scanner.clone(),
            directory: directory.clone(),
            store: store.clone(),
            remote: remote.clone(),
            watchdog,
            badmail: Some(mail_folders.badmail().clone()),
            quarantine: mail_folders.quarantine().clone(),
            rewriter,
            proactive: HashMap::new(),
            events: events.clone(),
            warned: delivery::Pace::new(Some(delivery_metrics.warnings())),
        };
        let mailbox_scans = MailboxScans::start(config, &rooms, &stores, &whole, registry).await?;
        rooms.proactive = mailbox_scans.proactive();
        let workers = start_workers(config, rooms.clone(), delivery_metrics).await?;
        mail_folders.watch_pickup(config, &rooms, &bodies, registry)?;
        let backend = open_backend(config, &rooms, &workers, bodies, registry)?;
        directory.rewrite_with(config.srs.clone());
        let edge = Services {
            block_lists: BlockLists::start(block_list_settings(config), dnsbl::Metrics::register(registry)?)?,
            admission: open_admission(config, &shares, registry)?,
            backend: backend.clone(),
            pass_through: open_pass_through(config, &directory, &backend, registry).await?,
            authenticator: Authenticator::new(directory, verifier.clone(), authn_settings(config)),
            verifier,
            store: store.clone(),
            gate: mailbox_scans.gate(),
            tls: Some(tls.clone()),
            events: events.clone(),
            metrics: EdgeMetrics::register(registry)?,
        };
        let tls_results = report_on_tls(config, folder, ledger, &queue, &backend, registry)?;
        let pauses = pauses_file::keep(config, folder, pauses);
        let remembered = admission_file::open(Arc::clone(&edge.admission), folder.clone());
        Ok(Self {
            edge,
            backend,
            shares,
            remembered,
            tls,
            queue,
            scanner,
            store,
            kept_engines,
            workers,
            remote,
            mail_folders,
            mailbox_scans,
            tls_results,
            pauses,
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
            engines: self.kept_engines.engines(),
            releaser,
            background: self.mailbox_scans.background(),
            events: self.events.clone(),
        }
    }

    /// Where mail goes that can be neither delivered nor returned.
    #[must_use]
    pub const fn badmail(&self) -> &Badmail {
        self.mail_folders.badmail()
    }

    /// The mailboxes.
    #[must_use]
    pub const fn store(&self) -> &Arc<Databases> {
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
            (Some(remote), Ok(Some(settings))) => {
                remote.reload(settings);
                // What waited for the end of a pause need not wait any longer.
                self.queue.look_again();
            }
            (_, Err(error)) => tracing::error!(%error, "the new routes cannot be used; the old ones stay"),
            (_, Ok(_)) => (),
        }
        match relay::behind(config, self.remote.as_ref()) {
            Ok(behind) => self.backend.stand_before(behind),
            Err(error) => tracing::error!(%error, "the new recipients cannot be used; the old ones stay"),
        }
        match pass_through::load(config) {
            Ok(settings) => self.edge.pass_through.reload(settings),
            Err(error) => tracing::error!(%error, "the new servers behind cannot be used; the old ones stay"),
        }
        self.backend.sign_with(signers);
        self.mailbox_scans.reload(config);
        self.edge.verifier.directory().rewrite_with(config.srs.clone());
        self.workers.reload(delivery_policy(config));
        let (engines, scanner) = (self.kept_engines.engines(), self.scanner.clone());
        // An engine outside of this process may take its time.
        tokio::task::spawn_blocking(move || {
            reload_engines(&engines);
            scanner.forget();
        });
    }

    /// Lets delivery finish what it holds, then closes queue and mailboxes. No session may be left.
    pub async fn close(self) {
        self.mailbox_scans.close().await;
        self.remembered.close().await;
        self.mail_folders.close().await;
        self.workers.stop().await;
        self.kept_engines.close().await;
        if let Some(tls_results) = self.tls_results {
            tls_results.close().await;
        }
        if let Some(pauses) = self.pauses {
            pauses.close().await;
        }
        self.queue.close().await;
        self.store.close().await;
        self.events.flush().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::SandboxMode;
    use crate::first_run;
    use crate::sandbox::{self, Sandbox};
    use crate::scan_helper;

    /// With a server behind, where nobody listens.
    fn passing() -> Config {
        let text = "[pass_through]\ndomains = [\"example.org\"]\n[[upstream]]\nname = \"one\"\naddress = \"127.0.0.1:1\"\n\
            [[listener]]\nname = \"mx\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n\
            require_auth = false\nbackend = \"pass-through\"\n";
        Config::parse(Path::new("g.toml"), text).unwrap()
    }

    /// An alert on a metric that does not exist never fires.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_metric_that_an_alert_watches_exists() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        let config = Config { pass_through: passing().pass_through, ..Config::embedded_default() };
        first_run::make_certificate(&folder, "localhost").unwrap();
        let directory = first_run::open_directory(&folder).unwrap();
        let metrics = Metrics::new().unwrap();
        let helpers = scan_helper::start(&config, &folder.scan_scratch()).unwrap();
        let rooms = Rooms::open(&config, &folder, directory, &helpers, &metrics).await.unwrap();
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
