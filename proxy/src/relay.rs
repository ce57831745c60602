//! What the configuration means for delivery to other servers.

mod policy_fetcher;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatepost_core::delivery::Watchdog;
use gatepost_core::delivery::dns::{NameServers, TrustAnchor};
use gatepost_core::delivery::hop::{self, Courier, InsecureLogin};
use gatepost_core::delivery::reach::Ourselves;
use gatepost_core::delivery::remote::{self, Pauses, Remote, Tools};
use gatepost_core::delivery::route::{Route, Routes};
use gatepost_core::scan::Scanner;
use gatepost_core::tlsrpt::Ledger;
use gatepost_smtp::client::{InvalidLogin, Login};
use gatepost_smtp::wire::auth::Secret;
use prometheus::Registry;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use self::policy_fetcher::PolicyFetcher;
use crate::backend::behind::{Answers, Behind, ListError, RecipientList, Recipients, Times};
use crate::config::{self, Backend, Config, Listener, Service};
use crate::data_folder::FolderError;
use crate::private;
use crate::tls::TlsError;

/// Why mail cannot leave as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The file with a next hop's credentials is missing, or others can read it.
    #[error("credentials of a next hop: {0}")]
    Credentials(#[from] FolderError),
    /// What is in it are no credentials.
    #[error("credentials of a next hop: {path}: a name in the first line and a password in the second are needed", path = path.display())]
    NoLogin {
        /// Which file.
        path: PathBuf,
    },
    /// A name or a password that cannot be sent.
    #[error("credentials of a next hop: {path}: {error}", path = path.display())]
    InvalidLogin {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: InvalidLogin,
    },
    /// A password for whoever poses as the server.
    #[error(transparent)]
    InsecureLogin(#[from] InsecureLogin),
    /// The file with the authorities.
    #[error("authorities: {path}: {reason}", path = path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate by which we prove who we are.
    #[error("certificate for a server behind: {0}")]
    Certificate(#[from] TlsError),
    /// The file with the keys that DNSSEC begins with.
    #[error("trust_anchor: {path}: {error}", path = path.display())]
    TrustAnchor {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There are no name servers to ask.
    #[error("the name servers cannot be used: {0}")]
    NameServers(std::io::Error),
    /// No thread, or no TLS.
    #[error(transparent)]
    Courier(#[from] hop::StartError),
    /// The list of recipients of the server behind.
    #[error("the list of recipients: {0}")]
    Recipients(#[from] ListError),
    /// No TLS for web servers.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Our own name cannot be said to other servers.
    #[error("the server's name cannot be said to other servers: {0:?}")]
    Hostname(String),
    /// Two rooms count under one name: a bug.
    #[error("the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

// === impl RelayError ===

impl RelayError {
    /// Whether a file that the configuration names is the reason.
    #[must_use]
    pub const fn is_of_the_configuration(&self) -> bool {
        match self {
            Self::Credentials(_)
            | Self::InsecureLogin(_)
            | Self::NoLogin { .. }
            | Self::InvalidLogin { .. }
            | Self::Authorities { .. }
            | Self::Certificate(_)
            | Self::TrustAnchor { .. }
            | Self::Recipients(_)
            | Self::Hostname(_) => true,
            Self::NameServers(_) | Self::Courier(_) | Self::Tls(_) | Self::Metrics(_) => false,
        }
    }
}

/// Starts delivery to other servers, where the configuration has it.
///
/// # Errors
/// A file cannot be used, or the system gives no thread.
pub fn start(
    config: &Config,
    registry: &Registry,
    watchdog: Watchdog,
    ledger: Option<Ledger>,
    scanner: &Scanner,
    pauses: Pauses,
) -> Result<Option<Remote>, RelayError> {
    let (Some(written), Some(settings)) = (&config.remote, load(config)?) else { return Ok(None) };
    let hostname = config.hostname.as_str();
    let name = hostname.parse().map_err(|_| RelayError::Hostname(hostname.to_owned()))?;
    let config::Timeouts { connect, patience } = written.timeouts;
    let couriers = hop::Settings { name, connect, patience };
    let servers: Vec<_> = config.dns.servers.iter().map(|server| server.address()).collect();
    let roots = Arc::new(roots(written.authorities.as_deref())?);
    let tools = Tools {
        courier: Courier::start(couriers)?,
        resolver: Arc::new(NameServers::new(&servers).map_err(RelayError::NameServers)?),
        validating: Arc::new(
            NameServers::validating(&servers, &trust_anchor(config)?).map_err(RelayError::NameServers)?,
        ),
        fetcher: Arc::new(PolicyFetcher::new(Arc::clone(&roots), written.https_port)?),
        roots,
        ledger,
        watchdog,
        current_stamp: {
            let scanner = scanner.clone();
            Box::new(move || scanner.current_stamp())
        },
        pauses,
        metrics: remote::Metrics::register(registry)?,
    };
    Ok(Some(Remote::start(settings, tools)))
}

/// What can change while the server runs; `None` where mail stays here.
///
/// # Errors
/// Credentials of a route cannot be used.
pub fn load(config: &Config) -> Result<Option<remote::Settings>, RelayError> {
    let Some(remote) = &config.remote else { return Ok(None) };
    let routes = remote.routes.iter().map(route).collect::<Result<_, _>>()?;
    let smtp = config.listeners.iter().filter(|listener| matches!(listener.service, Service::Smtp { .. }));
    Ok(Some(remote::Settings {
        routes: Routes::new(routes),
        relayed: config.relay.as_ref().map(|relay| relay.domains.clone()).unwrap_or_default(),
        ourselves: Ourselves {
            hostname: config.hostname.as_str().to_ascii_lowercase(),
            listeners: smtp.map(|listener| listener.address).collect(),
        },
        port: remote.port,
        internal: remote.internal_addresses,
        dane: remote.dane,
        mta_sts: remote.mta_sts,
        rate: remote.rate,
        connections: remote.connections,
        paused: remote.paused,
    }))
}

/// Whether the files that it needs can be used.
///
/// # Errors
/// The first that cannot.
pub fn check(config: &Config) -> Result<(), RelayError> {
    load(config)?;
    trust_anchor(config)?;
    recipients(config).map(drop)
}

/// Whom the server behind is taken mail for; `None` where there is none.
///
/// # Errors
/// Its list of recipients cannot be used.
pub fn recipients(config: &Config) -> Result<Option<Recipients>, RelayError> {
    let Some(relay) = &config.relay else { return Ok(None) };
    Ok(Some(match &relay.recipients {
        config::Recipients::Any => Recipients::Any,
        config::Recipients::Listed(path) => Recipients::Listed(RecipientList::load(path)?),
        config::Recipients::Probed { known_time, unknown_time, accept_unverified } => Recipients::Probed {
            answers: Answers::new(Times { known: known_time.duration(), unknown: unknown_time.duration() }),
            accepts_unverified: *accept_unverified,
        },
    }))
}

/// The server behind, as listeners of the relay need it.
///
/// # Errors
/// As `recipients`.
pub fn behind(config: &Config, remote: Option<&Remote>) -> Result<Option<Behind>, RelayError> {
    let (Some(recipients), Some(remote)) = (recipients(config)?, remote) else { return Ok(None) };
    let is_relay = |it: &&Listener| matches!(it.service, Service::Smtp { backend: Backend::Relay, .. });
    let listeners = config.listeners.iter().filter(is_relay).map(|it| it.name.to_string()).collect();
    Ok(Some(Behind { listeners, remote: remote.clone(), recipients }))
}

/// Every file that the configuration names for it.
pub fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let list = config.relay.as_ref().and_then(|relay| match &relay.recipients {
        config::Recipients::Listed(path) => Some(path.as_path()),
        config::Recipients::Any | config::Recipients::Probed { .. } => None,
    });
    let remote = config.remote.iter().flat_map(|remote| {
        let credentials = remote.routes.iter().filter_map(|route| route.credentials.as_deref());
        credentials.chain(remote.authorities.as_deref()).chain(config.dns.trust_anchor.as_deref())
    });
    remote.chain(list)
}

fn route(written: &config::Route) -> Result<Route, RelayError> {
    Ok(Route {
        domains: written.domains.clone(),
        hops: written.hops.clone(),
        protocol: written.protocol,
        tls: written.tls,
        login: written.credentials.as_deref().map(login).transpose()?,
        limits: written.limits,
    })
}

/// Name and password for a server.
///
/// # Errors
/// The file cannot be used.
pub(crate) fn login(path: &Path) -> Result<Login, RelayError> {
    let text = private::read(path, CREDENTIALS_OCTETS_MAX)?;
    let mut lines = text.lines();
    let (Some(user), Some(password), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(RelayError::NoLogin { path: path.to_owned() });
    };
    Login::new(user.to_owned(), Secret::new(password.as_bytes().to_vec()))
        .map_err(|error| RelayError::InvalidLogin { path: path.to_owned(), error })
}

fn trust_anchor(config: &Config) -> Result<TrustAnchor, RelayError> {
    let Some(path) = &config.dns.trust_anchor else { return Ok(TrustAnchor::default()) };
    TrustAnchor::load(path).map_err(|error| RelayError::TrustAnchor { path: path.clone(), error })
}

/// Those of a file, or of the machine. Where the machine has none, nobody is verified, and routes that ask for it wait.
pub(crate) fn roots(file: Option<&Path>) -> Result<RootCertStore, RelayError> {
    let path = match file {
        Some(path) => path,
        None => match SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => path,
            None => {
                tracing::warn!(
                    "this machine has no list of certificate authorities: no next hop can be verified"
                );
                return Ok(RootCertStore::empty());
            }
        },
    };
    let failed = |reason: String| RelayError::Authorities { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let certificates =
        certificates.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(failed("no certificate of an authority is in it".to_owned()));
    }
    tracing::debug!(added, ignored, path = %path.display(), "certificate authorities were read");
    Ok(roots)
}

/// A name, a password and their line ends, and enough more to see that it is something else.
const CREDENTIALS_OCTETS_MAX: u64 = 4096;
/// As the distributions place them: Debian, Fedora, Alpine.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn credentials_are_two_lines_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let read = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            login(&path).map_err(|error| error.to_string())
        };
        let expected = Login::new("ann@example.org".into(), Secret::new(b"pass word".to_vec())).unwrap();
        assert_eq!(read("ann@example.org\npass word\n", 0o600), Ok(expected));
        assert!(read("ann@example.org\npass word\n", 0o644).is_err());
        for bad in ["", "ann\n", "ann\npassword\nmore\n", "\npassword\n"] {
            assert!(read(bad, 0o600).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn authorities_are_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorities.pem");
        std::fs::write(&path, "nothing").unwrap();
        assert!(roots(Some(&path)).unwrap_err().to_string().contains("no certificate"));
        let authority = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(&path, authority.cert.pem()).unwrap();
        assert_eq!(roots(Some(&path)).unwrap().len(), 1);
    }
}
