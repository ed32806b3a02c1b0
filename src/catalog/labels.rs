//! The labels objects as tables: `labels` and `rejects`, the two halves of them, over all datasets and teachers, and the sums of `class_bins`.
//!
//! Each dataset and teacher is a branch of its own, with both names as constants: a filter on them leaves a branch's objects unlisted and unread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt16Array};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarUDF, SimpleScalarUDF, Volatility, cast, col, lit,
};
use datafusion::prelude::SessionContext;
use object_store::ObjectMeta;

use super::bins::class_bins;
use super::churn::{self, Labelled, Labels};
use super::columns::Columns;
use super::compared::ByShard;
use super::manifests::{any_superseded, generation_of_shard, history, without_superseded};
use super::objects::{self, Folder, LabelsObjects, Which};
use super::superseded::Finding;
use super::{Cache, CatalogError, encoded_url, functions, union, view};
use crate::label::{LabelSettings, folder, whose};
use crate::manifest::Generation;
use crate::schema::{self, Encoding, topk_fields};
use crate::workspace::{Workspace, side_by_side};

/// The class names of teachers, by NAME@VERSION, or NAME@VERSION+NOISE.
pub(super) type Names = BTreeMap<String, Arc<Vec<String>>>;

/// Registers `labels` and `rejects`, and the functions that know them.
pub(super) async fn register(
    workspace: &Workspace,
    context: &SessionContext,
    datasets: &[(String, Vec<Generation>)],
    cache: Option<&Cache>,
) -> Result<(), CatalogError> {
    let columns = cache.map(|cache| &cache.columns);
    let (mut labels, mut rejects) = (Vec::new(), Vec::new());
    let (mut sums, mut all) = (Vec::new(), Labelled::new());
    let named: Vec<String> = datasets.iter().map(|(name, _)| name.clone()).collect();
    let labellers = |dataset: String| async move { whose::labellers(workspace, &dataset).await };
    let labellers = side_by_side(named, labellers).await?;
    let known = names(workspace, labellers.concat()).await?;
    for ((dataset, generations), teachers) in datasets.iter().zip(labellers) {
        let of = Of::new(workspace, context, dataset, generations, cache)?;
        let known = &known;
        let find = |teacher: String| async move {
            let names = known.get(&teacher).map(Arc::clone).unwrap_or_default();
            let found = Raw::find(workspace, dataset, &teacher, names.len(), columns).await?;
            Ok::<_, CatalogError>(found.map(|found| (teacher, names, found)))
        };
        let found = side_by_side(teachers, find).await?;
        for (teacher, names, found) in found.into_iter().flatten() {
            let teacher = teacher.as_str();
            let raw = found.rows(&of, Which::All)?;
            sums.push(class_bins(raw.clone(), dataset, teacher, &names)?);
            labels.push(labels_half(
                raw.clone(),
                dataset,
                teacher,
                found.encoding,
                Arc::clone(&names),
            )?);
            let labelled = |rows: DataFrame| {
                let rows = rows.filter(col("reason").is_null())?;
                Ok::<_, CatalogError>(rows.into_unoptimized_plan())
            };
            let rows = labelled(raw.clone())?;
            let by_shard = match (&of.superseded, of.shards()) {
                (None, _) => ByShard::All,
                (Some(_), None) => ByShard::None,
                (Some(_), Some(shards)) => {
                    let some = objects::Of::Some(shards.clone());
                    let rows = labelled(found.some_rows(&of, Which::All, some)?)?;
                    ByShard::Except(shards.clone(), rows)
                }
            };
            let retries = raw.filter(col("retry").gt(lit(0_u16)))?;
            let again = still_rejected(found.rows(&of, Which::Retried)?, retries)?;
            for rows in [found.rows(&of, Which::Last)?, again] {
                rejects.push(rejects_half(rows, dataset, teacher)?);
            }
            let of_teacher = Labels {
                folder: found.folder,
                names,
                rows,
                by_shard,
            };
            let of_dataset = all.entry(dataset.clone()).or_default();
            of_dataset.insert(teacher.to_owned(), of_teacher);
        }
    }
    if let Some(columns) = columns {
        let there = all.values().flat_map(BTreeMap::values);
        columns.folders(&there.map(|labels| labels.folder.prefix()).collect());
    }
    if labels.is_empty() {
        let schema = schema::labels(Encoding::Float32, 1);
        let none = context.read_batch(RecordBatch::new_empty(schema))?;
        let names = Arc::default();
        sums.push(class_bins(none.clone(), "", "", &names)?);
        labels.push(labels_half(none.clone(), "", "", Encoding::Float32, names)?);
        rejects.push(rejects_half(none, "", "")?);
    }
    if let Some(sums) = union(sums)? {
        view(context, "class_bins", sums)?;
    }
    if let (Some(labels), Some(rejects)) = (union(labels)?, union(rejects)?) {
        functions::register(context, known);
        churn::register(context, all);
        view(context, "labels", labels)?;
        view(context, "rejects", rejects)?;
    }
    Ok(())
}

