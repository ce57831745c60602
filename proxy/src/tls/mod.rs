//! TLS: the certificate and key in use, handshakes, and what a session learns of its connection.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc-rs, with its own choice of suites (forward secrecy and AEAD only) and groups
//! (X25519MLKEM768 first).

pub mod certificate;
pub mod clients;
pub mod handshake;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use certificate::Certificate;
pub use certificate::{TlsError, generate_self_signed};
pub use clients::{Authorities, Client, ClientCertificates};
pub use handshake::{Exporter, HandshakeError, Proof, Secured};

/// Certificate and key, reloadable while sessions run.
pub struct Tls {
    active: Arc<Active>,
    /// Outlives a reload, so that clients go on resuming.
    config: Arc<ServerConfig>,
    expiry: OnceLock<IntGauge>,
}

/// The loaded pair that all handshakes take, whatever else their listeners want.
struct Active(ArcSwap<Certificate>);

// === impl Tls ===

impl Tls {
    /// Reads and checks a certificate chain and its key (PEM). Reads files: not for the runtime's threads while they serve.
    ///
    /// An expired certificate is taken with a warning: mail servers mostly do not verify, and no TLS would be worse.
    ///
    /// # Errors
    /// A file cannot be read, its contents are no PEM, the key does not fit, or others may read it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let active = Arc::new(Active(ArcSwap::from_pointee(load(certificate, key)?)));
        let config = active.server_config(WebPkiClientVerifier::no_client_auth())?;
        Ok(Self { active, config, expiry: OnceLock::new() })
    }

    /// Reads the files again (or others). New handshakes use them; running sessions keep theirs.
    ///
    /// # Errors
    /// As `load`; then the old pair stays in use.
    pub fn reload(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        self.active.0.store(Arc::new(load(certificate, key)?));
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
        self.active.0.load().not_after
    }

    /// What new handshakes use, where clients are asked for no certificate.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
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
    /// Configurations share the pair and nothing else: a session of one is not resumed in another.
    fn server_config(
        self: &Arc<Self>,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Library)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Library)?;
        // Tickets carry the state; a cache on our side would only cost memory.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Active {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().pair))
    }
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Active").finish_non_exhaustive()
    }
}

/// A chain and its key, with which we prove who we are to somebody else.
///
/// # Errors
/// As `Tls::load`.
pub(crate) fn load_pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    Ok(load(certificate, key)?.pair)
}

fn load(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let loaded = Certificate::load(certificate, key, &aws_lc_rs::default_provider())?;
    certificate::warn_of_expiry(certificate, loaded.not_after);
    Ok(loaded)
}

#[cfg(test)]
mod tests;
