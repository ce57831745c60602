//! How each room is opened, and why one cannot be.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use gatepost_core::clock::{MOVED_MS_MIN, now_ms};
use gatepost_core::delivery::{self, Watchdog, Workers};
use gatepost_core::directory::{self, Directory, DirectoryError, PasswordVerifier};
use gatepost_core::disk::RealDisk;
use gatepost_core::events::{self, About, History, Log, What};
use gatepost_core::filter;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::queue::{self, Damage, Queue};
use gatepost_core::scan::{self, Ensemble, Overruled, Reload, Rewriter, Scanner, VerdictFolder, engines};
use gatepost_core::store;
use gatepost_core::tlsrpt::Ledger;

use super::databases::Stores;
use super::settings::{
    backend_settings, delivery_policy, engine_settings, queue_settings, rules, scan_settings, tls_files,
};
use super::shares::Shares;
use crate::admission::dnsbl::UnusableResolver;
use crate::admission::networks::NetworkFileError;
use crate::admission::{self, Admission, Policy};
use crate::backend::embedded::Embedded;
use crate::backend::pass_through::{self, PassThrough};
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderError};
use crate::dkim_keys::{self, KeyFileError};
use crate::relay::{self, RelayError};
use crate::scan_helper::Helpers;
use crate::tls::{Tls, TlsError};
use crate::tls_results::TlsResults;
use crate::verdict_files::VerdictFiles;

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
    /// The key of stamps.
    #[error(transparent)]
    StampKey(#[from] FolderError),
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

pub(super) fn report_on_tls(
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

pub(super) fn open_backend(
    config: &Config,
    rooms: &delivery::Rooms,
    workers: &Workers,
    bodies: MemoryBudget,
    registry: &prometheus::Registry,
) -> Result<Arc<Embedded>, OpenError> {
    let backend = Embedded::new(
        rooms.directory.clone(),
        rooms.queue.clone(),
        rooms.scanner.clone(),
        rooms.events.clone(),
        Some(filter::Metrics::register(registry)?),
        bodies,
        backend_settings(config),
    );
    backend.sign_with(dkim_keys::load(config)?);
    backend.keep_suspects_in(workers.suspects());
    backend.stand_before(relay::behind(config, rooms.remote.as_ref())?);
    Ok(Arc::new(backend))
}

pub(super) async fn open_pass_through(
    config: &Config,
    directory: &Directory,
    backend: &Embedded,
    registry: &prometheus::Registry,
) -> Result<PassThrough, OpenError> {
    let metrics = pass_through::Metrics::register(registry)?;
    let opened = PassThrough::new(directory.clone(), backend.inspectors(), metrics);
    opened.start(crate::pass_through::load(config)?).await;
    Ok(opened)
}

/// The log, and by how many milliseconds the clock was set back since the last event; 0 where it was not.
pub(super) fn open_events(
    folder: &DataFolder,
    registry: &prometheus::Registry,
) -> Result<(Log, u64), OpenError> {
    // A log that cannot be read tells of no time; that it cannot be written is told below.
    let newest_ms = History::open(&folder.events()).newest_ms().ok().flatten();
    let log = Log::start(&folder.events(), Some(events::Metrics::register(registry)?));
    let log = log.map_err(OpenError::Events)?;
    let back_ms = newest_ms.unwrap_or(0).saturating_sub(now_ms());
    if back_ms <= MOVED_MS_MIN {
        return Ok((log, 0));
    }
    let by_ms = 0_i64.saturating_sub_unsigned(back_ms);
    tracing::warn!(by_ms, "the clock was set back since this server was last here");
    log.record(About::default(), What::ClockJumped { by_ms });
    Ok((log, back_ms))
}

pub(super) async fn start_workers(
    config: &Config,
    rooms: delivery::Rooms,
    metrics: delivery::Metrics,
) -> Result<Workers, OpenError> {
    let settings = delivery::Settings::default();
    Ok(Workers::start(rooms, &settings, delivery_policy(config), Some(metrics)).await?)
}

pub(super) fn open_queue(
    config: &Config,
    folder: &DataFolder,
    events: &Log,
    clock_back_ms: u64,
    registry: &prometheus::Registry,
) -> Result<Queue, OpenError> {
    let (disk, metrics) = (Arc::new(RealDisk), Some(queue::Metrics::register(registry)?));
    let settings = queue::Settings { clock_back_ms, ..queue_settings(config) };
    let (queue, recovered) = Queue::open(disk, &folder.queue(), settings, metrics)?;
    report(&recovered);
    queue.report_to(events.clone());
    tell_of_damage(&recovered.damage, &queue, folder, events);
    Ok(queue)
}

pub(super) fn open_stores(
    config: &Config,
    folder: &DataFolder,
    registry: &prometheus::Registry,
) -> Result<Stores, OpenError> {
    let stores = Stores::open(config, folder, Some(&store::Metrics::register(registry)?))?;
    tokio::spawn(stores.clone().tell_of_strays(folder.clone()));
    Ok(stores)
}

pub(super) fn open_admission(
    config: &Config,
    shares: &Shares,
    registry: &prometheus::Registry,
) -> Result<Arc<Admission>, OpenError> {
    let metrics = admission::Metrics::register(registry)?;
    Ok(Admission::new(load_policy(config)?, shares.memory.clone(), metrics))
}

pub(super) fn start_watchdog(
    events: &Log,
    registry: &prometheus::Registry,
) -> Result<(delivery::Metrics, Watchdog), OpenError> {
    let metrics = delivery::Metrics::register(registry)?;
    let watchdog = Watchdog::start(events.clone(), Some(metrics.stuck())).map_err(OpenError::Watchdog)?;
    Ok((metrics, watchdog))
}

pub(super) fn start_scanner(
    config: &Config,
    folder: &DataFolder,
    shares: &Shares,
    helpers: &Helpers,
    overruled: Overruled,
    events: &Log,
    registry: &prometheus::Registry,
) -> Result<(VerdictFiles, Scanner, Rewriter), OpenError> {
    let (metrics, key) = (scan::Metrics::register(registry)?, folder.stamp_key()?);
    let kept_in = VerdictFolder::new(Arc::new(RealDisk), &folder.verdicts(), key.clone());
    let rules = rules(config, folder);
    let engines = start_engines(config, Some(&rules), Some(&kept_in), helpers, events, &metrics)?;
    let settings = scan::Settings { memory: shares.scans.clone(), overruled, key, ..scan_settings(config) };
    let scanner = Scanner::start(engines.clone(), &settings, metrics).map_err(OpenError::Scanner)?;
    let rewriter = shares.rewriter(&scanner).map_err(OpenError::Scanner)?;
    Ok((VerdictFiles::keep(engines), scanner, rewriter))
}

/// Starts the engines that the configuration has, the embedded one with the rules of this folder, commands with these helpers. What
/// they say of items is kept in that folder, if there is one.
///
/// # Errors
/// The first that cannot be started.
pub fn start_engines(
    config: &Config,
    rules: Option<&Path>,
    kept_in: Option<&VerdictFolder>,
    helpers: &Helpers,
    events: &Log,
    metrics: &scan::Metrics,
) -> Result<Arc<Ensemble>, engines::StartError> {
    engines::start(&engine_settings(config, rules, helpers), config.scan.policy, kept_in, events, metrics)
}

pub(super) fn reload_engines(engines: &Ensemble) {
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

pub(super) fn start_verifier(
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

/// So that `explain` knows what became of these mails. A segment that was cut does not say what lay there: what the event log
/// knows, and neither queue nor event log tells the end of, is named.
fn tell_of_damage(damage: &[Damage], queue: &Queue, folder: &DataFolder, events: &Log) {
    let about = |queue_id: Option<String>| About { queue_id, ..About::default() };
    let (mut is_cut, mut named) = (false, BTreeSet::new());
    for found in damage {
        match found {
            Damage::Record { set_aside, probably } => {
                let id = probably.map(|id| id.to_string());
                named.extend(id.clone());
                events.record(about(id), What::Damaged { set_aside: set_aside.clone() });
            }
            Damage::Cut { segment, octets } => {
                is_cut = true;
                let what = What::Cut { segment: segment.clone(), octets: *octets };
                events.record(about(None), what);
            }
        }
    }
    if !is_cut {
        return;
    }
    named.extend(queue.ids().iter().map(ToString::to_string));
    let unfinished = match History::open(&folder.events()).unfinished() {
        Ok(unfinished) => unfinished,
        Err(error) => {
            tracing::error!(%error, "the event log cannot be read, so nobody can name the mails that are lost");
            return;
        }
    };
    for (id, recipients) in unfinished.into_iter().filter(|(id, _)| !named.contains(id)) {
        tracing::error!(queue_id = id, recipients, "a mail went with a part of the queue");
        events.record(about(Some(id)), What::Missing { recipients });
    }
}
