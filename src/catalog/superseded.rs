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

/// What has been found of each dataset, for the queries of a process.
#[derive(Clone, Default)]
pub(super) struct Superseded {
    found: Arc<Mutex<HashMap<String, Found>>>,
}

struct Found {
    /// The generations' objects.
    of: Vec<String>,
    shards: Shared<BoxFuture<'static, Option<Shards>>>,
}

impl fmt::Debug for Superseded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards of {} datasets", self.found().len())
    }
}

impl Superseded {
    fn found(&self) -> MutexGuard<'_, HashMap<String, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a dataset with this history; none where they cannot be found, which the next query tries again.
    ///
    /// Whoever asks first after a generation has come waits for it, and so does who asks meanwhile. It goes on where they are not waiting any more.
    pub(super) async fn shards(
        &self,
        dataset: &str,
        generations: &[Generation],
        history: &DataFrame,
    ) -> Option<Shards> {
        let of: Vec<String> = generations.iter().map(|g| g.file.clone()).collect();
        let shards = {
            let mut found = self.found();
            match found.get(dataset) {
                Some(known) if known.of == of => known.shards.clone(),
                _ => {
                    let shards = begin(history.clone());
                    let new = Found {
                        of,
                        shards: shards.clone(),
                    };
                    found.insert(dataset.to_owned(), new);
                    shards
                }
            }
        };
        let shards = shards.await;
        if shards.is_none() {
            self.found().remove(dataset);
        }
        shards
    }
}

fn begin(history: DataFrame) -> Shared<BoxFuture<'static, Option<Shards>>> {
    let finding = tokio::spawn(find(history));
    let ended = async move {
        match finding.await {
            Ok(Ok(shards)) => Some(Arc::new(shards)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "shards with superseded rows are not known");
                None
            }
            // The process ends.
            Err(_) => None,
        }
    };
    ended.boxed().shared()
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
