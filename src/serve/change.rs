//! What changes something: to its end even where the client leaves, and with an entry in the audit log. It is the store that lets one of two at the same time be first.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;

use super::access::Caller;
use super::listen::Peer;
use super::observe::RequestId;
use super::problem::Problem;
use super::service::Shared;
use super::tokens::Role;
use crate::audit::{AuditEntry, Outcome};

/// Who asks for a change.
#[derive(Debug)]
pub(super) struct Asker {
    who: Option<String>,
    role: Option<Role>,
    request: String,
    peer: Option<String>,
}

impl Asker {
    /// The token's name; none where there are no tokens.
    pub(super) fn name(&self) -> Option<&str> {
        self.who.as_deref()
    }
}

impl FromRequestParts<Shared> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Shared) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>();
        let request = parts.extensions.get::<RequestId>();
        Ok(Self {
            who: caller.and_then(|caller| caller.name.clone()),
            role: caller
                .filter(|_| !service.access.is_open())
                .map(|caller| caller.role),
            request: request.map(|id| id.0.clone()).unwrap_or_default(),
            peer: parts
                .extensions
                .get::<Peer>()
                .map(|peer| peer.0.to_string()),
        })
    }
}

/// The one place of an evaluation, which takes memory and all cores.
///
/// # Errors
/// 429 while another one is under way.
pub(super) fn turn(service: &Shared) -> Result<OwnedMutexGuard<()>, Problem> {
    let turn = Arc::clone(&service.evaluating).try_lock_owned();
    turn.map_err(|_| Problem::busy("another promotion is under way"))
}

/// Does it, and remembers that it was asked for, by whom, and what came of it.
///
/// # Errors
/// The change's own.
pub(super) async fn change<T: Serialize + Send + 'static>(
    service: &Shared,
    asker: Asker,
    action: &str,
    asked: &impl Serialize,
    work: impl Future<Output = Result<(Outcome, T), Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let mut entry = AuditEntry::of(action, asked);
    entry.who = asker.who;
    entry.role = asker.role.map(|role| role.to_string());
    entry.request_id = asker.request;
    entry.peer = asker.peer;
    let workspace = service.workspace.clone();
    let done = tokio::spawn(async move {
        let done = work.await;
        match &done {
            Ok((outcome, result)) => {
                entry.outcome = *outcome;
                entry.result = serde_json::to_value(result).unwrap_or_default();
            }
            Err(problem) => {
                entry.outcome = Outcome::Failed;
                entry.error = Some(problem.detail().to_owned());
            }
        }
        entry.commit(&workspace).await;
        done
    });
    match done.await {
        Ok(done) => done.map(|(_, result)| result),
        Err(_) => Err(Problem::unavailable(
            "the change broke off; look whether it was made",
        )),
    }
}
