//! What a re-labelling moved: `relabels/dataset=D/000007.json`, of the labels that the former and the current teacher both have.

use serde::{Deserialize, Serialize};

use crate::catalog::{self, Cache, CatalogError, QUERY_MEMORY};
use crate::promotion::Promotion;
use crate::runs;
use crate::workspace::{Workspace, WorkspaceError, to_json};

/// Pairs of classes that are written down, those with most images; the sums are of all.
const MOST_PAIRS: usize = 10_000;
/// Bytes of footers that are kept while labels are compared.
const FOOTERS: usize = 16 * 1024 * 1024;

/// Labels that went from one class to another, or stayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The former teacher's class.
    pub from: String,
    /// The current teacher's.
    pub to: String,
    /// How many.
    pub images: u64,
    /// How much more confident the current teacher is of its class than the former was of its own, on average.
    pub shift: f64,
}

/// `relabels/dataset=D/000007.json`, named by the promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// The promotion that was followed.
    pub promotion: u32,
    /// The dataset.
    pub dataset: String,
    /// NAME@VERSION of the former teacher; none where nobody had labelled the dataset otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// NAME@VERSION of the current one.
    pub after: String,
    /// Images that both have labelled.
    pub images: u64,
    /// Of these, those whose class is another now.
    pub changed: u64,
    /// The mean shift of the confidence over all of them; none where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
    /// By classes, most images first.
    pub moved: Vec<Moved>,
    /// Pairs of classes beyond those.
    pub more_pairs: u64,
    /// When: RFC 3339, in UTC, to the millisecond.
    pub finished: String,
    /// The understudy that labelled.
    pub understudy: String,
}

fn folder(dataset: &str) -> String {
    format!("relabels/dataset={dataset}")
}

fn place(dataset: &str, promotion: u32) -> String {
    format!("{}/{promotion:06}.json", folder(dataset))
}

/// The report of a promotion, where its re-labelling has come to its end.
pub(super) async fn find(
    workspace: &Workspace,
    dataset: &str,
    promotion: u32,
) -> Result<Option<Churn>, WorkspaceError> {
    workspace.find_json(&place(dataset, promotion)).await
}

/// All reports of a dataset, in the order of promotions.
///
/// # Errors
/// The store's.
pub async fn churns(workspace: &Workspace, dataset: &str) -> Result<Vec<Churn>, WorkspaceError> {
    let place = folder(dataset);
    let names = workspace.names(&place).await?;
    let places = names.iter().map(|name| format!("{place}/{name}"));
    workspace.read_all_json(places.collect()).await
}

/// Compares the labels and commits the report; the first one of a promotion and dataset stays.
pub(super) async fn commit(
    workspace: &Workspace,
    dataset: &str,
    before: Option<String>,
    promotion: &Promotion,
) -> Result<Churn, CatalogError> {
    let after = promotion.teacher.clone();
    let mut moved = match &before {
        Some(before) => compare(workspace, dataset, before, &after).await?,
        None => Vec::new(),
    };
    let images = moved.iter().map(|m| m.images).sum();
    let changed = moved.iter().filter(|m| m.from != m.to);
    let changed = changed.map(|m| m.images).sum();
    let shift: f64 = moved.iter().map(|m| m.shift * m.images as f64).sum();
    let more_pairs = moved.len().saturating_sub(MOST_PAIRS) as u64;
    moved.truncate(MOST_PAIRS);
    let churn = Churn {
        promotion: promotion.number,
        dataset: dataset.to_owned(),
        before,
        after,
        images,
        changed,
        shift: (images > 0).then(|| shift / images as f64),
        moved,
        more_pairs,
        finished: runs::now(),
        understudy: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let place = place(dataset, promotion.number);
    workspace.create(&place, to_json(&churn)).await?;
    Ok(workspace.read_json(&place).await?)
}

/// By classes, most images first, then by name.
async fn compare(
    workspace: &Workspace,
    dataset: &str,
    before: &str,
    after: &str,
) -> Result<Vec<Moved>, CatalogError> {
    // It finds the shards whose images changed: of the others no key is read.
    let cache = Cache::new(FOOTERS, 0);
    let context = catalog::open_again(workspace, QUERY_MEMORY, &cache).await?;
    // Where a selection's parts are compared both sides may be larger than memory.
    catalog::join_by_sorting(&context);
    let query = format!(
        "SELECT \"from\", \"to\", images, shift FROM {} WHERE dataset = {} ORDER BY images DESC, \"from\", \"to\"",
        catalog::churn_call(before, after),
        catalog::literal(dataset)
    );
    let frame = context.sql(&query).await?;
    Ok(catalog::rows(frame).await?)
}
