//! Which shards have rows that count no more, since their image changed or is gone: all others count as they are.
//!
//! Finding the rows themselves takes the keys of a shard's labels. But of millions of images few change, and which shards have these follows from the manifests alone, which never change.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::AsArray as _;
use arrow::datatypes::UInt32Type;
use datafusion::common::JoinType;
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::logical_expr::col;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::manifests::changed_or_gone;
use crate::manifest::Generation;

/// Numbers of shards.
pub(super) type Shards = Arc<HashSet<u32>>;

/// Those that have such rows, found when somebody first waits for them; none where they cannot be found.
///
/// It is one find for all who wait, and goes on where they do not wait any more.
pub(super) type Finding = Shared<BoxFuture<'static, Option<Shards>>>;

/// What has been found of each dataset, for the queries of a process.
#[derive(Clone, Default)]
pub(super) struct Superseded {
    known: Arc<Mutex<HashMap<String, Known>>>,
}

struct Known {
    /// The generations' objects.
    of: Vec<String>,
    shards: Finding,
}

impl fmt::Debug for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards of {} datasets", self.known().len())
    }
}

impl Superseded {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a dataset with this history. What could not be found is looked for again.
    pub(super) fn shards(
        &self,
        dataset: &str,
        generations: &[Generation],
        history: &DataFrame,
    ) -> Finding {
        let of: Vec<String> = generations.iter().map(|g| g.file.clone()).collect();
        let mut known = self.known();
        if let Some(known) = known.get(dataset)
            && known.of == of
            && !matches!(known.shards.peek(), Some(None))
        {
            return known.shards.clone();
        }
        let shards = finding(history.clone());
        let new = Known {
            of,
            shards: shards.clone(),
        };
        known.insert(dataset.to_owned(), new);
        shards
    }
}

fn finding(history: DataFrame) -> Finding {
    let found = async move {
        match tokio::spawn(find(history)).await {
            Ok(Ok(shards)) => Some(Arc::new(shards)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "shards with superseded rows are not known");
                None
            }
            // The process ends.
            Err(_) => None,
        }
    };
    found.boxed().shared()
}

async fn find(history: DataFrame) -> Result<HashSet<u32>> {
    let later = changed_or_gone(&history)?;
    let rows = later.join_on(
        history.select(vec![col("key"), col("generation"), col("shard")])?,
        JoinType::RightSemi,
        [
            col("key").eq(col("later_key")),
            col("later_generation").gt(col("generation")),
        ],
    )?;
    let batches = rows
        .select(vec![col("shard")])?
        .distinct()?
        .collect()
        .await?;
    let columns = batches
        .iter()
        .map(|batch| batch.column(0).as_primitive::<UInt32Type>());
    Ok(columns.flatten().flatten().collect())
}
