//! Sorted listing ⋈ sorted manifest → the rows of the next generation.
//!
//! Both sides come sorted by object, so that each object is decided when it is met: not in the manifest → new; the same etag (or, where a
//! store has none, the same size) → unchanged, and a container is not opened again; another → changed; not in the listing → gone. Of an
//! object the rows of its newest generation are its state.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::col;
use futures::{StreamExt as _, TryStreamExt, stream};
use tempfile::NamedTempFile;

use super::rows::{Status, Writer};
use super::sort::{self, Skipped};
use super::{Generation, ManifestConfig, ManifestError};
use crate::catalog;
use crate::source::{Entry, ImageRef, Kind, ListedObject, Source, SourceError, is_same_state};
use crate::workspace::Workspace;

/// A generation that is not committed yet.
pub(super) struct Merged {
    pub(super) generation: Generation,
    pub(super) file: NamedTempFile,
}

/// Lists the source and gives what the next generation has; `None` where nothing has changed.
pub(super) async fn merge(
    workspace: &Workspace,
    dataset: &str,
    source: &Source,
    config: &ManifestConfig,
    earlier: &[Generation],
    on_progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<Merged>, ManifestError> {
    let skipped = Skipped::default();
    let mut listing = sort::sorted(source.list(), &skipped).await?;
    let mut known = Known::open(workspace, dataset, earlier).await?;
    let last = earlier.last();
    let mut next = Next {
        writer: Writer::new()?,
        generation: Generation {
            generation: last.map_or(1, |g| g.generation + 1),
            source: source.url().to_owned(),
            file: String::new(),
            first_shard: last.map_or(0, |g| g.first_shard + g.shards),
            shards: 0,
            rows: 0,
            new: 0,
            changed: 0,
            unchanged: 0,
            gone: 0,
            problems: 0,
            skipped: BTreeMap::new(),
        },
        shard_images: config.shard_images,
        shard: None,
    };
    let mut previous: Option<String> = None;
    let mut unreadable: Vec<String> = Vec::new();
    while let Some(object) = listing.try_next().await? {
        if previous.as_ref() == Some(&object.path) {
            // A list of URLs may name one twice: it is one image.
            *next
                .generation
                .skipped
                .entry("listed twice".into())
                .or_insert(0) += 1;
            continue;
        }
        previous = Some(object.path.clone());
        while known.object().is_some_and(|known| *known < object.path) {
            next.missing(&mut known, &unreadable).await?;
        }
        if object.is_unreadable() {
            unreadable.push(format!("{}/", object.path));
        }
        if known.is(&object) {
            next.generation.unchanged += known.pass().await?;
        } else if known.object() == Some(&object.path) {
            let before = known.take().await?;
            next.changed(source, &object, before).await?;
        } else {
            next.changed(source, &object, Before::default()).await?;
        }
        on_progress(next.seen());
    }
    if previous.is_none() && known.object().is_some() {
        // A folder that is not mounted looks like this: that all images are gone is for a person to say.
        return Err(SourceError::Empty {
            url: source.url().to_owned(),
        }
        .into());
    }
    while known.object().is_some() {
        next.missing(&mut known, &unreadable).await?;
    }
    if next.generation.rows == 0 && next.generation.gone == 0 {
        return Ok(None);
    }
    let (file, hash) = next.writer.finish()?;
    let mut generation = next.generation;
    generation.file = format!("generation-{:06}-{hash}.parquet", generation.generation);
    let skipped = skipped.lock().unwrap_or_else(PoisonError::into_inner);
    generation
        .skipped
        .extend(skipped.iter().map(|(why, n)| (why.clone(), *n)));
    Ok(Some(Merged { generation, file }))
}

/// The generation that is being written.
struct Next {
    writer: Writer,
    generation: Generation,
    shard_images: u32,
    /// The container (none for loose objects) and the rows of the shard that is being filled.
    shard: Option<(Option<String>, u32)>,
}

impl Next {
    /// Images merged so far.
    fn seen(&self) -> u64 {
        self.generation.rows + self.generation.unchanged
    }

    /// A known object that the listing has not: it is gone, unless it lies in a folder that could not be read this time.
    async fn missing(
        &mut self,
        known: &mut Known,
        unreadable: &[String],
    ) -> Result<(), ManifestError> {
        let hidden = |object: &String| unreadable.iter().any(|folder| object.starts_with(folder));
        if known.object().is_some_and(hidden) {
            self.generation.unchanged += known.pass().await?;
            return Ok(());
        }
        self.gone(known.take().await?)
    }

    /// The rows of an object that is new or another than before, and the tombstones of what it does not hold any more.
    async fn changed(
        &mut self,
        source: &Source,
        object: &ListedObject,
        before: Before,
    ) -> Result<(), ManifestError> {
        let mut left = before.keys;
        let mut entries = source.entries(object);
        let mut next = 0;
        loop {
            let entry = match entries.try_next().await {
                Ok(Some(entry)) => entry,
                // The next listing has not got it.
                Ok(None) | Err(SourceError::Gone { .. }) => break,
                // The next listing has it in its new state, and indexes it again.
                Err(SourceError::Changed { .. }) => {
                    let detail = "it changed while it was listed: run `understudy label` again";
                    let mut row = Entry::new(source.key(&object.path), next);
                    row.problem = Some(("changed".to_owned(), detail.to_owned()));
                    entries = stream::empty().boxed();
                    row
                }
                Err(e) => return Err(e.into()),
            };
            next = entry.position + 1;
            let status = if left.remove(&entry.key).is_some() {
                self.generation.changed += 1;
                Status::Changed
            } else {
                self.generation.new += 1;
                Status::New
            };
            let row = self.place(object, entry);
            self.writer.push(row, status)?;
        }
        self.tombstones(&object.path, left)
    }

    /// Gives a row its shard.
    fn place(&mut self, object: &ListedObject, entry: Entry) -> ImageRef {
        let container = (object.kind != Kind::Object).then(|| object.path.clone());
        // What is best read together goes into one shard where it fits into one.
        let most = u64::from(self.shard_images);
        let fits = |rows: u32| {
            rows < self.shard_images
                && (entry.together > most || u64::from(rows) + entry.together <= most)
        };
        let row = match &mut self.shard {
            Some((filling, rows)) if *filling == container && fits(*rows) => {
                *rows += 1;
                *rows - 1
            }
            _ => {
                self.shard = Some((container, 1));
                self.generation.shards += 1;
                0
            }
        };
        self.generation.rows += 1;
        self.generation.problems += u64::from(entry.problem.is_some());
        let (problem, detail) = entry.problem.unzip();
        ImageRef {
            key: entry.key,
            object: object.path.clone(),
            position: entry.position,
            generation: self.generation.generation,
            shard: self.generation.first_shard + self.generation.shards - 1,
            row,
            kind: object.kind,
            offset: entry.offset,
            size: entry.size,
            object_size: object.size,
            etag: object.etag.clone(),
            problem,
            detail,
        }
    }

    fn gone(&mut self, before: Before) -> Result<(), ManifestError> {
        self.tombstones(&before.object, before.keys)
    }

    fn tombstones(
        &mut self,
        object: &str,
        keys: HashMap<String, u64>,
    ) -> Result<(), ManifestError> {
        let mut keys: Vec<(u64, String)> = keys.into_iter().map(|(k, p)| (p, k)).collect();
        keys.sort_unstable();
        for (position, key) in keys {
            self.generation.gone += 1;
            let row = ImageRef {
                key,
                object: object.to_owned(),
                position,
                generation: self.generation.generation,
                shard: 0,
                row: 0,
                kind: Kind::Object,
                offset: None,
                size: None,
                object_size: None,
                etag: None,
                problem: None,
                detail: None,
            };
            self.writer.push(row, Status::Gone)?;
        }
        Ok(())
    }
}

/// What the manifest says of an object: the rows of its newest generation that are there.
#[derive(Debug, Default)]
struct Before {
    object: String,
    /// Keys and positions; empty where the object is gone.
    keys: HashMap<String, u64>,
}

/// The manifest so far, an object at a time.
struct Known {
    rows: Option<SendableRecordBatchStream>,
    batch: Option<(RecordBatch, usize)>,
    /// The first row of the next object.
    ahead: Option<Row>,
}

struct Row {
    object: String,
    generation: u32,
    position: u64,
    key: String,
    etag: Option<String>,
    size: Option<u64>,
    gone: bool,
}

impl Known {
    async fn open(
        workspace: &Workspace,
        dataset: &str,
        earlier: &[Generation],
    ) -> Result<Self, ManifestError> {
        if earlier.is_empty() {
            return Ok(Self {
                rows: None,
                batch: None,
                ahead: None,
            });
        }
        let context = sort::context()?;
        context.register_object_store(
            &workspace.at.root,
            std::sync::Arc::clone(&workspace.at.store),
        );
        let engine = |e: catalog::CatalogError| {
            super::ManifestError::Engine(datafusion::error::DataFusionError::External(Box::new(e)))
        };
        let generations = earlier
            .iter()
            .map(|generation| catalog::generation(workspace, &context, dataset, generation));
        let generations = generations.collect::<Result<_, _>>().map_err(engine)?;
        let rows = match catalog::union(generations)? {
            None => None,
            Some(all) => Some(
                all.select_columns(&[
                    "object",
                    "generation",
                    "position",
                    "key",
                    "etag",
                    "object_size",
                    "status",
                ])?
                .sort(vec![
                    col("object").sort(true, false),
                    col("generation").sort(false, false),
                ])?
                .execute_stream()
                .await?,
            ),
        };
        let mut known = Self {
            rows,
            batch: None,
            ahead: None,
        };
        known.ahead = known.row().await?;
        Ok(known)
    }

    /// The next object.
    fn object(&self) -> Option<&String> {
        self.ahead.as_ref().map(|row| &row.object)
    }

    /// Whether the next object is the very one that is listed.
    fn is(&self, listed: &ListedObject) -> bool {
        self.ahead.as_ref().is_some_and(|row| {
            row.object == listed.path
                && !row.gone
                && match (&row.etag, &listed.etag) {
                    (Some(before), Some(now)) => is_same_state(before, now),
                    _ => row.size == listed.size,
                }
        })
    }

    /// Passes over the next object, and counts its images.
    async fn pass(&mut self) -> Result<u64, ManifestError> {
        let mut images = 0;
        self.each(|_| images += 1).await?;
        Ok(images)
    }

    /// The next object's state.
    async fn take(&mut self) -> Result<Before, ManifestError> {
        let mut before = Before {
            object: self.object().cloned().unwrap_or_default(),
            keys: HashMap::new(),
        };
        let keys = &mut before.keys;
        self.each(|row| {
            keys.insert(row.key, row.position);
        })
        .await?;
        Ok(before)
    }

    /// Goes through the next object's rows of its newest generation that are there; older generations follow, as history.
    async fn each(&mut self, mut see: impl FnMut(Row)) -> Result<(), ManifestError> {
        let Some(first) = self.ahead.take() else {
            return Ok(());
        };
        let (object, generation) = (first.object.clone(), first.generation);
        let mut next = Some(first);
        while let Some(row) = next {
            if row.object != object {
                self.ahead = Some(row);
                break;
            }
            if row.generation == generation && !row.gone {
                see(row);
            }
            next = self.row().await?;
        }
        Ok(())
    }

    async fn row(&mut self) -> Result<Option<Row>, ManifestError> {
        loop {
            if let Some((batch, at)) = &mut self.batch {
                if *at < batch.num_rows() {
                    let row = row_of(batch, *at);
                    *at += 1;
                    return Ok(Some(row));
                }
                self.batch = None;
            }
            let Some(rows) = &mut self.rows else {
                return Ok(None);
            };
            match rows.try_next().await? {
                None => return Ok(None),
                Some(batch) => self.batch = Some((plain(&batch)?, 0)),
            }
        }
    }
}

/// Strings as plain Utf8, whatever DataFusion made of them.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ManifestError> {
    use arrow::datatypes::DataType::Utf8;
    let columns: Result<Vec<_>, _> = batch
        .columns()
        .iter()
        .map(|c| {
            if c.data_type().is_numeric() {
                Ok(std::sync::Arc::clone(c))
            } else {
                arrow::compute::cast(c, &Utf8)
            }
        })
        .collect();
    let arrow = datafusion::error::DataFusionError::from;
    let columns = columns.map_err(arrow)?;
    let names = batch.schema();
    let named = names
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .zip(columns);
    Ok(
        RecordBatch::try_from_iter_with_nullable(named.map(|(n, c)| (n, c, true)))
            .map_err(arrow)?,
    )
}

fn row_of(batch: &RecordBatch, i: usize) -> Row {
    let text = |column: usize| {
        let column = batch.column(column);
        column
            .is_valid(i)
            .then(|| column.as_string::<i32>().value(i).to_owned())
    };
    let size = batch.column(5).as_primitive::<UInt64Type>();
    Row {
        object: text(0).unwrap_or_default(),
        generation: batch.column(1).as_primitive::<UInt32Type>().value(i),
        position: batch.column(2).as_primitive::<UInt64Type>().value(i),
        key: text(3).unwrap_or_default(),
        etag: text(4),
        size: size.is_valid(i).then(|| size.value(i)),
        gone: text(6).as_deref() == Some("gone"),
    }
}
