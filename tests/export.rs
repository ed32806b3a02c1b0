//! Exports: read by real Python with the example's own code, held against the selection and the source, resumed, refused.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::onnx::Model;
use crate::support::{
    Place, colour, differing, files, jpeg, parquet_with_images, png, python, tar,
};

/// Dataset `d` of 20 loose JPEG and PNG files, a tar of 6 and a Parquet file of 5, labelled by `tiny`; selection `s` with 12 rows a class.
fn selected(more: &[&str]) -> Place {
    let place = Place::with_teacher();
    for n in 0..20 {
        if n % 4 == 3 {
            place.put(&format!("{n:02}.png"), &png(colour(n).0, n));
        } else {
            place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
        }
    }
    let photos: Vec<Vec<u8>> = (20..31).map(|n| jpeg(colour(n).0, n)).collect();
    let names: Vec<String> = (20..26).map(|n| format!("in/{n}.x.jpg")).collect();
    let members = names.iter().zip(&photos);
    let members: Vec<(&str, &[u8])> = members.map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    place.put("more.tar", &tar(&members));
    let rows: Vec<Option<&[u8]>> = photos[6..].iter().map(|b| Some(b.as_slice())).collect();
    place.put("table.parquet", &parquet_with_images(&rows));
    place.label(&[]);
    select(&place, "s", more);
    place
}

fn select(place: &Place, name: &str, more: &[&str]) -> serde_json::Value {
    let mut args = vec![
        "select",
        "--name",
        name,
        "--dataset",
        "d",
        "--teacher",
        "tiny",
        "--threshold",
        "0.2",
        "--json",
    ];
    if !more.contains(&"--per-class") {
        args.extend(["--per-class", "12"]);
    }
    args.extend(more);
    serde_json::from_str(&place.ok(&args)).unwrap()
}

fn args<'a>(selection: &'a str, format: &'a str, out: &'a str) -> Vec<&'a str> {
    vec![
        "export",
        "--selection",
        selection,
        "--format",
        format,
        "--out",
        out,
        "--json",
    ]
}

/// Exports selection `s` and gives `export.json`.
fn export(place: &Place, format: &str, out: &str, more: &[&str]) -> serde_json::Value {
    let out = place.path(out).display().to_string();
    let mut args = args("s", format, &out);
    args.extend(more);
    serde_json::from_str(&place.ok(&args)).unwrap()
}

