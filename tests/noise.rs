//! Noise: every operation against the real Pillow (numpy where Pillow has no such operation), and how often which is drawn.

use std::collections::BTreeMap;

use image::RgbImage;
use understudy::label::decode::{DecodeConfig, decode};
use understudy::label::noise::TeacherNoise;
use understudy::label::preprocess::Preprocessor;
use understudy::random::Draws;
use understudy::student::noise::{Images, Noise, Operation, Pixels, RandAugment};
use understudy::teacher::TeacherConfig;

use crate::support::{Place, cache, colour, differing, folder, jpeg, label_args, png, python};

/// Mid-grey.
const FILL: [u8; 3] = [128; 3];

/// `Image.blend` is single-precision arithmetic, which compilers for other processors than x86-64 may contract: values may then be off by one.
const BLEND_TOLERANCE: u8 = if cfg!(target_arch = "x86_64") { 0 } else { 1 };

/// Carries out jobs on raw RGB files, and writes the results one after the other.
const PILLOW: &str = include_str!("../benches/noise_peer.py");

/// Photos, noise, few colours, one colour, and sizes at which something may run out.
fn images() -> BTreeMap<&'static str, RgbImage> {
    let photo = |name: &str| {
        let path = cache().join("demo/photos").join(name);
        image::open(path).unwrap().to_rgb8()
    };
    let noise = |width, height, seed| {
        let draws = Draws::of_row(seed, 0, 0);
        let value = |n: u32| draws.bits(n.into()) as u8;
        RgbImage::from_fn(width, height, |x, y| {
            let n = 3 * (y * width + x);
            image::Rgb([value(n), value(n + 1), value(n + 2)])
        })
    };
    let small = |name: &str, width, height| image::imageops::thumbnail(&photo(name), width, height);
    BTreeMap::from([
        ("cat", small("chelsea.png", 224, 149)),
        ("cup", small("coffee.png", 97, 130)),
        ("noise", noise(64, 64, 1)),
        ("noise-small", noise(17, 16, 2)),
        ("noise-smaller", noise(5, 9, 3)),
        ("three", noise(3, 3, 4)),
        ("two", noise(2, 2, 5)),
        ("column", noise(1, 40, 6)),
        ("row", noise(40, 1, 7)),
        ("one", noise(1, 1, 8)),
        (
            "flat",
            RgbImage::from_pixel(20, 20, image::Rgb([7, 130, 255])),
        ),
        (
            "dark",
            RgbImage::from_fn(40, 30, |x, y| {
                image::Rgb([(x % 3) as u8, 60 + (y % 9) as u8, 255 - x as u8])
            }),
        ),
    ])
}

/// Every operation as it is drawn at magnitudes from none to ten times the usual unit, and factors at which blending is a copy.
fn operations(width: u32, height: u32) -> Vec<Operation> {
    let mut found: BTreeMap<String, Operation> = BTreeMap::new();
    let mut add = |operation: Operation| {
        found.insert(serde_json::to_string(&operation).unwrap(), operation);
    };
    for magnitude in [0.0, 0.7, 5.0, 9.0, 10.0, 15.0, 27.0, 30.0, 60.0, 100.0] {
        let randaugment = RandAugment {
            operations: 16,
            magnitude,
            probability: [1.0, 1.0],
            ..RandAugment::default()
        };
        for row in 0..16 {
            let draws = Draws::of_row(11, magnitude.to_bits(), row);
            randaugment.draw(draws, width, height).for_each(&mut add);
        }
    }
    for factor in [0.0, 0.5, 1.0, 1.5] {
        add(Operation::Color { factor });
        add(Operation::Contrast { factor });
        add(Operation::Brightness { factor });
        add(Operation::Sharpness { factor });
    }
    found.into_values().collect()
}

