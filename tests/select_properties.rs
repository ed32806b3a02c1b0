//! For all labels, rules, files, row groups and threads: a selection is what its definition says, written out here row by row.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryArray, Float32Array, Int32Array, ListArray, RecordBatch,
    StringArray,
};
use arrow::datatypes::{Float32Type, Int32Type, UInt32Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use understudy::catalog::QUERY_MEMORY;
use understudy::select::input::Labels;
use understudy::select::job::SelectJob;
use understudy::select::{Balance, SelectConfig, SelectError, seeded_hash};
use understudy::store::StorageOptions;
use understudy::workspace::Workspace;

#[derive(Debug, Clone)]
struct Label {
    key: String,
    class: Option<i32>,
    confidence: Option<f32>,
    /// The image, where its hash is known.
    image: Option<u8>,
}

/// How labels lie in files.
#[derive(Debug, Clone)]
struct Layout {
    files: usize,
    row_group: usize,
    /// Rows are sorted by the hash of their key with this.
    order: u64,
    threads: usize,
    /// There are soft labels, which are wanted.
    soft: bool,
}

/// A chosen row: class, bits of the confidence, copies, rank.
type Chosen = BTreeMap<String, (i32, u32, u32, u32)>;

fn labels() -> impl Strategy<Value = Vec<Label>> {
    let special = prop::sample::select(vec![
        None,
        Some(f32::NAN),
        Some(f32::INFINITY),
        Some(-0.1),
        Some(1.0_f32.next_up()),
        Some(0.0),
        Some(-0.0),
        Some(0.3),
        Some(0.3_f32.next_up()),
        Some(0.3_f32.next_down()),
        Some(1.0),
    ]);
    // Few values, so that most rows tie.
    let common = (0_u8..8).prop_map(|n| Some(f32::from(n) / 8.0 + 0.0625));
    let confidence = prop_oneof![1 => special, 3 => common, 1 => (0.0_f32..1.0).prop_map(Some)];
    let class = prop_oneof![20 => (-2_i32..3).prop_map(Some), 1 => Just(None)];
    let fingerprinted = prop::bool::weighted(0.2);
    let image = prop::option::weighted(0.7, 0_u8..12);
    let row = (class, confidence, image);
    (prop::collection::vec(row, 1..60), fingerprinted).prop_map(|(rows, fingerprinted)| {
        let label = |(n, (class, confidence, image)): (usize, (_, _, Option<u8>))| Label {
            key: format!("{:03}", n * 37 % 997),
            class,
            confidence,
            image: image.filter(|_| fingerprinted),
        };
        rows.into_iter().enumerate().map(label).collect()
    })
}

fn rules() -> impl Strategy<Value = SelectConfig> {
    (
        prop::sample::select(vec![0.0, 0.3, 0.5]),
        prop_oneof![1_u64..9, Just(1000)],
        any::<bool>(),
        any::<bool>(),
        0_u64..5,
        prop::sample::select(vec![1.0, 0.5, 0.25]),
    )
        .prop_map(
            |(threshold, per_class, duplicate, keep_duplicates, seed, fraction)| SelectConfig {
                threshold,
                per_class,
                balance: if duplicate {
                    Balance::Duplicate
                } else {
                    Balance::None
                },
                keep_duplicates,
                seed,
                fraction: if per_class as f64 * fraction < 1.0 {
                    1.0
                } else {
                    fraction
                },
                ..SelectConfig::default()
            },
        )
}

fn layout() -> impl Strategy<Value = Layout> {
    let numbers = (1_usize..5, 1_usize..20, any::<u64>(), 1_usize..5);
    (numbers, any::<bool>()).prop_map(|((files, row_group, order, threads), soft)| Layout {
        files,
        row_group,
        order,
        threads,
        soft,
    })
}

/// The definition: threshold, duplicates, the best K by (confidence, key), a sample by hash, copies by hash.
fn defined(labels: &[Label], rules: &SelectConfig) -> Chosen {
    let valid = labels.iter().filter_map(|l| {
        let confidence = l.confidence?;
        let good = confidence > rules.threshold && confidence <= 1.0;
        good.then_some((l, l.class?, confidence))
    });
    let mut valid: Vec<_> = valid.collect();
    if !rules.keep_duplicates {
        let mut first: BTreeMap<u8, &str> = BTreeMap::new();
        for (label, _, _) in &valid {
            if let Some(image) = label.image {
                let key = first.entry(image).or_insert(&label.key);
                *key = (*key).min(&label.key);
            }
        }
        valid.retain(|(l, _, _)| l.image.is_none_or(|image| first[&image] == l.key));
    }
    let mut classes: BTreeMap<i32, Vec<(&str, f32)>> = BTreeMap::new();
    for (label, class, confidence) in valid {
        classes
            .entry(class)
            .or_default()
            .push((&label.key, confidence));
    }
    let by_hash = |rows: &mut Vec<(&str, f32)>| {
        rows.sort_by_key(|(key, _)| seeded_hash(rules.seed, key));
    };
    let mut chosen = Chosen::new();
    for (class, candidates) in &classes {
        let mut rows = candidates.clone();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        rows.truncate(rules.per_class as usize);
        let sampled = (rows.len() as f64 * rules.fraction).round() as usize;
        by_hash(&mut rows);
        rows.truncate(sampled.max(1));
        let target = (rules.per_class as f64 * rules.fraction).round() as usize;
        let (base, more) = match rules.balance {
            Balance::Duplicate if target > rows.len() => (target / rows.len(), target % rows.len()),
            _ => (1, 0),
        };
        for (n, (key, confidence)) in rows.iter().enumerate() {
            let higher = candidates.iter().filter(|c| c.1 > *confidence).count();
            let copies = (base + usize::from(n < more)) as u32;
            let row = (*class, confidence.to_bits(), copies, higher as u32 + 1);
            chosen.insert((*key).to_owned(), row);
        }
    }
    chosen
}

fn write(folder: &Path, labels: &[Label], layout: &Layout) {
    let mut sorted = labels.to_vec();
    sorted.sort_by_key(|l| seeded_hash(layout.order, &l.key));
    for file in 0..layout.files {
        let rows: Vec<_> = sorted.iter().skip(file).step_by(layout.files).collect();
        let shas = rows.iter().map(|l| l.image.map(|image| [image; 32]));
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            (
                "key",
                Arc::new(StringArray::from_iter_values(rows.iter().map(|l| &l.key))),
            ),
            (
                "class",
                Arc::new(rows.iter().map(|l| l.class).collect::<Int32Array>()),
            ),
            (
                "confidence",
                Arc::new(rows.iter().map(|l| l.confidence).collect::<Float32Array>()),
            ),
        ];
        // Labels without any hash have no column of them.
        if labels.iter().any(|l| l.image.is_some()) {
            let shas = FixedSizeBinaryArray::try_from_sparse_iter_with_size(shas, 32).unwrap();
            columns.push(("sha256", Arc::new(shas)));
        }
        if layout.soft {
            let probs = rows.iter().map(|l| Some([l.confidence]));
            let probs = ListArray::from_iter_primitive::<Float32Type, _, _>(probs);
            columns.push(("probs", Arc::new(probs)));
        }
        let columns = columns.into_iter();
        let columns = columns.map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(layout.row_group))
            .build();
        let path = folder.join(format!("{file}.parquet"));
        let out = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
}

