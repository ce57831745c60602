//! A whole house in a temporary folder, for the tests of the edge: real rooms, a scanner with a marker for a virus.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gatepost_core::access::gate::ScanGate;
use gatepost_core::access::pop3;
use gatepost_core::directory::{self, Directory, Password, PasswordVerifier, Scram};
use gatepost_core::disk::RealDisk;
use gatepost_core::events::Log;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::queue::{self, Queue};
use gatepost_core::scan::{self, Engine, EngineIdentity, Scanner, Verdict};
use gatepost_core::store::{self, SqliteStore};
use gatepost_smtp::server::{AuthOffer, ClassRights, Extensions, Limits, TlsMode};
use prometheus::Registry;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::admission::dnsbl::{self, BlockLists};
use crate::admission::memory::Memory;
use crate::admission::stranger::StrangerChecks;
use crate::admission::{self, Admission, Policy};
use crate::authn::{self, Authenticator};
use crate::backend::embedded::{Embedded, SessionScan, SessionScans, Settings};
use crate::backend::pass_through::{self, PassThrough};
use crate::config;
use crate::metrics::EdgeMetrics;
use crate::server::{ListenerSettings, Protocol, ServerSettings, Services, SmtpSettings};
use crate::tls::{Tls, generate_self_signed};

/// The user `me@localhost`.
pub(crate) const PASSWORD: &str = "correct horse";
/// What the scanner takes for a virus.
pub(crate) const VIRUS: &str = "NOT-A-VIRUS-BUT-A-MARKER";
/// What keeps the scanner busy for longer than `SCAN_TIME_MAX`.
pub(crate) const SLOW: &str = "TAKE-YOUR-TIME";
pub(crate) const SCAN_TIME_MAX: Duration = Duration::from_millis(200);

pub(crate) struct House {
    pub(crate) services: Services,
    pub(crate) backend: Arc<Embedded>,
    pub(crate) queue: Queue,
    pub(crate) directory: Directory,
    /// Of bodies and recipients.
    pub(crate) memory: MemoryBudget,
    pub(crate) registry: Registry,
    folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

struct Marker;

impl Engine for Marker {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("marker", "1").unwrap()
    }

    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict {
        let has = |text: &str| item.windows(text.len()).any(|window| window == text.as_bytes());
        if has(SLOW) {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            return Verdict::TimedOut;
        }
        if has(VIRUS) { Verdict::Infected { threat: "Marker".into() } } else { Verdict::Clean }
    }
}

/// `me@localhost` and `you@localhost` live here; `info@localhost` is an alias of `me`.
pub(crate) fn house() -> House {
    house_with(queue_settings())
}

/// A house whose queue takes no more than this.
pub(crate) fn house_with(queue_settings: queue::Settings) -> House {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
    directory.add_domain("localhost").unwrap();
    let password = Password::prepare(PASSWORD.as_bytes()).unwrap();
    directory.add_user("me@localhost", &password, Scram::On).unwrap();
    directory.add_user("you@localhost", &password, Scram::On).unwrap();
    directory.add_alias("info@localhost", "me@localhost").unwrap();
    let verifier = directory::Metrics::register(&registry).unwrap();
    let verifier =
        PasswordVerifier::start(directory.clone(), directory::Settings::default(), verifier).unwrap();
    let scanner = scan::Metrics::register(&registry).unwrap();
    let scanner = Scanner::start(Arc::new(Marker), &scan::Settings::default(), scanner).unwrap();
    let (queue, _) =
        Queue::open(Arc::new(RealDisk), &folder.path().join("queue"), queue_settings, None).unwrap();
    let store = folder.path().join("store").join("default.sqlite");
    let store: Arc<dyn store::MailStore> =
        Arc::new(SqliteStore::open(&store, &store::Settings::default(), None).unwrap());
    let usual = SessionScan { time_max: Some(SCAN_TIME_MAX), ..SessionScan::default() };
    let scans = SessionScans { usual, ..SessionScans::default() };
    let settings = Settings { hostname: "mx.example".into(), relay: None, scans };
    let memory = MemoryBudget::default();
    let events = Log::start(&folder.path().join("events"), None).unwrap();
    let backend = Arc::new(Embedded::new(
        directory.clone(),
        queue.clone(),
        scanner.clone(),
        events.clone(),
        None,
        memory.clone(),
        settings,
    ));
    let block_lists = dnsbl::Settings {
        lists: Vec::new(),
        threshold: 1,
        timeout: Duration::from_secs(1),
        servers: Vec::new(),
    };
    let services = Services {
        block_lists: BlockLists::start(block_lists, dnsbl::Metrics::register(&registry).unwrap()).unwrap(),
        admission: admission(&registry, &config::Admission::default()),
        backend: Arc::clone(&backend) as Arc<_>,
        pass_through: PassThrough::new(
            directory.clone(),
            backend.inspectors(),
            pass_through::Metrics::register(&registry).unwrap(),
        ),
        authenticator: Authenticator::new(
            directory.clone(),
            verifier.clone(),
            authn::Settings { scram: true },
        ),
        verifier,
        gate: ScanGate::new(Arc::clone(&store), scanner, None),
        store,
        tls: Some(Arc::new(tls(folder.path()))),
        events,
        metrics: EdgeMetrics::register(&registry).unwrap(),
    };
    House { services, backend, queue, directory, memory, registry, folder }
}

