//! Makes connections: TCP, TLS, and SMTP up to the first mail.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_smtp::client::scram::{Challenge, Exporter, Means, RANDOM_OCTETS};
use gatepost_smtp::client::{Config, Failure, Patience, Session, Stage, StartTls};
use gatepost_smtp::server::TlsFacts;
use gatepost_smtp::wire::client_name::ClientName;
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::tls::{Trust, Unusable};
use super::wire::{Stop, Stream, Wire, now};
use super::{Connection, HopFailure, NextHop, Preamble, TlsDemand, TlsFailure};
use crate::directory::{Password, scram};
use crate::disk::IoPool;
use crate::intake::Body;

/// What all connections share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What we call ourselves.
    pub name: ClientName,
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for what.
    pub patience: Patience,
}

/// Makes connections, and has the threads that read bodies for them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Courier {
    settings: Arc<Settings>,
    pool: IoPool,
    /// For opportunistic TLS, made once.
    anyone: Trust,
}

/// Behind a handshake.
struct Secured {
    stream: Box<dyn Stream>,
    facts: TlsFacts,
    exporter: Option<Exporter>,
}

/// Why there is no courier.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system refuses a thread.
    #[error("cannot start the threads that read mail for next hops: {0}")]
    Threads(#[from] io::Error),
    /// TLS has no configuration that works.
    #[error(transparent)]
    Tls(#[from] Unusable),
}

// === impl Settings ===

impl Settings {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: ClientName) -> Self {
        Self { name, connect: CONNECT_TIME, patience: Patience::default() }
    }
}

// === impl Courier ===

impl Courier {
    /// With threads of its own.
    ///
    /// # Errors
    /// See `StartError`.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let anyone = Trust::anyone(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))?;
        let pool = IoPool::start("gatepost-hop", THREADS)?;
        Ok(Self { settings: Arc::new(settings), pool, anyone })
    }

    /// A connection that a mail can be sent over.
    ///
    /// # Errors
    /// Where the server cannot be reached, does not want us, or is not secured as demanded.
    pub async fn connect(&self, hop: &NextHop) -> Result<Connection, HopFailure> {
        if let Some(tested) = hop.as_tested() {
            let connected = self.open(self.dial(hop).await?, &tested, StartTls::Required).await;
            return match connected {
                Err(failure) if failure.is_of_tls() => {
                    debug!(hop = hop.name(), %failure, "a next hop would fail a policy that is being tested");
                    self.connect_as_demanded(hop).await.map(|connection| connection.missing(failure))
                }
                connected => connected,
            };
        }
        self.connect_as_demanded(hop).await
    }

    async fn connect_as_demanded(&self, hop: &NextHop) -> Result<Connection, HopFailure> {
        let connected = self.open(self.dial(hop).await?, hop, starttls(hop.tls())).await;
        match (connected, hop.tls()) {
            // Whoever is in the way could have stripped STARTTLS just as well (RFC 7435 section 3).
            (Err(HopFailure::Tls(failure)), TlsDemand::Opportunistic) => {
                debug!(hop = hop.name(), %failure, "no TLS with a next hop that offers it; going on in plaintext");
                let connected = self.open(self.dial(hop).await?, hop, StartTls::Never).await;
                connected.map(|connection| connection.missing(failure.into()))
            }
            (connected, _) => connected,
        }
    }

    /// The beginning of a body, in which its header section lies where that is no longer than usual.
    ///
    /// # Errors
    /// The disk's.
    pub async fn beginning(&self, body: &Body) -> io::Result<Bytes> {
        match body {
            Body::Memory(octets) => Ok(octets.slice(..octets.len().min(BEGINNING_OCTETS))),
            file @ Body::File(_) => {
                let file = file.clone();
                let read = move || -> io::Result<Vec<u8>> {
                    let mut octets = Vec::new();
                    file.reader()?.take(BEGINNING_OCTETS as u64).read_to_end(&mut octets)?;
                    Ok(octets)
                };
                self.pool.run(read).await?.map(Bytes::from)
            }
        }
    }

    async fn dial(&self, hop: &NextHop) -> Result<Box<dyn Stream>, HopFailure> {
        match timeout(self.settings.connect, connect(hop.address(), hop.preamble())).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(HopFailure::Connect(error.kind())),
            Err(_) => Err(HopFailure::ConnectTimedOut),
        }
    }

    /// From a connection that was just made to where a mail can be sent.
    pub(super) async fn open(
        &self,
        mut stream: Box<dyn Stream>,
        hop: &NextHop,
        starttls: StartTls,
    ) -> Result<Connection, HopFailure> {
        let config = Config {
            name: self.settings.name.clone(),
            protocol: hop.protocol(),
            starttls,
            login: hop.login().cloned(),
            patience: self.settings.patience,
        };
        let password = hop.login().and_then(|login| Password::prepare(login.password().expose()).ok());
        let mut tls = None;
        let session = if let TlsDemand::Implicit(trust) = hop.tls() {
            let secured = self.handshake(stream, trust).await?;
            (stream, tls) = (secured.stream, Some(secured.facts));
            with_scram(Session::new_secured(config, now()), password.as_ref(), secured.exporter)
        } else {
            Session::new(config, now())
        };
        let mut session = session.introducing(hop.introduction().clone());
        loop {
            let conversed = Wire::new(&mut session, &mut *stream).converse(None).await;
            match conversed.stop {
                Stop::Ready => return Ok(Connection::new(session, stream, tls, hop.name(), &self.pool)),
                Stop::Closed(Err(failure)) => return Err(failure.into()),
                Stop::Closed(Ok(())) => return Err(Failure::Closed(Stage::Quit).into()),
                Stop::Upgrade => {
                    let secured = self.handshake(stream, &self.trust(hop)).await?;
                    (stream, tls) = (secured.stream, Some(secured.facts));
                    session = with_scram(session.into_secured(now()), password.as_ref(), secured.exporter);
                }
                Stop::Prove(challenge) => self.prove(&mut session, challenge, password.clone()).await,
            }
        }
    }

    /// On the threads of the pool: rounds that a server may choose are not for the runtime's.
    async fn prove(&self, session: &mut Session, challenge: Challenge, password: Option<Password>) {
        let job = move || password.map(|password| scram::prove(&password, &challenge));
        match self.pool.run(job).await {
            Ok(Some(proof)) => session.proved(now(), &proof),
            Ok(None) | Err(_) => session.abort(now()),
        }
    }

    fn trust(&self, hop: &NextHop) -> Trust {
        match hop.tls() {
            TlsDemand::StartTls(trust) | TlsDemand::Implicit(trust) => trust.clone(),
            TlsDemand::Never | TlsDemand::Opportunistic => {
                let address = ServerName::IpAddress(hop.address().ip().into());
                self.anyone.named(ServerName::try_from(hop.name().to_owned()).unwrap_or(address))
            }
        }
    }

    async fn handshake(&self, stream: Box<dyn Stream>, trust: &Trust) -> Result<Secured, HopFailure> {
        let connecting = TlsConnector::from(trust.config()).connect(trust.name(), stream);
        match timeout(self.settings.patience.command, connecting).await {
            Ok(Ok(secured)) => {
                let connection = secured.get_ref().1;
                let (facts, exporter) = (facts(connection), exporter(connection));
                Ok(Secured { stream: Box::new(secured), facts, exporter })
            }
            Ok(Err(error)) => Err(HopFailure::of_handshake(&error)),
            Err(_) => Err(TlsFailure::TimedOut.into()),
        }
    }
}

