//! What a server keeps in memory of labels: the same answers without opening an object, and never those of what was.

use std::path::{Path, PathBuf};

use understudy::catalog::{self, Cache, QUERY_MEMORY};
use understudy::schema::Encoding;

use crate::support::http::Server;
use crate::support::labels::{Row, ask, spoil, workspace_with_labels, write};

const SUMS: &str = "SELECT teacher, class, bin, images, round(confidence_sum, 4) AS sum FROM class_bins WHERE dataset = 'photos' ORDER BY teacher, class, bin";
const REASONS: &str = "SELECT dataset, teacher, stage, reason, images FROM reject_reasons ORDER BY dataset, teacher, reason";
const KEYS: &str = "SELECT key FROM labels WHERE dataset = 'photos' AND teacher = 'tiny@1' AND class = 1 ORDER BY key";

fn cache() -> Cache {
    Cache::new(1 << 20, 1 << 20)
}

/// The objects of `tiny@1`'s labels of the photos.
fn objects(place: &Path) -> Vec<PathBuf> {
    let folder = place.join("w/labels/dataset=photos/teacher=tiny@1");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "parquet"));
    paths.sort();
    paths
}

#[tokio::test]
async fn what_is_in_memory_opens_no_object() {
    let (place, workspace) = workspace_with_labels().await;
    let cache = cache();
    let mut before = Vec::new();
    for sql in [SUMS, REASONS] {
        let answer = ask(&workspace, None, sql).await.unwrap();
        assert!(answer.contains("tiny@1"), "{answer}");
        assert_eq!(ask(&workspace, Some(&cache), sql).await.unwrap(), answer);
        before.push(answer);
    }
    // Of the shard that has no image of the class and no reject left nothing is read, but of the other one keys are.
    let keys = ask(&workspace, Some(&cache), KEYS).await.unwrap();
    assert!(keys.contains("| e ") && keys.contains("| i "), "{keys}");
    let objects = objects(place.dir.path());
    assert!(objects[0].ends_with("shard-000000.parquet"));
    spoil(&objects[0]);
    assert_eq!(ask(&workspace, Some(&cache), KEYS).await.unwrap(), keys);
    assert!(ask(&workspace, None, KEYS).await.is_err());
    objects.iter().for_each(|path| spoil(path));
    let sums = ask(&workspace, Some(&cache), SUMS).await.unwrap();
    assert_eq!(sums, before[0]);
    assert!(ask(&workspace, Some(&cache), KEYS).await.is_err());
    let unread = Cache::new(1 << 20, 1 << 20);
    let error = ask(&workspace, Some(&unread), SUMS).await.unwrap_err();
    assert!(error.to_string().contains("shard-00000"), "{error}");
}

#[tokio::test]
async fn what_is_new_or_gone_is_seen() {
    let (place, workspace) = workspace_with_labels().await;
    let cache = cache();
    let first = ask(&workspace, Some(&cache), SUMS).await.unwrap();
    let more: &[Row] = &[
        ("j", 40, 1, Ok([0.0, 0.0, 0.0, 1.0])),
        ("k", 41, 1, Err("truncated")),
    ];
    write(
        &workspace,
        "photos",
        "tiny@1",
        Encoding::Float16,
        &[(2, 0, more)],
    )
    .await;
    for sql in [SUMS, REASONS, KEYS] {
        let fresh = ask(&workspace, None, sql).await.unwrap();
        assert_eq!(ask(&workspace, Some(&cache), sql).await.unwrap(), fresh);
    }
    let grown = ask(&workspace, Some(&cache), SUMS).await.unwrap();
    assert_ne!(grown, first);
    let last = objects(place.dir.path()).pop().unwrap();
    assert!(last.ends_with("shard-000002.parquet"));
    std::fs::remove_file(&last).unwrap();
    assert_eq!(ask(&workspace, Some(&cache), SUMS).await.unwrap(), first);
    // Under the same name another object: what is known of the former one does not count.
    let other: &[Row] = &[("j", 40, 1, Ok([0.0, 0.0, 1.0, 0.0]))];
    write(
        &workspace,
        "photos",
        "tiny@1",
        Encoding::Float16,
        &[(2, 0, other)],
    )
    .await;
    let fresh = ask(&workspace, None, SUMS).await.unwrap();
    assert_eq!(ask(&workspace, Some(&cache), SUMS).await.unwrap(), fresh);
    assert_ne!(fresh, grown);
    // And so where nobody has looked in between.
    std::fs::remove_file(&last).unwrap();
    let again = [(2, 0, more)];
    write(&workspace, "photos", "tiny@1", Encoding::Float16, &again).await;
    assert_eq!(ask(&workspace, Some(&cache), SUMS).await.unwrap(), grown);
}

#[tokio::test]
async fn a_session_that_goes_on_sees_what_has_come() {
    let (_place, workspace) = workspace_with_labels().await;
    let context = catalog::open(&workspace, QUERY_MEMORY).await.unwrap();
    let labels = async || {
        context
            .table("labels")
            .await
            .unwrap()
            .count()
            .await
            .unwrap()
    };
    let before = labels().await;
    let more: &[Row] = &[("j", 40, 1, Ok([0.0, 0.0, 0.0, 1.0]))];
    let shards = [(2, 0, more)];
    write(&workspace, "photos", "tiny@1", Encoding::Float16, &shards).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(labels().await, before + 1);
}

#[tokio::test]
async fn images_of_one_confidence_are_shown_by_shard_and_key() {
    let (place, workspace) = workspace_with_labels().await;
    let sure = Ok([0.0, 0.0, 0.0, 1.0]);
    let less = Ok([0.0, 0.0, 0.25, 0.75]);
    let first: &[Row] = &[("p", 50, 1, less), ("q", 51, 1, sure), ("s", 52, 1, sure)];
    let second: &[Row] = &[("r", 53, 1, sure), ("t", 54, 1, less), ("u", 55, 1, less)];
    for (shard, rows) in [(0, first), (1, second)] {
        write(
            &workspace,
            "ties",
            "tiny@1",
            Encoding::Float32,
            &[(shard, 0, rows)],
        )
        .await;
    }
    let server = tokio::task::spawn_blocking(move || {
        let server = Server::start(&place, &[]);
        server
            .get("/datasets/ties/classes/3?teacher=tiny%401")
            .text()
    });
    let page = server.await.unwrap();
    let shown = [
        "q: highest, confidence 1.000",
        "s: ",
        "r: ",
        "p: ",
        "t: ",
        "u: lowest, confidence 0.750",
    ];
    let place = |image: &str| page.find(&format!("aria-label=\"{image}"));
    let places: Vec<usize> = shown
        .iter()
        .map(|image| place(image).unwrap_or_else(|| panic!("no {image}: {page}")))
        .collect();
    assert!(places.is_sorted(), "{places:?} {page}");
    assert_eq!(page.matches("<figcaption>").count(), 6, "{page}");
}
