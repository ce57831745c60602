//! `gatepost run`: from the first check to the last flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatepost_core::queue;
use gatepost_core::scan::engines;
use gatepost_core::store::MailStore as _;
use tokio::time::timeout;

use super::output::Output;
use super::signals::{Request, Signals};
use super::site::folder_failure;
use super::{Exit, Failure, Site};
use crate::admin::{AdminError, AdminServer, Readiness};
use crate::config::{Backend, Config, PassingAuth, SandboxMode, Service};
use crate::control::{ControlServer, ControlSocket};
use crate::data_folder::DataFolder;
use crate::dkim_keys;
use crate::first_run::{self, FirstRunError};
use crate::hardening;
use crate::open_files::OpenFiles;
use crate::pass_through;
use crate::relay;
use crate::sandbox::accounts::Account;
use crate::sandbox::{self, Sandbox, SandboxError};
use crate::scan_helper::{self, Helpers};
use crate::server::{Server, ServerSettings, StartError};
use crate::service_manager;
use crate::services::{self, OpenError, Rooms};
use crate::sockets::Sockets;
use crate::telemetry::{self, LogHandle, Metrics};

#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Arguments {
    /// How much of the sandbox must hold. Goes before the one in the configuration.
    #[arg(long, value_name = "MODE", env = "GATEPOST_SANDBOX")]
    sandbox: Option<SandboxMode>,
}

/// What is there before the rooms are.
struct Parts {
    config: Config,
    folder: DataFolder,
    log: LogHandle,
    sandbox: Sandbox,
    helpers: Helpers,
    sockets: Sockets,
    control: ControlSocket,
    open_files: OpenFiles,
}

/// A running server.
struct Running {
    config: Config,
    folder: DataFolder,
    log: LogHandle,
    sandbox: Sandbox,
    open_files: OpenFiles,
    rooms: Rooms,
    server: Server,
    admin: Option<AdminServer>,
    control: ControlServer,
    is_draining: Arc<AtomicBool>,
}

/// All on the first thread until the sandbox is entered: bind, become the user, lock, confine.
pub(super) fn run(site: &Site, arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    hardening::forbid_core_dumps().map_err(Failure::general)?;
    let open_files = OpenFiles::raise().map_err(Failure::general)?;
    let config = arguments.apply(site.config()?.clone());
    let log = telemetry::log::start(config.log).map_err(Failure::general)?;
    let sockets = bind(&config);
    become_user(&config, site)?;
    let folder = site.prepare_data()?;
    let _lock = folder.lock().map_err(|error| folder_failure(&error))?;
    // Only now: where another server has both folder and ports, the folder is the better thing to name.
    let mut sockets = sockets?;
    let control = ControlSocket::bind(&folder)
        .map_err(|error| Failure::new(Exit::CannotCreate, format!("the control socket: {error}")))?;
    if let Some(pickup) = &config.pickup {
        folder.prepare_pickup(pickup).map_err(|error| folder_failure(&error))?;
    }
    // Afterwards no program can be started.
    let helpers = scan_helper::start(&config, &folder.scan_scratch())
        .map_err(|error| Failure::new(Exit::Configuration, error))?;
    let folders = sandbox::folders(&config, site.config_file(), folder.root());
    let sandbox = Sandbox::enter(config.sandbox, folders).map_err(|error| sandbox_failure(&error))?;
    if sandbox.forbids_listening() {
        sockets.seal();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(sandbox.thread_test())
        .build()
        .map_err(Failure::general)?;
    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(Failure::general)?;
        let parts = Parts { config, folder, log, sandbox, helpers, sockets, control, open_files };
        let mut running = Running::start(parts, site, output).await?;
        while signals.next().await == Request::Reload {
            running.reload(site, arguments);
        }
        Box::pin(running.stop(&mut signals)).await;
        Ok(())
    })
}

/// Everything that will ever be listened on.
fn bind(config: &Config) -> Result<Sockets, Failure> {
    let mut sockets = Sockets::of_service_manager();
    let listeners = config.listeners.iter().map(|listener| (listener.name.as_str(), listener.address));
    let admin = config.admin.as_ref().map(|admin| (ADMIN_SOCKET, admin.address()));
    for (name, address) in listeners.chain(admin) {
        sockets.prepare(name, address).map_err(|error| {
            let listener = name.to_owned();
            Failure::new(Exit::Unavailable, StartError::Bind { listener, address, error })
        })?;
    }
    for name in sockets.unused() {
        tracing::warn!(?name, "the service manager passed a socket for a listener that is not configured");
    }
    Ok(sockets)
}

