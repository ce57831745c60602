use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, ServerName};

use super::*;
use crate::tls::{Secured, generate_self_signed};

#[tokio::test]
async fn a_client_with_a_good_certificate_is_who_the_configuration_says() {
    let site = Site::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client =
            site.client(Some(site.authority.issue(&["unknown.example", "MX2.example.org"])), version);
        let recognised = shake(&site, client).await.unwrap();
        let identity = Identity { user: "mx2.example.org".to_owned(), class: PeerClass::Server };
        assert_eq!(recognised.identity, Some(identity), "{version:?}");
        assert_eq!(recognised.name, "mx2.example.org");
    }
}

#[tokio::test]
async fn of_two_names_the_first_of_the_configuration_decides() {
    let site = Site::new();
    let both = site.authority.issue(&["partner.example", "mx2.example.org"]);
    let recognised = shake(&site, site.client(Some(both), TLS13)).await.unwrap();
    assert_eq!(recognised.identity.unwrap().class, PeerClass::Server);
}

#[tokio::test]
async fn a_good_certificate_of_nobody_is_known_but_names_nobody() {
    let site = Site::new();
    for (names, shown) in
        [(&["mx3.example.org"][..], "mx3.example.org"), (&["*.example.org"], "*.example.org"), (&[], "")]
    {
        let recognised = shake(&site, site.client(Some(site.authority.issue(names)), TLS13)).await;
        assert_eq!(recognised, Some(Client { identity: None, name: shown.to_owned() }), "{names:?}");
    }
}

/// The handshake itself goes well, or the client would have no service at all.
#[tokio::test]
async fn a_certificate_that_cannot_be_verified_is_none() {
    let site = Site::new();
    let names = &["mx2.example.org"];
    let mut expired = params(names);
    expired.not_after = ago(1).into();
    let mut early = params(names);
    early.not_before = in_days(1).into();
    let mut of_servers = params(names);
    of_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let stranger = Authority::new("another");
    let namesake = Authority::new("clients");
    for (bad, why) in [
        (stranger.issue(names), "of another authority"),
        (namesake.issue(names), "of another authority of the same name"),
        (site.authority.sign(&expired), "expired"),
        (site.authority.sign(&early), "not valid yet"),
        (site.authority.sign(&of_servers), "for servers"),
        (self_signed(names), "of its own"),
    ] {
        for version in [TLS13, &rustls::version::TLS12] {
            assert_eq!(shake(&site, site.client(Some(clone(&bad)), version)).await, None, "{why}");
        }
    }
    assert_eq!(shake(&site, site.client(None, TLS13)).await, None, "without a certificate");
}

/// A ticket brings the certificate along.
#[tokio::test]
async fn a_resumed_session_is_judged_by_the_authorities_of_now() {
    let site = Site::new();
    let client = site.client(Some(site.authority.issue(&["mx2.example.org"])), TLS13);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let secured = secure(&site, Arc::clone(&client)).await;
        // The post-quantum group may cost one more round.
        let is_resumed = secured.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!(is_resumed, kind == HandshakeKind::Resumed);
        assert!(secured.proof.client.is_some(), "{kind:?}");
    }
    let others = Authority::new("another").authorities(&site.folder);
    let site = Site { clients: ClientCertificates { authorities: others, ..site.clients.clone() }, ..site };
    assert_eq!(shake(&site, client).await, None);
}

/// For a peer without an authority: its one certificate is pinned.
#[tokio::test]
async fn a_certificate_can_vouch_for_itself() {
    let site = Site::new();
    let (certificate, key) = self_signed(&["mx2.example.org"]);
    let path = site.folder.path().join("pinned.pem");
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    std::fs::write(&path, format!("{begin}\n{}\n{end}\n", BASE64_STANDARD.encode(&certificate))).unwrap();
    let authorities = Authorities::load(&path).unwrap();
    let site = Site { clients: ClientCertificates { authorities, ..site.clients.clone() }, ..site };
    let pinned = shake(&site, site.client(Some((certificate, key)), TLS13)).await.unwrap();
    assert_eq!(pinned.name, "mx2.example.org");
    assert_eq!(shake(&site, site.client(Some(self_signed(&["mx2.example.org"])), TLS13)).await, None);
}

#[tokio::test]
async fn nobody_is_asked_where_no_authority_is_named() {
    let site = Site::new();
    let client = site.client(Some(site.authority.issue(&["mx2.example.org"])), TLS13);
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(client);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(site.tls.accept(ours, None), connector.connect(name, theirs));
    assert!(server.unwrap().stream.get_ref().1.peer_certificates().is_none());
    drop(client);
}

#[test]
fn a_file_without_an_authority_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.pem");
    assert!(matches!(Authorities::load(&path), Err(TlsError::Read { .. })));
    for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Authorities::load(&path), Err(TlsError::NoAuthority { .. })), "{text:?}");
    }
}

struct Site {
    tls: Tls,
    clients: ClientCertificates,
    authority: Authority,
    folder: tempfile::TempDir,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Site {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let (certificate_pem, key_pem) = generate_self_signed(&["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, certificate_pem).unwrap();
        std::fs::write(&key, key_pem).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let tls = Tls::load(&certificate, &key).unwrap();
        let authority = Authority::new("clients");
        let names = [("mx2.Example.org", PeerClass::Server), ("partner.example", PeerClass::Partner)];
        let names = names.map(|(name, class)| (name.to_owned(), class));
        let clients = ClientCertificates::new(&tls, authority.authorities(&folder), names).unwrap();
        Self { tls, clients, authority, folder }
    }

    fn client(
        &self,
        pair: Option<Pair>,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match pair {
            // Shown whatever the server hints at.
            Some((certificate, key)) => {
                let provider = aws_lc_rs::default_provider();
                let pair = rustls::sign::CertifiedKey::from_der(vec![certificate], key, &provider).unwrap();
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
            }
            None => builder.with_no_client_auth(),
        })
    }
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    fn authorities(&self, folder: &tempfile::TempDir) -> Authorities {
        let path = folder.path().join("clients.pem");
        std::fs::write(&path, &self.pem).unwrap();
        Authorities::load(&path).unwrap()
    }

    fn issue(&self, names: &[&str]) -> Pair {
        self.sign(&params(names))
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = ago(2).into();
    params.not_after = in_days(30).into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn self_signed(names: &[&str]) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = params(names).self_signed(&key).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

fn clone((certificate, key): &Pair) -> Pair {
    (certificate.clone(), key.clone_key())
}

/// What the server knows of the client then.
async fn shake(site: &Site, config: Arc<ClientConfig>) -> Option<Client> {
    secure(site, config).await.proof.client.map(|client| *client)
}

/// The server's end after a handshake over a pipe, and a few octets behind it, so that the client has its tickets.
async fn secure(site: &Site, config: Arc<ClientConfig>) -> Secured<tokio::io::DuplexStream> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(config);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) =
        tokio::join!(site.tls.accept(ours, Some(&site.clients)), connector.connect(name, theirs));
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    server.stream.write_all(b"220").await.unwrap();
    server.stream.flush().await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
    server
}

fn ago(days: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(86_400 * days)
}

fn in_days(days: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(86_400 * days)
}

const TLS13: &rustls::SupportedProtocolVersion = &rustls::version::TLS13;
