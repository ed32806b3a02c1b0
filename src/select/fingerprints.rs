//! Duplicates and leaked held-out images: two passes over SHA-256 and gradient hash, before any row is chosen.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::SelectError;
use super::columns::{Shas, Texts, phashes};
use super::duplicates::{Duplicates, Repeated, Seen, Suspects};
use super::functions;
use super::job::Run;
use super::leakage::{HeldOut, Hit, Index, Leaked};
use super::report::{LEAKAGE, LeakageRecord};
use super::sweep::{Query, failed, sweep};
use super::write;
use crate::catalog::{self, CatalogError};
use crate::workspace::{Workspace, WorkspaceError};

/// What is asked of an image.
const FINGERPRINTS: [&str; 3] = ["key", "sha256", "phash"];

/// A label near a held-out image, and whether it is dropped.
pub(super) type NearHit = (String, Hit, bool);

/// Holds the held-out datasets that a selection is to be without against those that there are.
///
/// # Errors
/// [`WorkspaceError::Unknown`] of the first that is not there, or the store's.
pub async fn check_held_out(
    workspace: &Workspace,
    exclude: &[String],
) -> Result<(), WorkspaceError> {
    if exclude.is_empty() {
        return Ok(());
    }
    let known = workspace.folders("datasets").await?;
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match exclude.iter().find(|name| !known.contains(&name.as_str())) {
        Some(missing) => Err(WorkspaceError::unknown(
            "dataset",
            missing,
            &known,
            "label the held-out images as a dataset of this name: `understudy label --dataset …`",
        )),
        None => Ok(()),
    }
}

/// What is known of the held-out images.
pub(super) struct HeldOutImages {
    index: Arc<Index>,
    /// How many of them have no fingerprint.
    unfingerprinted: u64,
    /// Of their keys and fingerprints, whoever labelled them, and however often.
    pub(super) sha256: [u8; 32],
}

fn hash_of(images: &[HeldOut]) -> [u8; 32] {
    let mut distinct: Vec<_> = images
        .iter()
        .map(|image| (&image.key, image.sha256, image.phash))
        .collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut hash = Sha256::new();
    for (key, sha256, phash) in distinct {
        hash.update(key);
        hash.update([0, u8::from(sha256.is_some()), u8::from(phash.is_some())]);
        hash.update(sha256.unwrap_or_default());
        hash.update(phash.unwrap_or_default().to_le_bytes());
    }
    hash.finalize().into()
}

impl Run<'_> {
    /// Finds duplicates and leaked images, and registers the functions that know them.
    pub(super) async fn fingerprints(
        &self,
    ) -> Result<(Option<LeakageRecord>, Vec<NearHit>), SelectError> {
        let most = self.job.config.max_distance;
        let held_out = self.held_out.as_ref();
        let (mut duplicates, mut leaked, mut record, mut hits) =
            (Duplicates::default(), Leaked::default(), None, Vec::new());
        if self.knows.duplicates || held_out.is_some() {
            let suspects = if self.knows.duplicates {
                let seen = Arc::new(Seen::new());
                let query = self.fingerprints_query().await?;
                let step = move |found: &mut Suspects, batch: &RecordBatch| {
                    let shas = Shas::of(batch.column(1))?;
                    shas.check()?;
                    for i in 0..batch.num_rows() {
                        if let Some(sha) = shas.get(i)
                            && seen.again(&sha)
                        {
                            found.insert(&sha);
                        }
                    }
                    Ok(())
                };
                let found = sweep(query, Suspects::default, step).await?;
                let all = found.into_iter().reduce(Suspects::merged);
                all.unwrap_or_default()
            } else {
                Suspects::default()
            };
            let suspects = Arc::new(suspects);
            let step = {
                let index = held_out.map(|held_out| Arc::clone(&held_out.index));
                let suspects = Arc::clone(&suspects);
                move |found: &mut Prints, batch: &RecordBatch| {
                    found.look(batch, &suspects, index.as_deref(), most)
                }
            };
            let query = self.fingerprints_query().await?;
            let found = sweep(query, Prints::default, step).await?;
            let mut all = Prints::default();
            found.into_iter().for_each(|f| all.merge(f));
            duplicates = all.repeated.finish();
            if let Some(HeldOutImages {
                index,
                unfingerprinted,
                ..
            }) = held_out
            {
                all.hits.sort_by(|a, b| a.0.cmp(&b.0));
                record = Some(LeakageRecord {
                    held_out: index.keys(),
                    unfingerprinted: *unfingerprinted,
                    near: all.hits.len() as u64,
                    dropped: all.hits.iter().filter(|(_, _, dropped)| *dropped).count() as u64,
                    unfingerprinted_labels: all.without,
                    bytes_only: index.bytes_only(),
                    bytes_only_labels: all.bytes_only,
                });
            }
            leaked = all.leaked;
            hits = all.hits;
        }
        self.context
            .register_udf(functions::is_duplicate(Arc::new(duplicates)));
        self.context
            .register_udf(functions::is_leaked(Arc::new(leaked)));
        Ok((record, hits))
    }

    async fn fingerprints_query(&self) -> Result<Query, SelectError> {
        self.query("fingerprints.sql")
            .await?
            .with_columns(&FINGERPRINTS)
    }

    /// Reads what is known of the held-out images.
    pub(super) async fn read_held_out(&self) -> Result<Option<HeldOutImages>, SelectError> {
        if self.job.config.exclude.is_empty() {
            return Ok(None);
        }
        check_held_out(self.workspace, &self.job.config.exclude).await?;
        catalog::register(self.workspace, &self.context).await?;
        let failed = failed("held_out.sql");
        let (mut images, mut unfingerprinted) = (Vec::new(), 0);
        for dataset in BTreeSet::from_iter(&self.job.config.exclude) {
            let before = images.len();
            let query = self.held_out_query(dataset).await?;
            let mut rows = query.frame.execute_stream().await.map_err(failed)?;
            while let Some(batch) = rows.try_next().await.map_err(failed)? {
                held_out_of(&batch, &mut images).map_err(failed)?;
            }
            let manifest = self.context.table("manifest").await.map_err(failed)?;
            let this = col("dataset").eq(lit(dataset.as_str()));
            let listed = manifest
                .filter(this)
                .map_err(failed)?
                .count()
                .await
                .map_err(failed)? as u64;
            let known = images[before..].iter().map(|i: &HeldOut| i.key.as_str());
            let known = known.collect::<HashSet<_>>().len() as u64;
            unfingerprinted += listed.saturating_sub(known);
        }
        Ok(Some(HeldOutImages {
            sha256: hash_of(&images),
            index: Arc::new(Index::new(images)),
            unfingerprinted,
        }))
    }

    pub(super) async fn held_out_query(&self, dataset: &str) -> Result<Query, SelectError> {
        let parameter = vec![("dataset".to_owned(), ScalarValue::from(dataset))];
        let query = self.query_with("held_out.sql", parameter).await?;
        query.with_columns(&FINGERPRINTS)
    }

    /// Writes the leakage hits, where there are any, and gives the objects' names.
    pub(super) async fn write_hits(
        &self,
        hits: Vec<NearHit>,
        tag: &str,
    ) -> Result<Vec<String>, SelectError> {
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let batch = hits_batch(&hits).map_err(CatalogError::from)?;
        let frame = self.context.read_batch(batch).map_err(CatalogError::from)?;
        let hits = Query {
            file: "fingerprints.sql",
            frame,
        };
        let parts = write::parts(hits, &self.target(LEAKAGE, tag)).await?;
        Ok(write::files(parts))
    }
}

