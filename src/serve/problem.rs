//! Errors as clients see them: RFC 9457, `application/problem+json`.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::catalog::CatalogError;
use crate::error::Error;
use crate::label::LabelError;
use crate::promotion::PromotionError;
use crate::report::ReportError;

/// Seconds after which to try again what was too much at the moment.
const RETRY_AFTER_S: u64 = 1;

/// An error that is an answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Status, type and title. Types are names, not addresses: there is nothing to look at behind them.
const KINDS: [(u16, &str, &str); 15] = [
    (
        400,
        "urn:understudy:bad-request",
        "the request makes no sense",
    ),
    (
        401,
        "urn:understudy:unauthenticated",
        "a known token is needed",
    ),
    (
        403,
        "urn:understudy:forbidden",
        "the token does not allow it",
    ),
    (404, "urn:understudy:not-found", "it is not there"),
    (
        405,
        "urn:understudy:method-not-allowed",
        "this is not done here",
    ),
    (
        406,
        "urn:understudy:not-acceptable",
        "it is not to be had in this form",
    ),
    (
        408,
        "urn:understudy:timeout",
        "the request did not come in time",
    ),
    (
        409,
        "urn:understudy:conflict",
        "it cannot be done as things are",
    ),
    (413, "urn:understudy:too-large", "it is more than is taken"),
    (
        415,
        "urn:understudy:unsupported-media-type",
        "this form is not taken",
    ),
    (
        422,
        "urn:understudy:unprocessable",
        "it is understood and cannot be done",
    ),
    (429, "urn:understudy:busy", "too much at the moment"),
    (
        502,
        "urn:understudy:store",
        "the store does not answer as it should",
    ),
    (
        503,
        "urn:understudy:unavailable",
        "it is not available at the moment",
    ),
    (
        500,
        "urn:understudy:internal",
        "something failed that should not",
    ),
];

impl Problem {
    /// A status with a sentence.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let known = KINDS.iter().find(|(of, ..)| *of == status.as_u16());
        let (status, kind, title) = known.copied().unwrap_or(KINDS[KINDS.len() - 1]);
        Self {
            r#type: kind,
            title,
            status,
            detail: detail.into(),
            hint: None,
        }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn unauthenticated(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with_hint("send the header `Authorization: Bearer TOKEN`")
    }

    pub(super) fn forbidden(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .with_hint("try again after the seconds of the header `Retry-After`")
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Of its answer.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What can be done about it.
    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What happened, for the log.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = StatusCode::from_u16(error.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            hint: hint(&error),
            ..Self::new(status, error.to_string())
        }
    }
}

/// What a client can do about it: hints that speak of flags are for the command line.
fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Catalog(CatalogError::Memory { .. })
        | Error::Report(ReportError::Catalog(CatalogError::Memory { .. })) => Some(
            "let it sort, join or group fewer rows or columns; the server's `sql.memory` is the limit".into(),
        ),
        Error::Catalog(CatalogError::Time { .. })
        | Error::Report(ReportError::Catalog(CatalogError::Time { .. })) => Some(
            "let it read less: a filter on dataset and teacher leaves the other files alone; the server's `sql.time_s` is the limit".into(),
        ),
        Error::Catalog(CatalogError::Refused { .. }) => Some("write a SELECT".into()),
        Error::Catalog(CatalogError::Several) => Some("send each in a request of its own".into()),
        Error::Promotion(PromotionError::Refused { .. }) => {
            Some("with `\"force\": true` it is promoted nevertheless, and the promotion says so for good".into())
        }
        Error::Promotion(PromotionError::Overtaken { .. }) => {
            Some("GET /v1/promotions tells who is current now".into())
        }
        Error::Promotion(
            PromotionError::UnknownNumber { .. } | PromotionError::NoFormer { .. },
        ) => Some("GET /v1/promotions lists them".into()),
        Error::Label(LabelError::Runtime(_)) | Error::Runtime(_) => {
            Some("the server's ONNX Runtime is at fault; `understudy doctor` on its machine tells more".into())
        }
        other => other.hint(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, json);
        match status {
            StatusCode::UNAUTHORIZED => {
                let bearer = HeaderValue::from_static("Bearer realm=\"understudy\"");
                headers.insert(WWW_AUTHENTICATE, bearer);
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, RETRY_AFTER_S.into());
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::WorkspaceError;

    #[test]
    fn an_error_keeps_its_words_and_hint_and_gets_the_status_that_goes_with_it() {
        let error = WorkspaceError::unknown("teacher", "tinny", &["tiny"], "");
        let problem = Problem::from(error);
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({
                "type": "urn:understudy:not-found", "title": "it is not there", "status": 404,
                "detail": "the workspace has no teacher `tinny`", "hint": "did you mean `tiny`?"
            })
        );
        let detail = "all of it is in use".to_owned();
        let of_a_page = ReportError::Catalog(CatalogError::Memory { detail });
        let problem = Problem::from(of_a_page);
        assert_eq!(problem.status, 422);
        let hint = problem.hint().unwrap();
        assert!(hint.contains("sql.memory"), "{hint}");
        let response = Problem::busy("full").into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let response = Problem::unauthenticated("no").into_response();
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    }
}
