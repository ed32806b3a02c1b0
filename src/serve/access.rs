//! Who may do what: a bearer token, its role, and the role that a route asks for.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;
use super::routes::pages::cookie;
use super::service::Shared;
use super::tokens::{Holder, Tokens};
use super::{ServeError, tokens::Role};

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

    pub(super) fn caller(&self, request: &Request) -> Result<Caller, Problem> {
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
        let token = match headers.get(AUTHORIZATION) {
            Some(header) => header.to_str().ok().and_then(|text| {
                let (scheme, token) = text.split_once(' ')?;
                let bearer = scheme.eq_ignore_ascii_case("bearer");
                bearer.then_some(token.trim())
            }),
            None => match cookie(request.method(), headers) {
                Some(token) => Some(token),
                None => return Err(Problem::unauthenticated("this needs a token")),
            },
        };
        let holder = token.and_then(|token| self.holder(token));
        let Some(holder) = holder else {
            return Err(Problem::unauthenticated("the token is not known here"));
        };
        Ok(Caller {
            name: Some(holder.name),
            role: holder.role,
        })
    }
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
    host.is_some_and(|host| {
        let host = host.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
    let mut response = if caller.role < wanted {
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