/// What the example reads of an export, as JSON lines: key, label, copies, sha256 of the image, sum and top class of the soft label.
fn read(folder: &Path) -> Vec<serde_json::Value> {
    let lines = python(
        r#"
import sys, json, hashlib
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import read_export
for s in read_export.samples(Path(sys.argv[2])):
    soft = None if s.probs is None else {"sum": float(s.probs.astype("float64").sum()), "top": int(s.probs.argmax()), "dtype": str(s.probs.dtype), "n": len(s.probs)}
    print(json.dumps({"key": s.key, "label": s.label, "copies": s.copies, "sha256": hashlib.sha256(s.image).hexdigest(), "soft": soft}))
"#,
        &[
            concat!(env!("CARGO_MANIFEST_DIR"), "/examples"),
            &folder.display().to_string(),
        ],
    );
    lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// Each row's key, class, copies and confidence, by (key, repetition), as DuckDB reads the selection, with the label's hash.
fn chosen(place: &Place, name: &str) -> BTreeMap<String, (i64, i64, String)> {
    let parts = place.path("w/selections").join(name).join("part-*.parquet");
    let labels = place.path("w/labels/**/*.parquet");
    let out = python(
        r#"
import sys, json, duckdb
q = f"""select s.key, s.class, s.copies, hex(l.sha256) from read_parquet('{sys.argv[1]}') s
join (select key, sha256 from read_parquet('{sys.argv[2]}', hive_partitioning=false) where reason is null) l using (key)"""
print(json.dumps(duckdb.sql(q).fetchall()))
"#,
        &[&parts.display().to_string(), &labels.display().to_string()],
    );
    let rows: Vec<(String, i64, i64, String)> = serde_json::from_str(&out).unwrap();
    let rows = rows.into_iter();
    rows.map(|(key, class, copies, sha)| (key, (class, copies, sha.to_lowercase())))
        .collect()
}

#[test]
fn the_example_reads_both_formats_and_finds_each_image_as_often_as_the_selection_says() {
    let place = selected(&[]);
    let chosen = chosen(&place, "s");
    for format in ["parquet", "webdataset"] {
        let json = export(&place, format, format, &[]);
        let rows = read(&place.path(format));
        assert_eq!(json["totals"]["rows"], rows.len());
        assert_eq!(
            (&json["totals"]["left_out"], &json["totals"]["unchecked"]),
            (&0.into(), &0.into())
        );
        let mut times: BTreeMap<&str, i64> = BTreeMap::new();
        let mut classes: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &rows {
            let key = row["key"].as_str().unwrap();
            let (class, _, sha256) = &chosen[key];
            assert_eq!(row["label"], *class, "{format}: {row}");
            assert_eq!(row["sha256"], *sha256, "{format}: {row}");
            assert_eq!(row["soft"]["top"], *class, "{format}: {row}");
            assert_eq!(
                (&row["soft"]["dtype"], &row["soft"]["n"]),
                (&"float32".into(), &4.into())
            );
            let sum = row["soft"]["sum"].as_f64().unwrap();
            assert!((sum - 1.0).abs() < 1e-6, "{format}: {row}");
            assert_eq!(row["copies"], 1);
            *times.entry(key).or_insert(0) += 1;
            *classes.entry(*class).or_insert(0) += 1;
        }
        let wanted: BTreeMap<&str, i64> =
            chosen.iter().map(|(key, c)| (key.as_str(), c.1)).collect();
        assert_eq!(times, wanted, "{format}");
        assert_eq!(
            classes,
            BTreeMap::from([(0, 12), (1, 12), (2, 12)]),
            "{format}"
        );
        assert_eq!(json["classes"][0]["label"], "red");
        // Loose objects, tar members and rows of a Parquet file are all among them.
        for part in [".png", "more.tar#in/", "table.parquet#"] {
            assert!(times.keys().any(|key| key.contains(part)), "{part}");
        }
        let printed =
            std::process::Command::new(crate::support::cache().join("venv-test/bin/python"))
                .arg(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/examples/read_export.py"
                ))
                .arg(place.path(format))
                .output()
                .unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        assert!(printed.starts_with("36 images of 3 classes"), "{printed}");
    }
}

#[test]
fn the_same_export_is_the_same_bytes_and_another_seed_another_order() {
    let place = selected(&[]);
    for format in ["parquet", "webdataset"] {
        let first = format!("{format}-1");
        export(&place, format, &first, &[]);
        let out = place.path(&format!("{format}-2")).display().to_string();
        let output = place
            .command(&args("s", format, &out))
            .env("TOKIO_WORKER_THREADS", "1")
            .output()
            .unwrap();
        assert!(output.status.success());
        let one = files(&place.path(&first));
        assert_eq!(
            differing(&one, &files(Path::new(&out))),
            Vec::<String>::new()
        );
        let other = format!("{format}-3");
        export(&place, format, &other, &["--seed", "1"]);
        let keys = |folder: &str| -> Vec<String> {
            let rows = read(&place.path(folder));
            rows.iter().map(|r| r["key"].to_string()).collect()
        };
        let (mut one, mut three) = (keys(&first), keys(&other));
        assert_ne!(one, three);
        one.sort();
        three.sort();
        assert_eq!(one, three);
    }
}

#[test]
fn in_the_order_of_the_source_copies_follow_each_other_and_as_a_column_they_are_a_number() {
    let place = selected(&[]);
    export(&place, "webdataset", "source", &["--order", "source"]);
    let rows = read(&place.path("source"));
    let keys: Vec<&str> = rows.iter().map(|r| r["key"].as_str().unwrap()).collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let json = export(
        &place,
        "parquet",
        "column",
        &["--order", "source", "--copies", "column"],
    );
    let rows = read(&place.path("column"));
    let chosen = chosen(&place, "s");
    assert_eq!((rows.len(), chosen.len()), (31, 31));
    assert_eq!(json["totals"]["rows"], 31);
    let copies: BTreeMap<String, i64> = rows
        .iter()
        .map(|r| {
            (
                r["key"].as_str().unwrap().to_owned(),
                r["copies"].as_i64().unwrap(),
            )
        })
        .collect();
    assert!(chosen.iter().all(|(key, c)| copies[key] == c.1));
    assert_eq!(copies.values().sum::<i64>(), 36);
}

