//! All routes, in one table: method, path, and the role that each asks for. `schemas/openapi.json` describes the same ones, which a test holds against this table.

mod data;
mod health;
mod history;
mod jobs;
mod label;
mod lineage;
pub(super) mod pages;
mod promotions;
mod sql;
mod teachers;
mod trainings;

use std::convert::Infallible;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access;
use super::observe;
use super::openapi;
use super::problem::Problem;
use super::service::Shared;
use super::tokens::Role;

/// A route.
pub struct Route {
    /// GET or POST.
    pub method: Method,
    /// With `{names}`.
    pub path: &'static str,
    /// What a token has to allow; none for what is asked without one.
    pub role: Option<Role>,
    handlers: MethodRouter<Shared, Infallible>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.path, self.role)
    }
}

fn get<H: Handler<T, Shared>, T: 'static>(
    path: &'static str,
    role: Option<Role>,
    handler: H,
) -> Route {
    Route {
        method: Method::GET,
        path,
        role,
        handlers: on(MethodFilter::GET, handler),
    }
}

fn post<H: Handler<T, Shared>, T: 'static>(path: &'static str, role: Role, handler: H) -> Route {
    Route {
        method: Method::POST,
        path,
        role: Some(role),
        handlers: on(MethodFilter::POST, handler),
    }
}

/// All of them.
pub fn routes() -> Vec<Route> {
    let read = Some(Role::Read);
    vec![
        get("/healthz", None, health::alive),
        get("/readyz", None, health::ready),
        get("/metrics", read, health::metrics),
        get("/v1/openapi.json", None, openapi::document),
        get("/v1/teachers", read, teachers::list),
        get("/v1/teachers/{teacher}", read, teachers::show),
        get("/v1/promotions", read, promotions::list),
        get("/v1/promotions/{number}", read, promotions::show),
        post("/v1/promotions", Role::Promote, promotions::promote),
        post("/v1/rollbacks", Role::Promote, promotions::rollback),
        get("/v1/datasets", read, data::datasets),
        get("/v1/datasets/{dataset}", read, data::dataset),
        get("/v1/datasets/{dataset}/rejects", read, data::rejects),
        get("/v1/selections", read, data::selections),
        get("/v1/selections/{selection}", read, data::selection),
        get("/v1/trainings", read, trainings::list),
        get("/v1/trainings/{training}", read, trainings::show),
        get("/v1/evaluations", read, trainings::evaluations),
        get("/v1/runs", read, history::runs),
        get("/v1/runs/{run}", read, history::run),
        get("/v1/audit", read, history::audit),
        get("/v1/jobs", read, jobs::list),
        post("/v1/jobs", Role::Submit, jobs::submit),
        get("/v1/jobs/{job}", read, jobs::show),
        post("/v1/jobs/{job}/cancel", Role::Submit, jobs::cancel),
        get("/v1/jobs/{job}/events", read, jobs::events),
        get("/v1/lineage", read, lineage::lineage),
        post("/v1/sql", Role::Read, sql::sql),
        post("/v1/label", Role::Read, label::label),
    ]
}

/// The routes with what is around them.
pub(super) fn router(service: Shared) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let handlers = match route.role {
            None => route.handlers,
            Some(role) => route.handlers.route_layer(from_fn_with_state(
                (Shared::clone(&service), role),
                access::check,
            )),
        };
        router = router.route(route.path, handlers);
    }
    router
        .merge(pages::router(&service))
        .method_not_allowed_fallback(not_allowed)
        .fallback(not_found)
        .layer(from_fn_with_state(
            Shared::clone(&service),
            observe::observe,
        ))
        .with_state(service)
}

async fn not_allowed(method: Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not done here"),
    )
    .with_hint("the header `Allow` has what is")
}

async fn not_found() -> Problem {
    Problem::not_found("there is nothing at this path")
        .with_hint("GET /v1/openapi.json describes all paths")
}

/// An answer that is no JSON.
pub(super) fn answer(kind: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    let kind = axum::http::HeaderValue::from_static(kind);
    let headers = response.headers_mut();
    headers.insert(axum::http::header::CONTENT_TYPE, kind);
    response
}
