//! What was changed through the service: one small JSON each in `audit/`, created once, which the table `audit` shows.
//!
//! What is committed is the state, and says by itself what it is: a promotion that was made and whose entry is lost is still a promotion. An entry adds who asked for
//! it, and what was asked for in vain.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entries::Entries;
use crate::runs::now;
use crate::workspace::{Workspace, WorkspaceError, to_json};

const ENTRIES: Entries = Entries("audit");

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was made.
    Done,
    /// It was as asked for already.
    Nothing,
    /// It was refused, or failed.
    Failed,
}

/// `audit/ENTRY.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, what, and what tells it from another of the same moment; in order of time.
    pub entry: String,
    /// When it ended: RFC 3339, in UTC, to the millisecond.
    pub at: String,
    /// promote, rollback, submit or cancel.
    pub action: String,
    /// The token's name; none where the server had no tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What the token allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked for.
    pub request: Value,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// What the request is called in the server's log.
    pub request_id: String,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The understudy that served it.
    pub understudy: String,
}

impl AuditEntry {
    /// What is asked for now.
    pub fn of(action: &str, request: &impl Serialize) -> Self {
        Self {
            entry: String::new(),
            at: String::new(),
            action: action.to_owned(),
            who: None,
            role: None,
            outcome: Outcome::Nothing,
            error: None,
            request: serde_json::to_value(request).unwrap_or_default(),
            result: Value::Null,
            request_id: String::new(),
            peer: None,
            understudy: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Commits it. A store that refuses it is told in the log, with the whole entry: what was made is made.
    pub async fn commit(mut self, workspace: &Workspace) {
        self.at = now();
        if let Err(e) = self.try_commit(workspace).await {
            let entry = serde_json::to_string(&self).unwrap_or_default();
            tracing::error!(entry, "an entry of the audit log is lost: {e}");
        }
    }

    async fn try_commit(&mut self, workspace: &Workspace) -> Result<(), WorkspaceError> {
        let (at, action) = (self.at.clone(), self.action.clone());
        let content = |name: &str| {
            name.clone_into(&mut self.entry);
            to_json(self)
        };
        ENTRIES.create(workspace, &at, &action, content).await
    }
}

/// The entries' names, in order of time.
///
/// # Errors
/// The store's.
pub async fn names(workspace: &Workspace) -> Result<Vec<String>, WorkspaceError> {
    ENTRIES.names(workspace).await
}

/// The entries of these names.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn read(
    workspace: &Workspace,
    names: Vec<String>,
) -> Result<Vec<AuditEntry>, WorkspaceError> {
    ENTRIES.read(workspace, names).await
}

/// All entries, in order of time.
///
/// # Errors
/// The store's, or [`WorkspaceError::Damaged`].
pub async fn list(workspace: &Workspace) -> Result<Vec<AuditEntry>, WorkspaceError> {
    read(workspace, names(workspace).await?).await
}
