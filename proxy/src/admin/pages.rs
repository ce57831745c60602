//! What each path answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Credential, Readiness};
use crate::telemetry::Metrics;

/// All pages. Where there is a credential, each of them asks for it.
pub(super) fn router(metrics: Metrics, readiness: Readiness, credential: Option<Credential>) -> Router {
    let router = Router::new()
        .route("/", get(async || PAGES))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(self::metrics).with_state(metrics));
    let guarded = match credential {
        Some(credential) => router.layer(from_fn_with_state(Arc::new(credential), guard)),
        None => router,
    };
    guarded.layer(map_response(harden))
}

/// 200 when mail can come in, else 503 with the reasons, a line each.
async fn ready(State(readiness): State<Readiness>) -> Response {
    // It may ask the disk.
    let found = tokio::task::spawn_blocking(move || readiness()).await;
    let reasons = found.unwrap_or_else(|_| vec!["readiness could not be found out".to_owned()]);
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let text = reasons.iter().fold(String::new(), |text, reason| text + reason + "\n");
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn guard(State(credential): State<Arc<Credential>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if credential.admits(shown) {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "a bearer token is needed\n").into_response()
}

/// Nothing here is to be kept or to be taken for something else by a browser.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const PAGES: &str = concat!(
    "Gatepost ",
    env!("CARGO_PKG_VERSION"),
    "\n\n",
    "/healthz  200 as long as the process serves\n",
    "/readyz   200 when mail can come in, else 503 and the reasons\n",
    "/metrics  counters for Prometheus\n",
);
