//! `gatepost run`: from the first check to the last flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::output::Output;
use super::site::folder_failure;
use super::{Exit, Failure, Site};
use crate::admin::{AdminError, AdminServer, Readiness};
use crate::config::Config;
use crate::data_folder::DataFolder;
use crate::first_run::{self, FirstRunError};
use crate::hardening;
use crate::server::Server;
use crate::services::{self, OpenError, Rooms};
use crate::telemetry::{self, LogHandle, Metrics};

/// A running server.
struct Running {
    config: Config,
    folder: DataFolder,
    log: LogHandle,
    rooms: Rooms,
    server: Server,
    admin: Option<AdminServer>,
    is_draining: Arc<AtomicBool>,
}

/// What an operator can ask of a running server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

pub(super) fn run(site: &Site, output: &mut Output) -> Result<(), Failure> {
    hardening::forbid_core_dumps().map_err(Failure::general)?;
    let config = site.config()?.clone();
    let log = telemetry::log::start(config.log).map_err(Failure::general)?;
    let folder = site.prepare_data()?;
    let _lock = folder.lock().map_err(|error| folder_failure(&error))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::general)?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(Failure::general)?;
        let mut running = Running::start(config, folder, log, site, output).await?;
        while signals.next().await == Request::Reload {
            running.reload(site);
        }
        running.stop(&mut signals).await;
        Ok(())
    })
}

// === impl Running ===

impl Running {
    async fn start(
        config: Config,
        folder: DataFolder,
        log: LogHandle,
        site: &Site,
        output: &mut Output,
    ) -> Result<Self, Failure> {
        let directory = first_run::open_directory(&folder).map_err(|error| first_run_failure(&error))?;
        if site.config_file().is_none() {
            welcome(&config, &folder, &directory, output)?;
        } else if directory.list_users().is_ok_and(|users| users.is_empty()) {
            tracing::warn!("there is no user yet, so nobody can log in: `gatepost user add ADDRESS`");
        }
        if config.tls.is_none() {
            first_run::make_certificate(&folder, config.hostname.as_str())
                .map_err(|error| first_run_failure(&error))?;
        }
        let metrics = Metrics::new().map_err(Failure::general)?;
        let rooms =
            Rooms::open(&config, &folder, directory, &metrics).await.map_err(|error| open_failure(&error))?;
        let server = Server::start(&services::server_settings(&config), rooms.edge())
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let is_draining = Arc::new(AtomicBool::new(false));
        let admin = match &config.admin {
            Some(settings) => {
                let readiness = readiness(&metrics, &is_draining);
                let admin = AdminServer::start(settings, Some(rooms.tls().clone()), metrics, readiness);
                Some(admin.await.map_err(|error| admin_failure(&error))?)
            }
            None => None,
        };
        let running = Self { config, folder, log, rooms, server, admin, is_draining };
        running.announce();
        Ok(running)
    }

    fn announce(&self) {
        if let Some(admin) = &self.admin {
            tracing::info!(listener = "(admin)", address = %admin.address(), "listening");
        }
        let data = self.folder.root().display();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %data, "gatepost is ready");
    }

    /// All of the new configuration or nothing of it.
    fn reload(&mut self, site: &Site) {
        let rejected = |reason: &dyn std::fmt::Display| {
            // One event stays one line.
            let reason = reason.to_string().replace('\n', " / ");
            tracing::error!(reason, "the configuration was not reloaded; the old one stays in force");
        };
        let config = match site.read_config() {
            Ok(config) => config.with_fixed_parts_of(&self.config),
            Err(failure) => return rejected(&failure),
        };
        if let Err(error) = services::load_tls(&config, &self.folder) {
            return rejected(&error);
        }
        let policy = match services::load_policy(&config) {
            Ok(policy) => policy,
            Err(error) => return rejected(&error),
        };
        if let Err(error) = self.server.reload(&services::server_settings(&config)) {
            return rejected(&error);
        }
        self.rooms.reload(&config, &self.folder, policy);
        self.log.reload(config.log);
        self.config = config;
        tracing::info!("the configuration was reloaded");
    }

    /// Sessions finish, then delivery, then the disks. A second request to stop cuts the sessions short.
    async fn stop(self, signals: &mut Signals) {
        let Self { config, rooms, server, admin, is_draining, .. } = self;
        is_draining.store(true, Ordering::Relaxed);
        tracing::info!("stopping: sessions may finish");
        tokio::select! {
            () = server.drain(config.limits.drain_timeout.duration()) => (),
            () = signals.stop_again() => tracing::warn!("asked again: sessions are cut"),
        }
        if timeout(CLOSE_TIME, rooms.close()).await.is_err() {
            tracing::warn!(
                "the queue was not closed in time; what is in it is durable, and recovered at the next start"
            );
        }
        drop(admin);
        tracing::info!("stopped");
    }
}

// === impl Signals ===

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Reload,
    Stop,
}

impl Signals {
    /// From here on these signals no longer end the process.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    async fn stop_again(&mut self) {
        while self.next().await != Request::Stop {}
    }
}

/// Makes the first user, if this is the first start, and says so where only the right eyes are.
fn welcome(
    config: &Config,
    folder: &DataFolder,
    directory: &gatepost_core::directory::Directory,
    output: &mut Output,
) -> Result<(), Failure> {
    let made =
        first_run::make_first_user(folder, directory, config).map_err(|error| first_run_failure(&error))?;
    let Some(welcome) = made else { return Ok(()) };
    if output.is_terminal() {
        output.line(&welcome)?;
    } else {
        let file = welcome.write_to(folder).map_err(|error| folder_failure(&error))?;
        output.line(welcome.without_password(&file))?;
    }
    output.finish()
}

fn readiness(metrics: &Metrics, is_draining: &Arc<AtomicBool>) -> Readiness {
    let (metrics, is_draining) = (metrics.clone(), Arc::clone(is_draining));
    Arc::new(move || {
        let reasons = [
            (is_draining.load(Ordering::Relaxed), "the server is stopping"),
            (metrics.gauge(QUEUE_STOPPED) != Some(0.0), "the queue accepts nothing since a flush failed"),
        ];
        reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned()).collect()
    })
}

fn first_run_failure(error: &FirstRunError) -> Failure {
    match error {
        FirstRunError::Folder(error) => folder_failure(error),
        _ => Failure::general(error),
    }
}

fn open_failure(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::Tls(_) | OpenError::Rules(_) | OpenError::Admission(_) => Exit::Configuration,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}

fn admin_failure(error: &AdminError) -> Failure {
    let exit = match error {
        AdminError::Bind { .. } => Exit::Unavailable,
        AdminError::CredentialFile(_) | AdminError::WeakCredential { .. } | AdminError::NoCertificate => {
            Exit::Configuration
        }
    };
    Failure::new(exit, error)
}

/// The queue's own word for whether it accepts mail.
const QUEUE_STOPPED: &str = "gatepost_queue_stopped";
/// For delivery to finish what it holds: longer than a scan takes, and with the drain time still below the 90 s that
/// systemd waits.
const CLOSE_TIME: Duration = Duration::from_secs(45);