#[test]
fn every_operation_gives_the_bytes_that_pillow_gives() {
    let folder = folder();
    let (mut jobs, mut ours) = (String::new(), Vec::new());
    let mut spare = Vec::new();
    let mut kinds = BTreeMap::new();
    for (name, image) in images() {
        let (width, height) = image.dimensions();
        std::fs::write(folder.path().join(name), image.as_raw()).unwrap();
        for operation in operations(width, height) {
            let job = serde_json::to_string(&(name, width, height, operation)).unwrap();
            let mut bytes = image.as_raw().clone();
            let mut pixels = Pixels::new(width, height, &mut bytes, &mut spare);
            operation.apply(&mut pixels, FILL);
            let kind = format!("{operation:?}");
            let kind = kind.split(' ').next().unwrap().to_owned();
            let changed: &mut u32 = kinds.entry(kind).or_default();
            *changed += u32::from(bytes != *image.as_raw());
            jobs = format!("{jobs}{job}\n");
            ours.push((job, bytes));
        }
    }
    // An operation that does nothing would agree with one that does nothing.
    assert_eq!(kinds.len(), 16, "{kinds:?}");
    assert!(kinds.values().all(|changed| *changed >= 5), "{kinds:?}");
    std::fs::write(folder.path().join("jobs"), jobs).unwrap();
    python(PILLOW, &[&folder.path().display().to_string()]);
    let results = std::fs::read(folder.path().join("results")).unwrap();
    let mut results = results.as_slice();
    for (job, bytes) in ours {
        let (theirs, rest) = results.split_at(bytes.len());
        results = rest;
        let blends = ["Color", "Contrast", "Brightness", "Sharpness"];
        let tolerance = if blends.iter().any(|b| job.contains(b)) {
            BLEND_TOLERANCE
        } else {
            0
        };
        let different = bytes
            .iter()
            .zip(theirs)
            .filter(|(a, b)| a.abs_diff(**b) > tolerance)
            .count();
        assert_eq!(different, 0, "of {} bytes differ: {job}", bytes.len());
    }
    assert!(results.is_empty());
}

#[test]
fn flips_and_translations_are_what_numpy_makes_of_them() {
    let folder = folder();
    let (mut jobs, mut ours) = (Vec::new(), Vec::new());
    for (name, image) in images() {
        let (width, height) = image.dimensions();
        std::fs::write(folder.path().join(name), image.as_raw()).unwrap();
        for (row, translate) in [(0, 0.0), (1, 0.125), (2, 0.5), (3, 0.5), (4, 0.3), (5, 0.5)] {
            let text = format!("[standard]\nflip = true\ntranslate = {translate:?}\n");
            let noise: Noise = toml::from_str(&text).unwrap();
            let noise = noise.image(Images::Labelled);
            let draws = Draws::of_row(9, 0, row);
            let (standard, theirs) = (noise.standard.unwrap(), draws.branch("standard", 0));
            let flipped = standard.flipped(theirs);
            let [left, up] = standard.translation(theirs, width, height);
            let mut bytes = image.as_raw().clone();
            noise.apply(
                draws,
                &mut Pixels::new(width, height, &mut bytes, &mut Vec::new()),
            );
            jobs.push(serde_json::json!([name, width, height, flipped, left, up]));
            ours.push(bytes);
        }
    }
    let moved = jobs
        .iter()
        .filter(|j| j[3] == true && j[4] != 0 && j[5] != 0);
    assert!(moved.count() > 5);
    std::fs::write(
        folder.path().join("jobs"),
        serde_json::to_vec(&jobs).unwrap(),
    )
    .unwrap();
    python(
        r#"
import json, sys
import numpy as np
folder = sys.argv[1] + "/"
with open(folder + "results", "wb") as results:
    for name, width, height, flipped, left, up in json.load(open(folder + "jobs")):
        image = np.frombuffer(open(folder + name, "rb").read(), np.uint8).reshape(height, width, 3)
        if flipped:
            image = image[:, ::-1]
        # As the published code does it for small images: pad with the mirror, cut out at a random place.
        x, y = abs(left), abs(up)
        padded = np.pad(image, ((y, y), (x, x), (0, 0)), mode="reflect")
        results.write(padded[y + up:y + up + height, x + left:x + left + width].tobytes())
"#,
        &[&folder.path().display().to_string()],
    );
    let results = std::fs::read(folder.path().join("results")).unwrap();
    let mut results = results.as_slice();
    for (job, bytes) in jobs.iter().zip(ours) {
        let (theirs, rest) = results.split_at(bytes.len());
        results = rest;
        assert!(bytes == theirs, "{job}");
    }
    assert!(results.is_empty());
}