#[test]
fn hard_targets_have_no_soft_label_and_top_k_labels_are_expanded() {
    let place = selected(&["--targets", "hard"]);
    for format in ["parquet", "webdataset"] {
        let json = export(&place, format, format, &[]);
        assert_eq!(
            (&json["targets"], &json["num_classes"]),
            (&"hard".into(), &4.into())
        );
        let rows = read(&place.path(format));
        assert!(rows.iter().all(|r| r["soft"].is_null()));
    }
    let config = place.path("topk.toml");
    std::fs::write(&config, "[label]\nencoding = \"topk\"\ntop_k = 2\n").unwrap();
    place.add_teacher("few", &Model::default());
    let config = config.display().to_string();
    place.ok(&[
        "label",
        "--dataset",
        "d",
        "--teacher",
        "few",
        "--config",
        &config,
    ]);
    place.ok(&[
        "select",
        "--name",
        "k",
        "--dataset",
        "d",
        "--teacher",
        "few",
        "--threshold",
        "0.2",
        "--per-class",
        "4",
    ]);
    let out = place.path("k").display().to_string();
    place.ok(&args("k", "parquet", &out));
    let stored = place.path("w/labels/dataset=d/teacher=few@1/*.parquet");
    let apart = python(
        r#"
import sys, duckdb, glob
q = f"""select e.probs, l.probs as top, l.rest from read_parquet('{sys.argv[1]}/train-*.parquet') e
join read_parquet('{sys.argv[2]}', hive_partitioning=false) l using (key)"""
rows = duckdb.sql(q).fetchall()
worst = 0
for probs, top, rest in rows:
    assert len(probs) == 4 and len(top) == 2
    own = {t["class"]: t["p"] for t in top}
    for c, p in enumerate(probs):
        worst = max(worst, abs(p - own.get(c, rest / 2)))
print(len(rows), worst < 1e-5)
"#,
        &[&out, &stored.display().to_string()],
    );
    assert_eq!(apart.trim(), "12 True");
}

