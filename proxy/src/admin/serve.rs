//! Connections of the HTTP side: few, short, bounded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::tls::Tls;

/// Serves until it is dropped; its connections end with it.
pub(super) async fn serve(listener: TcpListener, tls: Option<Arc<Tls>>, router: Router) {
    let mut connections = JoinSet::new();
    // Oldest first.
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin address cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, router) = (tls.clone(), router.clone());
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            tracing::debug!("the oldest admin connection was cut to make room for another");
            oldest.abort();
        }
        open.push_back(connections.spawn(async move {
            if timeout(CONNECTION_TIME, connection(stream, tls, router)).await.is_err() {
                tracing::debug!(%peer, "an admin connection was cut at its time limit");
            }
        }));
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

/// A scraper, a few probes and an operator need far fewer. Whoever opens more cuts the oldest, which has had its answer
/// long ago unless it is idle: connections that say nothing cannot keep a probe waiting.
const CONNECTIONS_MAX: usize = 64;
/// From accept to close, whatever happens on it: a slow reader cannot hold its place. Scrapers connect anew.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// For the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For the head of a request, from its first octet or from the end of the request before it.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// hyper's least is 8 KiB; no request here needs more than a token.
const BUFFER_OCTETS_MAX: usize = 16 * 1024;
/// When the process is out of file descriptors, trying at once again would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
