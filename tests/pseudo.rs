//! The images of a selection as a student is trained on them: each as often as the selection says, with its own label, resumed anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use understudy::Error;
use understudy::config::{Config, LabelConfig};
use understudy::label::progress::Timings;
use understudy::pseudo::{PseudoError, PseudoLabelled, PseudoSample};
use understudy::store::StorageOptions;

use crate::support::labels::workspace;
use crate::support::{CLASSES, Place, colour, jpeg, parquet_with_images, tar};

/// Loose images, members of a tar with others between them that are no images, rows of a Parquet file.
const LOOSE: u32 = 14;
const IN_TAR: u32 = 26;
const IN_PARQUET: u32 = 11;

/// Dataset `d` of all three kinds, labelled by `tiny`: fewer green ones than red and blue ones, so that they come more often.
fn labelled() -> Place {
    let place = Place::with_teacher();
    let photos: Vec<Vec<u8>> = (0..LOOSE + IN_TAR + IN_PARQUET)
        .map(|n| jpeg(colour(if n % 3 == 1 && n % 2 == 0 { 0 } else { n }).0, n))
        .collect();
    for (n, bytes) in photos[..LOOSE as usize].iter().enumerate() {
        place.put(&format!("{n:02}.jpg"), bytes);
    }
    let in_tar = &photos[LOOSE as usize..][..IN_TAR as usize];
    let mut members: Vec<(String, Vec<u8>)> = Vec::new();
    for (n, bytes) in in_tar.iter().enumerate() {
        members.push((format!("{n:02}.jpg"), bytes.clone()));
        members.push((format!("{n:02}.txt"), vec![b'x'; n * 40]));
    }
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    place.put("more.tar", &tar(&members));
    let rows = photos[(LOOSE + IN_TAR) as usize..].iter();
    let rows: Vec<Option<&[u8]>> = rows.map(|b| Some(b.as_slice())).collect();
    place.put("table.parquet", &parquet_with_images(&rows));
    place.label(&[]);
    place
}

/// Selects 50 of each class, of which there are fewer.
fn select(place: &Place, name: &str, more: &[&str]) {
    let mut args = vec!["select", "--name", name, "--dataset", "d"];
    args.extend(["--teacher", "tiny", "--threshold", "0.2"]);
    args.extend(["--per-class", "50"]);
    args.extend(more);
    place.ok(&args);
}

async fn try_open(
    place: &Place,
    name: &str,
    classes: usize,
) -> Result<Arc<PseudoLabelled>, PseudoError> {
    let workspace = workspace(place).await;
    let (config, storage) = (Config::default(), StorageOptions::default());
    let opened = PseudoLabelled::open(&workspace, name, classes, None, &config, &storage).await;
    opened.map(Arc::new)
}

async fn open(place: &Place, name: &str) -> Arc<PseudoLabelled> {
    try_open(place, name, CLASSES.len()).await.unwrap()
}

async fn failure(place: &Place, name: &str, classes: usize) -> Error {
    try_open(place, name, classes).await.unwrap_err().into()
}

/// So many rows of the stream from a place on.
async fn rows(data: &Arc<PseudoLabelled>, seed: u64, from: u64, rows: u64) -> Vec<PseudoSample> {
    let label = LabelConfig::default();
    let fetcher = Arc::new(data.fetcher(&label, 4, Arc::new(Timings::default())));
    let stream = data.shuffled(&fetcher, seed, from).take(rows as usize);
    stream.map(Result::unwrap).collect().await
}

fn keys(samples: &[PseudoSample]) -> Vec<&str> {
    samples.iter().map(|s| s.key.as_str()).collect()
}

fn times(samples: &[PseudoSample]) -> BTreeMap<&str, i64> {
    let mut times = BTreeMap::new();
    for key in keys(samples) {
        *times.entry(key).or_insert(0) += 1;
    }
    times
}

/// How often the selection has each key.
fn copies(place: &Place, name: &str) -> BTreeMap<String, i64> {
    let query = format!("SELECT key, copies FROM selections WHERE selection = '{name}'");
    let rows = place.sql(&query).into_iter();
    rows.map(|row| {
        let key = row["key"].as_str().unwrap().to_owned();
        (key, row["copies"].as_i64().unwrap())
    })
    .collect()
}

fn same(times: &BTreeMap<&str, i64>, copies: &BTreeMap<String, i64>) -> bool {
    times.len() == copies.len() && times.iter().all(|(key, n)| copies.get(*key) == Some(n))
}

