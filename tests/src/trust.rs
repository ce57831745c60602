//! TLS on the client's side: the server's own certificate is the only one trusted.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

/// A client that takes exactly the first certificate in `pem` and nothing else.
///
/// # Panics
/// When the file holds no certificate.
#[must_use]
pub fn only(pem: &Path) -> Arc<ClientConfig> {
    with_versions(pem, rustls::ALL_VERSIONS)
}

/// As `only`, in these TLS versions.
///
/// # Panics
/// When the file holds no certificate.
#[must_use]
pub fn with_versions(pem: &Path, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let certificate = CertificateDer::from_pem_file(pem)
        .unwrap_or_else(|error| panic!("{} holds no certificate: {error}", pem.display()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Pinned { certificate, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider supports these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    Arc::new(config)
}

/// Writes a fresh self-signed certificate and its key (mode 0600) for `localhost` and 127.0.0.1.
///
/// # Panics
/// When a file cannot be written.
pub fn write_certificate(certificate: &Path, key: &Path) {
    write_certificate_for(&["localhost", "127.0.0.1"], certificate, key);
}

/// As `write_certificate`, for other names.
///
/// # Panics
/// When a file cannot be written.
pub fn write_certificate_for(names: &[&str], certificate: &Path, key: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
    std::fs::write(certificate, made.cert.pem()).expect("the certificate can be written");
    std::fs::write(key, made.signing_key.serialize_pem()).expect("the key can be written");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("the key's mode can be set");
    PrivateKeyDer::from_pem_file(key).expect("the key can be read again");
}

/// A server with this certificate.
///
/// # Panics
/// When the files hold no certificate and key.
#[must_use]
pub fn server(certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key fits the certificate");
    Arc::new(config)
}

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

// === impl Pinned ===

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another certificate than the expected one".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
