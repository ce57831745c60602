//! The running edge: listeners, started together, reloaded with rollback, drained together.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gatepost_core::access::gate::ScanGate;
use gatepost_core::access::pop3;
use gatepost_core::directory::PasswordVerifier;
use gatepost_core::events::Log;
use gatepost_core::store::MailStore;
use gatepost_smtp::server::{AuthOffer, ClassRights, Config, Extensions, Limits, TlsMode};
use gatepost_smtp::wire::verb::Verb;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::admission::Admission;
use crate::admission::dnsbl::BlockLists;
use crate::admission::networks::NetworkSet;
use crate::admission::slots::Slots;
use crate::admission::stranger::StrangerChecks;
use crate::authn::Authenticator;
use crate::backend::Backend;
use crate::backend::pass_through::PassThrough;
use crate::connection::buffer::Pool;
use crate::connection::mailbox_lock::MailboxLocks;
use crate::connection::{Context, Dialect, PeerClasses, PeerQuirks, Phase};
use crate::listener::{Alive, Bound, Listener, Service};
use crate::metrics::EdgeMetrics;
use crate::sockets::{SocketError, Sockets};
use crate::tls::{ClientCertificates, Tls};

/// What the edge is to do. Plain values: the configuration fills them in.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Our name in greetings and trace headers; a checked domain name.
    pub hostname: String,
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
}

/// One listening socket and how its sessions go.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Unique; in logs, metrics and `Origin`.
    pub name: String,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// How TLS begins.
    pub tls: TlsMode,
    /// Connections at the same time; beyond, a reserve is for who is known.
    pub connections_max: usize,
    /// Of whose connections a PROXY header is required.
    pub balancers: NetworkSet,
    /// Relays that may say on whose behalf they speak.
    pub relays: NetworkSet,
    /// Who is more than a stranger before he authenticates.
    pub classes: PeerClasses,
    /// Who may prove himself by a certificate; `None`: nobody is asked for one.
    pub clients: Option<ClientCertificates>,
    /// Which deviations an address is allowed.
    pub quirks: PeerQuirks,
    /// What strangers have to wait for.
    pub stranger_checks: StrangerChecks,
    /// What is spoken.
    pub protocol: Protocol,
}

/// What a listener speaks.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// RFC 5321.
    Smtp(SmtpSettings),
    /// RFC 1939.
    Pop3(pop3::Limits),
}

/// How SMTP sessions of a listener go.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// What each class of peers may do.
    pub rights: ClassRights,
    /// Verbs that are switched off.
    pub switched_off: Vec<Verb>,
    /// Which mechanisms are offered when.
    pub auth: AuthOffer,
    /// Whether BINARYMIME is offered.
    pub binarymime: bool,
    /// What becomes of verbs between servers.
    pub extensions: Extensions,
    /// Whether a group of commands is asked about as one: where a server behind answers.
    pub asks_in_groups: bool,
    /// The bounds of a session.
    pub limits: Limits,
}

/// What the edge asks: the rooms behind it. Clones are the same rooms.
#[derive(Clone)]
pub struct Services {
    /// DNS block and allow lists.
    pub block_lists: BlockLists,
    /// Who may come in, and how often.
    pub admission: Arc<Admission>,
    /// Takes mails over.
    pub backend: Arc<dyn Backend>,
    /// The servers behind, for listeners that pass their sessions through.
    pub pass_through: PassThrough,
    /// Who is this, by SASL?
    pub authenticator: Authenticator,
    /// Who is this, by POP3's USER and PASS?
    pub verifier: PasswordVerifier,
    /// Mailboxes, for POP3.
    pub store: Arc<dyn MailStore>,
    /// The one door to the octets of a stored mail.
    pub gate: ScanGate,
    /// Certificate and key; `None` only where no listener does TLS.
    pub tls: Option<Arc<Tls>>,
    /// Told what is refused and accepted.
    pub events: Log,
    /// The edge's counters.
    pub metrics: EdgeMetrics,
}

