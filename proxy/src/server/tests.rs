//! Listeners on loopback with real rooms behind them.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{House, PASSWORD, house, settings};

/// A client that speaks lines.
struct Client<S>(BufReader<S>);

impl Client<TcpStream> {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    /// The last line of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let octets = self.0.read_line(&mut line).await.unwrap();
            assert!(octets > 0, "the server has closed");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.0.write_all(b"\r\n").await.unwrap();
        self.reply().await
    }

    /// Sends a line and expects this code.
    async fn expect(&mut self, line: &str, code: &str) {
        let reply = self.say(line).await;
        assert!(reply.starts_with(code), "{line}: {reply}");
    }

    async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]).await, Ok(0))
    }
}

fn address(server: &Server, name: &str) -> SocketAddr {
    let addresses = server.addresses();
    addresses.iter().find(|(listener, _)| listener == name).unwrap().1
}

fn start() -> (House, Server) {
    let house = house();
    let server = Server::start(&settings(), house.services.clone()).unwrap();
    (house, server)
}

async fn tls(stream: TcpStream) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
    tls_of(stream, rustls::DEFAULT_VERSIONS).await
}

async fn tls_of(
    stream: TcpStream,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll(provider)))
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Client(BufReader::new(connector.connect(name, stream).await.unwrap()))
}

