//! `/v1/openapi.json`: what the API is, for people and for programs that make clients.

use axum::response::Response;

use super::routes;

/// The whole document.
pub const DOCUMENT: &str = include_str!("../../schemas/openapi.json");

pub(super) async fn document() -> Response {
    routes::answer("application/json", DOCUMENT)
}
