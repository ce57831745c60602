//! The running edge: listeners, started together, reloaded with rollback, drained together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gatepost_smtp::server::{AuthOffer, Limits, TlsMode};

use crate::backend::Backend;
use crate::metrics::EdgeMetrics;
use crate::tls::Tls;

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
    /// Connections at the same time; more wait in the backlog of the kernel.
    pub connections_max: usize,
    /// What is spoken.
    pub protocol: Protocol,
}

/// What a listener speaks.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// RFC 5321.
    Smtp(SmtpSettings),
    /// RFC 1939.
    Pop3,
}

/// How SMTP sessions of a listener go.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Whether MAIL needs AUTH.
    pub require_auth: bool,
    /// Which mechanisms are offered when.
    pub auth: AuthOffer,
    /// Whether BINARYMIME is offered.
    pub binarymime: bool,
    /// The bounds of a session.
    pub limits: Limits,
}

/// What the edge asks: the rooms behind it.
#[derive(Debug, Clone)]
pub struct Services {
    /// Takes mails over.
    pub backend: Arc<dyn Backend>,
    /// Certificate and key; `None` only where no listener does TLS.
    pub tls: Option<Arc<Tls>>,
    /// The edge's counters.
    pub metrics: Arc<EdgeMetrics>,
}

/// A started edge.
#[derive(Debug)]
pub struct Server {}

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
        error: std::io::Error,
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
    pub async fn start(_settings: ServerSettings, _services: Services) -> Result<Self, StartError> {
        todo!()
    }

    /// Name and bound address of each listener, in the order of the settings.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        todo!()
    }

    /// Takes new settings on: new listeners are bound first, kept ones serve new connections by the new settings, removed
    /// ones drain. Certificates reload by themselves (`Tls::reload`).
    ///
    /// # Errors
    /// A new listener cannot be had: everything stays as it was.
    pub async fn reload(&mut self, _settings: ServerSettings) -> Result<(), StartError> {
        todo!()
    }

    /// Stops accepting, tells every session to finish, waits at most `patience`, then cuts what is left.
    pub async fn drain(self, _patience: Duration) {
        todo!()
    }
}

/// How long `drain` waits by default: longer than a commit, shorter than a service manager's patience (90 s).
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
