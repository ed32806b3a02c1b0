//! The rows of a shard → their images' bytes: each image once, neighbours in a container together, held against the labels' SHA-256.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::progress::Progress;
use super::rows::{Row, Rows};
use super::worker::Worker;
use super::{ExportError, SHARDS_IN_FLIGHT};
use crate::config::Config;
use crate::label::fetch::{Fetcher, IN_FLIGHT_BYTES};
use crate::label::format::format;
use crate::label::infer::Reject;
use crate::label::progress::Timings;
use crate::source::{ImageRef, Kind, Source};

/// Reads of a shard that are under way at a time; their bytes are bounded by the fetcher.
const READS: usize = 32;
/// The same where all images are local files.
const LOCAL_READS: usize = 8;
/// Neighbours in a tar are read together where no more than this lies between them: what two requests cost, rather than one.
const GAP_BYTES: u64 = 256 * 1024;

/// A row with its image.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) row: Row,
    /// The image as it lies in the source.
    pub(super) bytes: Bytes,
    /// Of `bytes`.
    pub(super) sha256: [u8; 32],
    /// Of the format that `bytes` are in, whatever the image's name is.
    pub(super) extension: &'static str,
}

/// An image that is not exported, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The image.
    pub key: String,
    /// As the reasons of a reject: changed, not-found, forbidden, ….
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
    /// Rows of the shard that are missing for it.
    pub rows: u64,
}

/// What was read of a shard.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// In the order of the rows.
    pub(super) samples: Vec<Sample>,
    /// Images that are not there, in no order.
    pub(super) left_out: Vec<LeftOut>,
}

/// Reads images of one or several stores.
#[derive(Debug)]
pub(super) struct Images {
    sources: Vec<Fetcher>,
    reads: usize,
    progress: Arc<Progress>,
    /// Looks at images, and encodes shards.
    pub(super) worker: Worker,
}

/// The rows that want an image, and its bytes, or why there are none.
type Fetched = (Vec<usize>, Result<Bytes, Reject>);
/// An image that was looked at: its bytes, their SHA-256, the extension of their format.
type Looked = (Bytes, [u8; 32], &'static str);

impl Images {
    /// Rows name these sources by their place.
    pub(super) fn of(sources: Vec<Source>, config: &Config, progress: &Arc<Progress>) -> Self {
        let read_timeout = Duration::from_secs_f64(config.label.read_timeout_s);
        let timings = Arc::new(Timings::default());
        let reads = if sources.iter().all(Source::is_local) {
            LOCAL_READS
        } else {
            READS
        };
        let sources = sources.into_iter().map(|source| {
            let source = source.with_limits(config.decode.max_bytes, read_timeout);
            Fetcher::new(source, config.label.attempts, 1, Arc::clone(&timings))
        });
        Self {
            sources: sources.collect(),
            reads,
            progress: Arc::clone(progress),
            worker: Worker::start(SHARDS_IN_FLIGHT),
        }
    }

    /// The rows with the sizes that their manifest does not tell, so that shards can be cut by them: by the same ones whenever the export goes on.
    ///
    /// # Errors
    /// [`ExportError::Unreachable`] where a store did not answer.
    pub(super) fn sized(&self, rows: Rows) -> impl Stream<Item = Result<Row, ExportError>> + Send {
        let sized = |row: Result<Row, ExportError>| async {
            let mut row = row?;
            if row.image.size.is_none() && row.image.problem.is_none() {
                let source = self.of_source(row.source).source();
                let size = source.size(&row.image).await;
                row.image.size = size.map_err(|e| unreachable(&row.image, e.detail))?;
            }
            Ok(row)
        };
        rows.map(sized).buffered(self.reads)
    }

    /// The images of a shard.
    ///
    /// # Errors
    /// [`ExportError::Unreachable`] where a store did not answer, and refused credentials: what is missing then may come later.
    pub(super) async fn read(&self, rows: Vec<Row>) -> Result<Read, ExportError> {
        let fetched: Vec<_> = stream::iter(self.groups(&rows))
            .map(|group| self.group(group, &rows))
            .buffer_unordered(self.reads)
            .map_ok(|images| stream::iter(images.into_iter().map(Ok::<_, ExportError>)))
            .try_flatten()
            .try_collect()
            .await?;
        let read = self.worker.run(move || looked_at(rows, fetched)).await?;
        let missing = read.left_out.iter().map(|image| image.rows).sum();
        self.progress.leave_out(missing);
        Ok(read)
    }

    /// What is read together, in the order of the sources.
    fn groups(&self, rows: &[Row]) -> Vec<Group> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let place = |i: usize| {
            let row = &rows[i];
            (
                row.source,
                &row.image.object,
                row.image.position,
                &row.image.key,
            )
        };
        order.sort_by(|a, b| place(*a).cmp(&place(*b)).then(a.cmp(b)));
        let images: Vec<&[usize]> = order
            .chunk_by(|a, b| rows[*a].image.key == rows[*b].image.key)
            .collect();
        let mut groups = Vec::new();
        for run in images.chunk_by(|a, b| are_near(&rows[a[0]], &rows[b[0]])) {
            let source = rows[run[0][0]].source;
            let refs: Vec<ImageRef> = run.iter().map(|of| rows[of[0]].image.clone()).collect();
            let mut of = run.iter().map(|of| of.to_vec());
            for images in self.of_source(source).groups(&refs, 1).images {
                groups.push(Group {
                    source,
                    rows: of.by_ref().take(images.len()).collect(),
                    images,
                });
            }
        }
        groups
    }

    /// Reads a group. What became of an image comes with the rows that want it.
    async fn group(&self, group: Group, rows: &[Row]) -> Result<Vec<Fetched>, ExportError> {
        let fetcher = self.of_source(group.source);
        let fetched = fetcher.fetch(group.images, IN_FLIGHT_BYTES).await?;
        let mut images = Vec::with_capacity(fetched.len());
        for (of, image) in group.rows.into_iter().zip(fetched) {
            let first = &rows[of[0]].image;
            let bytes = match image.bytes {
                // A slice of a read would hold on to all of it, its neighbours and what lies between them.
                Ok(bytes) if first.kind == Kind::Tar => Ok(Bytes::copy_from_slice(&bytes)),
                Err(reject) if reject.is_unreachable() => {
                    return Err(unreachable(first, reject.detail));
                }
                bytes => bytes,
            };
            let length = bytes.as_ref().map_or(0, Bytes::len);
            self.progress.count(of.len() as u64, length as u64);
            images.push((of, bytes));
        }
        Ok(images)
    }

    fn of_source(&self, number: u32) -> &Fetcher {
        &self.sources[number as usize]
    }
}