fn read(folder: &Path) -> Chosen {
    let mut chosen = Chosen::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "parquet") {
            continue;
        }
        let file = std::fs::File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let keys = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
            let keys = keys.unwrap();
            let classes = batch.column(1).as_primitive::<Int32Type>();
            let confidences = batch.column(2).as_primitive::<Float32Type>();
            let copies = batch.column(3).as_primitive::<UInt32Type>();
            let ranks = batch.column(4).as_primitive::<UInt32Type>();
            for i in 0..batch.num_rows() {
                let key = keys.as_string::<i32>().value(i).to_owned();
                let row = (
                    classes.value(i),
                    confidences.value(i).to_bits(),
                    copies.value(i),
                    ranks.value(i),
                );
                assert!(chosen.insert(key, row).is_none(), "a key came twice");
            }
        }
    }
    chosen
}

/// What `select` makes of labels in a layout: the rows, or none where there are no candidates.
fn selected(labels: &[Label], rules: &SelectConfig, layout: &Layout) -> Chosen {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("labels");
    std::fs::create_dir(&files).unwrap();
    write(&files, labels, layout);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(layout.threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url = folder.path().join("w").display().to_string();
        let (workspace, _) = Workspace::init(&url, &StorageOptions::default())
            .await
            .unwrap();
        let job = SelectJob {
            id: "s".into(),
            labels: Labels::Files(format!("{}/*.parquet", files.display())),
            config: rules.clone(),
            explain: false,
            queries: None,
            storage: StorageOptions::default(),
            memory: QUERY_MEMORY,
        };
        match job.run(&workspace).await {
            Ok(_) => read(&folder.path().join("w/selections/s")),
            Err(SelectError::Empty { .. }) => Chosen::new(),
            Err(e) => panic!("{e}"),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_selection_is_what_its_definition_says_whatever_the_files_and_threads(
        labels in labels(), rules in rules(), one in layout(), other in layout(),
    ) {
        let chosen = selected(&labels, &rules, &one);
        prop_assert_eq!(&chosen, &selected(&labels, &rules, &other));
        prop_assert_eq!(&chosen, &defined(&labels, &rules));
        // What the definition promises, read off the rows.
        let target = (rules.per_class as f64 * rules.fraction).round() as u32;
        let mut classes: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (class, confidence, copies, _) in chosen.values() {
            prop_assert!(f32::from_bits(*confidence) > rules.threshold);
            classes.entry(*class).or_default().push(*copies);
        }
        for copies in classes.values() {
            let (least, most) = (copies.iter().min().unwrap(), copies.iter().max().unwrap());
            prop_assert!(most - least <= 1);
            prop_assert!(copies.len() as u32 <= target.max(1));
            if rules.balance == Balance::Duplicate {
                prop_assert_eq!(copies.iter().sum::<u32>(), target);
            } else {
                prop_assert_eq!(*most, 1);
            }
        }
    }
}
