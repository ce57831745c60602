//! How a next hop must be encrypted, and what its certificate must prove.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::verifier::{Anyone, Judge, Verifier};
use crate::delivery::tls_policy::dane::Association;

/// What a connection to a next hop must have. A certificate is checked as its `Trust` says.
#[derive(Debug, Clone, Default)]
pub enum TlsDemand {
    /// Plaintext, whatever is offered: for servers on this machine.
    Never,
    /// STARTTLS where it is offered, with any certificate; where the handshake fails, plaintext on a new connection. It
    /// keeps out whoever only listens (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS or no mail.
    StartTls(Trust),
    /// TLS before the first word (RFC 8314), or no mail.
    Implicit(Trust),
}

/// What a server must prove.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    is_verified: bool,
}

/// The configuration could not be made: a library says that its own algorithms do not fit its own versions.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct Unusable(rustls::Error);

// === impl TlsDemand ===

impl TlsDemand {
    /// Whether the server must prove who it is.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        match self {
            Self::Never | Self::Opportunistic => false,
            Self::StartTls(trust) | Self::Implicit(trust) => trust.is_verified,
        }
    }
}

// === impl Trust ===

impl Trust {
    /// Any certificate: the connection is encrypted, to whomever.
    ///
    /// # Errors
    /// See `Unusable`.
    pub fn anyone(name: ServerName<'static>) -> Result<Self, Unusable> {
        Ok(Self { is_verified: false, ..Self::judged_by(Anyone, name)? })
    }

    /// A certificate for `name` under one of these authorities (RFC 6125, as webpki does it).
    ///
    /// # Errors
    /// See `Unusable`.
    pub fn authorities(roots: Arc<RootCertStore>, name: ServerName<'static>) -> Result<Self, Unusable> {
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config: Arc::new(config), name, is_verified: true })
    }

    /// A certificate that the TLSA records of a server are for, which is asked for by their name. Where none of them can be
    /// checked, any certificate (RFC 7672 section 2.2). `names`: what else the server may be called.
    ///
    /// # Errors
    /// See `Unusable`.
    pub fn dane(
        association: &Association,
        names: &[&str],
        name: ServerName<'static>,
    ) -> Result<Self, Unusable> {
        if !association.is_authenticating() {
            return Self::anyone(name);
        }
        Self::judged_by(association.verifier(names, algorithms()), name)
    }

    fn judged_by(judge: impl Judge + 'static, name: ServerName<'static>) -> Result<Self, Unusable> {
        let verifier = Arc::new(Verifier { judge, algorithms: algorithms() });
        let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Self { config: Arc::new(config), name, is_verified: true })
    }

    /// The same, to which we prove who we are, where it asks for that.
    #[must_use]
    pub fn presenting(self, certificate: Arc<CertifiedKey>) -> Self {
        let mut config = (*self.config).clone();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certificate));
        Self { config: Arc::new(config), ..self }
    }

    pub(super) fn named(&self, name: ServerName<'static>) -> Self {
        Self { name, ..self.clone() }
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    pub(super) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Unusable> {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(Unusable)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}
