//! Labelled data that are damaged, lack labels or do not fit the model: each error names the first image and how many there are, and has its
//! exit code. The whole texts are kept as snapshots.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, RecordBatch, StringArray};

use crate::support::onnx::Model;
use crate::support::{CLASSES, Place, colour, fashion, jpeg, parquet_with_labels, tar};

/// The exit code and message of an evaluation of `images` by `tiny`, without this test's temporary folder.
fn error(place: &Place, more: &[&str]) -> String {
    let images = place.images();
    error_of(
        place,
        &[&["--model", "tiny", "--data", &images], more].concat(),
    )
}

fn error_of(place: &Place, args: &[&str]) -> String {
    let (code, text) = place.fails(&[&["evaluate"], args].concat());
    let folder = place.dir.path().display().to_string();
    let text: Vec<&str> = text.lines().filter(|l| !l.starts_with("device ")).collect();
    format!(
        "exit code {code}\n{}",
        text.join("\n").replace(&folder, "DIR")
    )
}

/// A workspace with `tiny` and images `red/0.jpg`, `green/1.jpg`, `blue/2.jpg`, ….
fn folders(images: u32) -> Place {
    let place = Place::with_teacher();
    for n in 0..images {
        let (rgb, name) = colour(n);
        place.put(&format!("{name}/{n}.jpg"), &jpeg(rgb, n));
    }
    place
}

#[test]
fn a_folder_without_class_folders_is_told_where_labels_are_looked_for() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.put("b.jpg", &jpeg(colour(1).0, 1));
    insta::assert_snapshot!(error(&place, &[]));
    insta::assert_snapshot!(error(&folders(0), &[]));
}

#[test]
fn images_beside_the_class_folders_are_refused_or_left_out() {
    let place = folders(6);
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.put("b.jpg", &jpeg(colour(1).0, 1));
    insta::assert_snapshot!(error(&place, &[]));
    let images = place.images();
    let table = place.ok(&[
        "evaluate",
        "--model",
        "tiny",
        "--data",
        &images,
        "--skip-unlabelled",
    ]);
    assert!(
        table.contains("6 labelled images of 3 classes; 2 without a label left out"),
        "{table}"
    );
}

#[test]
fn a_class_that_the_model_does_not_have_is_named_with_the_nearest() {
    let place = folders(6);
    place.put("gren/7.jpg", &jpeg(colour(1).0, 7));
    place.put("gren/8.jpg", &jpeg(colour(1).0, 8));
    insta::assert_snapshot!(error(&place, &[]));
    // A folder above the class folders.
    let above = Place::with_teacher();
    for n in 0..3 {
        above.put(
            &format!("train/{}/{n}.jpg", colour(n).1),
            &jpeg(colour(n).0, n),
        );
        above.put(
            &format!("val/{}/{n}.jpg", colour(n).1),
            &jpeg(colour(n).0, n),
        );
    }
    insta::assert_snapshot!(error(&above, &[]));
    // By number there have to be as many.
    insta::assert_snapshot!(error(&folders(6), &["--match", "number"]));
}

#[test]
fn data_of_another_number_of_classes_are_refused_with_both_numbers() {
    let place = Place::with_teacher();
    let rows = [(jpeg(colour(0).0, 0), Some(0))];
    place.put("a.parquet", &parquet_with_labels(&rows, &fashion::CLASSES));
    insta::assert_snapshot!(error(&place, &[]));
    // Fashion-MNIST has labels up to 9, the model has 4 classes.
    let data = fashion::file("t10k-images-idx3-ubyte.gz");
    let text = error_of(&place, &["--model", "tiny", "--data", &data]);
    let folder = data.rsplit_once('/').unwrap().0;
    insta::assert_snapshot!(text.replace(folder, "FASHION"));
}

#[test]
fn a_label_column_that_does_not_exist_or_holds_no_labels_is_told() {
    let place = Place::with_teacher();
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values([jpeg(colour(0).0, 0)]));
    let labels: ArrayRef = Arc::new(StringArray::from(vec!["red"]));
    let scores: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let batch =
        RecordBatch::try_from_iter([("image", images), ("colour", labels), ("score", scores)])
            .unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    place.put("a.parquet", &bytes);
    insta::assert_snapshot!(error(&place, &["--label-column", "color"]));
    insta::assert_snapshot!(error(&place, &[]));
    insta::assert_snapshot!(error(&place, &["--label-column", "score"]));
    let images = place.images();
    place.ok(&[
        "evaluate",
        "--model",
        "tiny",
        "--data",
        &images,
        "--label-column",
        "colour",
    ]);
}

#[test]
fn a_label_out_of_range_and_a_missing_one_are_counted() {
    let place = Place::with_teacher();
    let members: Vec<(String, Vec<u8>)> = (0..6)
        .flat_map(|n| {
            let label = if n < 2 {
                "1".to_owned()
            } else {
                (n + 3).to_string()
            };
            [
                (format!("{n}.jpg"), jpeg(colour(n).0, n)),
                (format!("{n}.cls"), label.into_bytes()),
            ]
        })
        .collect();
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    place.put("a.tar", &tar(&members));
    insta::assert_snapshot!(error(&place, &[]));
    place.put("a.tar", &tar(&members[..11]));
    insta::assert_snapshot!(error(&place, &[]));
    // −1 is how data sets say that they keep a label secret.
    let secret = Place::with_teacher();
    let rows = [
        (jpeg(colour(0).0, 0), Some(0)),
        (jpeg(colour(1).0, 1), Some(-1)),
        (jpeg(colour(2).0, 2), None),
    ];
    secret.put("a.parquet", &parquet_with_labels(&rows, &CLASSES));
    insta::assert_snapshot!(error(&secret, &[]));
}

