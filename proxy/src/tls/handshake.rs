//! From a plain stream to a secured one.

use std::io;
use std::time::Duration;

use gatepost_smtp::server::TlsFacts;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use super::clients::{Client, ClientCertificates};

/// A stream whose handshake is done.
#[derive(Debug)]
pub struct Secured<S> {
    /// The stream. Boxed: the library's connection has more than a kilobyte, and it is moved often.
    pub stream: Box<TlsStream<S>>,
    /// Version and cipher.
    pub facts: TlsFacts,
    /// What the peer can go on to prove by it.
    pub proof: Proof,
}

/// What a TLS connection says of its peer.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The channel binding, where the version has a sound one.
    pub exporter: Option<Exporter>,
    /// Who has shown a certificate that was verified. Boxed: hardly anybody.
    pub client: Option<Box<Client>>,
}

/// The `tls-exporter` channel binding (RFC 9266): the same 32 octets on both ends of this connection, and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Exporter(pub [u8; 32]);

/// A handshake did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer took too long.
    #[error("the TLS handshake took too long")]
    TimedOut,
    /// The peer speaks no TLS that we do, or went away.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
}

// === impl Tls ===

impl Tls {
    /// Takes the plain stream for good and shakes hands on it, within `HANDSHAKE_TIME_MAX`. With `clients` the peer is asked
    /// for a certificate; one that cannot be verified is the same as none.
    ///
    /// # Errors
    /// The peer is too slow, or its handshake is no good; the stream is gone either way.
    pub async fn accept<S>(
        &self,
        stream: S,
        clients: Option<&ClientCertificates>,
    ) -> Result<Secured<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = clients.map_or_else(|| self.config(), ClientCertificates::config);
        let handshake = TlsAcceptor::from(config).accept_with(stream, |connection| {
            connection.set_buffer_limit(Some(BUFFER_OCTETS_MAX));
        });
        // On the heap only while it lasts: the connection's own future stays small.
        let handshake = Box::pin(tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake));
        let stream = handshake.await.map_err(|_| HandshakeError::TimedOut)??;
        let (_, connection) = stream.get_ref();
        let facts = facts(connection);
        let client = clients.and_then(|clients| clients.verify(connection.peer_certificates()?));
        let proof = Proof { exporter: exporter(connection), client: client.map(Box::new) };
        Ok(Secured { stream: Box::new(stream), facts, proof })
    }
}

// === impl Exporter ===

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter(..)")
    }
}

fn facts(connection: &rustls::ServerConnection) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    // The library writes TLS13_AES_..., the registry of IANA TLS_AES_....
    let cipher = suite.map_or_else(|| "unknown".to_owned(), |name| name.replacen("TLS13_", "TLS_", 1));
    TlsFacts { version: version.to_owned(), cipher }
}

/// TLS 1.3 only: in TLS 1.2 the value is unique only with the extended master secret (RFC 9266 section 4.2), and rustls
/// does not tell whether that was negotiated.
fn exporter(connection: &rustls::ServerConnection) -> Option<Exporter> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok().map(Exporter)
}

/// RFC 9266 section 2; the context is empty.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
/// Two round trips and a slow phone's public-key work; OpenSMTPD and Postfix wait far longer for a whole command.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(30);
/// Unsent octets the library may hold: one full record.
const BUFFER_OCTETS_MAX: usize = 16 * 1024;
