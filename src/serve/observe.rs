//! Around every request: its id, a line in the log, its figures, and what a panic becomes.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use tracing::Instrument as _;
use xxhash_rust::xxh3::xxh3_64;

use super::access::Caller;
use super::listen::Peer;
use super::problem::Problem;
use super::service::Shared;
use crate::telemetry;

/// What a request is called, in its answer, in the log and in the audit log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that a client gives; a longer one is replaced.
const LONGEST_ID: usize = 64;

/// A request's id.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

impl RequestId {
    /// The client's, where it is harmless, or a new one.
    fn of(headers: &HeaderMap) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
        let harmless = |id: &&str| {
            (1..=LONGEST_ID).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        Self(given.filter(harmless).map_or_else(
            || {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                let salt = format!("{:?}", (std::process::id(), SystemTime::now(), count));
                format!("{:016x}", xxh3_64(salt.as_bytes()))
            },
            str::to_owned,
        ))
    }
}

/// What a request counts as whose client has left before the answer was there.
const LEFT: u16 = 499;

/// A request without an answer yet.
struct Unanswered<'a> {
    service: &'a Shared,
    method: &'a str,
    route: &'a str,
    path: &'a str,
    id: &'a str,
    started: Instant,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let Self {
            method,
            route,
            path,
            id,
            ..
        } = self;
        let seconds = self.started.elapsed().as_secs_f64();
        let metrics = &self.service.metrics;
        metrics.count(known(method), route, LEFT, seconds);
        let millis = rounded(seconds);
        tracing::info!(
            method,
            path,
            status = LEFT,
            millis,
            id,
            "the client has left"
        );
    }
}

/// Milliseconds, to the thousandth.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

/// The outermost layer.
pub(super) async fn observe(
    State(service): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let peer = request.extensions().get::<Peer>().map(|p| p.0);
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!(
        "request",
        "otel.name" = format!("{method} {route}"),
        "otel.kind" = "server",
        "http.request.method" = method.as_str(),
        "http.route" = route,
        "http.response.status_code" = tracing::field::Empty,
        "request.id" = id.0,
    );
    telemetry::follow(&span, request.headers());
    let mut unanswered = Unanswered {
        service: &service,
        method: method.as_str(),
        route: &route,
        path: &path,
        id: &id.0,
        started,
        answered: false,
    };
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answered = answered.instrument(span.clone()).await;
    unanswered.answered = true;
    drop(unanswered);
    let mut response = answered.unwrap_or_else(|_| {
        let detail = "this is a defect, please report it with the request's id";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
    });
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    span.record("http.response.status_code", i64::from(status));
    let seconds = started.elapsed().as_secs_f64();
    service
        .metrics
        .count(known(method.as_str()), &route, status, seconds);
    let caller = response.extensions().get::<Caller>();
    let who = caller.and_then(|caller| caller.name.as_deref());
    let problem = response.extensions().get::<Problem>().map(Problem::detail);
    let millis = rounded(seconds);
    let peer = peer.map(tracing::field::display);
    let id = id.0;
    if status >= 500 {
        tracing::error!(%method, path, status, millis, id, who, peer, problem, "request");
    } else {
        tracing::info!(%method, path, status, millis, id, who, peer, problem, "request");
    }
    response
}

/// A method for the figures; clients may invent others.
fn known(method: &str) -> &str {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if methods.contains(&method) {
        method
    } else {
        "other"
    }
}
