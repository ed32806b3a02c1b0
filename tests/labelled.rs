//! Labelled data as a trainer reads them, from real files: shuffled by a seed, resumed anywhere, each image with its own bytes and class.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use understudy::config::{Config, LabelConfig};
use understudy::label::decode::{DecodeConfig, decode};
use understudy::label::progress::Timings;
use understudy::labelled::{DataConfig, Labelled, Sample};
use understudy::source::Split;
use understudy::store::StorageOptions;

use crate::support::{CLASSES, Place, colour, fashion, jpeg, parquet_with_labels, tar};

async fn open(data: DataConfig) -> Arc<Labelled> {
    let (config, storage) = (Config::default(), StorageOptions::default());
    let opened = Labelled::open(&data, None, &config, &storage).await;
    Arc::new(opened.unwrap())
}

/// So many images of a shuffled stream from a place on.
async fn shuffled(data: &Arc<Labelled>, seed: u64, from: u64, images: usize) -> Vec<Sample> {
    let label = LabelConfig::default();
    let fetcher = Arc::new(data.fetcher(&label, 4, Arc::new(Timings::default())));
    let stream = data.shuffled(&fetcher, seed, from).take(images);
    stream.map(Result::unwrap).collect().await
}

async fn in_order(data: &Labelled) -> Vec<Sample> {
    let fetcher = data.fetcher(&LabelConfig::default(), 7, Arc::new(Timings::default()));
    let batches: Vec<Vec<Sample>> = data
        .batches(&fetcher, 3)
        .map(Result::unwrap)
        .collect()
        .await;
    assert!(batches.iter().all(|b| (1..=7).contains(&b.len())));
    batches.into_iter().flatten().collect()
}

fn keys(samples: &[Sample]) -> Vec<String> {
    samples.iter().map(|s| s.key.clone()).collect()
}

/// Thirty images of each class of the test set.
fn few_clothes() -> DataConfig {
    DataConfig {
        url: fashion::file("t10k-images-idx3-ubyte.gz"),
        classes: fashion::CLASSES.map(str::to_owned).to_vec(),
        per_class: Some(30),
        ..DataConfig::default()
    }
}

#[tokio::test]
async fn every_image_comes_once_an_epoch_in_an_order_that_seed_and_epoch_decide() {
    let data = open(few_clothes()).await;
    assert_eq!((data.images(), data.counts()), (300, &[30; 10][..]));
    assert_eq!(data.classes(), fashion::CLASSES);
    let samples = shuffled(&data, 1, 0, 600).await;
    assert_eq!(
        samples.iter().map(|s| s.at).collect::<Vec<_>>(),
        (0..600).collect::<Vec<_>>()
    );
    let (first, second) = (keys(&samples[..300]), keys(&samples[300..]));
    let all: BTreeSet<String> = keys(&in_order(&data).await).into_iter().collect();
    assert_eq!(all.len(), 300);
    for epoch in [&first, &second] {
        assert_eq!(epoch.iter().cloned().collect::<BTreeSet<_>>(), all);
    }
    assert_ne!(first, second);
    assert_ne!(first, keys(&shuffled(&data, 2, 0, 300).await));
    // Another process, that opens the data anew.
    let again = open(few_clothes()).await;
    assert_eq!(again.fingerprint(), data.fingerprint());
    assert_eq!(first, keys(&shuffled(&again, 1, 0, 300).await));
}

#[tokio::test]
async fn a_reader_that_was_interrupted_goes_on_at_the_very_image() {
    let data = open(few_clothes()).await;
    let whole = keys(&shuffled(&data, 9, 0, 700).await);
    for from in [1, 137, 299, 300, 451] {
        let rest = keys(&shuffled(&data, 9, from, 200).await);
        let from = from as usize;
        assert_eq!(rest, whole[from..from + 200], "from {from}");
    }
}

#[tokio::test]
async fn each_image_has_its_own_pixels_and_its_own_class() {
    let images = fashion::bytes("t10k-images-idx3-ubyte.gz");
    let labels = fashion::bytes("t10k-labels-idx1-ubyte.gz");
    let data = open(few_clothes()).await;
    let mut seen = 0;
    for sample in shuffled(&data, 4, 0, 300)
        .await
        .into_iter()
        .chain(in_order(&data).await)
    {
        let (_, row) = sample.key.rsplit_once('#').unwrap();
        let row: usize = row.parse().unwrap();
        assert_eq!(sample.class, u16::from(labels[8 + row]), "{}", sample.key);
        let bytes = sample.fetched.bytes.unwrap();
        let image = decode(&bytes, &DecodeConfig::default(), None).unwrap();
        let grey: Vec<u8> = image.pixels.chunks(3).map(|p| p[0]).collect();
        assert_eq!(grey, images[16 + row * 784..][..784], "{}", sample.key);
        seen += 1;
    }
    assert_eq!(seen, 600);
}

