//! The rows of a shard → its object, and after it its record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::fetch::{Images, Sample};
use super::index::{ShardRecord, ShardReport};
use super::progress::Progress;
use super::rows::Row;
use super::{ExportError, ExportFormat, parquet, webdataset};
use crate::hex::hex;
use crate::store::Created;
use crate::workspace::{Workspace, to_json};

/// What writes shards.
pub(super) struct Shards<'a> {
    pub(super) out: &'a Workspace,
    pub(super) format: ExportFormat,
    pub(super) images: Images,
    /// Those that have a record already.
    pub(super) done: BTreeSet<u32>,
    /// The classes', as far as they are known.
    pub(super) names: Arc<Vec<String>>,
    /// Whether rows have soft labels.
    pub(super) soft: bool,
    pub(super) progress: Arc<Progress>,
}

impl Shards<'_> {
    /// Writes a shard and its record; where the record is there, it alone is read.
    ///
    /// # Errors
    /// [`ExportError`]; the shard has no record then, and is made again by the next run.
    pub(super) async fn write(
        &self,
        number: u32,
        rows: Result<Vec<Row>, ExportError>,
    ) -> Result<ShardReport, ExportError> {
        let rows = rows?;
        let record = format!("_shards/{number:06}.json");
        let ends = rows.first().zip(rows.last());
        let cut = ends.map(|(first, last)| [first.number, last.number + 1]);
        if self.done.contains(&number) {
            let there: ShardReport = self.out.read_json(&record).await?;
            // Shards are cut by sizes; where no manifest has these they are asked for anew, and rows would be lost between two cuts.
            if there.cut.is_some() && there.cut != cut {
                return Err(ExportError::Recut {
                    url: self.out.url(&record),
                });
            }
            self.progress.pass(rows.len() as u64);
            return Ok(there);
        }
        let read = self.images.read(rows).await?;
        let mut report = ShardReport {
            shard: None,
            cut,
            image_bytes: read.samples.iter().map(|s| s.bytes.len() as u64).sum(),
            unchecked: read
                .samples
                .iter()
                .filter(|s| s.row.hashes.is_empty())
                .count() as u64,
            probs: read
                .samples
                .iter()
                .find_map(|s| s.row.probs.as_ref().map(Vec::len)),
            classes: BTreeMap::new(),
            left_out: read.left_out,
        };
        for sample in &read.samples {
            *report.classes.entry(sample.row.class).or_insert(0) += 1;
        }
        if !read.samples.is_empty() {
            report.shard = Some(self.put(number, read.samples).await?);
        }
        match self.out.create(&record, to_json(&report)).await? {
            Created::New | Created::Same => Ok(report),
            // Another process was first: what it wrote counts.
            Created::Other => Ok(self.out.read_json(&record).await?),
        }
    }

    /// Encodes a shard and creates it.
    async fn put(&self, number: u32, samples: Vec<Sample>) -> Result<ShardRecord, ExportError> {
        let (format, soft) = (self.format, self.soft);
        let extension = match format {
            ExportFormat::Parquet => "parquet",
            ExportFormat::WebDataset => "tar",
        };
        let file = format!("train-{number:06}.{extension}");
        let rows = samples.len() as u64;
        let names = Arc::clone(&self.names);
        let encode = move || {
            let bytes: Bytes = match format {
                ExportFormat::Parquet => parquet::encode(samples, soft, &names)?,
                ExportFormat::WebDataset => webdataset::encode(samples, &names)?,
            }
            .into();
            let sha256 = hex(&Sha256::digest(&bytes));
            Ok::<_, ::parquet::errors::ParquetError>((bytes, sha256))
        };
        let encoded = self
            .images
            .worker
            .run(encode)
            .await?
            .map_err(|source| ExportError::Encode {
                file: file.clone(),
                source,
            });
        let (bytes, sha256) = encoded?;
        let record = ShardRecord {
            file,
            rows,
            bytes: bytes.len() as u64,
            sha256,
        };
        match self.out.create(&record.file, bytes).await? {
            Created::New | Created::Same => Ok(record),
            Created::Other => Err(ExportError::OtherShard {
                url: self.out.url(&record.file),
            }),
        }
    }
}