fn reason(sample: &PseudoSample) -> Option<&str> {
    let reject = sample.fetched.bytes.as_ref().err();
    reject.map(|reject| reject.reason.as_str())
}

#[tokio::test]
async fn every_row_comes_as_often_an_epoch_as_it_has_copies_in_an_order_of_seed_and_epoch() {
    let place = labelled();
    select(&place, "s", &[]);
    let copies = copies(&place, "s");
    let different: BTreeSet<i64> = copies.values().copied().collect();
    assert!(different.len() > 2, "copies are alike: {different:?}");
    let data = open(&place, "s").await;
    let total = copies.values().sum::<i64>() as u64;
    assert_eq!(data.rows(), total);
    assert_eq!((data.images(), data.missing()), (copies.len() as u64, 0));
    assert_eq!(data.classes(), CLASSES);

    let samples = rows(&data, 1, 0, 2 * total).await;
    let at: Vec<u64> = samples.iter().map(|s| s.at).collect();
    assert_eq!(at, (0..2 * total).collect::<Vec<_>>());
    let (first, second) = samples.split_at(total as usize);
    assert!(same(&times(first), &copies), "{:?}", times(first));
    assert!(same(&times(second), &copies), "{:?}", times(second));
    assert_ne!(keys(first), keys(second));
    assert_ne!(keys(first), keys(&rows(&data, 2, 0, total).await));
    // Copies are spread: they do not follow one another. Of 100 rows and more some do by chance, as others would.
    let pairs = first.windows(2).filter(|w| w[0].key == w[1].key).count();
    assert!(pairs < first.len() / 5, "{pairs} of {}", first.len());
    // Another process, that opens the selection anew.
    let again = open(&place, "s").await;
    assert_eq!(again.fingerprint(), data.fingerprint());
    assert_eq!(keys(first), keys(&rows(&again, 1, 0, total).await));
}

#[tokio::test]
async fn a_reader_that_was_interrupted_goes_on_at_the_very_row() {
    let place = labelled();
    select(&place, "s", &[]);
    let data = open(&place, "s").await;
    let total = data.rows();
    let whole = rows(&data, 9, 0, 2 * total + 60).await;
    for from in [1, 77, total - 1, total, total + 13] {
        let rest = rows(&data, 9, from, 60).await;
        let expected = &whole[from as usize..][..60];
        assert_eq!(rest[0].at, from);
        assert_eq!(keys(&rest), keys(expected), "from {from}");
        let soft = |samples: &[PseudoSample]| -> Vec<Option<Vec<f32>>> {
            samples.iter().map(|s| s.soft.clone()).collect()
        };
        assert_eq!(soft(&rest), soft(expected), "from {from}");
    }
}

