//! What handlers take of a request and give back, with problems as rejections.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body;
use super::problem::Problem;
use super::service::Shared;

/// Bytes of a JSON body at most: a query of a megabyte is no query.
const JSON_BYTES: usize = 1024 * 1024;

/// A value of the path.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Shared) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, service).await;
        let Path(value) =
            path.map_err(|e: PathRejection| Problem::bad_request(plain(&e.body_text())))?;
        Ok(Self(value))
    }
}

/// The parameters behind the `?`; one that is not known is an error.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Shared) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, service).await;
        let Query(value) =
            query.map_err(|e: QueryRejection| Problem::bad_request(plain(&e.body_text())))?;
        Ok(Self(value))
    }
}

/// A JSON body going in, or an answer going out.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Shared) -> Result<Self, Problem> {
        let kind = body::content_type(request.headers());
        if kind.as_deref() != Some("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body has to be JSON",
            )
            .with_hint("send the header `Content-Type: application/json`"));
        }
        let limits = &service.config.limits;
        let bytes = body::read(request.into_body(), JSON_BYTES, limits.body_timeout()).await?;
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        match serde_json::from_slice(&bytes) {
            // A list would be taken for the values of an object's keys, and an empty one for none of them.
            Ok(_) if first != Some(&b'{') => {
                Err(Problem::bad_request("the JSON has to be an object"))
            }
            Ok(value) => Ok(Self(value)),
            Err(e) => Err(Problem::bad_request(format!("the JSON does not fit: {e}"))),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Err(e) => {
                let detail = format!("the answer cannot be written: {e}");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
            }
        }
    }
}

/// The part of a rejection's text that says something.
fn plain(text: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(_, rest)| rest);
    text.to_owned()
}
