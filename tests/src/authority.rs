//! An authority of the test's own, and the certificates with which clients prove themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::trust;

/// Who vouches for clients.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A client's certificate and its key, as PEM.
#[derive(Debug)]
pub struct ClientPair {
    certificate: String,
    key: String,
}

// === impl Authority ===

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When none can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes its certificate.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).expect("the authority can be written");
    }

    /// Vouches for this name, today.
    #[must_use]
    pub fn issue(&self, name: &str) -> ClientPair {
        self.issue_until(name, SystemTime::now() + DAY)
    }

    /// Vouched for this name, until yesterday.
    #[must_use]
    pub fn issue_expired(&self, name: &str) -> ClientPair {
        self.issue_until(name, SystemTime::now() - DAY)
    }

    fn issue_until(&self, name: &str, end: SystemTime) -> ClientPair {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a legal name");
        params.not_before = (end - 10 * DAY).into();
        params.not_after = end.into();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        ClientPair { certificate, key: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

// === impl ClientPair ===

impl ClientPair {
    /// A client that shows this certificate whatever the server hints at, and trusts the one in `pem` alone.
    ///
    /// # Panics
    /// When one of them cannot be used.
    #[must_use]
    pub fn client(&self, pem: &Path) -> Arc<ClientConfig> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let pair = CertifiedKey::from_der(vec![certificate], key, &aws_lc_rs::default_provider());
        let mut config = ClientConfig::clone(&trust::only(pem));
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair.expect("they fit")));
        Arc::new(config)
    }

    /// Writes both for a program that wants files: certificate and key.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn write(&self, folder: &Path) -> [PathBuf; 2] {
        let paths = [folder.join("client-cert.pem"), folder.join("client-key.pem")];
        for (path, text) in paths.iter().zip([&self.certificate, &self.key]) {
            std::fs::write(path, text).expect("the file can be written");
        }
        paths
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
