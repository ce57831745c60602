use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls_pki_types::pem::PemObject as _;

use super::*;

struct Files {
    _folder: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

fn files(names: &[&str]) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let (certificate_pem, key_pem) = generate_self_signed(&names).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, certificate_pem).unwrap();
    std::fs::write(&key, key_pem).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Files { _folder: folder, certificate, key }
}

/// A client that trusts this certificate alone.
fn client(
    certificate: &Path,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Both ends' facts after a handshake over a pipe.
async fn shake(
    tls: &Tls,
    config: rustls::ClientConfig,
) -> (Secured<tokio::io::DuplexStream>, tokio_rustls::client::TlsStream<tokio::io::DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(tls.accept(ours, None), connector.connect(name, theirs));
    (server.unwrap(), client.unwrap())
}

#[tokio::test]
async fn both_ends_export_the_same_channel_binding_in_tls_1_3() {
    let files = files(&["localhost"]);
    let tls = Tls::load(&files.certificate, &files.key).unwrap();
    let (server, client) = shake(&tls, client(&files.certificate, &[&rustls::version::TLS13])).await;
    assert_eq!(server.facts.version, "TLSv1.3");
    assert!(server.facts.cipher.starts_with("TLS_"), "{}", server.facts.cipher);
    let theirs =
        client.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None).unwrap();
    assert_eq!(server.proof.exporter, Some(Exporter(theirs)));
}

#[tokio::test]
async fn the_post_quantum_group_is_negotiated_where_the_peer_has_it() {
    let files = files(&["localhost"]);
    let tls = Tls::load(&files.certificate, &files.key).unwrap();
    let (server, _client) = shake(&tls, client(&files.certificate, &[&rustls::version::TLS13])).await;
    let group = server.stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn tls_1_2_is_spoken_but_binds_no_channel() {
    let files = files(&["localhost"]);
    let tls = Tls::load(&files.certificate, &files.key).unwrap();
    let (server, _client) = shake(&tls, client(&files.certificate, &[&rustls::version::TLS12])).await;
    assert_eq!(server.facts.version, "TLSv1.2");
    assert_eq!(server.proof.exporter, None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_shakes_hands_is_given_up() {
    let files = files(&["localhost"]);
    let tls = Tls::load(&files.certificate, &files.key).unwrap();
    let (ours, _theirs) = tokio::io::duplex(1024);
    assert!(matches!(tls.accept(ours, None).await, Err(HandshakeError::TimedOut)));
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate() {
    let (old, new) = (files(&["localhost"]), files(&["localhost"]));
    let tls = Tls::load(&old.certificate, &old.key).unwrap();
    let gauge = IntGauge::new("expiry", "help").unwrap();
    tls.report_expiry(gauge.clone());
    let before = gauge.get();
    assert!(before > 0);
    gauge.set(0);
    tls.reload(&new.certificate, &new.key).unwrap();
    assert!(gauge.get() >= before);
    shake(&tls, client(&new.certificate, &[&rustls::version::TLS13])).await;
}

#[tokio::test]
async fn a_bad_reload_keeps_the_old_certificate() {
    let (good, other) = (files(&["localhost"]), files(&["localhost"]));
    let tls = Tls::load(&good.certificate, &good.key).unwrap();
    let error = tls.reload(&good.certificate, &other.key).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    shake(&tls, client(&good.certificate, &[&rustls::version::TLS13])).await;
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let files = files(&["localhost"]);
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Tls::load(&files.certificate, &files.key).unwrap_err();
    assert!(matches!(error, TlsError::KeyExposed { mode: 0o640, .. }), "{error}");
}

#[test]
fn files_without_pem_are_told_apart() {
    let files = files(&["localhost"]);
    let error = Tls::load(&files.key, &files.key).unwrap_err();
    assert!(matches!(error, TlsError::NoCertificate { .. }), "{error}");
    std::fs::write(&files.key, "no key").unwrap();
    let error = Tls::load(&files.certificate, &files.key).unwrap_err();
    assert!(matches!(error, TlsError::NoKey { .. }), "{error}");
}

#[test]
fn a_self_signed_certificate_is_valid_for_years() {
    let files = files(&["localhost", "127.0.0.1"]);
    let tls = Tls::load(&files.certificate, &files.key).unwrap();
    let left = tls.not_after().duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(9 * 365 * 86_400));
}