pub(crate) fn admission(registry: &Registry, settings: &config::Admission) -> Arc<Admission> {
    let metrics = admission::Metrics::register(registry).unwrap();
    Admission::new(Policy::load(settings).unwrap(), Memory::default(), metrics)
}

/// A small segment: the folder of a test may lie in memory.
pub(crate) fn queue_settings() -> queue::Settings {
    queue::Settings { segment_octets: 4 * 1024 * 1024, free_octets_min: 0, ..queue::Settings::default() }
}

fn tls(folder: &std::path::Path) -> Tls {
    let (certificate_pem, key_pem) = generate_self_signed(&["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, certificate_pem).unwrap();
    std::fs::write(&key, key_pem).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Tls::load(&certificate, &key).unwrap()
}

/// One listener of each kind on ports of the system's choice: `mx` without AUTH and TLS, `submission`, `pop3s`.
pub(crate) fn settings() -> ServerSettings {
    let smtp = |rights, auth| {
        let limits = Limits::default();
        Protocol::Smtp(SmtpSettings {
            rights,
            switched_off: Vec::new(),
            auth,
            binarymime: false,
            asks_in_groups: false,
            extensions: Extensions::Unavailable,
            limits,
        })
    };
    let open = ClassRights::default();
    ServerSettings {
        hostname: "mx.example".into(),
        listeners: vec![
            listener("mx", TlsMode::None, smtp(open, AuthOffer::default())),
            listener(
                "submission",
                TlsMode::StartTls,
                smtp(open.requiring_auth(), authn::Settings { scram: true }.offer(false)),
            ),
            listener("pop3s", TlsMode::Implicit, Protocol::Pop3(pop3::Limits::default())),
        ],
    }
}

fn listener(name: &str, tls: TlsMode, protocol: Protocol) -> ListenerSettings {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ListenerSettings {
        name: name.into(),
        address,
        tls,
        connections_max: 10,
        balancers: Default::default(),
        relays: Default::default(),
        classes: Default::default(),
        clients: None,
        quirks: Default::default(),
        stranger_checks: StrangerChecks::default(),
        protocol,
    }
}

/// A stream that remembers its writes one by one.
pub(crate) struct Recorder {
    stream: DuplexStream,
    writes: Arc<Mutex<Vec<String>>>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, octets);
        if result.is_ready() {
            self.writes.lock().unwrap().push(String::from_utf8_lossy(octets).into_owned());
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Recorder {
    /// The stream, its other end, and what will be written.
    pub(crate) fn pipe(octets: usize) -> (Self, DuplexStream, Arc<Mutex<Vec<String>>>) {
        let (stream, peer) = tokio::io::duplex(octets);
        let writes = Arc::new(Mutex::new(Vec::new()));
        (Self { stream, writes: Arc::clone(&writes) }, peer, writes)
    }
}
