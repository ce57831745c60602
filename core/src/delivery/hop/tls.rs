//! How a next hop must be encrypted, and what its certificate must prove.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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
        let verifier = Arc::new(Anyone { algorithms: provider().signature_verification_algorithms });
        Ok(Self { is_verified: false, ..Self::verified_by(verifier, name)? })
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
        let verifier = association.verifier(names, provider().signature_verification_algorithms);
        Self::verified_by(Arc::new(verifier), name)
    }

    /// A certificate that this verifier takes. It must also check the signatures of the handshake, for which
    /// `rustls::crypto` has functions.
    ///
    /// # Errors
    /// See `Unusable`.
    pub fn verified_by(
        verifier: Arc<dyn ServerCertVerifier>,
        name: ServerName<'static>,
    ) -> Result<Self, Unusable> {
        let config = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Self { config: Arc::new(config), name, is_verified: true })
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

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Takes every certificate, but not every handshake: whoever shows a certificate must have its key.
#[derive(Debug)]
struct Anyone {
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl Anyone ===

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
