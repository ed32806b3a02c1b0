//! Where labels come from: a dataset's labels by a teacher, or Parquet files that any other system wrote.

use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use object_store::ObjectMeta;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::report::InputRecord;
use super::{SelectError, foreign};
use crate::catalog::{self, CatalogError};
use crate::hex::hex;
use crate::label;
use crate::label::whose::{self, Whose};
use crate::manifest::{self, Generation};
use crate::source::is_hidden;
use crate::store::{self, Opened, StorageOptions};
use crate::teacher::{self, Teacher, TeacherError};
use crate::workspace::Workspace;

/// Which labels.
#[derive(Debug, Clone)]
pub enum Labels {
    /// A dataset's, by a teacher.
    Dataset {
        /// The dataset.
        dataset: String,
        /// Whose soft labels.
        teacher: Whose,
        /// Whose class and confidence choose the rows, where not the same teacher's.
        filter: Option<Whose>,
    },
    /// Parquet files: a URL or path, with `*`, `?` and `[…]`.
    Files(String),
}

/// Labels that are ready to be selected from.
pub(super) struct Input {
    /// key, class, confidence (Float32), sha256, phash, probs.
    pub(super) rows: DataFrame,
    /// key, probs of the other teacher, where one filters and another labels.
    pub(super) targets: Option<DataFrame>,
    /// Whether there are soft labels, and whether any fingerprints.
    pub(super) soft: bool,
    pub(super) fingerprints: bool,
    /// Class names, where the teacher is known.
    pub(super) names: Vec<String>,
    pub(super) record: InputRecord,
    /// The files that are read.
    pub(super) found: Vec<Found>,
}

/// Files of labels, as they were found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) at: Opened,
    pub(super) files: Vec<ObjectMeta>,
    /// How those of other systems are named. Nobody keeps who wrote them from doing so again; ours stay as they are.
    pub(super) pattern: Option<String>,
}

impl Labels {
    /// Finds the labels; nothing but names and one footer is read.
    pub(super) async fn open(
        &self,
        workspace: &Workspace,
        storage: &StorageOptions,
        context: &SessionContext,
    ) -> Result<Input, SelectError> {
        match self {
            Self::Dataset {
                dataset,
                teacher,
                filter,
            } => {
                let labelling = Labelling::find(workspace, teacher).await?;
                let filtering = match filter {
                    Some(filter) => Some(Labelling::find(workspace, filter).await?),
                    None => None,
                };
                let chooser = filtering.as_ref().unwrap_or(&labelling);
                chooser.has_classes_of(&labelling)?;
                // Before the labels are looked at: what changes meanwhile counts as changed later.
                let generations = manifest::generations(workspace, dataset).await;
                let generations = generations.map_err(CatalogError::from)?;
                let mut hash = Sha256::new();
                add_void(&mut hash, &generations);
                let mut read = Vec::new();
                let mut of = async |labelling: &Labelling| {
                    let Labelling { teacher, name } = labelling;
                    let place = label::folder(dataset, name);
                    let found = objects(&workspace.at, &workspace.path(&place)).await?;
                    if found.is_empty() {
                        return Err(SelectError::NoLabels {
                            place: workspace.url(&place),
                        });
                    }
                    found.iter().for_each(|meta| add(&mut hash, meta));
                    read.push(Found {
                        at: workspace.at.clone(),
                        files: found.clone(),
                        pattern: None,
                    });
                    let classes = teacher.record.classes;
                    let (of, by) = ((dataset.as_str(), &*generations), (name.as_str(), classes));
                    let labels = catalog::labels_of(workspace, context, of, by, found);
                    Ok(labels.await?)
                };
                let rows = of(chooser).await?;
                let targets = match &filtering {
                    Some(_) => Some(
                        of(&labelling)
                            .await?
                            .select_columns(&["key", "probs"])
                            .map_err(engine)?,
                    ),
                    None => None,
                };
                Ok(Input {
                    rows: rows
                        .select_columns(&["key", "class", "confidence", "sha256", "phash", "probs"])
                        .map_err(engine)?,
                    targets,
                    soft: true,
                    fingerprints: true,
                    names: chooser.teacher.config.classes.names.clone(),
                    record: InputRecord {
                        dataset: Some(dataset.clone()),
                        teacher: Some(labelling.name),
                        filter_teacher: filtering.map(|f| f.name),
                        labels: None,
                        generation: generations.last().map(|g| g.generation),
                        files: read.iter().map(|of| of.files.len() as u64).sum(),
                        sha256: hex(&hash.finalize()),
                        own_queries: false,
                    },
                    found: read,
                })
            }
            Self::Files(pattern) => foreign::open(pattern, storage, context).await,
        }
    }
}

/// A teacher, and the name that its labels are kept under.
struct Labelling {
    teacher: Teacher,
    name: String,
}

impl Labelling {
    async fn find(workspace: &Workspace, whose: &Whose) -> Result<Self, TeacherError> {
        let teacher = teacher::get(workspace, &whose.teacher).await?;
        let name = whose::name(&teacher.record, whose.noise.as_deref());
        Ok(Self { teacher, name })
    }

    /// Checks that a class has the same number for both: of the one comes the class of a row, of the other its soft label.
    fn has_classes_of(&self, other: &Self) -> Result<(), SelectError> {
        let [own, others] = [self, other].map(|of| &of.teacher.config.classes.names);
        match teacher::differing_classes(own, others) {
            None => Ok(()),
            Some(detail) => Err(SelectError::OtherClasses {
                filter: self.name.clone(),
                teacher: other.name.clone(),
                detail,
            }),
        }
    }
}

/// The Parquet objects below a folder, by name, without those that Spark and Delta keep for themselves.
pub(super) async fn objects(at: &Opened, folder: &Path) -> Result<Vec<ObjectMeta>, SelectError> {
    let mut found = store::objects(at, folder).await?;
    found.retain(|meta| {
        let path = meta.location.as_ref();
        path.ends_with(".parquet") && !is_hidden(path, folder.as_ref())
    });
    Ok(found)
}

/// The generations by which labels count no more: their images changed, or are gone.
fn add_void(hash: &mut Sha256, generations: &[Generation]) {
    for generation in generations.iter().filter(|g| g.changed + g.gone > 0) {
        hash.update(generation.generation.to_le_bytes());
    }
}

pub(super) fn add(hash: &mut Sha256, meta: &ObjectMeta) {
    hash.update(meta.location.as_ref());
    hash.update([0]);
    hash.update(meta.size.to_le_bytes());
    hash.update(meta.e_tag.as_deref().unwrap_or_default());
    hash.update([0]);
}

pub(super) fn engine(e: datafusion::error::DataFusionError) -> SelectError {
    CatalogError::from(e).into()
}
