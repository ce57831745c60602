//! Certificate and key files: read, checked, made.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// A chain and the key that fits it.
pub(super) struct Certificate {
    pub(super) pair: Arc<CertifiedKey>,
    pub(super) not_after: SystemTime,
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others than the owner may read the key.
    #[error("{} can be read by others (mode {mode:04o}): chmod 0600 it, and replace the key if it may have leaked", path.display())]
    KeyExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file has no certificate, or a damaged one.
    #[error("{} holds no usable PEM certificate", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The file has no key, or a damaged one.
    #[error("{} holds no usable PEM private key", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The key belongs to another certificate, or is of a kind that is not supported.
    #[error("the key {} does not fit the certificate {}: {error}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library says.
        error: rustls::Error,
    },
    /// The file has no certificate that can vouch for others, or a damaged one.
    #[error("{} holds no usable PEM certificate of an authority", path.display())]
    NoAuthority {
        /// Which file.
        path: PathBuf,
    },
    /// The TLS library cannot work.
    #[error("the TLS library failed: {0}")]
    Library(rustls::Error),
}

/// Makes a self-signed certificate for these names (DNS names or IP addresses), valid for ten years: `(certificate, key)`
/// in PEM. Nobody verifies it; it is there so that the first start already encrypts.
///
/// # Errors
/// A name is neither a DNS name nor an address.
pub fn generate_self_signed(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(names)?;
    let common_name = names.first().map_or("gatepost", String::as_str);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    // From yesterday on, so that a peer whose clock runs late does not refuse it.
    let now = SystemTime::now();
    params.not_before = now.checked_sub(DAY).unwrap_or(now).into();
    params.not_after = now.checked_add(SELF_SIGNED_TIME).unwrap_or(now).into();
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

pub(super) fn warn_of_expiry(path: &Path, not_after: SystemTime) {
    match not_after.duration_since(SystemTime::now()) {
        Err(_) => tracing::warn!(certificate = ?path, "the TLS certificate has expired"),
        Ok(left) if left < EXPIRY_WARNING => {
            let hours = left.as_secs() / 3_600;
            tracing::warn!(certificate = ?path, hours, "the TLS certificate expires soon");
        }
        Ok(_) => {}
    }
}

// === impl Certificate ===

impl Certificate {
    pub(super) fn load(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let chain = read_chain(certificate)?;
        let not_after = chain
            .first()
            .and_then(|leaf| validity_end(leaf))
            .ok_or_else(|| TlsError::NoCertificate { path: certificate.to_owned() })?;
        let secret = read_key(key)?;
        let pair = CertifiedKey::from_der(chain, secret, provider).map_err(|error| TlsError::Mismatch {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            error,
        })?;
        Ok(Self { pair: Arc::new(pair), not_after })
    }
}

pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::NoCertificate { path: path.to_owned() })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use std::os::unix::fs::PermissionsExt as _;

    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(TlsError::KeyExposed { path: path.to_owned(), mode });
    }
    let pem = Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey { path: path.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;

    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut octets = Vec::new();
    file.take(FILE_OCTETS_MAX).read_to_end(&mut octets).map_err(failed)?;
    Ok(octets)
}

fn validity_end(leaf: &[u8]) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

const DAY: Duration = Duration::from_secs(86_400);
/// Let's Encrypt renews 30 days ahead: below 14 something is stuck.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// Ten years: nothing renews it, and nobody trusts it by its date.
const SELF_SIGNED_TIME: Duration = Duration::from_secs(3_650 * 86_400);
/// The longest chains have a few KiB; `/dev/zero` by mistake must not fill the memory.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;
/// Group and world.
const OTHERS: u32 = 0o077;
