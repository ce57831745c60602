//! Clients that prove themselves by a certificate: who vouches for them, and what their names are worth.
//!
//! A handshake proves that the client has the key of its certificate, and nothing else. Whether the certificate is good
//! is judged behind it, so that mail programs that show theirs to everybody are served as if they had none. That also
//! judges certificates of resumed sessions anew.

use std::path::Path;
use std::sync::Arc;

use gatepost_smtp::server::{Identity, PeerClass};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;

use super::certificate::read_chain;
use super::{Tls, TlsError};

/// Who vouches for clients.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<dyn ClientCertVerifier>);

/// Which clients a listener knows.
#[derive(Clone)]
pub struct ClientCertificates {
    authorities: Authorities,
    config: Arc<ServerConfig>,
    /// Lower case.
    names: Arc<[(String, PeerClass)]>,
}

/// Whose certificate was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Whom the configuration knows by one of its names. The identity is that name: a domain name, so never an account's.
    pub identity: Option<Identity>,
    /// That name, or else its first one, for people.
    pub name: String,
}

/// Takes every certificate of whose key the client has proof.
#[derive(Debug)]
struct ProofOfKey(Arc<dyn ClientCertVerifier>);

// === impl Authorities ===

impl Authorities {
    /// Reads the certificates of a PEM file. Each of them vouches for every name.
    ///
    /// # Errors
    /// The file cannot be read, or holds none that can be used.
    pub fn load(path: &Path) -> Result<Self, TlsError> {
        let unusable = || TlsError::NoAuthority { path: path.to_owned() };
        let mut roots = RootCertStore::empty();
        for certificate in read_chain(path)? {
            roots.add(certificate).map_err(|_| unusable())?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|_| unusable())?;
        Ok(Self(verifier))
    }
}

// === impl ClientCertificates ===

impl ClientCertificates {
    /// Clients with these names; of several in one certificate the first of these decides.
    ///
    /// # Errors
    /// The TLS library cannot work.
    pub fn new(
        tls: &Tls,
        authorities: Authorities,
        names: impl IntoIterator<Item = (String, PeerClass)>,
    ) -> Result<Self, TlsError> {
        let config = tls.active.server_config(Arc::new(ProofOfKey(Arc::clone(&authorities.0))))?;
        let names = names.into_iter().map(|(name, class)| (name.to_ascii_lowercase(), class)).collect();
        Ok(Self { authorities, config, names })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whose chain this is, leaf first; `None` where nobody vouches for it, or not today.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Option<Client> {
        let (leaf, intermediates) = chain.split_first()?;
        if let Err(error) = self.authorities.0.verify_client_cert(leaf, intermediates, UnixTime::now()) {
            tracing::debug!(%error, "the certificate of a client was not verified");
            return None;
        }
        Some(self.recognise(&dns_names(leaf)))
    }

    fn recognise(&self, presented: &[String]) -> Client {
        let known = self.names.iter().find(|(name, _)| presented.contains(name));
        let identity = known.map(|(name, class)| Identity { user: name.clone(), class: *class });
        let name = identity.as_ref().map(|identity| &identity.user).or_else(|| presented.first());
        Client { name: name.cloned().unwrap_or_default(), identity }
    }
}

impl std::fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCertificates").field("names", &self.names).finish_non_exhaustive()
    }
}

// === impl ProofOfKey ===

impl ClientCertVerifier for ProofOfKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Clients with certificates of others know by these that theirs is not asked for.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    /// Not the verdict: `ClientCertificates::verify` is.
    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The names of the subject (RFC 5280 section 4.2.1.6), lower case. The common name is none (RFC 9525 section 2), and a
/// wildcard stands for nothing but itself, which no configuration can name.
fn dns_names(leaf: &[u8]) -> Vec<String> {
    let Ok((_, leaf)) = x509_parser::parse_x509_certificate(leaf) else {
        return Vec::new();
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests;
