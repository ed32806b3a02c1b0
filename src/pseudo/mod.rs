//! The images of a selection with the labels that a teacher gave them → a shuffled stream, as a student is trained on it.
//!
//! ```text
//! selection ⋈ what the labels say of the bytes ⋈ where the images are      as an export joins them (export/merge.rs)
//!   │ draft.rs      sorted as they lie in the source; copies counted
//!   ├▶ labelled/index.rs    blocks of neighbours in a temporary file
//!   ├▶ notes.rs             class, SHA-256 and soft label of each image in another
//!   ▼ labelled/shuffled.rs  the order and the pools of labelled data
//! ```
//! A row with copies comes so many times an epoch, its copies spread over the epoch like any other rows. In memory are 24 bytes a block and
//! copy of a block, and the pools; a soft label is read as its row is given.

mod draft;
mod error;
mod notes;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};

pub use self::error::PseudoError;

use self::notes::Notes;
use crate::config::{Config, LabelConfig};
use crate::export::ExportError;
use crate::export::fetch::checked;
use crate::export::selection;
use crate::label::fetch::Fetcher;
use crate::label::infer::Fetched;
use crate::label::progress::Timings;
use crate::labelled::LabelledError;
use crate::labelled::index::Index;
use crate::labelled::shuffled::{Indexed, shuffled};
use crate::manifest;
use crate::source::{Names, Source};
use crate::store::StorageOptions;
use crate::workspace::Workspace;

/// A pseudo-labelled image.
#[derive(Debug, Clone)]
pub struct PseudoSample {
    /// Its place in the stream, from 0: a stream that is begun at `at + 1` goes on after it.
    pub at: u64,
    /// Its key.
    pub key: String,
    /// The class that the selection has it for.
    pub class: u16,
    /// `[C]`, sums to 1; none where the selection has hard targets.
    pub soft: Option<Vec<f32>>,
    /// Its bytes, or why there are none; bytes that are not those that were labelled are `changed`.
    pub fetched: Fetched,
}

/// A selection whose images are known and have not been read.
#[derive(Debug)]
pub struct PseudoLabelled {
    source: Arc<Source>,
    names: Names,
    index: Index,
    notes: Notes,
    classes: Vec<String>,
    missing: u64,
    generation: Option<u32>,
    fingerprint: String,
}

impl PseudoLabelled {
    /// Joins the rows of a selection with where their images are, by one generation of the dataset's manifest, or by the newest. `classes` is how
    /// many the student has; `config` says what bounds the reading of an image.
    ///
    /// # Errors
    /// [`PseudoError`]: no such selection, labels of another system, another number of classes, no image left.
    pub async fn open(
        workspace: &Workspace,
        selection: &str,
        classes: usize,
        generation: Option<u32>,
        config: &Config,
        storage: &StorageOptions,
    ) -> Result<Self, PseudoError> {
        let selected = selection::selected(workspace, selection).await?;
        let of_dataset = selected.source(workspace, storage).await?;
        let (Some((dataset, source)), Some(labels)) = (of_dataset, selected.classes) else {
            return Err(PseudoError::Foreign {
                selection: selection.to_owned(),
            });
        };
        if labels != classes {
            return Err(PseudoError::ClassCount {
                selection: selection.to_owned(),
                labels,
                model: classes,
            });
        }
        source.check().await.map_err(ExportError::from)?;
        let timeout = Duration::from_secs_f64(config.label.read_timeout_s);
        let source = source.with_limits(config.decode.max_bytes, timeout);
        let names = source.names();
        let generations = manifest::generations(workspace, &dataset.name).await;
        let generations = generations.map_err(ExportError::from)?;
        let generation = generation.or_else(|| generations.last().map(|g| g.generation));
        let drafted = draft::draft(workspace, &selected, &names, generation, classes).await?;
        Ok(Self {
            source: Arc::new(source),
            names,
            index: drafted.index,
            notes: drafted.notes,
            classes: selected.names,
            missing: drafted.missing,
            generation,
            fingerprint: drafted.fingerprint,
        })
    }

    /// The generation of the manifest by which images were found.
    pub fn generation(&self) -> Option<u32> {
        self.generation
    }

    /// How many rows an epoch has: images with their copies.
    pub fn rows(&self) -> u64 {
        self.index.rows()
    }

    /// How many images there are.
    pub fn images(&self) -> u64 {
        self.index.images()
    }

    /// The classes' names.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Images of the selection that the manifest has no more; they are left out. What was deleted since the source was last listed is
    /// among the images, and cannot be read.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// A hash over all images' names, classes, copies and soft labels, in hexadecimal. The bytes of the images are not in it. Who
    /// resumes in the middle of an epoch compares it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What reads its images, for batches of `batch`.
    pub fn fetcher(&self, config: &LabelConfig, batch: usize, timings: Arc<Timings>) -> Fetcher {
        Fetcher::new(Arc::clone(&self.source), config.attempts, batch, timings)
    }

    /// All rows in the order of `seed`, epoch after epoch without end, from the place `from` on, as [`crate::labelled::Labelled::shuffled`].
    /// To be polled within a tokio runtime, on which the next pool is filled meanwhile.
    pub fn shuffled(
        self: &Arc<Self>,
        fetcher: &Arc<Fetcher>,
        seed: u64,
        from: u64,
    ) -> BoxStream<'static, Result<PseudoSample, PseudoError>> {
        let data = Arc::clone(self);
        shuffled(self, fetcher, seed, from)
            .map(move |noted| {
                let Noted { sample, soft_at } = noted?;
                // Not before: the soft labels of a pool may be as large as its images.
                let soft = data.notes.soft(soft_at).map_err(LabelledError::from)?;
                Ok(PseudoSample { soft, ..sample })
            })
            .boxed()
    }
}

/// A sample whose soft label is still to be read.
#[derive(Debug)]
pub(crate) struct Noted {
    sample: PseudoSample,
    soft_at: u64,
}

impl Indexed for PseudoLabelled {
    type Sample = Noted;

    fn index(&self) -> &Index {
        &self.index
    }

    fn names(&self) -> &Names {
        &self.names
    }

    fn samples(
        &self,
        label: u64,
        mut fetched: Fetched,
        at: &[u64],
    ) -> Result<Vec<Noted>, LabelledError> {
        let note = self.notes.note(label)?;
        if !note.hashes.is_empty() {
            fetched.bytes = fetched
                .bytes
                .and_then(|bytes| checked(&bytes, &note.hashes).map(|_| bytes));
        }
        let sample = |at: &u64| Noted {
            sample: PseudoSample {
                at: *at,
                key: fetched.key.clone(),
                class: note.class,
                soft: None,
                fetched: fetched.clone(),
            },
            soft_at: note.soft_at,
        };
        Ok(at.iter().map(sample).collect())
    }
}