/// What one worker finds in fingerprints.
#[derive(Default)]
struct Prints {
    repeated: Repeated,
    hits: Vec<NearHit>,
    leaked: Leaked,
    /// Rows with neither hash, and with SHA-256 alone.
    without: u64,
    bytes_only: u64,
}

impl Prints {
    fn look(
        &mut self,
        batch: &RecordBatch,
        suspects: &Suspects,
        index: Option<&Index>,
        max_distance: u32,
    ) -> Result<(), DataFusionError> {
        let (keys, shas) = (Texts::of(batch.column(0))?, Shas::of(batch.column(1))?);
        shas.check()?;
        let phashes = phashes(batch.column(2))?;
        if keys.null_count() > 0 {
            return Err(functions::no_key());
        }
        for i in 0..batch.num_rows() {
            let key = keys.get(i).unwrap_or_default();
            let sha = shas.get(i);
            let phash = phashes.is_valid(i).then(|| phashes.value(i));
            if let Some(sha) = &sha {
                self.repeated.push(suspects, sha, key);
            }
            let Some(index) = index else { continue };
            self.without += u64::from(sha.is_none() && phash.is_none());
            self.bytes_only += u64::from(sha.is_some() && phash.is_none());
            if let Some(hit) = index.nearest(sha.as_ref(), phash) {
                let dropped = hit.same_bytes || hit.distance <= max_distance;
                if dropped {
                    self.leaked.shas.extend(sha.filter(|_| hit.same_bytes));
                    self.leaked
                        .phashes
                        .extend(phash.filter(|_| !hit.same_bytes));
                }
                self.hits.push((key.to_owned(), hit, dropped));
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.repeated.merge(other.repeated);
        self.hits.extend(other.hits);
        self.leaked.shas.extend(other.leaked.shas);
        self.leaked.phashes.extend(other.leaked.phashes);
        self.without += other.without;
        self.bytes_only += other.bytes_only;
    }
}

fn held_out_of(batch: &RecordBatch, images: &mut Vec<HeldOut>) -> Result<(), DataFusionError> {
    let (keys, shas) = (Texts::of(batch.column(0))?, Shas::of(batch.column(1))?);
    let phashes = phashes(batch.column(2))?;
    for i in 0..batch.num_rows() {
        images.push(HeldOut {
            key: keys.get(i).unwrap_or_default().to_owned(),
            sha256: shas.get(i),
            phash: phashes.is_valid(i).then(|| phashes.value(i)),
        });
    }
    Ok(())
}

fn hits_batch(hits: &[NearHit]) -> Result<RecordBatch, DataFusionError> {
    let keys: ArrayRef = Arc::new(hits.iter().map(|h| Some(&h.0)).collect::<StringArray>());
    let held_out: ArrayRef = Arc::new(
        hits.iter()
            .map(|h| Some(&h.1.held_out))
            .collect::<StringArray>(),
    );
    let distance: ArrayRef = Arc::new(
        hits.iter()
            .map(|h| Some(h.1.distance))
            .collect::<UInt32Array>(),
    );
    let same: ArrayRef = Arc::new(
        hits.iter()
            .map(|h| Some(h.1.same_bytes))
            .collect::<BooleanArray>(),
    );
    let dropped: ArrayRef = Arc::new(hits.iter().map(|h| Some(h.2)).collect::<BooleanArray>());
    Ok(RecordBatch::try_from_iter([
        ("key", keys),
        ("held_out", held_out),
        ("distance", distance),
        ("same_bytes", same),
        ("dropped", dropped),
    ])?)
}