fn become_user(config: &Config, site: &Site) -> Result<(), Failure> {
    let is_root = rustix::process::geteuid().is_root();
    match &config.user {
        Some(user) if is_root => {
            let account = Account::find(user).map_err(|error| Failure::new(Exit::Configuration, error))?;
            sandbox::become_user(&account, &site.locate_data()?).map_err(|error| sandbox_failure(&error))
        }
        None if is_root => {
            tracing::warn!("this runs as root: `user = \"...\"` in [server] names whom to go on as");
            Ok(())
        }
        Some(user) if Account::find(user).is_ok_and(|account| !account.is_this_process()) => {
            tracing::warn!(
                user = user.as_str(),
                "only root can go on as another user; this one stays who it is"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

// === impl Arguments ===

impl Arguments {
    fn apply(&self, config: Config) -> Config {
        Config { sandbox: self.sandbox.unwrap_or(config.sandbox), ..config }
    }
}

// === impl Running ===

impl Running {
    async fn start(parts: Parts, site: &Site, output: &mut Output) -> Result<Self, Failure> {
        let Parts { config, folder, log, sandbox, helpers, mut sockets, control, open_files } = parts;
        let directory = first_run::open_directory(&folder).map_err(|error| first_run_failure(&error))?;
        if site.config_file().is_none() {
            welcome(&config, &folder, &directory, output)?;
        } else if needs_users(&config) && directory.list_users().is_ok_and(|users| users.is_empty()) {
            tracing::warn!("there is no user yet, so nobody can log in: `gatepost user add ADDRESS`");
        }
        if config.tls.is_none() {
            first_run::make_certificate(&folder, config.hostname.as_str())
                .map_err(|error| first_run_failure(&error))?;
        }
        let metrics = Metrics::new().map_err(Failure::general)?;
        sandbox::Metrics::register(&sandbox, metrics.registry()).map_err(Failure::general)?;
        let rooms = Rooms::open(&config, &folder, directory, &helpers, &metrics)
            .await
            .map_err(|error| open_failure(&error))?;
        // Before the first octet of a stranger is read.
        sandbox.verify().await.map_err(|error| sandbox_failure(&error))?;
        let is_draining = Arc::new(AtomicBool::new(false));
        let admin = match &config.admin {
            Some(settings) => {
                let socket = sockets
                    .take(ADMIN_SOCKET, settings.address())
                    .map_err(|error| Failure::new(Exit::Unavailable, error))?;
                let readiness = readiness(&metrics, &rooms, &is_draining);
                let tls = Some(rooms.tls().clone());
                let admin = AdminServer::start(settings, socket, tls, metrics, readiness);
                Some(admin.map_err(|error| admin_failure(&error))?)
            }
            None => None,
        };
        let settings = services::server_settings(&config, rooms.tls())
            .map_err(|error| Failure::new(Exit::Configuration, error))?;
        let settings = within(open_files, settings);
        let server = Server::start_on(sockets, &settings, rooms.edge())
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        let control = ControlServer::start(control, rooms.under_control()).map_err(Failure::general)?;
        let running =
            Self { config, folder, log, sandbox, open_files, rooms, server, admin, control, is_draining };
        running.announce();
        service_manager::ready();
        Ok(running)
    }

    fn announce(&self) {
        if let Some(admin) = &self.admin {
            tracing::info!(listener = "(admin)", address = %admin.address(), "listening");
        }
        let data = self.folder.root().display();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %data, "gatepost is ready");
    }

    fn reload(&mut self, site: &Site, arguments: &Arguments) {
        service_manager::reloading();
        self.take_new_configuration(site, arguments);
        service_manager::ready();
    }

    /// All of it or nothing of it.
    fn take_new_configuration(&mut self, site: &Site, arguments: &Arguments) {
        let rejected = |reason: &dyn std::fmt::Display| {
            // One event stays one line.
            let reason = reason.to_string().replace('\n', " / ");
            tracing::error!(reason, "the configuration was not reloaded; the old one stays in force");
        };
        let config = match site.read_config() {
            Ok(config) => arguments.apply(config).with_fixed_parts_of(&self.config),
            Err(failure) => return rejected(&failure),
        };
        if let Err(outside) = self.sandbox.check(sandbox::files(&config)) {
            return rejected(&outside);
        }
        if let Err(error) = services::load_tls(&config, &self.folder) {
            return rejected(&error);
        }
        if let Err(error) = relay::check(&config).and_then(|()| pass_through::check(&config)) {
            return rejected(&error);
        }
        let policy = match services::load_policy(&config) {
            Ok(policy) => policy,
            Err(error) => return rejected(&error),
        };
        let signers = match dkim_keys::load(&config) {
            Ok(signers) => signers,
            Err(error) => return rejected(&error),
        };
        let settings = match services::server_settings(&config, self.rooms.tls()) {
            Ok(settings) => within(self.open_files, settings),
            Err(error) => return rejected(&error),
        };
        if let Err(error) = self.server.reload(&settings) {
            return rejected(&error);
        }
        self.rooms.reload(&config, &self.folder, policy, signers);
        self.log.reload(config.log);
        self.config = config;
        tracing::info!("the configuration was reloaded");
    }

    /// Sessions finish, then delivery, then the disks. A second request to stop cuts the sessions short.
    async fn stop(self, signals: &mut Signals) {
        let Self { config, rooms, server, admin, control, is_draining, .. } = self;
        is_draining.store(true, Ordering::Relaxed);
        service_manager::stopping();
        tracing::info!("stopping: sessions may finish");
        tokio::select! {
            () = server.drain(config.limits.drain_timeout.duration()) => (),
            () = signals.stop_again() => tracing::warn!("asked again: sessions are cut"),
        }
        // Orders to a queue that closes would be answered by half.
        drop(control);
        if timeout(CLOSE_TIME, rooms.close()).await.is_err() {
            tracing::warn!(
                "the queue was not closed in time; what is in it is durable, and recovered at the next start"
            );
        }
        drop(admin);
        tracing::info!("stopped");
    }
}

/// What the listeners are to do, as far as there can be sockets for it.
fn within(open_files: OpenFiles, mut settings: ServerSettings) -> ServerSettings {
    open_files.fit(&mut settings.listeners).report(open_files);
    settings
}

/// Whether anybody logs in by an account of ours.
fn needs_users(config: &Config) -> bool {
    config.listeners.iter().any(|listener| match &listener.service {
        Service::Smtp { backend: Backend::PassThrough(passing), .. } => passing.auth == PassingAuth::Local,
        Service::Smtp { .. } | Service::Pop3 { .. } => true,
    })
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

fn readiness(metrics: &Metrics, rooms: &Rooms, is_draining: &Arc<AtomicBool>) -> Readiness {
    let (metrics, queue, store) = (metrics.clone(), rooms.queue().clone(), Arc::clone(rooms.store()));
    let (pass_through, is_draining) = (rooms.edge().pass_through, Arc::clone(is_draining));
    Arc::new(move || {
        let reasons = [
            (is_draining.load(Ordering::Relaxed), "the server is stopping"),
            (metrics.gauge(QUEUE_STOPPED) != Some(0.0), "the queue accepts nothing since a flush failed"),
            (queue.is_closed(), "the queue is closed: its writer has ended"),
            (store.is_closed(), "the mailboxes are closed: their writer has ended"),
            (queue.hangs(), "the queue's writer hangs in the disk"),
            // Asks the disk, which would not answer.
            (!queue.hangs() && queue.is_full(), "too little space is left on the disk"),
        ];
        let ours = reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned());
        let unanswered = pass_through.unanswered();
        ours.chain(unanswered.iter().map(|name| format!("listener {name}: no server behind answers")))
            .collect()
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
        OpenError::Tls(_) | OpenError::Engines(engines::StartError::Yara(_)) | OpenError::Admission(_) => {
            Exit::Configuration
        }
        // A restart would find the same.
        OpenError::Queue(queue::OpenError::NewerVersion { .. }) => Exit::Unavailable,
        OpenError::Relay(error) if error.is_of_the_configuration() => Exit::Configuration,
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

fn sandbox_failure(error: &SandboxError) -> Failure {
    let exit = match error {
        SandboxError::Threads(_) | SandboxError::NotTested(_) => Exit::Failure,
        SandboxError::User { .. } | SandboxError::Missing { .. } | SandboxError::Holes(_) => {
            Exit::Configuration
        }
    };
    Failure::new(exit, error)
}

/// What the socket of the admin address is called where a service manager passes it. No listener can have this name twice:
/// one that is called so takes the socket first.
const ADMIN_SOCKET: &str = "admin";
/// The queue's own word for whether it accepts mail.
const QUEUE_STOPPED: &str = "gatepost_queue_stopped";
/// For delivery to finish what it holds: longer than a scan takes, and with the drain time still below the 90 s that
/// systemd waits.
const CLOSE_TIME: Duration = Duration::from_secs(45);
