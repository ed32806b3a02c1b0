//! `/v1/datasets` and `/v1/selections`: what there is to label, what is labelled, and what was chosen.

use axum::extract::State;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{col, lit};
use serde::{Deserialize, Serialize};

use crate::dataset::{self, Dataset};
use crate::manifest::{self, Generation};
use crate::select::report::{InputRecord, SelectionFile, Totals};
use crate::serve::extract::{Asked, At, Json};
use crate::serve::page::{Items, Page};
use crate::serve::problem::Problem;
use crate::serve::service::Shared;
use crate::workspace::side_by_side;

#[derive(Serialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    dataset: Dataset,
    /// Images that there are by the newest generation of the manifest.
    images: u64,
    generations: usize,
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    dataset: Dataset,
    images: u64,
    generations: Vec<Generation>,
    /// By teacher.
    labels: Vec<Counted>,
}

/// What a teacher made of a dataset's images.
#[derive(Serialize)]
pub(super) struct Counted {
    teacher: String,
    labelled: u64,
    rejected: u64,
}

#[derive(Deserialize)]
struct Of {
    teacher: String,
    images: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Rejected {
    teacher: String,
    stage: String,
    reason: String,
    images: u64,
}

/// Whose rejects.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct By {
    teacher: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Chosen {
    id: String,
    input: InputRecord,
    totals: Totals,
}

pub(super) async fn datasets(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<Listed>>, Problem> {
    let service = &service;
    let names = service.workspace.folders("datasets").await?;
    let turned = page.turn(names, Clone::clone)?;
    let listed = |name: String| async move {
        let (dataset, generations) = read(service, &name).await?;
        Ok::<_, Problem>(Listed {
            dataset,
            images: manifest::images(&generations),
            generations: generations.len(),
        })
    };
    let items = side_by_side(turned.items.clone(), listed).await?;
    Ok(Json(turned.with(items)))
}

pub(super) async fn dataset(
    State(service): State<Shared>,
    At(name): At<String>,
) -> Result<Json<Shown>, Problem> {
    let (dataset, generations) = read(&service, &name).await?;
    let of = |table| {
        let equal = vec![("dataset", name.clone())];
        service
            .queries
            .rows::<Of>(&service.workspace, table, equal, by_teacher)
    };
    let (labelled, rejected) = (of("labels").await?, of("rejects").await?);
    let mut teachers: Vec<&String> = labelled
        .iter()
        .chain(&rejected)
        .map(|o| &o.teacher)
        .collect();
    teachers.sort();
    teachers.dedup();
    let number = |of: &[Of], teacher: &String| {
        let found = of.iter().find(|o| o.teacher == *teacher);
        found.map_or(0, |o| o.images)
    };
    let labels = teachers
        .into_iter()
        .map(|teacher| Counted {
            labelled: number(&labelled, teacher),
            rejected: number(&rejected, teacher),
            teacher: teacher.clone(),
        })
        .collect();
    Ok(Json(Shown {
        dataset,
        images: manifest::images(&generations),
        generations,
        labels,
    }))
}

pub(super) async fn rejects(
    State(service): State<Shared>,
    At(name): At<String>,
    Asked(by): Asked<By>,
) -> Result<Json<Items<Rejected>>, Problem> {
    dataset::remember(&service.workspace, &name, None, None, None).await?;
    let mut equal = vec![("dataset", name)];
    equal.extend(by.teacher.map(|teacher| ("teacher", teacher)));
    let shape = |frame: DataFrame| {
        let order = ["teacher", "stage", "reason"].map(|c| col(c).sort(true, false));
        frame
            .select_columns(&["teacher", "stage", "reason", "images"])?
            .sort(order.to_vec())
    };
    let items = service
        .queries
        .rows(&service.workspace, "reject_reasons", equal, shape)
        .await?;
    Ok(Json(Items {
        items,
        next_page_token: None,
    }))
}

pub(super) async fn selections(
    State(service): State<Shared>,
    Asked(page): Asked<Page>,
) -> Result<Json<Items<Chosen>>, Problem> {
    let workspace = &service.workspace;
    let names = workspace.folders("selections").await?;
    let turned = page.turn(names, Clone::clone)?;
    // A selection that is being made, or was given up, has no file yet: it does not exist.
    let find = |id| SelectionFile::find(workspace, id);
    let found = side_by_side(turned.items.clone(), find).await?;
    let items = found
        .into_iter()
        .flatten()
        .map(|file| Chosen {
            id: file.id,
            input: file.input,
            totals: file.totals,
        })
        .collect();
    Ok(Json(turned.with(items)))
}

pub(super) async fn selection(
    State(service): State<Shared>,
    At(id): At<String>,
) -> Result<Json<SelectionFile>, Problem> {
    Ok(Json(SelectionFile::read(&service.workspace, &id).await?))
}

async fn read(service: &Shared, name: &str) -> Result<(Dataset, Vec<Generation>), Problem> {
    let dataset = dataset::remember(&service.workspace, name, None, None, None).await?;
    let generations = manifest::generations(&service.workspace, name).await?;
    Ok((dataset, generations))
}

fn by_teacher(frame: DataFrame) -> datafusion::error::Result<DataFrame> {
    let images = count(lit(1)).alias("images");
    frame.aggregate(vec![col("teacher")], vec![images])
}
