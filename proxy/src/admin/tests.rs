use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn start(credential: Option<PathBuf>, ready: Arc<AtomicBool>) -> AdminServer {
    let settings = Admin::Loopback { address: "127.0.0.1:0".parse().unwrap(), credential };
    let readiness: Readiness = Arc::new(move || match ready.load(Ordering::Relaxed) {
        true => Vec::new(),
        false => vec!["the queue is stopped".to_owned()],
    });
    AdminServer::start(&settings, socket(), None, Metrics::new().unwrap(), readiness).unwrap()
}

fn socket() -> std::net::TcpListener {
    let address = "127.0.0.1:0".parse().unwrap();
    crate::sockets::Sockets::default().take("admin", address).unwrap()
}

/// Sends a request and returns all that comes back.
async fn request(server: &AdminServer, text: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(server: &AdminServer, path: &str, header: &str) -> String {
    request(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n")).await
}

#[tokio::test]
async fn readiness_follows_its_reasons() {
    let ready = Arc::new(AtomicBool::new(true));
    let server = start(None, Arc::clone(&ready)).await;
    assert!(get(&server, "/readyz", "").await.starts_with("HTTP/1.1 200 "));
    ready.store(false, Ordering::Relaxed);
    let answer = get(&server, "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("the queue is stopped\n"), "{answer}");
    assert!(get(&server, "/healthz", "").await.ends_with("alive\n"));
}

#[tokio::test]
async fn the_metrics_are_served_in_the_format_of_prometheus() {
    let server = start(None, Arc::default()).await;
    let answer = get(&server, "/metrics", "").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\n# TYPE gatepost_build_info gauge\n"), "{answer}");
}

#[tokio::test]
async fn the_first_page_names_the_others_and_unknown_ones_are_not_found() {
    let server = start(None, Arc::default()).await;
    let first = get(&server, "/", "").await;
    assert!(first.contains("/metrics") && first.contains("/readyz") && first.contains("/healthz"));
    assert!(get(&server, "/etc/passwd", "").await.starts_with("HTTP/1.1 404 "));
    let post = request(&server, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
}

#[tokio::test]
async fn with_a_credential_every_page_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let token = crate::data_folder::DataFolder::prepare(folder.path().join("d"))
        .unwrap()
        .replace("token", b"0123456789abcdef\n")
        .unwrap();
    let server = start(Some(token), Arc::default()).await;
    for path in ["/", "/metrics", "/healthz", "/readyz", "/none"] {
        let answer = get(&server, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
    let answer = get(&server, "/metrics", "Authorization: Bearer 0123456789abcdef\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = start(None, Arc::default()).await;
    let answer = get(&server, "/", &format!("X: {}\r\n", "x".repeat(64 * 1024))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_probe_waiting() {
    let server = start(None, Arc::default()).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(server.address()).await.unwrap());
    }
    // Less than any time limit of a connection.
    let probe = tokio::time::timeout(std::time::Duration::from_secs(4), get(&server, "/healthz", ""));
    assert!(probe.await.unwrap().ends_with("alive\n"));
    let mut octets = [0];
    assert_eq!(idle[0].read(&mut octets).await.unwrap_or(0), 0, "the oldest was cut");
}

#[tokio::test]
async fn tls_without_a_certificate_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let credential = crate::data_folder::DataFolder::prepare(folder.path().join("d"))
        .unwrap()
        .replace("token", b"0123456789abcdef\n")
        .unwrap();
    let settings = Admin::Tls { address: "127.0.0.1:0".parse().unwrap(), credential };
    let metrics = Metrics::new().unwrap();
    let started = AdminServer::start(&settings, socket(), None, metrics, Arc::new(Vec::new));
    assert!(matches!(started, Err(AdminError::NoCertificate)));
}

#[tokio::test]
async fn with_tls_nothing_is_served_in_the_clear() {
    let outer = tempfile::tempdir().unwrap();
    let folder = crate::data_folder::DataFolder::prepare(outer.path().join("d")).unwrap();
    crate::first_run::make_certificate(&folder, "localhost").unwrap();
    let tls = Arc::new(Tls::load(&folder.certificate(), &folder.key()).unwrap());
    let credential = folder.replace("token", b"0123456789abcdef\n").unwrap();
    let settings = Admin::Tls { address: "127.0.0.1:0".parse().unwrap(), credential };
    let metrics = Metrics::new().unwrap();
    let server = AdminServer::start(&settings, socket(), Some(tls), metrics, Arc::new(Vec::new)).unwrap();

    let mut plain = TcpStream::connect(server.address()).await.unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A TLS alert, or nothing.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));

    let get = |header: &'static str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
        let (connector, address) = (connector(&folder), server.address());
        async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    };
    assert!(get("").await.starts_with("HTTP/1.1 401 "));
    let answer = get("Authorization: Bearer 0123456789abcdef\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("gatepost_build_info"), "{answer}");
}

/// A client that trusts the folder's certificate and nothing else.
fn connector(folder: &crate::data_folder::DataFolder) -> tokio_rustls::TlsConnector {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}