/// The class names of these teachers.
async fn names(workspace: &Workspace, teachers: Vec<String>) -> Result<Names, CatalogError> {
    let read = |teacher: String| async move {
        let found = whose::teacher_of(workspace, &teacher).await?;
        Ok::<_, CatalogError>((teacher, Arc::new(found.config.classes.names)))
    };
    let distinct: BTreeSet<String> = teachers.into_iter().collect();
    Ok(side_by_side(distinct, read).await?.into_iter().collect())
}

/// The labels objects of a dataset by a teacher, and how probabilities are stored in them.
struct Raw {
    folder: Folder,
    encoding: Encoding,
}

/// The manifests of a dataset.
struct Of<'a> {
    context: &'a SessionContext,
    generations: &'a [Generation],
    /// Where a later generation has something that is not new.
    superseded: Option<History>,
}

/// What tells which rows count no more.
struct History {
    /// All rows of all generations.
    rows: DataFrame,
    /// The shards that have such rows, where it pays to find them.
    shards: Option<Finding>,
}

impl<'a> Of<'a> {
    fn new(
        workspace: &Workspace,
        context: &'a SessionContext,
        dataset: &str,
        generations: &'a [Generation],
        cache: Option<&Cache>,
    ) -> Result<Self, CatalogError> {
        let superseded = if any_superseded(generations) {
            let rows = history(workspace, context, dataset, generations)?;
            let shards = cache.map(|c| c.superseded.shards(dataset, generations, &rows));
            Some(History { rows, shards })
        } else {
            None
        };
        Ok(Self {
            context,
            generations,
            superseded,
        })
    }

    /// Of these rows of labels those whose image did not change and is there.
    fn that_count(&self, rows: DataFrame) -> Result<DataFrame, CatalogError> {
        let Some(history) = &self.superseded else {
            return Ok(rows);
        };
        let generation = generation_of_shard(self.generations)?;
        without_superseded(rows, &history.rows, self.generations, generation)
    }

    fn shards(&self) -> Option<&Finding> {
        self.superseded.as_ref()?.shards.as_ref()
    }
}

impl Raw {
    async fn find(
        workspace: &Workspace,
        dataset: &str,
        teacher: &str,
        classes: usize,
        columns: Option<&Columns>,
    ) -> Result<Option<Self>, CatalogError> {
        let Some(settings) = LabelSettings::find(workspace, dataset, teacher).await? else {
            return Ok(None);
        };
        let place = format!("{}/", folder(dataset, teacher));
        let url = ListingTableUrl::parse(encoded_url(workspace, &place))?;
        let encoding = settings.encoding;
        let schema = schema::labels(encoding, classes);
        let folder = Folder::new(url, schema, columns.cloned());
        Ok(Some(Self { folder, encoding }))
    }

    /// The rows of its objects, of each key the newest generation.
    fn rows(&self, of: &Of<'_>, which: Which) -> Result<DataFrame, CatalogError> {
        match of.shards() {
            None => self.some_rows(of, which, objects::Of::All),
            Some(shards) => {
                let others = objects::Of::Others(shards.clone());
                let rows = self.table(of, which, others)?;
                let some = objects::Of::Some(shards.clone());
                Ok(rows.union(self.some_rows(of, which, some)?)?)
            }
        }
    }

    fn some_rows(
        &self,
        of: &Of<'_>,
        which: Which,
        shards: objects::Of,
    ) -> Result<DataFrame, CatalogError> {
        of.that_count(self.table(of, which, shards)?)
    }

    fn table(
        &self,
        of: &Of<'_>,
        which: Which,
        shards: objects::Of,
    ) -> Result<DataFrame, CatalogError> {
        let table = LabelsObjects {
            folder: self.folder.clone(),
            which,
            of: shards,
        };
        Ok(of.context.read_table(Arc::new(table))?)
    }
}

