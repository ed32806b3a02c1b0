//! Which file of labels it is that a query could not read.

use super::SelectError;
use super::functions::is_no_key;
use super::input::Found;
use crate::catalog::damage::{is_of_content, null_keys};
use crate::workspace::WorkspaceError;

/// What is read of each file before the next one is: soft labels, which are large, where all else is whole.
const COLUMNS: [&[&str]; 2] = [
    &["key", "class", "confidence", "sha256", "phash"],
    &["probs"],
];

/// The error, or one that names the file that it is of.
pub(super) async fn named(error: SelectError, read: &[Found]) -> SelectError {
    let SelectError::Query { source, .. } = &error else {
        return error;
    };
    let lacks_a_key = is_no_key(source.find_root());
    if !lacks_a_key && !is_of_content(source) {
        return error;
    }
    for columns in COLUMNS {
        for found in read {
            for meta in &found.files {
                let place = found.at.key(&meta.location);
                let problem = match null_keys(&found.at.store, meta, columns).await {
                    Ok(nulls) if nulls > 0 && lacks_a_key => {
                        format!("have a null `key` in {nulls} of their rows: leave these out")
                    }
                    Ok(_) => continue,
                    Err(e) if found.pattern.is_none() => {
                        let (url, detail) = (place, e.to_string());
                        return WorkspaceError::Garbled { url, detail }.into();
                    }
                    Err(e) => {
                        format!("cannot be read as Parquet: {e}; write the file anew, or remove it")
                    }
                };
                return SelectError::BadLabels { place, problem };
            }
        }
    }
    error
}
