//! The .sql files of `pipelines/select/`: built in, or a user's own.

use std::collections::BTreeMap;
use std::path::Path;

use super::SelectError;

/// The queries, as they are built in.
const QUERIES: [(&str, &str); 10] = [
    (
        "candidates.sql",
        include_str!("../../pipelines/select/candidates.sql"),
    ),
    (
        "candidates_interval.sql",
        include_str!("../../pipelines/select/candidates_interval.sql"),
    ),
    (
        "fingerprints.sql",
        include_str!("../../pipelines/select/fingerprints.sql"),
    ),
    (
        "held_out.sql",
        include_str!("../../pipelines/select/held_out.sql"),
    ),
    (
        "tally.sql",
        include_str!("../../pipelines/select/tally.sql"),
    ),
    (
        "order.sql",
        include_str!("../../pipelines/select/order.sql"),
    ),
    (
        "selected.sql",
        include_str!("../../pipelines/select/selected.sql"),
    ),
    (
        "selected_filtered.sql",
        include_str!("../../pipelines/select/selected_filtered.sql"),
    ),
    (
        "left_out.sql",
        include_str!("../../pipelines/select/left_out.sql"),
    ),
    (
        "left_out_filtered.sql",
        include_str!("../../pipelines/select/left_out_filtered.sql"),
    ),
];

/// The .sql files.
pub(super) struct Queries {
    pub(super) all: BTreeMap<&'static str, String>,
}

impl Queries {
    pub(super) fn read(folder: Option<&Path>) -> Result<Self, SelectError> {
        let text = |name: &str, built_in: &str| match folder {
            None => Ok(built_in.to_owned()),
            Some(folder) => {
                let path = folder.join(name);
                std::fs::read_to_string(&path).map_err(|source| SelectError::Read { path, source })
            }
        };
        let all = QUERIES
            .iter()
            .map(|(name, built_in)| Ok((*name, text(name, built_in)?)))
            .collect::<Result<_, SelectError>>()?;
        Ok(Self { all })
    }
}
