//! Labels with chosen figures: the objects that `label` writes, without images and a model.

use std::collections::HashMap;
use std::path::Path;

use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;
use understudy::catalog::{self, Cache, CatalogError, QUERY_MEMORY};
use understudy::label::commit::{LabelsObject, ObjectWriter, Row as Committed, Storage};
use understudy::label::infer::{Outcome, Reject, SoftLabel};
use understudy::label::soft_label::scalars;
use understudy::label::{LabelSettings, folder};
use understudy::schema::Encoding;
use understudy::store::StorageOptions;
use understudy::teacher;
use understudy::workspace::Workspace;

use super::{CLASSES, Place};

/// A row of a labels object: its key, the first byte of its SHA-256, its gradient hash, its probabilities or the reason of a reject.
pub(crate) type Row<'a> = (&'a str, u8, u64, Result<[f32; 4], &'static str>);

/// A labels object: its shard, its retry, its rows.
pub(crate) type Shard<'a> = (u32, u16, &'a [Row<'a>]);

/// The workspace of a place, through the library.
pub(crate) async fn workspace(place: &Place) -> Workspace {
    let url = place.path("w").display().to_string();
    Workspace::open(&url, &StorageOptions::default())
        .await
        .unwrap()
}

/// Writes the labels of a dataset by a teacher that is there, and the dataset where it is new.
pub(crate) async fn write(
    workspace: &Workspace,
    dataset: &str,
    teacher: &str,
    encoding: Encoding,
    shards: &[Shard<'_>],
) {
    let remembered = format!(
        r#"{{"name": "{dataset}", "source": "file:///nowhere", "reading": {{}}, "manifest": {{}}}}"#
    );
    let place = format!("datasets/{dataset}/000001.json");
    workspace.create(&place, remembered.into()).await.unwrap();
    let found = teacher::get(workspace, &teacher.parse().unwrap())
        .await
        .unwrap();
    let mut config = understudy::config::Config::default();
    config.label.encoding = encoding;
    config.label.top_k = 2;
    let settings = LabelSettings::new(&found, &config.decode, &config.label, None);
    settings.claim(workspace, dataset, teacher).await.unwrap();
    let storage = Storage {
        encoding,
        k: 2,
        classes: CLASSES.len(),
    };
    for &(shard, retry, rows) in shards {
        let mut writer = ObjectWriter::new(storage, retry, &HashMap::default()).unwrap();
        for (key, sha, phash, label) in rows {
            let label = match label {
                Ok(probabilities) => Ok(SoftLabel {
                    phash: Some(*phash),
                    width: 40,
                    height: 30,
                    probabilities: probabilities.to_vec(),
                    scalars: scalars(probabilities).unwrap(),
                }),
                Err(reason) => Err(Reject {
                    stage: "decode",
                    reason: (*reason).into(),
                    detail: "a sentence".into(),
                }),
            };
            let outcome = Outcome {
                attempts: 1 + retry,
                sha256: Some([*sha; 32]),
                label,
            };
            let key = (*key).to_owned();
            writer
                .push(Committed {
                    key,
                    shard,
                    outcome,
                })
                .unwrap();
        }
        let name = match retry {
            0 => LabelsObject::Shard { shard },
            _ => LabelsObject::Retry { shard, retry },
        };
        let object = format!("{}/{name}", folder(dataset, teacher));
        let bytes = writer.finish().unwrap();
        workspace.create(&object, bytes).await.unwrap();
    }
}

/// A workspace with two teachers, `tiny@1` and `other@1`, a dataset `photos` that both have labelled, `wide` whose labels are top-k, and a held-out one, `test`.
pub(crate) async fn workspace_with_labels() -> (Place, Workspace) {
    let place = Place::with_teacher();
    let probabilities = super::onnx::Model {
        probabilities: true,
        ..Default::default()
    };
    place.add_teacher("other", &probabilities);
    let workspace = workspace(&place).await;
    let just_above = 0.3_f32.next_up();
    let just_below = 0.85_f32.next_down();
    let first: &[Row] = &[
        ("a", 1, 0x00, Ok([0.95, 0.03, 0.01, 0.01])),
        ("b", 2, 0xff, Ok([0.3, 0.25, 0.25, 0.2])),
        ("c", 3, 0xff00, Ok([just_above, 0.25, 0.25, 0.2])),
        ("d", 4, 0, Err("truncated")),
    ];
    let second: &[Row] = &[
        ("e", 5, 0xffff_0000, Ok([0.1, 0.8, 0.05, 0.05])),
        ("f", 6, 0xf0f0_f0f0, Ok([0.0, 1.0, 0.0, 0.0])),
        ("g", 7, 0xff_0000_0000, Ok([0.05, 0.05, 0.85, 0.05])),
        ("h", 8, 0xff00_0000_0000, Ok([0.05, 0.05, just_below, 0.05])),
        ("i", 9, 0, Err("corrupt")),
    ];
    let retry_of_first: &[Row] = &[("d", 4, 0, Err("truncated"))];
    let retry_of_second: &[Row] = &[("i", 9, 0xff << 48, Ok([0.2, 0.5, 0.2, 0.1]))];
    let shards = [
        (0, 0, first),
        (1, 0, second),
        (0, 1, retry_of_first),
        (1, 1, retry_of_second),
    ];
    write(&workspace, "photos", "tiny@1", Encoding::Float16, &shards).await;
    let moved: &[Row] = &[
        ("a", 1, 0x00, Ok([0.75, 0.25, 0.0, 0.0])),
        ("b", 2, 0xff, Ok([0.1, 0.1, 0.7, 0.1])),
    ];
    let moved_of_second: &[Row] = &[("e", 5, 0xffff_0000, Ok([0.6, 0.4, 0.0, 0.0]))];
    let shards = [(0, 0, moved), (1, 0, moved_of_second)];
    write(&workspace, "photos", "other@1", Encoding::Float32, &shards).await;
    let wide: &[Row] = &[("w", 20, 0, Ok([0.5, 0.125, 0.25, 0.125]))];
    write(
        &workspace,
        "wide",
        "tiny@1",
        Encoding::TopK,
        &[(0, 0, wide)],
    )
    .await;
    let held_out: &[Row] = &[
        // The bytes of `a`; 2 bits from `g`; 5 bits from `f`; far from all; a reject.
        ("x", 1, 0x00, Ok([0.7, 0.1, 0.1, 0.1])),
        ("y", 30, 0xfc_0000_0000, Ok([0.7, 0.1, 0.1, 0.1])),
        ("z", 31, 0xf0f0_f0ce, Ok([0.7, 0.1, 0.1, 0.1])),
        ("u", 32, !0, Ok([0.7, 0.1, 0.1, 0.1])),
        ("v", 33, 0, Err("truncated")),
    ];
    write(
        &workspace,
        "test",
        "tiny@1",
        Encoding::Float16,
        &[(0, 0, held_out)],
    )
    .await;
    (place, workspace)
}

/// [`workspace_with_labels`] for tests of the executable.
pub(crate) fn labelled() -> Place {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(workspace_with_labels()).0
}

/// The rows of a query, as a table.
pub(crate) async fn ask(
    workspace: &Workspace,
    cache: Option<&Cache>,
    sql: &str,
) -> Result<String, CatalogError> {
    let context = match cache {
        None => catalog::open(workspace, QUERY_MEMORY).await?,
        Some(cache) => catalog::open_again(workspace, QUERY_MEMORY, cache).await?,
    };
    let frame = catalog::query(&context, sql).await?;
    let rows = catalog::execute(frame).await?.try_collect::<Vec<_>>().await;
    let rows = rows.map_err(|e| CatalogError::of_query(&e))?;
    Ok(pretty_format_batches(&rows).unwrap().to_string())
}

/// Puts other bytes into a file that looks the same from outside.
pub(crate) fn spoil(path: &Path) {
    let was = std::fs::metadata(path).unwrap();
    let bytes = vec![b'x'; usize::try_from(was.len()).unwrap()];
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(was.modified().unwrap()).unwrap();
}
