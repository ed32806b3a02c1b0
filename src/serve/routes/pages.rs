//! The pages for a browser ([`crate::dashboard`]), and how a browser says who it is: a form takes the token once, and a cookie keeps it.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use url::form_urlencoded;

use super::answer;
use crate::dashboard::{self, Answer, Dashboard, Place};

use crate::serve::access;
use crate::serve::body;
use crate::serve::problem::Problem;
use crate::serve::queries::Rows;
use crate::serve::service::Shared;
use crate::serve::tokens::Role;

/// The cookie that has a token.
const TOKEN: &str = "understudy-token";
/// Bytes of a form at most.
const FORM_BYTES: usize = 4096;
/// Rows that the console shows: a person reads no more.
const CONSOLE_ROWS: usize = 500;
const HTML: &str = "text/html; charset=utf-8";

/// The routes of the pages.
pub(super) fn router(service: &Shared) -> Router<Shared> {
    let pages = [
        "/",
        "/datasets/{dataset}",
        "/datasets/{dataset}/classes/{class}",
        "/datasets/{dataset}/rejects/{reason}",
        "/jobs/{job}",
        "/teachers/{teacher}",
        "/churn",
        "/churn/images",
        "/selections/{selection}",
        "/trainings/{training}",
    ];
    let router = pages
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, get(page)));
    router
        .route("/sql", get(console))
        .route_layer(from_fn_with_state(Shared::clone(service), check))
        .route("/login", get(login))
        .route("/login", post(log_in))
}

/// As every route is guarded; but where a program is told that it needs a token, a browser is asked for one.
async fn check(service: State<Shared>, request: Request, next: Next) -> Response {
    let wanted = request.uri().path_and_query().cloned();
    let State(service) = service;
    let response = access::check(State((service, Role::Read)), request, next).await;
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    let wanted = wanted.as_ref().map_or("/", |wanted| wanted.as_str());
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("next", wanted)
        .finish();
    see_other(&format!("/login?{query}"))
}

async fn page(State(service): State<Shared>, uri: Uri) -> Response {
    let Some(place) = Place::at(uri.path(), uri.query().unwrap_or_default()) else {
        let problem = Problem::not_found("there is no such page").with_hint("begin at /");
        return failed(&problem);
    };
    let dashboard = Dashboard {
        workspace: service.workspace.clone(),
        storage: service.storage.clone(),
        memory: service.config.sql.memory,
        cache: service.queries.cache.clone(),
    };
    let made = service
        .queries
        .limited(async move { dashboard.page(&place).await })
        .await;
    match made {
        Ok(html) => shown(html),
        Err(problem) => failed(&problem),
    }
}

async fn console(State(service): State<Shared>, uri: Uri) -> Response {
    let query = given(uri.query().unwrap_or_default(), "q");
    let result = match &query {
        None => None,
        Some(query) => {
            let started = std::time::Instant::now();
            let rows = service
                .queries
                .answer(&service.workspace, query.clone(), Some(CONSOLE_ROWS), Ok)
                .await;
            Some(match rows {
                Ok(Rows { batches, cut, .. }) => Answer::Rows {
                    batches,
                    cut,
                    seconds: started.elapsed().as_secs_f64(),
                },
                Err(problem) => Answer::Failed {
                    message: problem.detail().to_owned(),
                    hint: problem.hint().map(str::to_owned),
                },
            })
        }
    };
    match dashboard::console(query.as_deref(), result.as_ref()) {
        Ok(html) => shown(html),
        Err(error) => failed(&Problem::from(error)),
    }
}

async fn login(State(service): State<Shared>, uri: Uri) -> Response {
    let next = inside(given(uri.query().unwrap_or_default(), "next"));
    if service.access.is_open() {
        return see_other(&next);
    }
    shown(dashboard::login(&next, false))
}

async fn log_in(State(service): State<Shared>, request: Request) -> Response {
    let limits = &service.config.limits;
    let form = match body::read(request.into_body(), FORM_BYTES, limits.body_timeout()).await {
        Ok(form) => String::from_utf8_lossy(&form).into_owned(),
        Err(problem) => return failed(&problem),
    };
    let next = inside(given(&form, "next"));
    let token = given(&form, "token").filter(|token| service.access.knows(token));
    let Some(token) = token else {
        let mut response = shown(dashboard::login(&next, true));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    };
    let mut response = see_other(&next);
    let secure = if service.config.tls.is_some() {
        "; Secure"
    } else {
        ""
    };
    // Scripts do not see it, and no other site's links or forms send it. It is gone when the browser is closed.
    let cookie = format!("{TOKEN}={token}; Path=/; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The token of a request's cookie. It counts for reading alone: what changes something asks for the header.
pub(in crate::serve) fn cookie<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a str> {
    if *method != Method::GET {
        return None;
    }
    let cookies = headers.get_all(COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == TOKEN).map(|pair| pair.1)
}

/// A value of a form or a query that is not empty.
fn given(pairs: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(pairs.as_bytes());
    let (_, value) = pairs.find(|(key, value)| key == name && !value.trim().is_empty())?;
    Some(value.trim().to_owned())
}

/// A path of this server: where to go on must not be another one's.
fn inside(next: Option<String>) -> String {
    let own = |next: &String| {
        next.starts_with('/')
            && !next.starts_with("//")
            && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    next.filter(own).unwrap_or_else(|| "/".to_owned())
}

fn see_other(to: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

fn shown(html: String) -> Response {
    let mut response = answer(HTML, html);
    let headers = response.headers_mut();
    // What a page shows changes with the workspace, and a shared cache must not keep it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The page of an error, with the problem's status.
fn failed(problem: &Problem) -> Response {
    let status = problem.status();
    let mut response = shown(dashboard::failed(
        status.canonical_reason().unwrap_or("Error"),
        problem.detail(),
        problem.hint(),
    ));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_no_other_server() {
        let to = |next: &str| inside(Some(next.to_owned()));
        assert_eq!(to("/datasets/d?teacher=t@1"), "/datasets/d?teacher=t@1");
        for next in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a\r\nSet-Cookie: x=y",
            "",
        ] {
            assert_eq!(to(next), "/", "{next}");
        }
    }

    #[test]
    fn a_cookie_counts_for_reading_alone() {
        let mut headers = HeaderMap::new();
        let value = "a=b; understudy-token=secret; c=d";
        headers.insert(COOKIE, HeaderValue::from_static(value));
        assert_eq!(cookie(&Method::GET, &headers), Some("secret"));
        assert_eq!(cookie(&Method::POST, &headers), None);
        assert_eq!(cookie(&Method::GET, &HeaderMap::new()), None);
    }
}