#[test]
fn images_that_changed_or_vanished_since_are_counted_named_and_left_out() {
    let place = selected(&["--per-class", "50", "--balance", "none"]);
    let images = place.path("images");
    // One was only touched, as by a copy: its bytes are what was labelled.
    let touched = std::fs::File::options()
        .write(true)
        .open(images.join("04.jpg"));
    let later = std::time::SystemTime::now() + std::time::Duration::from_hours(1);
    touched.unwrap().set_modified(later).unwrap();
    // One is mended in place, one is gone, one is another by the time of the next listing, which labels it anew.
    std::fs::write(images.join("00.jpg"), jpeg(colour(0).0, 99)).unwrap();
    std::fs::remove_file(images.join("01.jpg")).unwrap();
    let json = export(&place, "parquet", "one", &[]);
    assert_eq!(json["totals"]["rows"], 29);
    assert_eq!(
        json["left_out"],
        serde_json::json!({"changed": 1, "not-found": 1})
    );
    std::fs::write(images.join("02.jpg"), jpeg(colour(2).0, 98)).unwrap();
    // The same members at other places: what they hold is what was labelled.
    let mut members = std::fs::read(images.join("more.tar")).unwrap();
    let first = tar(&[("note.txt", b"another first member")]);
    members.splice(0..0, first[..1024].iter().copied());
    std::fs::write(images.join("more.tar"), members).unwrap();
    let before = export(&place, "webdataset", "two", &[]);
    assert_eq!(
        before["left_out"],
        serde_json::json!({"changed": 8, "not-found": 1})
    );
    place.label(&[]);
    let json = export(&place, "webdataset", "three", &[]);
    assert_eq!(
        json["left_out"],
        serde_json::json!({"changed": 2, "not-found": 1})
    );
    assert_eq!(
        (&json["totals"]["rows"], &json["totals"]["left_out"]),
        (&28.into(), &3.into())
    );
    let named: Vec<&str> = json["left_out_examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["key"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(named, ["00.jpg", "01.jpg", "02.jpg"]);
    let record = std::fs::read_to_string(place.path("three/_shards/000000.json")).unwrap();
    assert!(
        record.contains("02.jpg") && record.contains("its bytes are not those"),
        "{record}"
    );
    let chosen = chosen(&place, "s");
    for row in read(&place.path("three")) {
        assert_eq!(row["sha256"], chosen[row["key"].as_str().unwrap()].2);
    }
}

/// A selection of 12 images of some 480 kB, which fill six shards of 1 MiB.
fn large() -> Place {
    let place = Place::with_teacher();
    for n in 0..12_u32 {
        let [r, g, b] = colour(n).0;
        let mut state = n + 1;
        let noise = image::RgbImage::from_fn(400, 400, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let add = |c: u8, shift: u32| c.saturating_add((state >> shift) as u8 & 0x3F);
            image::Rgb([add(r, 24), add(g, 16), add(b, 8)])
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        noise.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        place.put(&format!("{n:02}.png"), &bytes.into_inner());
    }
    place.label(&[]);
    select(&place, "s", &["--per-class", "4"]);
    place
}

#[test]
fn an_interrupted_export_goes_on_where_it_was_to_the_same_bytes() {
    let place = large();
    for format in ["parquet", "webdataset"] {
        let small = ["--shard-mib", "1"];
        let json = export(&place, format, format, &small);
        let shards = json["shards"].as_array().unwrap().len();
        assert!(shards >= 4, "{json}");
        assert!(
            json["shards"]
                .as_array()
                .unwrap()
                .iter()
                .all(|s| s["bytes"].as_u64().unwrap() < 1_200_000)
        );
        let whole = files(&place.path(format));
        for done in 0..shards {
            // A run that was killed after it had put shard `done`, and before its record.
            let out = place.path(format);
            let killed = whole.iter().filter(|(name, _)| {
                let number = |name: &str| name.get(..6).and_then(|n| n.parse::<usize>().ok());
                match name
                    .strip_prefix("train-")
                    .or(name.strip_prefix("_shards/"))
                    .and_then(number)
                {
                    Some(n) if name.starts_with("train-") => n <= done,
                    Some(n) => n < done,
                    None => *name == "_begun.json",
                }
            });
            let killed: BTreeMap<_, _> = killed.collect();
            assert_eq!(killed.len(), 2 * done + 2);
            std::fs::remove_dir_all(&out).unwrap();
            for (name, bytes) in killed {
                let path = out.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            export(&place, format, format, &small);
            assert_eq!(
                differing(&whole, &files(&out)),
                Vec::<String>::new(),
                "after {done}"
            );
        }
        // What has its record is not read again: its images may be gone by now.
        let out = place.path(format);
        std::fs::remove_file(out.join("export.json")).unwrap();
        let hidden = place.path("hidden");
        std::fs::rename(place.path("images"), &hidden).unwrap();
        place.put("other.jpg", &jpeg(colour(0).0, 7));
        export(&place, format, format, &small);
        assert_eq!(differing(&whole, &files(&out)), Vec::<String>::new());
        std::fs::remove_dir_all(place.path("images")).unwrap();
        std::fs::rename(&hidden, place.path("images")).unwrap();
    }
}

#[test]
fn a_finished_export_is_left_alone_and_another_one_does_not_go_into_its_place() {
    let place = selected(&[]);
    export(&place, "webdataset", "out", &[]);
    let before = files(&place.path("out"));
    std::fs::remove_dir_all(place.path("images")).unwrap();
    export(&place, "webdataset", "out", &[]);
    let out = place.path("out").display().to_string();
    select(&place, "other", &["--per-class", "3"]);
    for (selection, format, more, what) in [
        ("s", "parquet", vec![], "format"),
        ("s", "webdataset", vec!["--seed", "4"], "--seed"),
        ("s", "webdataset", vec!["--order", "source"], "--order"),
        ("s", "webdataset", vec!["--copies", "column"], "--copies"),
        ("s", "webdataset", vec!["--shard-mib", "7"], "--shard-mib"),
        ("other", "webdataset", vec![], "selection"),
    ] {
        let mut all = args(selection, format, &out);
        all.extend(more);
        let (code, text) = place.fails(&all);
        assert_eq!(code, 2, "{text}");
        assert!(
            text.contains(&format!("holds an export with another {what}\n")),
            "{text}"
        );
    }
    assert_eq!(
        differing(&before, &files(&place.path("out"))),
        Vec::<String>::new()
    );
    // One that was begun and not finished keeps its place as well.
    std::fs::remove_file(place.path("out/export.json")).unwrap();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    let (code, text) = place.fails(&args("s", "parquet", &out));
    assert_eq!((code, text.contains("another format")), (2, true), "{text}");
}

/// Labels of another system for these keys, with the SHA-256 of what Python reads at the first `|`-separated path, or none.
fn foreign(place: &Place, rows: &[(String, Option<Vec<u8>>)]) {
    use sha2::{Digest, Sha256};
    let rows: Vec<(String, Option<String>)> = rows
        .iter()
        .map(|(key, bytes)| {
            let hash = bytes.as_ref().map(|b| format!("{:x}", Sha256::digest(b)));
            (key.clone(), hash)
        })
        .collect();
    let folder = place.path("foreign");
    std::fs::create_dir_all(&folder).unwrap();
    python(
        r#"
import sys, json, pyarrow as pa, pyarrow.parquet as pq
rows = json.loads(sys.argv[2])
n = len(rows)
probs = [[0.2, 0.2, 1.6] if i % 2 else [9.0, 1.0, 0.0] for i in range(n)]
t = pa.table({"key": [r[0] for r in rows], "class": pa.array([2 if i % 2 else 0 for i in range(n)], pa.int64()), "confidence": [0.8 + i / 1000 for i in range(n)],
  "probs": pa.array(probs, pa.list_(pa.float64())), "sha256": pa.array([None if r[1] is None else bytes.fromhex(r[1]) for r in rows], pa.binary())})
pq.write_table(t, sys.argv[1] + "/labels.parquet")
"#,
        &[
            &folder.display().to_string(),
            &serde_json::to_string(&rows).unwrap(),
        ],
    );
}

fn select_foreign(place: &Place, name: &str) {
    let labels = place.path("foreign/labels.parquet").display().to_string();
    place.ok(&[
        "select",
        "--name",
        name,
        "--labels",
        &labels,
        "--balance",
        "none",
        "--keep-duplicates",
    ]);
}

#[test]
fn labels_of_another_system_are_exported_where_their_keys_say_where_images_are() {
    let place = Place::new();
    place.ok(&["init"]);
    let photo = |n: u32| jpeg(colour(n).0, n);
    place.put("a.jpg", &photo(0));
    place.put("b#1.jpg", &photo(1));
    place.put("c.jpg", &photo(2));
    place.put("page.jpg", b"<html>not found</html>");
    place.put(
        "x.tar",
        &tar(&[("in/d.jpg", &photo(3)), ("e.jpg", &photo(4))]),
    );
    place.put(
        "t.parquet",
        &parquet_with_images(&[Some(&photo(5)), Some(&photo(6))]),
    );
    let at = |name: &str| format!("{}/{name}", place.images());
    foreign(
        &place,
        &[
            (at("a.jpg"), Some(photo(0))),
            (format!("file://{}", at("b#1.jpg")), Some(photo(1))),
            (at("c.jpg"), Some(photo(9))),
            (at("page.jpg"), None),
            (at("x.tar#in/d.jpg"), Some(photo(3))),
            (format!("file://{}", at("x.tar#e.jpg")), None),
            (at("x.tar#missing.jpg"), None),
            (at("t.parquet#1"), Some(photo(6))),
            (at("gone.tar#a.jpg"), None),
            (at("gone.jpg"), None),
        ],
    );
    select_foreign(&place, "s");
    for format in ["parquet", "webdataset"] {
        let json = export(&place, format, format, &[]);
        assert_eq!(
            json["left_out"],
            serde_json::json!({"changed": 1, "not-found": 3, "unsupported-format": 1}),
            "{json}"
        );
        assert_eq!(
            (&json["totals"]["rows"], &json["totals"]["unchecked"]),
            (&5.into(), &1.into())
        );
        assert_eq!(
            (&json["num_classes"], &json["class_names"]),
            (&3.into(), &serde_json::json!([]))
        );
        let rows = read(&place.path(format));
        let mut keys: Vec<&str> = rows.iter().map(|r| r["key"].as_str().unwrap()).collect();
        keys.sort_by_key(|k| k.rsplit('/').next().unwrap());
        let ends = ["a.jpg", "b#1.jpg", "d.jpg", "t.parquet#1", "x.tar#e.jpg"];
        assert!(
            keys.iter().zip(ends).all(|(key, end)| key.ends_with(end)),
            "{keys:?}"
        );
        assert!(
            rows.iter()
                .all(|r| (r["soft"]["sum"].as_f64().unwrap() - 1.0).abs() < 1e-6)
        );
    }
    for key in ["a.jpg", "ftp://host/a.jpg", "s3://bucket"] {
        foreign(&place, &[(at("a.jpg"), None), (key.to_owned(), None)]);
        select_foreign(&place, &key.replace([':', '/'], "-"));
        let out = place.path("none").display().to_string();
        let (code, text) = place.fails(&args(&key.replace([':', '/'], "-"), "parquet", &out));
        assert_eq!(code, 2, "{text}");
        assert!(
            text.contains(&format!("the key `{key}` does not say where its image is")),
            "{text}"
        );
        assert!(text.contains("hint: keys have to be URLs"), "{text}");
        assert!(!place.path("none").exists());
    }
}

#[test]
fn an_interrupted_export_whose_shards_would_be_cut_anew_loses_no_row_in_silence() {
    let place = Place::new();
    place.ok(&["init"]);
    let rows: Vec<(String, Option<Vec<u8>>)> = (0..8)
        .map(|n| {
            // What follows the end of an image is nobody's business.
            let mut bytes = jpeg(colour(n).0, n);
            bytes.resize(300_000, 0);
            place.put(&format!("{n}.jpg"), &bytes);
            (format!("{}/{n}.jpg", place.images()), Some(bytes))
        })
        .collect();
    foreign(&place, &rows);
    select_foreign(&place, "s");
    let more = ["--shard-mib", "1", "--order", "source"];
    let json = export(&place, "parquet", "out", &more);
    assert_eq!(
        (
            &json["totals"]["rows"],
            json["shards"].as_array().unwrap().len()
        ),
        (&8.into(), 3)
    );
    // As a run that was killed after its first shard.
    for name in ["export.json", "_shards/000001.json", "_shards/000002.json"] {
        std::fs::remove_file(place.path("out").join(name)).unwrap();
    }
    let again = export(&place, "parquet", "out", &more);
    assert_eq!(again, json);
    for name in ["export.json", "_shards/000001.json", "_shards/000002.json"] {
        std::fs::remove_file(place.path("out").join(name)).unwrap();
    }
    std::fs::write(
        place.path("images/1.jpg"),
        &rows[1].1.as_ref().unwrap()[..20_000],
    )
    .unwrap();
    let out = place.path("out").display().to_string();
    let (code, text) = place.fails(&[&args("s", "parquet", &out)[..], &more].concat());
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("_shards/000000.json` is of a shard with other rows"),
        "{text}"
    );
    assert!(
        text.contains("hint: delete what the export has written"),
        "{text}"
    );
}

/// The address of a web server that gives the files of the place's images while it `answers`, and closes connections otherwise.
fn web(place: &Place, answers: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (images, answers) = (place.path("images"), Arc::clone(answers));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (images, answers) = (images.clone(), Arc::clone(&answers));
            // Each by itself: a client may open a connection that it does not use.
            std::thread::spawn(move || answer(client.unwrap(), &images, &answers));
        }
    });
    format!("http://{address}")
}