/// A started edge. Dropping it cuts every session: `drain` is the orderly end.
#[derive(Debug)]
pub struct Server {
    services: Services,
    sockets: Sockets,
    listeners: Vec<Listener>,
    /// Removed by a reload, their sessions not yet at their end.
    retired: Vec<Listener>,
    pool: Pool,
    locks: MailboxLocks,
    alive: Alive,
    /// Ends when nobody is alive any more.
    all_gone: mpsc::Receiver<()>,
}

/// The edge cannot start, or not with the new settings.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("listener {listener:?} cannot listen on {address}: {error}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// Its address.
        address: SocketAddr,
        /// Why not.
        error: SocketError,
    },
    /// A listener wants TLS, and there is no certificate.
    #[error("listener {listener:?} needs TLS, but there is no certificate")]
    NoCertificate {
        /// The listener's name.
        listener: String,
    },
}

// === impl Server ===

impl Server {
    /// Binds every listener, or none, and starts to accept. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A port is taken, or a certificate is missing; nothing listens then.
    pub fn start(settings: &ServerSettings, services: Services) -> Result<Self, StartError> {
        Self::start_on(Sockets::default(), settings, services)
    }

    /// As `start`, with sockets that are there already; they and whoever holds them say whether there can be others.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_on(
        sockets: Sockets,
        settings: &ServerSettings,
        services: Services,
    ) -> Result<Self, StartError> {
        let (alive, all_gone) = mpsc::channel(1);
        if let Some(tls) = &services.tls {
            tls.report_expiry(services.metrics.certificate_not_after());
        }
        services.admission.watch();
        let pool = Pool::new(services.admission.memory().whole.clone());
        let mut server = Self {
            services,
            sockets,
            listeners: Vec::new(),
            retired: Vec::new(),
            pool,
            locks: MailboxLocks::default(),
            alive,
            all_gone,
        };
        server.reload(settings)?;
        Ok(server)
    }

    /// Takes new settings on: new listeners are bound first, kept ones (those with the same address) serve new connections
    /// by the new settings, removed ones drain. A listener cannot move to an address that overlaps with its old one
    /// (from `0.0.0.0` to `127.0.0.1`, the same port): that takes a restart.
    ///
    /// # Errors
    /// A new listener cannot be had, or a certificate is missing: everything stays as it was.
    pub fn reload(&mut self, settings: &ServerSettings) -> Result<(), StartError> {
        self.check(settings)?;
        let mut planned = Vec::new();
        for listener in &settings.listeners {
            planned.push((listener, if self.keeps(listener) { None } else { Some(self.bind(listener)?) }));
        }
        // From here on nothing can fail.
        let mut old = std::mem::take(&mut self.listeners);
        for (wanted, bound) in planned {
            let position = old.iter().position(|old| is_same(old, wanted));
            match (position.map(|position| old.swap_remove(position)), bound) {
                (Some(mut kept), _) => {
                    let service = self.service(settings, wanted, Some(&kept));
                    kept.swap(service);
                    self.listeners.push(kept);
                }
                (None, Some(bound)) => {
                    let service = self.service(settings, wanted, None);
                    let alive = self.alive.clone();
                    self.listeners.push(Listener::start(wanted.address, bound, service, alive));
                }
                // Two settings for one kept socket: `check` has refused them.
                (None, None) => {}
            }
        }
        self.retire(old);
        Ok(())
    }

    /// Stops accepting, tells every session to finish, waits at most `patience`, then cuts what is left.
    pub async fn drain(self, patience: Duration) {
        let Self { listeners, retired, alive, mut all_gone, .. } = self;
        let enter = |phase| listeners.iter().chain(&retired).for_each(|listener| listener.enter(phase));
        drop(alive);
        enter(Phase::Drain);
        if timeout(patience, all_gone.recv()).await.is_ok() {
            return;
        }
        tracing::warn!(?patience, "sessions are cut: they did not end in time");
        enter(Phase::Cut);
        // Each one only has to be woken up.
        let _ = timeout(CUT_TIME_MAX, all_gone.recv()).await;
    }

    /// Name and bound address of each listener, in the order of the settings.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.name().to_owned(), listener.bound())).collect()
    }

    fn check(&self, settings: &ServerSettings) -> Result<(), StartError> {
        let mut addresses = HashSet::new();
        for listener in &settings.listeners {
            if self.services.tls.is_none() && listener.tls != TlsMode::None {
                return Err(StartError::NoCertificate { listener: listener.name.clone() });
            }
            if listener.address.port() != 0 && !addresses.insert(listener.address) {
                return Err(StartError::Bind {
                    listener: listener.name.clone(),
                    address: listener.address,
                    error: io::Error::from(io::ErrorKind::AddrInUse).into(),
                });
            }
            // Asked before any is taken: a reload that fails must not use up what a later one can have.
            if !self.keeps(listener) && !self.sockets.has(&listener.name, listener.address) {
                return Err(StartError::Bind {
                    listener: listener.name.clone(),
                    address: listener.address,
                    error: SocketError::Sealed,
                });
            }
        }
        Ok(())
    }

    fn keeps(&self, wanted: &ListenerSettings) -> bool {
        self.listeners.iter().any(|running| is_same(running, wanted))
    }

    fn bind(&mut self, listener: &ListenerSettings) -> Result<Bound, StartError> {
        let socket = self.sockets.take(&listener.name, listener.address);
        socket.and_then(|socket| Ok(Bound::adopt(socket)?)).map_err(|error| StartError::Bind {
            listener: listener.name.clone(),
            address: listener.address,
            error,
        })
    }

    fn service(
        &self,
        settings: &ServerSettings,
        listener: &ListenerSettings,
        kept: Option<&Listener>,
    ) -> Service {
        let context = Context {
            listener: listener.name.clone(),
            tls: listener.tls,
            balancers: listener.balancers.clone(),
            relays: listener.relays.clone(),
            classes: listener.classes.clone(),
            clients: listener.clients.clone(),
            quirks: listener.quirks.clone(),
            stranger_checks: listener.stranger_checks,
            dialect: dialect(&settings.hostname, listener),
            services: self.services.clone(),
            metrics: self.services.metrics.listener(&listener.name),
            pool: self.pool.clone(),
            locks: self.locks.clone(),
        };
        // Open connections go on counting unless the limit itself has changed; then they are forgiven.
        let old = kept.map(Listener::service);
        let old = old.filter(|old| old.slots.general_max() == listener.connections_max);
        let slots = old.map_or_else(
            || {
                let slots = Slots::new(listener.connections_max);
                self.services.admission.look_after(&slots);
                slots
            },
            |old| Arc::clone(&old.slots),
        );
        Service { context: Arc::new(context), slots }
    }

    fn retire(&mut self, removed: Vec<Listener>) {
        self.retired.retain(Listener::is_alive);
        for listener in removed {
            tracing::info!(listener = listener.name(), "no longer listening");
            listener.enter(Phase::Drain);
            self.retired.push(listener);
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("backend", &self.backend)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Whether a running listener already has the socket that these settings want. Where the system chose the port, the name
/// tells.
fn is_same(running: &Listener, wanted: &ListenerSettings) -> bool {
    running.configured() == wanted.address && (wanted.address.port() != 0 || running.name() == wanted.name)
}

fn dialect(hostname: &str, listener: &ListenerSettings) -> Dialect {
    match &listener.protocol {
        Protocol::Smtp(smtp) => Dialect::Smtp(Arc::new(Config {
            hostname: hostname.to_owned(),
            tls: listener.tls,
            rights: smtp.rights,
            extensions: smtp.extensions,
            switched_off: smtp.switched_off.clone(),
            auth: smtp.auth.clone(),
            binarymime: smtp.binarymime,
            asks_in_groups: smtp.asks_in_groups,
            limits: smtp.limits.clone(),
        })),
        Protocol::Pop3(limits) => {
            Dialect::Pop3(Arc::new(pop3::Config { tls: listener.tls, limits: *limits }))
        }
    }
}

/// How long `drain` waits by default: longer than a commit, shorter than a service manager's patience (90 s).
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
/// Every task is woken up at once; two seconds are for a machine under load.
const CUT_TIME_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
