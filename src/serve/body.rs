//! A request's body → bytes, within bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::problem::Problem;

/// Reads a body whole. One that says to be too large is not begun, and one that is nevertheless is left at the limit.
///
/// # Errors
/// 413, 408, or 400 where the client broke off.
pub(super) async fn read(body: Body, most: usize, time: Duration) -> Result<Bytes, Problem> {
    check(&body, most)?;
    let whole = tokio::time::timeout(time, Limited::new(body, most).collect());
    match whole.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large(most)),
        Ok(Err(e)) => Err(Problem::bad_request(format!("the body broke off: {e}"))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body was not there after {} s", time.as_secs_f64()),
        )),
    }
}

/// Whether a body says that it is larger than it may be.
///
/// # Errors
/// 413.
pub(super) fn check(body: &Body, most: usize) -> Result<(), Problem> {
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most));
    }
    Ok(())
}

/// Bytes that a body has at most, as far as it says so.
pub(super) fn upper(body: &Body, most: usize) -> usize {
    let said = body.size_hint().upper().map(usize::try_from);
    said.and_then(Result::ok).map_or(most, |n| n.min(most))
}

fn too_large(most: usize) -> Problem {
    Problem::too_large(format!("the body has more than {most} bytes"))
}

/// The media type, without its parameters, in small letters.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = text.split(';').next().unwrap_or_default();
    Some(kind.trim().to_ascii_lowercase())
}