/// Answers the one request of a connection.
fn answer(client: TcpStream, images: &Path, answers: &AtomicBool) {
    let mut client = BufReader::new(client);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if client.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    let mut words = request.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    if !answers.load(Ordering::Relaxed) {
        return;
    }
    let (status, body) = match std::fs::read(images.join(&path[1..])) {
        Ok(bytes) => ("200 OK", bytes),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let body = if method == "GET" { &body[..] } else { &[] };
    // Whoever asked may have gone.
    let _ = client
        .get_mut()
        .write_all(&[head.as_bytes(), body].concat());
}

#[test]
fn a_host_that_does_not_answer_ends_the_export_which_goes_on_once_it_does() {
    let place = Place::new();
    place.ok(&["init"]);
    let answers = Arc::new(AtomicBool::new(false));
    let always = Arc::new(AtomicBool::new(true));
    let (down, up) = (web(&place, &answers), web(&place, &always));
    let mut rows: Vec<(String, Option<Vec<u8>>)> = (0..8)
        .map(|n| {
            let mut bytes = jpeg(colour(n).0, n);
            bytes.resize(300_000, 0);
            place.put(&format!("{n}.jpg"), &bytes);
            let host = if n < 5 { &up } else { &down };
            (format!("{host}/{n}.jpg"), Some(bytes))
        })
        .collect();
    rows.push((format!("{up}/gone.jpg"), None));
    foreign(&place, &rows);
    select_foreign(&place, "s");
    let more = ["--shard-mib", "1", "--storage-option", "allow_http=true"];
    for order in ["shuffled", "source"] {
        let more = [&more[..], &["--order", order]].concat();
        let name = format!("out-{order}");
        let out = place.path(&name).display().to_string();
        answers.store(false, Ordering::Relaxed);
        let (code, text) = place.fails(&[&args("s", "parquet", &out)[..], &more].concat());
        assert_eq!(code, 1, "{text}");
        assert!(
            text.contains(&format!("cannot read `{down}/"))
                && text.contains("run the same command again"),
            "{text}"
        );
        assert!(!place.path(&name).join("export.json").exists());
        answers.store(true, Ordering::Relaxed);
        let json = export(&place, "parquet", &name, &more);
        assert_eq!(json["totals"]["rows"], 8);
        assert_eq!(json["left_out"], serde_json::json!({"not-found": 1}));
        let whole = format!("whole-{order}");
        export(&place, "parquet", &whole, &more);
        let written = |name: &str| files(&place.path(name));
        assert_eq!(
            differing(&written(&name), &written(&whole)),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_materialized_selection_repeats_its_rows_and_exports_as_the_other_one_does() {
    let place = selected(&[]);
    let json = select(&place, "m", &["--materialize"]);
    assert_eq!(
        (&json["totals"]["rows"], &json["totals"]["copies"]),
        (&31.into(), &36.into())
    );
    let parts = place
        .path("w/selections/m/part-*.parquet")
        .display()
        .to_string();
    let out = python(
        r#"
import sys, duckdb
q = f"""select count(*), count(distinct (key, copy)), min(copies), max(copies), min(n), max(n) from
(select *, count(*) over (partition by class) n from read_parquet('{sys.argv[1]}'))"""
print(*duckdb.sql(q).fetchall()[0])
"#,
        &[&parts],
    );
    assert_eq!(out.trim(), "36 36 1 1 12 12");
    let rows: u64 = json["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, 36);
    select(&place, "m", &["--materialize"]);
    let (code, text) = place.fails(&[
        "select",
        "--name",
        "m",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
        "--threshold",
        "0.2",
        "--per-class",
        "12",
    ]);
    assert_eq!(
        (code, text.contains("another configuration")),
        (2, true),
        "{text}"
    );
    let shards = |selection: &str, folder: &str, copies: &str| {
        let out = place.path(folder).display().to_string();
        let mut all = args(selection, "webdataset", &out);
        all.extend(["--copies", copies]);
        place.ok(&all);
        let mut all = files(&place.path(folder));
        all.retain(|name, _| name.starts_with("train-"));
        all
    };
    let repeated = shards("s", "repeated", "repeat");
    assert_eq!(
        differing(&repeated, &shards("m", "m1", "repeat")),
        Vec::<String>::new()
    );
    assert_eq!(
        differing(&repeated, &shards("m", "m2", "column")),
        Vec::<String>::new()
    );
}

#[test]
fn wrong_exports_are_named() {
    let place = selected(&[]);
    let out = place.path("out").display().to_string();
    let images = place.images();
    let inside = format!("{images}/exports/one");
    std::fs::write(place.path("file"), "a file, no folder").unwrap();
    let below_a_file = place.path("file/out").display().to_string();
    // Of a selection that was cut off.
    std::fs::create_dir(place.path("w/selections/k3")).unwrap();
    std::fs::write(
        place.path("w/selections/k3/part-00000-00000000.parquet"),
        "",
    )
    .unwrap();
    for (selection, format, to, code, text) in [
        (
            "t",
            "parquet",
            &out,
            3,
            "the workspace has no selection `t`\n\nhint: it has s\n",
        ),
        (
            "k3",
            "parquet",
            &out,
            3,
            "the workspace has no selection `k3`\n\nhint: it has s\n",
        ),
        (
            "../s",
            "parquet",
            &out,
            2,
            "cannot be the name of a selection",
        ),
        ("s", "tfrecord", &out, 2, "use parquet or webdataset"),
        (
            "s",
            "parquet",
            &inside,
            2,
            "lies in the source of dataset `d`",
        ),
        (
            "s",
            "parquet",
            &images,
            2,
            "lies in the source of dataset `d`",
        ),
        ("s", "parquet", &below_a_file, 1, "cannot"),
        (
            "s",
            "parquet",
            &"ftp://host/x".to_owned(),
            2,
            "`ftp://host/x` is not a URL",
        ),
    ] {
        let (found, said) = place.fails(&args(selection, format, to));
        assert_eq!(found, code, "{said}");
        assert!(said.contains(text), "{said}");
        assert!(found == 2 || said.contains("hint: "), "{said}");
    }
    let (code, text) =
        place.fails(&[&args("s", "parquet", &out)[..], &["--shard-mib", "0"]].concat());
    assert_eq!(
        (code, text.contains("`--shard-mib` is 0")),
        (2, true),
        "{text}"
    );
    std::fs::rename(&images, place.path("elsewhere")).unwrap();
    let (code, text) = place.fails(&args("s", "parquet", &out));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("does not exist"), "{text}");
    assert!(
        !place.path("out").exists(),
        "a refused export left something behind"
    );
    // Another disk is mounted there: not one image is left.
    place.put("other.jpg", &jpeg(colour(0).0, 0));
    let (code, text) = place.fails(&args("s", "parquet", &out));
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("none of the 36 rows could be exported: 36 not-found"),
        "{text}"
    );
    assert!(!place.path("out/export.json").exists());
}

#[test]
fn the_documented_files_of_an_export_are_the_ones_written() {
    let place = selected(&[]);
    let json = export(&place, "webdataset", "out", &[]);
    let documented: serde_json::Value =
        serde_json::from_str(include_str!("../schemas/export.json")).unwrap();
    let names = |of: &serde_json::Value| -> Vec<String> {
        let named = of.as_array().unwrap().iter();
        named
            .map(|f| f["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut fields = names(&documented["index"]["fields"]);
    fields.sort();
    let mut written: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
    written.sort();
    assert_eq!(fields, written);
    let members = python(
        "import sys, tarfile\nprint(*[m.name + ' ' + str(m.mtime) for m in tarfile.open(sys.argv[1])], sep='\\n')",
        &[&place.path("out/train-000000.tar").display().to_string()],
    );
    let members: Vec<&str> = members.lines().collect();
    assert_eq!(members.len(), 36 * 4);
    for (member, name) in members
        .iter()
        .zip(names(&documented["webdataset"]["files"]))
    {
        let name = if member.contains(".png") {
            name.replace("jpg", "png")
        } else {
            name
        };
        assert_eq!(*member, format!("{name} 0"));
    }
    let objects: Vec<String> = names(&documented["objects"])
        .into_iter()
        .map(|name| name.rsplit(' ').next().unwrap().to_owned())
        .collect();
    let mut objects = objects;
    objects.sort();
    let written: Vec<String> = files(&place.path("out")).into_keys().collect();
    assert_eq!(objects, written);
    let info = std::fs::read_to_string(place.path("out/_info.json")).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let train = &info["splits"]["train"];
    assert_eq!(
        (&train["num_samples"], &train["shard_lengths"]),
        (&36.into(), &serde_json::json!([36]))
    );
    assert_eq!(train["filenames"], serde_json::json!(["train-000000.tar"]));
}

#[test]
fn a_parquet_shard_says_what_it_holds_as_datasets_does() {
    let place = selected(&[]);
    export(&place, "parquet", "out", &[]);
    let said = python(
        r#"
import sys, json, pyarrow.parquet as pq
f = pq.ParquetFile(sys.argv[1])
features = json.loads(f.schema_arrow.metadata[b"huggingface"])["info"]["features"]
print(features["image"]["_type"], *features["label"]["names"], features["probs"]["feature"]["dtype"], sorted(features) == sorted(f.schema_arrow.names))
print(f.schema_arrow.field("image").type)
"#,
        &[&place.path("out/train-000000.parquet").display().to_string()],
    );
    assert_eq!(
        said.trim(),
        "Image red green blue dark float32 True\nstruct<bytes: binary, path: string>"
    );
}
