//! TLS: the certificate and key in use, handshakes, and what a session learns of its connection.

use std::path::{Path, PathBuf};

/// Certificate and key, reloadable while sessions run.
#[derive(Debug)]
pub struct Tls {}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

// === impl Tls ===

impl Tls {
    /// Reads and checks a certificate chain and its key (PEM).
    ///
    /// # Errors
    /// A file cannot be read, its contents are no PEM, the key does not fit, or others may read it.
    pub fn load(_certificate: &Path, _key: &Path) -> Result<Self, TlsError> {
        todo!()
    }

    /// Reads the files again (or others). New handshakes use them; running sessions keep theirs.
    ///
    /// # Errors
    /// As `load`; then the old pair stays in use.
    pub fn reload(&self, _certificate: &Path, _key: &Path) -> Result<(), TlsError> {
        todo!()
    }
}

/// Makes a self-signed certificate for these names (DNS names or IP addresses): `(certificate, key)` in PEM.
///
/// # Errors
/// A name is neither a DNS name nor an address.
pub fn generate_self_signed(_names: &[String]) -> Result<(String, String), rcgen::Error> {
    todo!()
}
