//! Connections of the HTTP side: few, short, bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::tls::Tls;

/// Serves until it is dropped; its connections end with it.
pub(super) async fn serve(listener: TcpListener, tls: Option<Arc<Tls>>, router: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin address cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, router) = (tls.clone(), router.clone());
        connections.spawn(async move {
            let _permit = permit;
            if timeout(CONNECTION_TIME, connection(stream, tls, router)).await.is_err() {
                tracing::debug!(%peer, "an admin connection was cut at its time limit");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, tls: Option<Arc<Tls>>, router: Router) {
    let Some(tls) = tls else { return requests(stream, router).await };
    match timeout(HANDSHAKE_TIME, TlsAcceptor::from(tls.config()).accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection failed in its TLS handshake"),
        Err(_) => tracing::debug!("an admin connection took too long for its TLS handshake"),
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let service = TowerToHyperService::new(router);
    let outcome = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(BUFFER_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "an admin connection ended with an error");
    }
}

/// A scraper, a few probes and an operator; whoever opens more waits in the backlog of the kernel.
const CONNECTIONS_MAX: usize = 32;
/// From accept to close, whatever happens on it: a slow reader cannot hold its place. Scrapers connect anew.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// For the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For the head of a request, from its first octet or from the end of the request before it.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// hyper's least is 8 KiB; no request here needs more than a token.
const BUFFER_OCTETS_MAX: usize = 16 * 1024;
/// When the process is out of file descriptors, trying at once again would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
