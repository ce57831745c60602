//! Makes connections: TCP, TLS, and SMTP up to the first mail.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_smtp::client::{Config, Failure, Patience, Session, Stage, StartTls};
use gatepost_smtp::server::TlsFacts;
use gatepost_smtp::wire::client_name::ClientName;
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::tls::{Trust, Unusable};
use super::wire::{Stop, Stream, Wire, now};
use super::{Connection, HopFailure, NextHop, TlsDemand, TlsFailure};
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
            let connected = self.open(self.dial(hop.address()).await?, &tested, StartTls::Required).await;
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
        let connected = self.open(self.dial(hop.address()).await?, hop, starttls(hop.tls())).await;
        match (connected, hop.tls()) {
            // Whoever is in the way could have stripped STARTTLS just as well (RFC 7435 section 3).
            (Err(HopFailure::Tls(failure)), TlsDemand::Opportunistic) => {
                debug!(hop = hop.name(), %failure, "no TLS with a next hop that offers it; going on in plaintext");
                let connected = self.open(self.dial(hop.address()).await?, hop, StartTls::Never).await;
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

    async fn dial(&self, address: SocketAddr) -> Result<Box<dyn Stream>, HopFailure> {
        let connecting = TcpStream::connect(address);
        let stream = match timeout(self.settings.connect, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(HopFailure::Connect(error.kind())),
            Err(_) => return Err(HopFailure::ConnectTimedOut),
        };
        // Small writes are commands that wait for their reply.
        stream.set_nodelay(true).map_err(|error| HopFailure::Connect(error.kind()))?;
        Ok(Box::new(stream))
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
        let mut tls = None;
        let mut session = if let TlsDemand::Implicit(trust) = hop.tls() {
            let (secured, facts) = self.handshake(stream, trust).await?;
            (stream, tls) = (secured, Some(facts));
            Session::new_secured(config, now())
        } else {
            Session::new(config, now())
        };
        loop {
            let conversed = Wire::new(&mut session, &mut *stream).converse(None).await;
            match conversed.stop {
                Stop::Ready => return Ok(Connection::new(session, stream, tls, hop.name(), &self.pool)),
                Stop::Closed(Err(failure)) => return Err(failure.into()),
                Stop::Closed(Ok(())) => return Err(Failure::Closed(Stage::Quit).into()),
                Stop::Upgrade => {
                    let (secured, facts) = self.handshake(stream, &self.trust(hop)).await?;
                    (stream, tls) = (secured, Some(facts));
                    session = session.into_secured(now());
                }
            }
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

    async fn handshake(
        &self,
        stream: Box<dyn Stream>,
        trust: &Trust,
    ) -> Result<(Box<dyn Stream>, TlsFacts), HopFailure> {
        let connecting = TlsConnector::from(trust.config()).connect(trust.name(), stream);
        match timeout(self.settings.patience.command, connecting).await {
            Ok(Ok(secured)) => {
                let facts = facts(secured.get_ref().1);
                Ok((Box::new(secured), facts))
            }
            Ok(Err(error)) => Err(HopFailure::of_handshake(&error)),
            Err(_) => Err(TlsFailure::TimedOut.into()),
        }
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

/// Large bodies are read by these, in parts; a slow disk then holds up no more than these.
const THREADS: usize = 2;

/// Twice what notifications show of a header section.
const BEGINNING_OCTETS: usize = 64 * 1024;
/// For a connection: a host that does not answer costs this once for each address.
pub const CONNECT_TIME: Duration = Duration::from_secs(30);
