//! Fetches MTA-STS policies over HTTPS (RFC 8461 section 3.3).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use gatepost_core::BoxFuture;
use gatepost_core::delivery::tls_policy::{Fetcher, POLICY_OCTETS_MAX, Unfetched};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A web client that knows one path, follows nobody elsewhere, and reads no more than a policy may have.
pub(super) struct PolicyFetcher {
    connector: TlsConnector,
    port: u16,
}

// === impl PolicyFetcher ===

impl PolicyFetcher {
    /// Web servers prove their names by certificates of these authorities.
    ///
    /// # Errors
    /// TLS has no configuration that works: a bug of the library.
    pub(super) fn new(roots: Arc<RootCertStore>, port: u16) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), port })
    }

    async fn fetch_from(&self, host: &str, address: IpAddr) -> Result<Vec<u8>, Unfetched> {
        let connecting = TcpStream::connect(SocketAddr::new(address, self.port));
        let stream = timeout(CONNECT_TIME_MAX, connecting).await.map_err(unfetched)?.map_err(unfetched)?;
        let name = ServerName::try_from(host.to_owned()).map_err(unfetched)?;
        let stream = self.connector.connect(name, stream).await.map_err(unsecured)?;
        let handshake =
            http1::Builder::new().max_buf_size(HEADERS_OCTETS_MAX).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(unfetched)?;
        let request = Request::get(PATH).header(HOST, host).body(Body::empty()).map_err(unfetched)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(unfetched)?;
            if response.status() != hyper::StatusCode::OK {
                return Err(unfetched(format_args!("the web server says {}", response.status())));
            }
            if !is_plain_text(response.headers()) {
                return Err(unfetched("what the web server has is no plain text"));
            }
            to_bytes(Body::new(response.into_body()), POLICY_OCTETS_MAX).await.map_err(unfetched)
        };
        // The connection moves only as long as somebody looks at it; where it ends first, so does the answer.
        let mut connection = std::pin::pin!(connection);
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            answer = &mut answered => answer.map(Into::into),
            ended = &mut connection => {
                ended.map_err(unfetched)?;
                answered.await.map(Into::into)
            }
        }
    }
}

impl Fetcher for PolicyFetcher {
    fn fetch<'a>(
        &'a self,
        host: &'a str,
        addresses: &'a [IpAddr],
    ) -> BoxFuture<'a, Result<Vec<u8>, Unfetched>> {
        Box::pin(async move {
            let mut failure = unfetched("its web server has no address");
            for address in addresses.iter().take(ADDRESSES_MAX) {
                match self.fetch_from(host, *address).await {
                    Ok(policy) => return Ok(policy),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        })
    }
}

impl fmt::Debug for PolicyFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFetcher").field("port", &self.port).finish_non_exhaustive()
    }
}

fn is_plain_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain"))
}

fn unfetched(error: impl fmt::Display) -> Unfetched {
    Unfetched::unanswered(error)
}

/// Where the certificate is the reason, the domain has to mend that.
fn unsecured(error: io::Error) -> Unfetched {
    let why = error.get_ref().and_then(|why| why.downcast_ref::<rustls::Error>());
    match why {
        Some(rustls::Error::InvalidCertificate(_)) => Unfetched::unproven(error),
        _ => unfetched(error),
    }
}

/// RFC 8461 section 3.3.
const PATH: &str = "/.well-known/mta-sts.txt";
/// Mail waits for it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Of one web server.
const ADDRESSES_MAX: usize = 3;
/// What a web server says before a policy, and the read buffer of it.
const HEADERS_OCTETS_MAX: usize = 32 * 1024;