/// Images that are read together, each with the rows that want it.
struct Group {
    source: u32,
    images: Vec<ImageRef>,
    rows: Vec<Vec<usize>>,
}

/// Whether one read may give both: the second is the next of the two in the order of the source.
fn are_near(one: &Row, next: &Row) -> bool {
    let (a, b) = (&one.image, &next.image);
    if one.source != next.source {
        return false;
    }
    if a.kind != Kind::Tar || b.kind != Kind::Tar || a.object != b.object {
        return true;
    }
    let end = a.offset.unwrap_or(0) + a.size.unwrap_or(0);
    b.offset.unwrap_or(0).saturating_sub(end) <= GAP_BYTES
}

/// Rows and what became of their images → samples, and what is left out.
fn looked_at(rows: Vec<Row>, fetched: Vec<Fetched>) -> Read {
    let mut left_out = Vec::new();
    let mut found: HashMap<usize, Looked> = HashMap::new();
    for (of, bytes) in fetched {
        let first = &rows[of[0]];
        match bytes.and_then(|bytes| look(bytes, &first.hashes)) {
            Ok(image) => found.extend(of.into_iter().map(|i| (i, image.clone()))),
            Err(reject) => left_out.push(LeftOut {
                key: first.image.key.clone(),
                reason: reject.reason,
                detail: reject.detail,
                rows: of.len() as u64,
            }),
        }
    }
    left_out.sort_by(|a, b| a.key.cmp(&b.key));
    let samples = rows.into_iter().enumerate().filter_map(|(i, row)| {
        let (bytes, sha256, extension) = found.remove(&i)?;
        Some(Sample {
            row,
            bytes,
            sha256,
            extension,
        })
    });
    Read {
        samples: samples.collect(),
        left_out,
    }
}

/// The SHA-256 of bytes, which has to be one of these, if there are any: those of the bytes that were labelled.
pub(crate) fn checked(bytes: &[u8], expected: &[[u8; 32]]) -> Result<[u8; 32], Reject> {
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    if !expected.is_empty() && !expected.contains(&sha256) {
        let detail = "its bytes are not those that were labelled".to_owned();
        return Err(reject("changed", detail));
    }
    Ok(sha256)
}

fn reject(reason: &str, detail: String) -> Reject {
    Reject {
        stage: "fetch",
        reason: reason.to_owned(),
        detail,
    }
}

/// What ends the export: an image that its store may give later is not left out.
fn unreachable(image: &ImageRef, detail: String) -> ExportError {
    ExportError::Unreachable {
        key: image.key.clone(),
        detail,
    }
}

/// Whether the bytes are those that were labelled, and what they are.
fn look(bytes: Bytes, expected: &[[u8; 32]]) -> Result<Looked, Reject> {
    let sha256 = checked(&bytes, expected)?;
    let format = format(&bytes).map_err(|e| reject(e.reason(), e.to_string()))?;
    let extension = format.extensions_str().first().copied().unwrap_or("bin");
    Ok((bytes, sha256, extension))
}
