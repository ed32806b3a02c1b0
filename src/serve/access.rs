//! Who may do what: a bearer token, its role, and the role that a route asks for.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use url::Url;

use super::problem::Problem;
use super::routes::pages::cookie;
use super::service::Shared;
use super::tokens::{Holder, Tokens};
use super::{ServeError, flight, tokens::Role};

/// The header of a token, as gRPC calls it.
pub(super) const AUTHORIZATION_KEY: &str = "authorization";

/// Clients for Flight write it without padding.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who sent a request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The token's name; none where there are no tokens.
    pub(super) name: Option<String>,
    /// What it allows.
    pub(super) role: Role,
}

/// Which tokens there are.
#[derive(Debug)]
pub struct Access {
    file: Option<PathBuf>,
    tokens: RwLock<Option<Arc<Tokens>>>,
}

impl Access {
    /// Reads the token file. Without one everything is allowed.
    ///
    /// # Errors
    /// [`ServeError::Tokens`], [`ServeError::NoTokens`] or [`ServeError::Read`].
    pub fn open(file: Option<&Path>) -> Result<Self, ServeError> {
        let tokens = file.map(Tokens::read).transpose()?;
        Ok(Self {
            file: file.map(Path::to_owned),
            tokens: RwLock::new(tokens.map(Arc::new)),
        })
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.file.is_none()
    }

    /// Reads the file again: a token that is taken out of it is refused from here on. A file that cannot be read leaves the tokens as they are.
    pub(super) fn refresh(&self) {
        let Some(file) = &self.file else { return };
        match Tokens::read(file) {
            Ok(read) => {
                let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
                if tokens.as_deref() != Some(&read) {
                    *tokens = Some(Arc::new(read));
                    drop(tokens);
                    tracing::info!("the tokens have changed");
                }
            }
            Err(e) => tracing::warn!("the tokens stay as they were: {e}"),
        }
    }

    fn holder(&self, token: &str) -> Option<Holder> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.as_ref()?.find(token).cloned()
    }

    /// Whether there is such a token.
    pub(super) fn knows(&self, token: &str) -> bool {
        self.holder(token).is_some()
    }

    fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        if self.is_open() {
            if !is_local(request) {
                let detail = "without tokens a server answers to the names of loopback alone";
                return Err(Problem::forbidden(detail.into()));
            }
            return Ok(Caller {
                name: None,
                role: Role::Promote,
            });
        }
        let headers = request.headers();
        let given = match headers.get(AUTHORIZATION) {
            Some(header) => header.to_str().ok().and_then(token),
            None => match cookie(request.method(), headers) {
                Some(token) => Some((None, token.to_owned())),
                None => return Err(Problem::unauthenticated("this needs a token")),
            },
        };
        let holder = given.and_then(|(name, token)| {
            let holder = self.holder(&token)?;
            let is_theirs = name.is_none_or(|name| name == holder.name);
            is_theirs.then_some(holder)
        });
        let Some(holder) = holder else {
            return Err(Problem::unauthenticated("the token is not known here"));
        };
        Ok(Caller {
            name: Some(holder.name),
            role: holder.role,
        })
    }
}

/// The token of a value of `Authorization`: a bearer's, or, from clients that know users and passwords alone, the password, with the user as the name that the
/// token has to have.
pub(super) fn token(header: &str) -> Option<(Option<String>, String)> {
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, value.trim().to_owned()));
    }
    let basic = scheme.eq_ignore_ascii_case("basic");
    let pair = BASIC.decode(value.trim()).ok().filter(|_| basic)?;
    let pair = String::from_utf8(pair).ok()?;
    let (name, token) = pair.split_once(':')?;
    Some((Some(name.to_owned()), token.to_owned()))
}

/// Whether a request calls the server by a name of loopback. A page in a browser on this machine may reach it under a name of its own that it lets
/// point here; it cannot send another `Host`.
fn is_local(request: &Request) -> bool {
    let Some(host) = request.headers().get(HOST) else {
        return true;
    };
    let host = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| is_loopback(host.host()))
}

/// Whether a host, as a URL has it, is this machine by a name of loopback.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a request is none of a page that lies elsewhere: a browser says where a page lies that posts a form.
fn is_own(request: &Request) -> bool {
    let mut origins = request.headers().get_all(ORIGIN).iter();
    origins.all(|origin| {
        let origin = origin.to_str().ok();
        let origin = origin.and_then(|origin| Url::parse(origin).ok());
        origin.is_some_and(|origin| origin.host_str().is_some_and(is_loopback))
    })
}

/// Lets a request through whose token allows what the route asks for.
pub(super) async fn check(
    State((service, wanted)): State<(Shared, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match service.access.caller(&request) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let mut response = if service.access.is_open() && wanted > Role::Read && !is_own(&request) {
        let detail = "without tokens a server changes nothing for pages of other places";
        Problem::forbidden(detail.into())
            .with_hint("start it with --tokens")
            .into_response()
    } else if caller.role < wanted {
        let detail = format!(
            "this needs the role {wanted}, the token `{}` has {}",
            caller.name.as_deref().unwrap_or_default(),
            caller.role
        );
        Problem::forbidden(detail).into_response()
    } else {
        request.extensions_mut().insert(caller.clone());
        next.run(request).await
    };
    response.extensions_mut().insert(caller);
    response
}

/// As [`check`] for reading; but a refusal is gRPC's.
pub(super) async fn check_call(service: State<Shared>, request: Request, next: Next) -> Response {
    let State(service) = service;
    let response = check(State((service, Role::Read)), request, next).await;
    let Some(problem) = response.extensions().get::<Problem>().cloned() else {
        return response;
    };
    let mut refused = flight::status(problem.clone()).into_http();
    refused.extensions_mut().insert(problem);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_bearers_or_a_password() {
        let named = |name: &str, token: &str| Some((Some(name.to_owned()), token.to_owned()));
        assert_eq!(token("Bearer  abc "), Some((None, "abc".to_owned())));
        assert_eq!(token("bearer abc"), Some((None, "abc".to_owned())));
        // `ann:a:b`, with its padding and without.
        for basic in ["Basic YW5uOmE6Yg==", "basic YW5uOmE6Yg"] {
            assert_eq!(token(basic), named("ann", "a:b"));
        }
        for none in ["abc", "Digest abc", "Basic !", "Basic YW5u"] {
            assert_eq!(token(none), None, "{none}");
        }
    }
}
