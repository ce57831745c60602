//! The HTTP side: is it alive, is it ready, and what does it count.
//!
//! Scrapers and probes are trusted little: connections, header sizes and times are bounded, nothing is read from a
//! request but its path and its credential, and outside loopback it takes TLS and that credential (the configuration
//! cannot say otherwise).

mod credential;
mod pages;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::Admin;
use crate::data_folder::FolderError;
use crate::sockets::SocketError;
use crate::telemetry::Metrics;
use crate::tls::Tls;

pub use credential::Credential;

/// The running HTTP side. Dropping it stops it.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Why the server is not ready to take mail, in words for an operator. Empty: it is.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Why the HTTP side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be had.
    #[error("admin address {address} cannot be listened on: {error}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why not.
        error: SocketError,
    },
    /// The credential's file is open to others, or cannot be read.
    #[error("admin credential: {0}")]
    CredentialFile(#[from] FolderError),
    /// The credential is too short to keep anybody out.
    #[error(
        "admin credential in {}: 16 to 256 characters without blanks are needed, such as `openssl rand -hex 32` prints",
        path.display()
    )]
    WeakCredential {
        /// The file.
        path: PathBuf,
    },
    /// TLS is asked for, and there is no certificate.
    #[error("the admin address needs TLS, but there is no certificate")]
    NoCertificate,
}

// === impl AdminServer ===

impl AdminServer {
    /// Serves on a socket that listens on the address of the settings. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be used, or the credential or certificate is not there.
    pub fn start(
        settings: &Admin,
        socket: std::net::TcpListener,
        tls: Option<Arc<Tls>>,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Result<Self, AdminError> {
        let credential = settings.credential().map(Credential::load).transpose()?;
        let tls = match settings {
            Admin::Loopback { .. } => None,
            Admin::Tls { .. } => Some(tls.ok_or(AdminError::NoCertificate)?),
        };
        let address = settings.address();
        let bind_error = |error: std::io::Error| AdminError::Bind { address, error: error.into() };
        let listener = TcpListener::from_std(socket).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let router = pages::router(metrics, readiness, credential);
        let task = tokio::spawn(serve::serve(listener, tls, router));
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