#[test]
fn the_papers_noise_files_have_the_published_settings() {
    let read = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/noise");
        Noise::read(&folder.join(name)).unwrap()
    };
    let published = [
        ("efficientnet-b0", 0.2, None),
        ("efficientnet-b1", 0.2, None),
        ("efficientnet-b2", 0.3, Some(6.0)),
        ("efficientnet-b3", 0.3, Some(12.0)),
        ("efficientnet-b4", 0.4, Some(15.0)),
        ("efficientnet-b5", 0.4, Some(18.0)),
        ("efficientnet-b6", 0.5, Some(24.0)),
        ("efficientnet-b7", 0.5, Some(27.0)),
        ("efficientnet-l2", 0.5, Some(27.0)),
    ];
    for (name, dropout, magnitude) in published {
        let noise = read(&format!("{name}.toml"));
        let model = noise.model(Images::Unlabelled);
        assert_eq!(
            (model.dropout, model.stochastic_depth),
            (dropout, 0.2),
            "{name}"
        );
        let randaugment = noise.image(Images::Unlabelled).randaugment;
        assert_eq!(randaugment.map(|r| r.magnitude), magnitude, "{name}");
        assert!(randaugment.is_none_or(|r| r.operations == 2), "{name}");
        // Study 1, taught by L2: the same, but standard augmentation alone on unlabelled images.
        if magnitude.is_some() && name != "efficientnet-l2" {
            let study = read(&format!("study-1-{name}.toml"));
            assert_eq!(study.image(Images::Labelled), noise.image(Images::Labelled));
            let unlabelled = study.image(Images::Unlabelled);
            assert!(unlabelled.randaugment.is_none() && unlabelled.standard.is_some());
        }
    }
    let resnet = read("resnet50.toml").image(Images::Unlabelled);
    assert_eq!(resnet.randaugment.unwrap().magnitude.to_string(), "9");
    let svhn = read("svhn.toml").image(Images::Unlabelled);
    assert_eq!(svhn.randaugment.unwrap().magnitude.to_string(), "5");
    for size in ["1.3m", "130m"] {
        let all = read(&format!("table-6-{size}.toml"));
        let [no_augmentation, none] =
            ["no-augmentation", "no-noise"].map(|n| read(&format!("table-6-{size}-{n}.toml")));
        for file in [&no_augmentation, &none] {
            assert_eq!(file.image(Images::Labelled), all.image(Images::Labelled));
            assert_eq!(file.model(Images::Labelled), all.model(Images::Labelled));
            assert!(file.image(Images::Unlabelled).is_none());
        }
        assert_eq!(
            no_augmentation.model(Images::Unlabelled),
            all.model(Images::Labelled)
        );
        assert_eq!(none.model(Images::Unlabelled).dropout.to_string(), "0");
        assert_eq!(
            all.image(Images::Unlabelled).randaugment.is_some(),
            size == "130m"
        );
    }
}

/// Noise that hardly leaves an image as it is.
const STRONG: &str = "\
seed = 5
[standard]
random_resized_crop = true
flip = true
[randaugment]
operations = 3
magnitude = 12.0
probability = [0.9, 1.0]
[cutout]
";

/// A workspace with 30 images and one that is none, and the noise file `strong.toml`.
fn place() -> (Place, String) {
    let place = Place::with_teacher();
    for n in 0..30 {
        let bytes = if n % 2 == 0 {
            jpeg(colour(n).0, n)
        } else {
            png(colour(n).0, n)
        };
        place.put(&format!("{n:03}.img"), &bytes);
    }
    place.put("damaged.jpg", b"damaged");
    let file = place.path("strong.toml");
    std::fs::write(&file, STRONG).unwrap();
    let config = place.path("p.toml");
    std::fs::write(
        &config,
        "[source]\nextensions = [\"img\"]\n[manifest]\nshard_images = 4\n",
    )
    .unwrap();
    (place, file.display().to_string())
}