/// Two tars, a Parquet file and loose images side by side, 360 images in all, each with its own bytes.
fn mixed(place: &Place) -> (DataConfig, BTreeMap<Vec<u8>, u16>) {
    let mut own = BTreeMap::new();
    let image = |n: u32| {
        let (rgb, name) = colour(n);
        let class = CLASSES.iter().position(|c| *c == name).unwrap();
        // What comes after a JPEG's end tells these images apart, some of which have the same pixels.
        let bytes = [jpeg(rgb, n), n.to_le_bytes().to_vec()].concat();
        (bytes, class)
    };
    for part in 0..2_u32 {
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        for n in part * 150..part * 150 + 150 {
            let (bytes, class) = image(n);
            own.insert(bytes.clone(), class as u16);
            members.push((format!("{n:03}.jpg"), bytes));
            members.push((format!("{n:03}.cls"), class.to_string().into_bytes()));
        }
        let members: Vec<(&str, &[u8])> =
            members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        place.put(&format!("{part}.tar"), &tar(&members));
    }
    let mut rows = Vec::new();
    for n in 300..330 {
        let (bytes, class) = image(n);
        own.insert(bytes.clone(), class as u16);
        rows.push((bytes, Some(class as i64)));
    }
    place.put("rows.parquet", &parquet_with_labels(&rows, &CLASSES));
    for n in 330..360 {
        let (bytes, class) = image(n);
        own.insert(bytes.clone(), class as u16);
        place.put(&format!("{}/{n}.jpg", CLASSES[class]), &bytes);
    }
    let data = DataConfig {
        url: place.images(),
        classes: CLASSES.map(str::to_owned).to_vec(),
        ..DataConfig::default()
    };
    (data, own)
}

#[tokio::test]
async fn tars_parquet_files_and_folders_side_by_side_are_one_data_set() {
    let place = Place::new();
    let (config, own) = mixed(&place);
    let data = open(config).await;
    assert_eq!((data.images(), own.len()), (360, 360));
    let shuffled = shuffled(&data, 3, 0, 360).await;
    // Mixed over all of them: the first quarter alone has images of each.
    let first = keys(&shuffled[..90]).join("\n");
    for part in ["0.tar", "1.tar", "rows.parquet", "/red/"] {
        assert!(first.contains(part), "none of {part} in\n{first}");
    }
    for (samples, order) in [(shuffled, "shuffled"), (in_order(&data).await, "in order")] {
        let found: BTreeMap<Vec<u8>, u16> = samples
            .into_iter()
            .map(|s| (s.fetched.bytes.unwrap().to_vec(), s.class))
            .collect();
        assert!(found == own, "{order}: an image has another's class");
    }
}

#[tokio::test]
async fn an_image_that_is_gone_keeps_its_place_and_says_so() {
    let place = Place::new();
    let (config, _) = mixed(&place);
    let data = open(config).await;
    let before = keys(&shuffled(&data, 5, 0, 360).await);
    std::fs::remove_file(place.path("images/1.tar")).unwrap();
    let after = shuffled(&data, 5, 0, 360).await;
    assert_eq!(keys(&after), before);
    let failed: Vec<&Sample> = after.iter().filter(|s| s.fetched.bytes.is_err()).collect();
    assert_eq!(failed.len(), 150);
    for sample in failed {
        assert!(sample.key.contains("1.tar#"), "{}", sample.key);
        let reject = sample.fetched.bytes.as_ref().unwrap_err();
        assert_eq!(
            (reject.stage, reject.reason.as_str()),
            ("fetch", "not-found")
        );
    }
}

#[tokio::test]
async fn parts_of_a_split_make_the_whole_and_a_few_of_each_class_are_nested() {
    let part = |part: &str, per_class| DataConfig {
        split: Some(format!("5:{part}").parse::<Split>().unwrap()),
        per_class,
        ..few_clothes()
    };
    let images = |data: DataConfig| async move {
        let data = open(data).await;
        let samples = in_order(&data).await;
        samples.into_iter().map(|s| s.key).collect::<BTreeSet<_>>()
    };
    let whole = images(part("0/1", None)).await;
    assert_eq!(whole.len(), 10_000);
    let mut union = BTreeSet::new();
    for piece in ["0..3/10", "3..4/10", "4..10/10"] {
        let piece = images(part(piece, None)).await;
        assert!(union.is_disjoint(&piece));
        union.extend(piece);
    }
    assert_eq!(union, whole);
    let (ten, twenty) = (
        images(part("0..3/10", Some(10))).await,
        images(part("0..3/10", Some(20))).await,
    );
    assert_eq!((ten.len(), twenty.len()), (100, 200));
    assert!(ten.is_subset(&twenty));
}