#[tokio::test]
async fn each_row_has_the_bytes_the_class_and_the_soft_label_that_the_teacher_gave() {
    let place = labelled();
    select(&place, "s", &[]);
    let mut labels = BTreeMap::new();
    for row in place.sql("SELECT key, class, sha256, probs FROM labels") {
        let probs = row["probs"].as_array().unwrap().iter();
        let probs: Vec<f64> = probs.map(|p| p.as_f64().unwrap()).collect();
        let key = row["key"].as_str().unwrap().to_owned();
        labels.insert(key, (row["class"].clone(), row["sha256"].clone(), probs));
    }
    let data = open(&place, "s").await;
    let mut kinds = BTreeSet::new();
    for sample in rows(&data, 4, 0, data.rows()).await {
        let (class, sha256, probs) = &labels[&sample.key];
        assert_eq!(*class, sample.class, "{}", sample.key);
        let bytes = sample.fetched.bytes.unwrap();
        assert_eq!(*sha256, sha256_of(&bytes), "{}", sample.key);
        let soft = sample.soft.unwrap();
        let sum: f64 = soft.iter().map(|p| f64::from(*p)).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{}: {sum}", sample.key);
        let stored: f64 = probs.iter().sum();
        for (p, label) in soft.iter().zip(probs) {
            assert!((f64::from(*p) - label / stored).abs() < 1e-6);
        }
        assert_eq!(soft.len(), CLASSES.len());
        kinds.insert(
            sample
                .key
                .split_once('#')
                .map(|(object, _)| object.to_owned()),
        );
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

fn sha256_of(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(bytes))
}

#[tokio::test]
async fn a_materialized_selection_is_the_same_stream_and_hard_targets_have_no_soft_label() {
    let place = labelled();
    select(&place, "s", &[]);
    select(&place, "m", &["--materialize"]);
    select(&place, "h", &["--targets", "hard"]);
    let plain = open(&place, "s").await;
    let of_plain = rows(&plain, 3, 0, plain.rows()).await;
    let materialized = open(&place, "m").await;
    assert_eq!(materialized.fingerprint(), plain.fingerprint());
    assert_eq!(materialized.images(), plain.images());
    let of_materialized = rows(&materialized, 3, 0, plain.rows()).await;
    assert_eq!(keys(&of_materialized), keys(&of_plain));

    let hard = open(&place, "h").await;
    let of_hard = rows(&hard, 3, 0, plain.rows()).await;
    assert_ne!(hard.fingerprint(), plain.fingerprint());
    assert_eq!(keys(&of_hard), keys(&of_plain));
    for (hard, soft) in of_hard.iter().zip(&of_plain) {
        assert_eq!((hard.class, &hard.soft), (soft.class, &None));
        assert!(soft.soft.is_some());
    }
}

#[tokio::test]
async fn an_image_that_is_gone_or_changed_is_a_reject_and_once_listed_again_is_left_out() {
    let place = labelled();
    select(&place, "s", &[]);
    let copies = copies(&place, "s");
    let data = open(&place, "s").await;
    let before = rows(&data, 5, 0, data.rows()).await;
    std::fs::remove_file(place.path("images/02.jpg")).unwrap();
    // As long as it was: nothing but its bytes tells that it is another one.
    let changed = place.path("images/05.jpg");
    let mut bytes = std::fs::read(&changed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&changed, bytes).unwrap();

    let copies_of = |name: &str| *copies.iter().find(|(k, _)| k.ends_with(name)).unwrap().1;
    let (gone, other) = (copies_of("/02.jpg"), copies_of("/05.jpg"));
    let data = open(&place, "s").await;
    let after = rows(&data, 5, 0, data.rows()).await;
    assert_eq!(keys(&after), keys(&before));
    let mut reasons = BTreeMap::new();
    for sample in &after {
        if let Some(reason) = reason(sample) {
            *reasons
                .entry((&sample.key[sample.key.len() - 6..], reason))
                .or_insert(0) += 1;
        }
    }
    let expected = [
        (("02.jpg", "not-found"), gone),
        (("05.jpg", "changed"), other),
    ];
    assert_eq!(reasons, BTreeMap::from(expected));

    place.ok(&["manifest", "--dataset", "d"]);
    let listed = open(&place, "s").await;
    assert_eq!((listed.missing(), listed.images()), (1, data.images() - 1));
    assert_eq!(listed.rows(), data.rows() - gone as u64);
    assert_ne!(listed.fingerprint(), data.fingerprint());
    let after = rows(&listed, 5, 0, listed.rows()).await;
    assert!(after.iter().all(|s| !s.key.ends_with("/02.jpg")));
    let changed = after.iter().filter(|s| reason(s) == Some("changed"));
    assert_eq!(changed.count() as i64, other);
}

#[tokio::test]
async fn what_does_not_fit_is_told_before_an_image_is_read() {
    let place = labelled();
    select(&place, "clear", &[]);
    let images = open(&place, "clear").await.images();
    let error = failure(&place, "clear", 10).await;
    assert_eq!(error.exit_code(), 9);
    assert_eq!(
        error.to_string(),
        "the labels of selection `clear` have 4 classes, the student has 10"
    );
    let error = failure(&place, "cleer", 4).await;
    assert_eq!(error.exit_code(), 3);
    assert!(error.text().contains("did you mean `clear`?"), "{error}");

    let labels = place.path("w/labels/**/*.parquet").display().to_string();
    place.ok(&["select", "--name", "f", "--labels", &labels]);
    let error = failure(&place, "f", 4).await;
    assert_eq!(error.exit_code(), 2);
    assert!(error.text().contains("understudy export --selection f"));

    std::fs::remove_dir_all(place.path("images")).unwrap();
    std::fs::create_dir(place.path("images")).unwrap();
    place.put("new.jpg", &jpeg(colour(0).0, 99));
    place.ok(&["manifest", "--dataset", "d"]);
    let error = failure(&place, "clear", 4).await;
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        format!("none of the {images} images of selection `clear` are there any more")
    );
}