impl Place {
    /// Labels the folder of images, noised or not.
    fn label_noised(&self, more: &[&str]) -> serde_json::Value {
        let config = self.path("p.toml").display().to_string();
        self.label(&[more, &["--config", &config]].concat())
    }
}

#[test]
fn a_noised_teachers_labels_lie_beside_the_clean_ones_and_are_chosen_by_name() {
    let (place, noise) = place();
    place.label_noised(&[]);
    let clean = place.labels();
    let summary = place.label_noised(&["--noise", &noise]);
    assert_eq!(summary["teacher"], "tiny@1+strong");
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&30.into(), &1.into())
    );
    let both = place.labels();
    assert_eq!(both.len(), 2 * clean.len());
    assert!(
        clean.iter().all(|(name, bytes)| both[name] == *bytes),
        "clean labels were changed"
    );

    // What is of the image itself is the same; the labels are others.
    let images = |teacher: &str, columns: &str| {
        place.sql(&format!(
            "SELECT {columns} FROM labels WHERE teacher = '{teacher}' ORDER BY key"
        ))
    };
    let own = "key, sha256, phash, width, height, shard";
    assert_eq!(images("tiny@1", own), images("tiny@1+strong", own));
    let (clean, noised) = (images("tiny@1", "probs"), images("tiny@1+strong", "probs"));
    let changed = clean.iter().zip(&noised).filter(|(a, b)| a != b).count();
    assert!(changed > 20, "{changed} of 30 labels differ");
    assert_eq!(
        place.number("SELECT count(*) FROM rejects WHERE teacher = 'tiny@1+strong'"),
        1
    );
    assert!(place.number("SELECT sum(images) FROM churn('tiny@1', 'tiny@1+strong')") == 30);

    // Neither is redone, and a selection takes just those that it names.
    for more in [&[][..], &["--noise", &noise]] {
        assert_eq!(place.label_noised(more)["images"], 0);
    }
    assert_eq!(
        place.label_noised(&["--noise", &noise, "--retry-rejects"])["rejected"],
        1
    );
    for (name, teacher, recorded) in [
        ("clean", "tiny", "tiny@1"),
        ("noised", "tiny+strong", "tiny@1+strong"),
    ] {
        let select = [
            "select",
            "--name",
            name,
            "--dataset",
            "d",
            "--teacher",
            teacher,
            "--threshold",
            "0.0",
            "--per-class",
            "50",
            "--balance",
            "none",
            "--keep-duplicates",
            "--json",
        ];
        let made: serde_json::Value = serde_json::from_str(&place.ok(&select)).unwrap();
        assert_eq!(made["input"]["teacher"], recorded);
        let same = format!(
            "SELECT count(*) FROM selections s JOIN labels l ON s.key = l.key AND s.confidence = l.confidence
             WHERE s.selection = '{name}' AND l.teacher = '{recorded}'"
        );
        assert_eq!(place.number(&same), 30, "{name}");
        let page = place.path("report.html");
        let out = page.display().to_string();
        place.ok(&["report", "--selection", name, "--out", &out]);
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&format!("Teacher {recorded}<")), "{name}");
    }
}