#[test]
fn a_damaged_idx_file_is_named_with_what_is_wrong() {
    let place = Place::with_teacher();
    let images = fashion::bytes("t10k-images-idx3-ubyte.gz");
    let labels = fashion::bytes("t10k-labels-idx1-ubyte.gz");
    let gzipped = std::fs::read(fashion::file("t10k-images-idx3-ubyte.gz")).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        std::fs::remove_dir_all(place.path("images")).unwrap();
        place.put(name, bytes);
    };
    put("x-images-idx3-ubyte", &images[..100_000]);
    place.put("x-labels-idx1-ubyte", &labels);
    insta::assert_snapshot!(error(&place, &[]));
    // Gzipped: cut in the middle, a byte turned, and with more images than its header says.
    let mut turned = gzipped.clone();
    turned[3_000_000] ^= 0xFF;
    let more = {
        use std::io::Write as _;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&images[..16 + 784]).unwrap();
        packed.write_all(&images).unwrap();
        packed.finish().unwrap()
    };
    for (bytes, words) in [
        (
            &gzipped[..2_000_000],
            "its gzip stream is cut or damaged, after",
        ),
        (&turned, "its gzip stream is"),
        (
            &more,
            "it goes on after the 10000 images of 28×28 that its header speaks of",
        ),
    ] {
        put("x-images-idx3-ubyte.gz", bytes);
        place.put("x-labels-idx1-ubyte", &labels);
        let text = error(&place, &[]);
        let start = "exit code 9\nerror: `file://DIR/images/x-images-idx3-ubyte.gz` is damaged: damaged-idx, ";
        assert!(text.starts_with(start) && text.contains(words), "{text}");
    }
    // Another file under that name.
    put("x-images-idx3-ubyte", b"\x89PNG\r\n\x1a\n");
    place.put("x-labels-idx1-ubyte", &labels);
    insta::assert_snapshot!(error(&place, &[]));
    put("x-images-idx3-ubyte", &images);
    insta::assert_snapshot!(error(&place, &[]));
    let mut short = labels[..8 + 9_999].to_vec();
    place.put("x-labels-idx1-ubyte", &short);
    insta::assert_snapshot!(error(&place, &[]));
    // Whole, and of other images.
    short[4..8].copy_from_slice(&9_999_u32.to_be_bytes());
    place.put("x-labels-idx1-ubyte", &short);
    insta::assert_snapshot!(error(&place, &[]));
}

#[test]
fn a_damaged_idx_file_that_is_labelled_is_one_reject() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.put(
        "x-images-idx3-ubyte",
        &[0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 2, 7, 7],
    );
    place.put("x-labels-idx1-ubyte", &[0, 0, 8, 1]);
    let summary = place.label(&[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&1.into(), &1.into())
    );
    let rejects = place.sql("SELECT stage, reason, detail FROM rejects");
    assert_eq!(rejects[0]["reason"], "truncated-idx");
    assert_eq!(
        rejects[0]["detail"],
        "it has 18 bytes, but 9 images of 2×2 are 52"
    );
}

#[test]
fn a_class_with_too_few_images_is_named() {
    insta::assert_snapshot!(error(&folders(5), &["--per-class", "2"]));
}

#[test]
fn models_that_are_not_there_or_do_not_fit_each_other_are_named() {
    let place = folders(3);
    let images = place.images();
    let with = |args: &[&str]| error_of(&place, &[&["--data", &images], args].concat());
    insta::assert_snapshot!(with(&["--model", "tinny"]));
    let nowhere = place.path("nowhere.onnx").display().to_string();
    insta::assert_snapshot!(with(&["--model", &nowhere]));
    insta::assert_snapshot!(error_of(&place, &["--model", "tiny"]));
    let (onnx, toml) = (Model::default().bytes(), Model::default().teacher_toml());
    let other = toml.replace("\"dark\"", "\"black\"");
    let other = fashion::model(&place, "other", &(onnx.clone(), other));
    insta::assert_snapshot!(with(&["--model", "tiny", "--against", &other]));
    // A model whose teacher.toml speaks of other classes than it has.
    let short = toml.replace(", \"dark\"", "");
    let short = fashion::model(&place, "short", &(onnx, short));
    insta::assert_snapshot!(with(&["--model", &short]));
    let output = place
        .command(&["evaluate", "--model", "tiny", "--data", &images])
        .env_remove("UNDERSTUDY_WORKSPACE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nonsense_in_a_flag_is_refused_with_an_example() {
    let place = folders(3);
    for (flag, value, advice) in [
        ("--split", "1:3..2/60", "write A/B or A..C/B, such as 0/60"),
        ("--split", "0/60", "write SEED:PART, such as 1:2..6/60"),
        ("--match", "nmae", "use name or number"),
    ] {
        let text = error(&place, &[flag, value]);
        assert!(
            text.starts_with("exit code 2") && text.contains(advice),
            "{text}"
        );
    }
    let text = error(&place, &["--per-class", "0"]);
    assert!(text.contains("`data.per_class` is 0"), "{text}");
}
