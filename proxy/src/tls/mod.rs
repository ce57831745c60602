//! TLS: the certificate and key in use, handshakes, and what a session learns of its connection.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc-rs, with its own choice of suites (forward secrecy and AEAD only) and groups
//! (X25519MLKEM768 first).

pub mod certificate;
pub mod handshake;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use rustls::server::{ProducesTickets, ServerConfig};
use rustls::sign::SingleCertAndKey;

use certificate::Certificate;
pub use certificate::{TlsError, generate_self_signed};
pub use handshake::{Exporter, HandshakeError, Secured};

/// Certificate and key, reloadable while sessions run.
pub struct Tls {
    active: ArcSwap<Active>,
    /// Outlives a reload, so that clients go on resuming.
    tickets: Arc<dyn ProducesTickets>,
    expiry: OnceLock<IntGauge>,
}

/// One loaded pair and what is made from it.
struct Active {
    config: Arc<ServerConfig>,
    not_after: SystemTime,
}

// === impl Tls ===

impl Tls {
    /// Reads and checks a certificate chain and its key (PEM). Reads files: not for the runtime's threads while they serve.
    ///
    /// An expired certificate is taken with a warning: mail servers mostly do not verify, and no TLS would be worse.
    ///
    /// # Errors
    /// A file cannot be read, its contents are no PEM, the key does not fit, or others may read it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Library)?;
        let active = Active::load(certificate, key, Arc::clone(&tickets))?;
        Ok(Self { active: ArcSwap::from_pointee(active), tickets, expiry: OnceLock::new() })
    }

    /// Reads the files again (or others). New handshakes use them; running sessions keep theirs.
    ///
    /// # Errors
    /// As `load`; then the old pair stays in use.
    pub fn reload(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        let active = Active::load(certificate, key, Arc::clone(&self.tickets))?;
        self.active.store(Arc::new(active));
        self.show_expiry();
        Ok(())
    }

    /// Keeps this gauge at the end of the validity, seconds since 1970, from now on.
    pub(crate) fn report_expiry(&self, gauge: IntGauge) {
        self.expiry.get_or_init(|| gauge);
        self.show_expiry();
    }

    /// When the certificate in use stops being valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.active.load().not_after
    }

    /// What new handshakes use.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.active.load().config)
    }

    fn show_expiry(&self) {
        let seconds = self.not_after().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(gauge) = self.expiry.get() {
            gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }
}

/// The library's own Debug would print the whole configuration.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("not_after", &self.not_after()).finish_non_exhaustive()
    }
}

// === impl Active ===

impl Active {
    fn load(certificate: &Path, key: &Path, tickets: Arc<dyn ProducesTickets>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let Certificate { pair, not_after } = Certificate::load(certificate, key, &provider)?;
        certificate::warn_of_expiry(certificate, not_after);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.ticketer = tickets;
        // Tickets carry the state; a cache on our side would only cost memory.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), not_after })
    }
}

#[cfg(test)]
mod tests;