/// The certificate has tests of its own.
#[derive(Debug)]
struct TrustAll(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _leaf: &rustls::pki_types::CertificateDer<'_>,
        _chain: &[rustls::pki_types::CertificateDer<'_>],
        _name: &rustls::pki_types::ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_mail_goes_in_by_starttls_and_auth() {
    let (house, server) = start();
    let mut plain = Client::connect(address(&server, "submission")).await;
    plain.reply().await;
    plain.expect("EHLO client.example", "250").await;
    plain.expect("MAIL FROM:<me@localhost>", "530").await;
    plain.expect("STARTTLS", "220").await;
    let mut client = tls(plain.0.into_inner()).await;
    client.expect("EHLO client.example", "250").await;
    client.expect("MAIL FROM:<me@localhost>", "530").await;
    let response = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("\0me@localhost\0{PASSWORD}"),
    );
    client.expect(&format!("AUTH PLAIN {response}"), "235").await;
    client.expect("MAIL FROM:<me@localhost>", "250").await;
    client.expect("RCPT TO:<you@localhost>", "250").await;
    client.expect("DATA", "354").await;
    client.expect("Subject: hi\r\n\r\nHello\r\n.", "250").await;
    client.expect("QUIT", "221").await;
    let queued = house.queue.list().await;
    assert_eq!(queued.len(), 1);
    let details = house.queue.show(queued[0].id).await.unwrap();
    let origin = details.submission.origin;
    assert_eq!(origin.user.as_deref(), Some("me@localhost"));
    assert_eq!(origin.tls.unwrap().version, "TLSv1.3");
}

#[tokio::test]
async fn scram_plus_is_offered_where_the_channel_can_be_bound() {
    let (_house, server) = start();
    for (versions, bound) in [(&[&rustls::version::TLS12], false), (&[&rustls::version::TLS13], true)] {
        let mut plain = Client::connect(address(&server, "submission")).await;
        plain.reply().await;
        plain.expect("EHLO client.example", "250").await;
        plain.expect("STARTTLS", "220").await;
        let mut client = tls_of(plain.0.into_inner(), versions).await;
        client.0.write_all(b"EHLO client.example\r\n").await.unwrap();
        let mut offer = String::new();
        while !offer.contains("250 ") {
            client.0.read_line(&mut offer).await.unwrap();
        }
        assert!(offer.contains("AUTH ") && offer.contains(" PLAIN"), "{offer}");
        assert_eq!(offer.contains("SCRAM-SHA-256-PLUS"), bound, "{offer}");
    }
}

#[tokio::test]
async fn an_open_mailbox_is_locked_until_its_session_ends() {
    let (_house, server) = start();
    let log_in = || async {
        let stream = TcpStream::connect(address(&server, "pop3s")).await.unwrap();
        let mut client = tls(stream).await;
        client.reply().await;
        client.expect("USER me@localhost", "+OK").await;
        let reply = client.say(&format!("PASS {PASSWORD}")).await;
        (client, reply)
    };
    let (mut first, reply) = log_in().await;
    assert!(reply.starts_with("+OK"), "{reply}");
    let (_second, reply) = log_in().await;
    assert!(reply.starts_with("-ERR [IN-USE]"), "{reply}");
    first.expect("QUIT", "+OK").await;
    assert!(first.is_closed().await);
    let (_third, reply) = log_in().await;
    assert!(reply.starts_with("+OK"), "{reply}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let house = house();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.listeners[1].address = taken.local_addr().unwrap();
    let error = Server::start(&settings, house.services.clone()).unwrap_err().to_string();
    assert!(error.contains("\"submission\""), "{error}");
    assert!(error.contains(&taken.local_addr().unwrap().to_string()), "{error}");
}

#[tokio::test]
async fn two_listeners_on_one_address_are_refused_on_reload_too() {
    let (_house, mut server) = start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = settings();
    settings.listeners[0].address = free;
    settings.listeners[1].address = free;
    let error = server.reload(&settings).unwrap_err();
    assert!(matches!(error, StartError::Bind { listener, .. } if listener == "submission"));
}

#[tokio::test]
async fn tls_without_a_certificate_is_refused() {
    let mut house = house();
    house.services.tls = None;
    let error = Server::start(&settings(), house.services.clone()).unwrap_err();
    assert!(matches!(error, StartError::NoCertificate { listener } if listener == "submission"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let house = house();
    let mut settings = settings();
    settings.listeners[0].connections_max = 1;
    let server = Server::start(&settings, house.services.clone()).unwrap();
    let mut first = Client::connect(address(&server, "mx")).await;
    first.reply().await;
    let mut second = Client::connect(address(&server, "mx")).await;
    let patience = Duration::from_millis(100);
    assert!(timeout(patience, second.reply()).await.is_err(), "the second one was served");
    first.expect("QUIT", "221").await;
    drop(first);
    assert!(second.reply().await.starts_with("220"));
}

#[tokio::test]
async fn a_reload_moves_a_listener_and_keeps_the_others() {
    let (_house, mut server) = start();
    let (old, kept) = (address(&server, "mx"), address(&server, "submission"));
    let mut left = Client::connect(old).await;
    left.reply().await;
    let mut settings = settings();
    settings.listeners[0].name = "mx2".into();
    settings.hostname = "new.example".into();
    server.reload(&settings).unwrap();
    assert!(left.reply().await.starts_with("421"), "its sessions are told");
    assert!(left.is_closed().await);
    assert_eq!(address(&server, "submission"), kept);
    let mut client = Client::connect(kept).await;
    assert!(client.reply().await.contains("new.example"));
    let mut client = Client::connect(address(&server, "mx2")).await;
    assert!(client.reply().await.starts_with("220"));
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let (_house, mut server) = start();
    let before = server.addresses();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.hostname = "new.example".into();
    settings.listeners.remove(0);
    settings.listeners[0].address = taken.local_addr().unwrap();
    assert!(server.reload(&settings).is_err());
    assert_eq!(server.addresses(), before);
    let mut client = Client::connect(address(&server, "mx")).await;
    assert!(client.reply().await.contains("mx.example"));
}

#[tokio::test]
async fn a_drain_tells_idle_sessions_and_stops_listening() {
    let (_house, server) = start();
    let mx = address(&server, "mx");
    let mut client = Client::connect(mx).await;
    client.reply().await;
    let drained = tokio::spawn(server.drain(Duration::from_secs(20)));
    assert!(client.reply().await.starts_with("421"));
    assert!(client.is_closed().await);
    drop(client);
    timeout(Duration::from_secs(10), drained).await.expect("a drain without sessions is short").unwrap();
    assert!(TcpStream::connect(mx).await.is_err());
}

/// A client of the MX whose next octets are a body.
async fn within_a_body(server: &Server) -> Client<TcpStream> {
    let mut client = Client::connect(address(server, "mx")).await;
    client.reply().await;
    client.expect("EHLO client.example", "250").await;
    client.expect("MAIL FROM:<a@example.org>", "250").await;
    client.expect("RCPT TO:<me@localhost>", "250").await;
    client.expect("DATA", "354").await;
    client
}

#[tokio::test]
async fn a_drain_lets_a_mail_under_way_arrive() {
    let (house, server) = start();
    let mut client = within_a_body(&server).await;
    let drained = tokio::spawn(server.drain(Duration::from_secs(20)));
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.expect("Subject: hi\r\n\r\nHello\r\n.", "250").await;
    assert!(client.reply().await.starts_with("421"));
    drop(client);
    drained.await.unwrap();
    assert_eq!(house.queue.list().await.len(), 1);
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let (_house, server) = start();
    let mut client = within_a_body(&server).await;
    server.drain(Duration::from_millis(50)).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn sessions_are_counted() {
    let (house, server) = start();
    let mut client = Client::connect(address(&server, "mx")).await;
    client.reply().await;
    client.expect("QUIT", "221").await;
    drop(client);
    server.drain(Duration::from_secs(10)).await;
    let counted = |name: &str, label: &str| {
        let families = house.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let found = family
            .get_metric()
            .iter()
            .find(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
        found.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).unwrap()
    };
    assert_eq!(counted("gatepost_edge_connections_total", "mx"), 1.0);
    assert_eq!(counted("gatepost_edge_sessions_open", "mx"), 0.0);
    assert_eq!(counted("gatepost_edge_sessions_closed_total", "quit"), 1.0);
}