async fn connect(address: SocketAddr, preamble: &Preamble) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    // Small writes are commands that wait for their reply.
    stream.set_nodelay(true)?;
    match preamble {
        Preamble::None => {}
        Preamble::Octets(octets) => stream.write_all(octets).await?,
        Preamble::OfEnds(make) => stream.write_all(&make(stream.local_addr()?, address)).await?,
    }
    Ok(stream)
}

/// With a password that SCRAM can carry, and where there is randomness. What cannot be prepared (RFC 4013) no server has a
/// verifier of; it goes by other mechanisms, as it is.
fn with_scram(session: Session, password: Option<&Password>, exporter: Option<Exporter>) -> Session {
    let mut random = [0; RANDOM_OCTETS];
    match password {
        Some(_) if getrandom::fill(&mut random).is_ok() => session.with_scram(Means { random, exporter }),
        _ => session,
    }
}

fn starttls(demand: &TlsDemand) -> StartTls {
    match demand {
        TlsDemand::Never => StartTls::Never,
        TlsDemand::Opportunistic => StartTls::IfOffered,
        TlsDemand::StartTls(_) | TlsDemand::Implicit(_) => StartTls::Required,
    }
}

fn facts(connection: &rustls::ClientConnection) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    // The library writes TLS13_AES_..., the registry of IANA TLS_AES_....
    let cipher = suite.map_or_else(|| "unknown".to_owned(), |name| name.replacen("TLS13_", "TLS_", 1));
    TlsFacts { version: version.to_owned(), cipher }
}

/// TLS 1.3 only: in TLS 1.2 the value is unique only with the extended master secret (RFC 9266 section 4.2), and rustls
/// does not tell whether that was negotiated.
fn exporter(connection: &rustls::ClientConnection) -> Option<Exporter> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok().map(Exporter)
}

/// RFC 9266 section 2; the context is empty.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Large bodies are read by these, in parts; a slow disk then holds up no more than these. So are the proofs of
/// logins computed, half a second of a processor at most each.
const THREADS: usize = 2;

/// Twice what notifications show of a header section.
const BEGINNING_OCTETS: usize = 64 * 1024;
/// For a connection: a host that does not answer costs this once for each address.
pub const CONNECT_TIME: Duration = Duration::from_secs(30);