/// The labels of a dataset under a teacher's name (and its noise's: [`crate::label::whose::name`]), each key once, as they are stored: `probs` is of the
/// type that was written. What is labelled meanwhile does not count, but these objects alone, and what these generations say of them.
///
/// # Errors
/// [`CatalogError`].
pub async fn labels_of(
    workspace: &Workspace,
    context: &SessionContext,
    (dataset, generations): (&str, &[Generation]),
    (teacher, classes): (&str, usize),
    objects: Vec<ObjectMeta>,
) -> Result<DataFrame, CatalogError> {
    let found = Raw::find(workspace, dataset, teacher, classes, None).await?;
    let Some(mut found) = found else {
        let none = RecordBatch::new_empty(schema::labels(Encoding::Float32, classes));
        return Ok(context.read_batch(none)?);
    };
    found.folder = found.folder.of(objects)?;
    let of = Of::new(workspace, context, dataset, generations, None)?;
    let rows = found.rows(&of, Which::All)?;
    Ok(rows.filter(col("reason").is_null())?)
}

fn labels_half(
    raw: DataFrame,
    dataset: &str,
    teacher: &str,
    encoding: Encoding,
    names: Arc<Vec<String>>,
) -> Result<DataFrame, CatalogError> {
    let class_name = class_name(names);
    let dense = DataType::List(Arc::new(Field::new("item", DataType::Float32, true)));
    let topk = DataType::List(Arc::new(Field::new(
        "item",
        DataType::Struct(topk_fields()),
        true,
    )));
    let null = |of: &DataType| ScalarValue::try_from(of).map(lit);
    let (probs, topk, rest) = match encoding {
        Encoding::Float16 | Encoding::Float32 => (
            cast(col("probs"), dense),
            null(&topk)?,
            null(&DataType::Float32)?,
        ),
        Encoding::TopK => (null(&dense)?, col("probs"), col("rest")),
    };
    let mut columns = vec![
        lit(dataset).alias("dataset"),
        lit(teacher).alias("teacher"),
        col("key"),
        col("class"),
        class_name.call(vec![col("class")]).alias("label"),
        col("confidence"),
        col("second_class"),
        class_name
            .call(vec![col("second_class")])
            .alias("second_label"),
    ];
    columns.extend(
        [
            "margin", "entropy", "width", "height", "sha256", "phash", "shard", "retry",
        ]
        .map(col),
    );
    columns.extend([
        col("attempts"),
        probs.alias("probs"),
        topk.alias("topk"),
        rest.alias("rest"),
    ]);
    Ok(raw.filter(col("reason").is_null())?.select(columns)?)
}

/// Rows without those that a later retry has tried again.
fn still_rejected(rows: DataFrame, retries: DataFrame) -> Result<DataFrame, CatalogError> {
    let later = retries.select(vec![
        col("key").alias("later_key"),
        col("shard").alias("later_shard"),
        col("retry").alias("later_retry"),
    ])?;
    Ok(rows.join_on(
        later,
        JoinType::LeftAnti,
        [
            col("key").eq(col("later_key")),
            col("shard").eq(col("later_shard")),
            col("later_retry").gt(col("retry")),
        ],
    )?)
}

fn rejects_half(rows: DataFrame, dataset: &str, teacher: &str) -> Result<DataFrame, CatalogError> {
    let mut columns = vec![lit(dataset).alias("dataset"), lit(teacher).alias("teacher")];
    columns.extend(
        [
            "key", "stage", "reason", "detail", "attempts", "sha256", "shard", "retry",
        ]
        .map(col),
    );
    let rejects = rows.filter(col("reason").is_not_null())?;
    Ok(rejects.select(columns)?)
}

/// `class_name(class)`: the teacher's name of a class.
pub(super) fn class_name(names: Arc<Vec<String>>) -> ScalarUDF {
    SimpleScalarUDF::new(
        "class_name",
        vec![DataType::UInt16],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(move |args: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(args)?;
            let classes = arrays[0]
                .as_any()
                .downcast_ref::<UInt16Array>()
                .ok_or_else(|| DataFusionError::Internal("class is no UInt16".into()))?;
            let named: StringArray = classes
                .iter()
                .map(|c| c.and_then(|c| names.get(usize::from(c)).map(String::as_str)))
                .collect();
            Ok(ColumnarValue::Array(Arc::new(named)))
        }),
    )
    .into()
}
