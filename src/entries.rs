//! Small JSON objects of a folder, one for each thing that happened, named by when and what it was: in order of time.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::time::SystemTime;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::Created;
use crate::workspace::{Workspace, WorkspaceError};

/// Such a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entries(pub(crate) &'static str);

impl Entries {
    fn place(self, name: &str) -> String {
        format!("{}/{name}.json", self.0)
    }

    /// Creates an entry of a moment (RFC 3339); `content` is told its name, which no other has.
    pub(crate) async fn create(
        self,
        workspace: &Workspace,
        moment: &str,
        what: &str,
        mut content: impl FnMut(&str) -> Bytes,
    ) -> Result<(), WorkspaceError> {
        let stamp: String = moment.chars().filter(|c| !":-".contains(*c)).collect();
        let mut attempt = 0_u32;
        loop {
            let salt = (std::process::id(), SystemTime::now(), attempt);
            let salt = xxh3_64(format!("{salt:?}").as_bytes()) as u32;
            let name = format!("{stamp}-{what}-{salt:08x}");
            let bytes = content(&name);
            match workspace.create(&self.place(&name), bytes).await? {
                Created::New | Created::Same => return Ok(()),
                Created::Other => attempt += 1,
            }
        }
    }

    /// All names, in order of time.
    pub(crate) async fn names(self, workspace: &Workspace) -> Result<Vec<String>, WorkspaceError> {
        let names = workspace.names(self.0).await?;
        let stem = |name: &String| name.strip_suffix(".json").map(str::to_owned);
        Ok(names.iter().filter_map(stem).collect())
    }

    /// The entries of these names.
    pub(crate) async fn read<T: DeserializeOwned>(
        self,
        workspace: &Workspace,
        names: Vec<String>,
    ) -> Result<Vec<T>, WorkspaceError> {
        let places = names.iter().map(|name| self.place(name));
        workspace.read_all_json(places.collect()).await
    }
}
