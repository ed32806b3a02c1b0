//! Evaluations of real models on real images: Fashion-MNIST against numpy, and the same images in every form that labelled data have.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::onnx::Model;
use crate::support::s3::S3;
use crate::support::{CLASSES, Place, colour, fashion, jpeg, parquet_with_labels, python, tar};

/// Evaluates and gives the JSON.
fn evaluate(place: &Place, args: &[&str]) -> Value {
    let args = [&["evaluate", "--json"], args].concat();
    serde_json::from_str(&place.ok(&args)).unwrap()
}

/// Sixteen images of the model `tiny`, and what they are labelled: four of them wrongly.
fn colours() -> Vec<(String, Vec<u8>, usize)> {
    (0..16)
        .map(|n| {
            let (rgb, name) = colour(n);
            let right = CLASSES.iter().position(|c| *c == name).unwrap();
            let label = if n % 4 == 3 { (right + 1) % 3 } else { right };
            (format!("{n:02}.jpg"), jpeg(rgb, n), label)
        })
        .collect()
}

/// Holds an evaluation's keys against those of `schemas/evaluation.json`.
fn is_documented(evaluation: &Value) {
    let documented: Value =
        serde_json::from_str(include_str!("../schemas/evaluation.json")).unwrap();
    let keys = |of: &Value| -> Vec<String> {
        let mut keys: Vec<_> = of.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    for (part, written) in [
        ("keys", evaluation),
        ("data", &evaluation["data"]),
        ("models", &evaluation["models"][0]),
        ("comparison", &evaluation["comparison"]),
    ] {
        assert_eq!(keys(written), keys(&documented[part]), "{part}");
    }
}

/// What of a model's evaluation does not depend on where the images lie.
fn figures(evaluation: &Value) -> Value {
    let mut model = evaluation["models"][0].clone();
    for key in ["seconds", "images_per_second"] {
        model.as_object_mut().unwrap().remove(key);
    }
    model
}

/// The sixteen images as class folders, as a tar with names and one with numbers, and as Parquet; the four folders.
fn forms(place: &Place) -> Vec<(&'static str, String)> {
    let put = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = place.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let images = colours();
    for (name, bytes, label) in &images {
        put(&format!("folders/{}/deep/{name}", CLASSES[*label]), bytes);
    }
    let tar_of = |label: &dyn Fn(usize) -> String| {
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        for (n, (name, bytes, class)) in images.iter().enumerate() {
            let stem = name.strip_suffix(".jpg").unwrap();
            let image = (format!("x.y/{stem}.jpg"), bytes.clone());
            let text = (format!("x.y/{stem}.cls"), label(*class).into_bytes());
            // The label may come first or last, and a sample may have other members.
            let other = (format!("x.y/{stem}.json"), b"{}".to_vec());
            members.extend(if n % 2 == 0 {
                [image, other, text]
            } else {
                [text, image, other]
            });
        }
        let members: Vec<(&str, &[u8])> =
            members.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        tar(&members)
    };
    put(
        "named/0.tar",
        &tar_of(&|class| format!("{}\n", CLASSES[class])),
    );
    put("numbered/0.tar", &tar_of(&|class| class.to_string()));
    // The data's own names are in another order than the model's.
    let named: Vec<&str> = CLASSES.iter().rev().copied().collect();
    let rows: Vec<(Vec<u8>, Option<i64>)> = images
        .iter()
        .map(|(_, bytes, class)| (bytes.clone(), Some(3 - *class as i64)))
        .collect();
    put("parquet/0.parquet", &parquet_with_labels(&rows, &named));
    ["folders", "named", "numbered", "parquet"]
        .map(|name| (name, place.path(name).display().to_string()))
        .to_vec()
}

#[test]
fn the_same_images_in_every_form_give_the_same_figures() {
    let place = Place::with_teacher();
    let mut all = Vec::new();
    for (form, url) in forms(&place) {
        let evaluation = evaluate(&place, &["--model", "tiny", "--data", &url]);
        assert_eq!(evaluation["data"]["images"], 16, "{form}");
        let figures = figures(&evaluation);
        assert_eq!(figures["top1"]["count"], 12, "{form}");
        assert_eq!(figures["model"], "tiny@1");
        let confusion = figures["confusion"].as_array().unwrap();
        let wrong: u64 = confusion
            .iter()
            .filter(|c| c["label"] != c["predicted"])
            .map(|c| c["images"].as_u64().unwrap())
            .sum();
        assert_eq!(wrong, 4, "{form}: {confusion:?}");
        all.push((form, figures));
    }
    for (form, figures) in &all {
        // The order in which sums are made differs with the order of the images.
        let near = |key: &str| {
            let (a, b) = (
                figures[key].as_f64().unwrap(),
                all[0].1[key].as_f64().unwrap(),
            );
            assert!((a - b).abs() < 1e-9, "{form}: {key} is {a}, not {b}");
        };
        ["nll", "ece", "mce", "confidence", "balanced_accuracy"]
            .into_iter()
            .for_each(near);
        for key in ["confusion", "classes", "top1", "images"] {
            assert_eq!(figures[key], all[0].1[key], "{form}: {key}");
        }
    }
}

#[test]
fn images_that_cannot_be_decoded_are_counted_with_their_reason_and_leave_the_shares_alone() {
    let place = Place::with_teacher();
    forms(&place);
    let folder = place.path("folders");
    std::fs::write(folder.join("red/bad.jpg"), b"bad").unwrap();
    std::fs::write(folder.join("red/half.jpg"), &jpeg(colour(0).0, 1)[..300]).unwrap();
    let url = folder.display().to_string();
    let predictions = place.path("p.parquet").display().to_string();
    let args = [
        "--model",
        "tiny",
        "--data",
        &url,
        "--predictions",
        &predictions,
    ];
    let evaluation = evaluate(&place, &args);
    assert_eq!(evaluation["data"]["images"], 18);
    let figures = figures(&evaluation);
    assert_eq!(figures["images"], 16);
    assert_eq!(figures["top1"]["of"], 16);
    assert_eq!(
        figures["rejected"],
        serde_json::json!({"decode: not-an-image": 1, "decode: truncated": 1})
    );
    let rows = python(
        "import sys, duckdb\nprint(duckdb.sql(f\"SELECT count(*), count(class), count(reason), string_agg(reason, ',' ORDER BY reason) FROM '{sys.argv[1]}'\").fetchall()[0])",
        &[&predictions],
    );
    assert_eq!(rows.trim(), "(18, 16, 2, 'not-an-image,truncated')");
    // The table says so, too.
    let table = place.ok(&["evaluate", "--model", "tiny", "--data", &url]);
    assert!(
        table.contains("2 (1 decode: not-an-image, 1 decode: truncated)"),
        "{table}"
    );
}

#[test]
fn fashion_mnists_figures_are_those_of_onnxruntime_and_numpy_in_python() {
    let place = Place::new();
    let model = fashion::model(&place, "centroids", &fashion::centroids(5000, 0.05));
    let data = fashion::file("t10k-images-idx3-ubyte.gz");
    let args = ["--model", &model, "--data", &data];
    let evaluation = evaluate(&place, &args);
    let figures = figures(&evaluation);
    let python = python(
        r#"
import sys, gzip, json, numpy as np, onnxruntime as ort
model, images, labels = sys.argv[1:]
x = np.frombuffer(gzip.open(images).read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
y = np.frombuffer(gzip.open(labels).read(), np.uint8, offset=8).astype(int)
logits = ort.InferenceSession(model).run(None, {"input": np.repeat(x, 3, 1)})[0].astype(np.float64)
p = np.exp(logits - logits.max(1, keepdims=True)); p /= p.sum(1, keepdims=True)
best, sure = p.argmax(1), p.max(1)
ranks = (p > p[np.arange(len(y)), y][:, None]).sum(1)
bins = np.clip(np.ceil(sure * 15).astype(int), 1, 15) - 1
gaps = [(np.sum(bins == b), abs((best == y)[bins == b].mean() - sure[bins == b].mean())) for b in range(15) if np.any(bins == b)]
confusion = np.zeros((10, 10), int); np.add.at(confusion, (y, best), 1)
print(json.dumps({
    "top1": int((best == y).sum()), "top5": int((ranks < 5).sum()),
    "nll": float(-np.log(p[np.arange(len(y)), y]).mean()), "confidence": float(sure.mean()),
    "ece": float(sum(n * g for n, g in gaps) / len(y)), "mce": float(max(g for n, g in gaps if n)),
    "confusion": confusion.tolist(),
}))
"#,
        &[&model, &data, &fashion::file("t10k-labels-idx1-ubyte.gz")],
    );
    let python: Value = serde_json::from_str(&python).unwrap();
    assert_eq!(figures["images"], 10_000);
    // Nearest centroids get two thirds of Fashion-MNIST right.
    let right = figures["top1"]["share"].as_f64().unwrap();
    assert!((0.6..0.75).contains(&right), "{right}");
    let apart = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs();
    for (of, key) in [("top1", "count"), ("top5", "count")] {
        let apart = apart(&figures[of][key], &python[of]);
        assert!(apart <= 2.0, "{of} is {apart} images apart");
    }
    for key in ["nll", "confidence", "ece"] {
        let apart = apart(&figures[key], &python[key]);
        assert!(apart < 1e-4, "{key} is {apart} apart");
    }
    assert!(apart(&figures["mce"], &python["mce"]) < 1e-2);
    let mut confusion = vec![vec![0_i64; 10]; 10];
    for cell in figures["confusion"].as_array().unwrap() {
        let at = |key: &str| cell[key].as_i64().unwrap();
        confusion[at("label") as usize][at("predicted") as usize] = at("images");
    }
    let differences: i64 = confusion
        .iter()
        .flatten()
        .zip(
            python["confusion"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|r| r.as_array().unwrap()),
        )
        .map(|(a, b)| (a - b.as_i64().unwrap()).abs())
        .sum();
    assert!(
        differences <= 4,
        "{differences} images are counted elsewhere"
    );
}

#[test]
fn two_models_are_compared_on_the_same_images_and_the_pairs_are_those_of_the_predictions() {
    let place = Place::new();
    let a = fashion::model(&place, "a", &fashion::centroids(200, 0.05));
    let b = fashion::model(&place, "b", &fashion::centroids(60_000, 0.05));
    let data = fashion::file("t10k-images-idx3-ubyte.gz");
    let predictions = place.path("p.parquet").display().to_string();
    let picture = place.path("p.svg");
    let picture_path = picture.display().to_string();
    let args = [
        "--model",
        &a,
        "--against",
        &b,
        "--data",
        &data,
        "--predictions",
        &predictions,
        "--plot",
        &picture_path,
        "--split",
        "1:0..8/20",
    ];
    let evaluation = evaluate(&place, &args);
    is_documented(&evaluation);
    let comparison = &evaluation["comparison"];
    let counted = python(
        r#"
import sys, duckdb
print(*duckdb.sql(f"""
WITH wide AS (SELECT key, bool_or(model = '{sys.argv[2]}' AND class = label) AS a, bool_or(model = '{sys.argv[3]}' AND class = label) AS b, count(*) AS n
FROM '{sys.argv[1]}' GROUP BY key)
SELECT count(*) FILTER (a AND b), count(*) FILTER (a AND NOT b), count(*) FILTER (b AND NOT a), count(*) FILTER (NOT a AND NOT b), min(n), max(n) FROM wide
""").fetchall()[0])
print(*duckdb.sql(f"SELECT bool_and((class = label) = (label_rank = 1)), bool_and(label_p <= confidence), count(DISTINCT label) FROM '{sys.argv[1]}'").fetchall()[0])
"#,
        &[&predictions, &a, &b],
    );
    let pairs = &comparison["pairs"];
    let expected = format!(
        "{} {} {} {} 2 2\nTrue True 10",
        pairs["both_right"], pairs["only_a"], pairs["only_b"], pairs["both_wrong"]
    );
    assert_eq!(counted.trim(), expected);
    assert_eq!(comparison["images"], evaluation["data"]["images"]);
    assert_eq!(comparison["test"], "continuity-corrected");
    // More images make better centroids, by more than chance.
    let number = |key: &str| comparison[key].as_f64().unwrap();
    assert!(
        number("difference") > 0.0 && number("low") > 0.0,
        "{comparison}"
    );
    assert!(number("p_value") < 0.01, "{comparison}");
    let of = |n: usize| evaluation["models"][n]["top1"]["share"].as_f64().unwrap();
    assert!((number("difference") - (of(1) - of(0))).abs() < 1e-12);
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for word in ["Ankle boot", "confidence", "ECE"] {
        assert!(svg.contains(word), "the picture has no `{word}`");
    }
    // A model against itself differs in nothing.
    let table = place.ok(&[
        "evaluate",
        "--model",
        &a,
        "--against",
        &a,
        "--data",
        &data,
        "--split",
        "1:0/20",
    ]);
    assert!(
        table.contains("exact binomial, fewer than 25 discordant pairs, p = 1.0000"),
        "{table}"
    );
}

#[test]
fn predictions_have_the_documented_columns() {
    #[derive(serde::Deserialize)]
    struct Documented {
        columns: Vec<Column>,
    }
    #[derive(serde::Deserialize)]
    struct Column {
        name: String,
        r#type: String,
        nullable: bool,
    }
    let documented: Documented =
        serde_json::from_str(include_str!("../schemas/predictions.json")).unwrap();
    let documented: Vec<_> = documented
        .columns
        .into_iter()
        .map(|c| (c.name, c.r#type, c.nullable))
        .collect();
    let code: Vec<_> = understudy::evaluate::predictions_schema()
        .fields()
        .iter()
        .map(|f| (f.name().clone(), f.data_type().to_string(), f.is_nullable()))
        .collect();
    assert_eq!(documented, code);
}

#[test]
fn parts_of_a_split_have_no_image_in_common_whether_they_are_labelled_or_evaluated() {
    let place = Place::new();
    place.ok(&["init"]);
    let (onnx, toml) = fashion::centroids(500, 0.05);
    let model = fashion::model(&place, "m", &(onnx, toml));
    let config = model.replace("model.onnx", "teacher.toml");
    place.ok(&[
        "teachers", "add", "cloth", "--model", &model, "--config", &config,
    ]);
    let data = fashion::file("t10k-images-idx3-ubyte.gz");
    let file = |name: &str| place.path(name).display().to_string();
    let part = |split: &str, more: &[&str], out: &str| {
        let args = [
            "--model",
            "cloth",
            "--data",
            &data,
            "--split",
            split,
            "--predictions",
            out,
        ];
        evaluate(&place, &[&args[..], more].concat())["data"]["images"]
            .as_u64()
            .unwrap()
    };
    let (labelled, validation) = (file("labelled.parquet"), file("validation.parquet"));
    assert_eq!(part("3:0..2/20", &["--per-class", "50"], &labelled), 500);
    let held_out = part("3:2..4/20", &[], &validation);
    assert!((850..1150).contains(&held_out), "{held_out}");
    let pipeline = place.path("p.toml");
    std::fs::write(
        &pipeline,
        "[source]\nsplit = { seed = 3, part = \"4..8/20\" }\n",
    )
    .unwrap();
    let pipeline = pipeline.display().to_string();
    // The unlabelled part is a source like any other; its labels lie beside it and are not read.
    let alone = place.path("alone");
    std::fs::create_dir(&alone).unwrap();
    let images = alone.join("t10k-images-idx3-ubyte.gz");
    std::fs::copy(&data, &images).unwrap();
    let label = |dataset: &str, source: &str| {
        let args = [
            "label",
            "--dataset",
            dataset,
            "--source",
            source,
            "--teacher",
            "cloth",
            "--config",
            &pipeline,
        ];
        place.ok(&args);
        place.number(&format!(
            "SELECT count(*) FROM labels WHERE dataset = '{dataset}'"
        ))
    };
    let unlabelled = label("here", &data);
    assert!((1_850..2_150).contains(&unlabelled), "{unlabelled}");
    assert_eq!(
        label("elsewhere", &images.display().to_string()),
        unlabelled
    );
    let keys = place.path("keys.parquet");
    let query = "SELECT regexp_replace(key, '.*/', '') AS name, dataset FROM labels";
    let output = place.run(&["sql", "--format", "parquet", query]);
    assert!(output.status.success());
    std::fs::write(&keys, output.stdout).unwrap();
    let counted = python(
        r#"
import sys, duckdb
labelled, validation, keys = sys.argv[1:]
name = "regexp_replace(key, '.*/', '')"
a, b = (f"SELECT {name} AS name FROM '{f}'" for f in (labelled, validation))
u, e = (f"SELECT name FROM '{keys}' WHERE dataset = '{d}'" for d in ("here", "elsewhere"))
count = lambda q: duckdb.sql(f"SELECT count(*) FROM ({q})").fetchall()[0][0]
print(count(f"{a} INTERSECT {b}"), count(f"{a} INTERSECT {u}"), count(f"{b} INTERSECT {u}"), count(f"{u} EXCEPT {e}"), count(f"{e} EXCEPT {u}"))
print(*duckdb.sql(f"SELECT min(n), max(n) FROM (SELECT label, count(*) AS n FROM '{labelled}' GROUP BY label)").fetchall()[0])
"#,
        &[&labelled, &validation, &keys.display().to_string()],
    );
    assert_eq!(counted.trim(), "0 0 0 0 0\n50 50");
}

#[test]
fn a_bucket_of_class_folders_is_evaluated_over_s3_and_so_is_a_gzipped_idx_file() {
    let place = Place::new();
    let root = place.path("s3");
    std::fs::create_dir_all(root.join("data")).unwrap();
    forms(&place);
    let run = std::process::Command::new("cp")
        .arg("-r")
        .arg(place.path("folders"))
        .arg(root.join("data/folders"))
        .status();
    assert!(run.unwrap().success());
    for name in ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"] {
        std::fs::copy(fashion::file(name), root.join("data").join(name)).unwrap();
    }
    let s3 = S3::start(&root);
    let run = |args: &[&str]| -> Value {
        let args = [&["evaluate", "--json"], args].concat();
        let output = place
            .command(&args)
            .env_remove("UNDERSTUDY_WORKSPACE")
            .env("AWS_ENDPOINT_URL", &s3.endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "understudy")
            .env("AWS_SECRET_ACCESS_KEY", "secret-key")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let tiny = (Model::default().bytes(), Model::default().teacher_toml());
    let tiny = fashion::model(&place, "tiny", &tiny);
    let evaluation = run(&["--model", &tiny, "--data", "s3://data/folders"]);
    assert_eq!(evaluation["models"][0]["top1"]["count"], 12);
    let cloth = fashion::model(&place, "cloth", &fashion::centroids(500, 0.05));
    let out = "s3://data/out/p.parquet";
    let evaluation = run(&[
        "--model",
        &cloth,
        "--data",
        "s3://data/t10k-images-idx3-ubyte.gz",
        "--split",
        "0:0/10",
        "--predictions",
        out,
    ]);
    let images = evaluation["data"]["images"].as_u64().unwrap();
    assert!((800..1200).contains(&images), "{images}");
    let written = std::fs::metadata(root.join("data/out/p.parquet")).unwrap();
    assert!(written.len() > 1000);
    // The same part of a copy on the local disk: the same images, by the same names.
    let local = evaluate(
        &place,
        &[
            "--model",
            &cloth,
            "--data",
            &fashion::file("t10k-images-idx3-ubyte.gz"),
            "--split",
            "0:0/10",
        ],
    );
    assert_eq!(
        evaluation["data"]["fingerprint"],
        local["data"]["fingerprint"]
    );
    assert_eq!(
        figures(&evaluation)["confusion"],
        figures(&local)["confusion"]
    );
}