#[test]
fn a_noised_label_is_that_of_the_image_noised_at_the_models_input_with_draws_of_seed_and_key() {
    let (place, noise) = place();
    std::fs::write(
        &noise,
        STRONG.replace("random_resized_crop = true", "translate = 0.2"),
    )
    .unwrap();
    place.label_noised(&["--noise", &noise, "--encoding", "float32"]);
    let settings = TeacherNoise::read(std::path::Path::new(&noise))
        .unwrap()
        .settings;
    let teacher = TeacherConfig::read(&place.path("teacher.toml")).unwrap();
    let mut preprocessor = Preprocessor::new(&teacher.preprocess, 8, 8);
    for row in place.sql("SELECT key, probs FROM labels ORDER BY key") {
        let key = row["key"].as_str().unwrap();
        let bytes = std::fs::read(key.strip_prefix("file://").unwrap()).unwrap();
        let image = decode(&bytes, &DecodeConfig::default(), None).unwrap();
        // The small model's mean is 0 and its std is 1: what it would see of the clean image are bytes still.
        let mut planes = vec![0.0; 3 * 64];
        preprocessor.run(&image, &mut planes).unwrap();
        let mut pixels = RgbImage::from_fn(8, 8, |x, y| {
            image::Rgb([0, 1, 2].map(|c| planes[(c * 64 + y * 8 + x) as usize] as u8))
        });
        let mut spare = Vec::new();
        settings.image.apply(
            Draws::of_key(5, key),
            &mut Pixels::new(8, 8, &mut pixels, &mut spare),
        );
        // And what it makes of them: the mean of each channel times 0.02, and 1 for dark.
        let mean = |c: usize| pixels.pixels().map(|p| f64::from(p[c])).sum::<f64>() / 64.0;
        let exps = [mean(0) * 0.02, mean(1) * 0.02, mean(2) * 0.02, 1.0].map(f64::exp);
        let sum: f64 = exps.iter().sum();
        for (class, exp) in exps.iter().enumerate() {
            let (found, expected) = (row["probs"][class].as_f64().unwrap(), exp / sum);
            assert!(
                (found - expected).abs() < 1e-4,
                "{key}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn a_killed_noised_run_resumes_to_the_bytes_of_an_undisturbed_one() {
    let (place, noise) = place();
    for n in 100..400 {
        place.put(&format!("{n:03}.img"), &jpeg(colour(n).0, n));
    }
    let (images, config) = (place.images(), place.path("p.toml").display().to_string());
    let args = |workspace: &str| -> Vec<String> {
        [
            &label_args(&images)[..],
            &[
                "--config",
                &config,
                "--noise",
                &noise,
                "--workspace",
                workspace,
            ],
        ]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect()
    };
    let [first, second] = ["w", "w2"].map(|name| place.path(name).display().to_string());
    place.ok(&["init", "--workspace", &second]);
    let teacher = ["model.onnx", "teacher.toml"].map(|name| place.path(name).display().to_string());
    place.ok(&[
        "teachers",
        "add",
        "tiny",
        "--workspace",
        &second,
        "--model",
        &teacher[0],
        "--config",
        &teacher[1],
    ]);
    let started = std::time::Instant::now();
    place.ok(&args(&first).iter().map(String::as_str).collect::<Vec<_>>());
    let whole = started.elapsed();
    let mut kills = 0;
    for n in 1..6 {
        let disturbed = args(&second);
        let mut child = place
            .command(&disturbed.iter().map(String::as_str).collect::<Vec<_>>())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(f64::from(n) / 6.0));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "no run was killed before its end");
    let mut rest = args(&second);
    rest.extend(["--workers", "1"].map(str::to_owned));
    place.ok(&rest.iter().map(String::as_str).collect::<Vec<_>>());
    let undisturbed = place.labels();
    let disturbed = crate::support::files(&place.path("w2/labels"));
    assert!(undisturbed.len() > 60);
    assert_eq!(differing(&undisturbed, &disturbed), Vec::<String>::new());
}

#[test]
fn noise_of_another_kind_or_seed_never_comes_among_labels_of_the_same_name() {
    let (place, noise) = place();
    place.label_noised(&["--noise", &noise]);
    let images = place.images();
    let config = place.path("p.toml").display().to_string();
    let again = [
        &label_args(&images)[..],
        &["--config", &config, "--noise", &noise],
    ]
    .concat();
    for (from, to) in [
        ("seed = 5", "seed = 6"),
        ("operations = 3", "operations = 2"),
    ] {
        std::fs::write(&noise, STRONG.replace(from, to)).unwrap();
        let (code, text) = place.fails(&again);
        assert_eq!(code, 2);
        assert!(
            text.contains("`tiny@1+strong`") && text.contains("noise = "),
            "{text}"
        );
        assert!(text.contains("give this one another name"), "{text}");
    }
    // What changes no label is no other noise: a description, what an exported model cannot have, what labelled images get.
    std::fs::write(
        &noise,
        format!("description = \"x\"\ndropout = 0.5\n{STRONG}[labelled]\ncutout = false\n"),
    )
    .unwrap();
    assert_eq!(place.label_noised(&["--noise", &noise])["images"], 0);
    // The two preprocessings have hashes of their own.
    place.label_noised(&[]);
    let hash = |teacher: &str| {
        let path = place.path(&format!(
            "w/labels/dataset=d/teacher={teacher}/_labels.json"
        ));
        let settings: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        settings["preprocessing"].as_str().unwrap().to_owned()
    };
    assert_ne!(hash("tiny@1"), hash("tiny@1+strong"));
}

#[test]
fn what_an_exported_model_cannot_have_is_said_and_a_file_of_nothing_else_is_refused() {
    let (place, noise) = place();
    let images = place.images();
    let config = place.path("p.toml").display().to_string();
    let label = [
        &label_args(&images)[..],
        &["--config", &config, "--noise", &noise],
    ]
    .concat();
    let model = "dropout = 0.5\nstochastic_depth = 0.2\n";
    std::fs::write(&noise, format!("{model}[standard]\nflip = true\n")).unwrap();
    let output = place.run(&label);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains(
            "note: images alone are noised, without `dropout = 0.5` and `stochastic_depth = 0.2`"
        ),
        "{text}"
    );
    for text in [
        model,
        "",
        "[randaugment]\n[unlabelled]\nrandaugment = false\n",
        "[standard]\n",
    ] {
        std::fs::write(&noise, text).unwrap();
        let (code, error) = place.fails(&label);
        assert_eq!(code, 2);
        assert!(
            error.contains("leaves unlabelled images as they are"),
            "{error}"
        );
        assert!(error.contains("hint: add `[randaugment]`"), "{error}");
    }
    let named = [
        &label_args(&images)[..6],
        &["tiny+strong", "--config", &config],
    ]
    .concat();
    let (code, error) = place.fails(&named);
    assert_eq!(code, 2);
    assert!(
        error.contains("`tiny+strong` names labels of noised images"),
        "{error}"
    );
    let spaced = place.path("my noise.toml").display().to_string();
    std::fs::write(&spaced, STRONG).unwrap();
    let (code, error) = place.fails(&[&label[..label.len() - 1], &[&spaced]].concat());
    assert_eq!(code, 2);
    assert!(error.contains("hint: rename it"), "{error}");
}

#[test]
fn other_engines_read_noised_labels_and_the_name_of_their_teacher() {
    let (place, noise) = place();
    place.label_noised(&[]);
    place.label_noised(&["--noise", &noise]);
    let out = python(
        r#"
import sys, duckdb, polars as pl, pyarrow.dataset as ds
root = sys.argv[1] + "/labels"
print(sorted(duckdb.sql(f"SELECT teacher, count(*) FROM read_parquet('{root}/**/*.parquet', hive_partitioning=true) WHERE reason IS NULL GROUP BY 1").fetchall()))
good = pl.read_parquet(root + "/**/*.parquet", hive_partitioning=True).filter(pl.col("reason").is_null())
print(sorted(good.group_by("teacher").len().rows()))
table = ds.dataset(root, partitioning="hive", format="parquet").to_table(filter=ds.field("reason").is_null())
print(sorted((v["values"], v["counts"]) for v in table["teacher"].value_counts().to_pylist()))
"#,
        &[&place.path("w").display().to_string()],
    );
    let expected = "[('tiny@1', 30), ('tiny@1+strong', 30)]";
    assert_eq!(out.lines().collect::<Vec<_>>(), [expected; 3]);
}
