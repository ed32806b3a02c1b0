//! Labelling local folders: what comes out, that every file is accounted for, and that nothing depends on luck.

use std::os::unix::fs::FileExt as _;

use image::ImageFormat;

use crate::support::onnx::Model;
use crate::support::{
    CLASSES, Place, colour, differing, interrupt, jpeg, label_args, parquet_with_images, patiently,
    png, python, tar, wait_until,
};

fn fill(place: &Place, from: u32, to: u32) {
    for n in from..to {
        place.put(
            &format!("{}/photo-{n:05}.jpg", n % 7),
            &jpeg(colour(n).0, n),
        );
    }
}

/// In hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(bytes))
}

#[test]
fn every_image_gets_the_label_of_its_colour() {
    let place = Place::with_teacher();
    fill(&place, 0, 30);
    let summary = place.label(&[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&30.into(), &0.into())
    );
    for row in
        place.sql("SELECT key, label, second_class, confidence, margin, entropy, probs FROM labels")
    {
        let key = row["key"].as_str().unwrap();
        let n: u32 = key[key.len() - 9..key.len() - 4].parse().unwrap();
        assert_eq!(row["label"], colour(n).1, "{key}");
        let probs: Vec<f64> = row["probs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_f64().unwrap())
            .collect();
        assert_eq!(probs.len(), CLASSES.len());
        assert!((probs.iter().sum::<f64>() - 1.0).abs() < 2e-3);
        let confidence = row["confidence"].as_f64().unwrap();
        assert!((confidence - probs.iter().copied().fold(0.0, f64::max)).abs() < 1e-3);
        assert!(row["entropy"].as_f64().unwrap() > 0.0 && row["margin"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn good_and_bad_files_are_all_accounted_for_each_with_its_reason() {
    let place = Place::with_teacher();
    let good = jpeg(colour(0).0, 1);
    place.put("good.jpg", &good);
    place.put("mislabelled.jpg", &png(colour(1).0, 2));
    place.put("no-extension", &good);
    place.put("ends-in-digits.jpg#7", &good);
    place.put("truncated.jpg", &good[..good.len() / 2]);
    place.put("empty.jpg", b"");
    place.put("text.png", b"this is text");
    place.put("page.jpg", b"<!DOCTYPE html><html>404</html>");
    place.put("photo.heic", b"\0\0\0\x1cftypheic\0\0\0\0");
    place.put("notes.txt", b"not an image by its name");
    // 54 megapixels in some kB.
    let mut bomb = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(9000, 6000)
        .write_to(&mut bomb, ImageFormat::Png)
        .unwrap();
    place.put("gigantic.png", bomb.get_ref());
    let members: Vec<(&str, &[u8])> = vec![
        ("a/1.jpg", &good),
        ("a/1.cls", b"7"),
        ("a/2.jpg", b"rubbish"),
        ("a/1.jpg", &good),
    ];
    place.put("shards/good.tar", &tar(&members));
    let cut = tar(&[("x.jpg", &good), ("y.jpg", &good)]);
    place.put("shards/cut.tar", &cut[..cut.len() - 1024 - 600]);
    place.put(
        "shards/no.tar",
        b"no tar at all, and longer than one block "
            .repeat(20)
            .as_slice(),
    );
    place.put("shards/packed.tar.gz", b"\x1f\x8b");
    place.put(
        "table.parquet",
        &parquet_with_images(&[Some(&good), None, Some(b"junk")]),
    );
    let summary = place.label(&[]);

    let manifest = place.number("SELECT count(*) FROM manifest");
    let labels = place.number("SELECT count(*) FROM labels");
    let rejects = place.number("SELECT count(*) FROM rejects");
    assert_eq!(manifest, labels + rejects);
    assert_eq!(summary["labelled"].as_i64(), Some(labels));
    let found: Vec<String> = place
        .sql("SELECT regexp_replace(key, '.*images/', '') AS name, stage, reason, detail FROM rejects ORDER BY key")
        .iter()
        .map(|row| {
            assert!(!row["detail"].as_str().unwrap().is_empty());
            format!("{} {} {}", row["name"].as_str().unwrap(), row["stage"].as_str().unwrap(), row["reason"].as_str().unwrap())
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"));
    let labelled: Vec<String> = place
        .sql("SELECT regexp_replace(key, '.*images/', '') AS name FROM labels ORDER BY key")
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    insta::assert_snapshot!(labelled.join("\n"));
}

#[test]
fn a_shards_object_has_exactly_its_manifest_rows_in_order() {
    let place = Place::with_teacher();
    fill(&place, 0, 50);
    for n in [3, 17, 44] {
        place.put(&format!("{}/photo-{n:05}.jpg", n % 7), b"damaged");
    }
    let config = place.path("p.toml");
    std::fs::write(&config, "[manifest]\nshard_images = 8\n").unwrap();
    place.label(&["--config", &config.display().to_string()]);
    let manifest = place.sql("SELECT key, shard FROM manifest ORDER BY shard, \"row\"");
    let files = place.labels();
    let mut found = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".parquet")) {
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(
            bytes::Bytes::from(bytes.clone()),
            1024,
        )
        .unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let keys = arrow::array::AsArray::as_string::<i32>(batch.column(0)).clone();
            found.extend(keys.iter().map(|k| (name.clone(), k.unwrap().to_owned())));
        }
    }
    assert_eq!(found.len(), 50);
    for ((name, key), row) in found.iter().zip(&manifest) {
        assert_eq!(row["key"], *key);
        assert!(name.contains(&format!("shard-{:06}", row["shard"].as_i64().unwrap())));
    }
}

#[test]
fn a_killed_run_resumes_to_the_bytes_of_an_undisturbed_one() {
    let config = "[manifest]\nshard_images = 40\n";
    let make = || {
        let place = Place::with_teacher();
        fill(&place, 0, 1200);
        place.put("damaged.jpg", b"damaged");
        std::fs::write(place.path("p.toml"), config).unwrap();
        place
    };
    let disturbed = make();
    let images = disturbed.images();
    let toml = disturbed.path("p.toml").display().to_string();
    let args = [&label_args(&images)[..], &["--config", &toml]].concat();
    let whole = {
        let place = make();
        let started = std::time::Instant::now();
        place.label(&["--config", &place.path("p.toml").display().to_string()]);
        (place, started.elapsed())
    };
    let mut kills = 0;
    for n in 0_u32..12 {
        let mut child = disturbed
            .command(&args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the run, never twice at the same point of it.
        std::thread::sleep(whole.1.mul_f64(f64::from((n * 7) % 12 + 1) / 13.0));
        let running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        kills += u32::from(running);
    }
    assert!(kills > 0, "no run was killed before its end");
    disturbed.label(&["--config", &toml]);
    let (undisturbed, disturbed_labels) = (whole.0.labels(), disturbed.labels());
    assert_eq!(
        undisturbed.keys().collect::<Vec<_>>(),
        disturbed_labels.keys().collect::<Vec<_>>()
    );
    assert!(undisturbed.len() > 30);
    // Keys hold the folder's path, which differs between the two: what is compared is all but that.
    let strip = |place: &Place| {
        place.sql("SELECT regexp_replace(key, '.*images/', '') AS k, class, confidence, sha256, phash, probs, shard FROM labels ORDER BY k")
    };
    assert_eq!(strip(&whole.0), strip(&disturbed));
    // The very same folder labelled by a second, undisturbed workspace gives the very same bytes.
    let second = disturbed.path("w2").display().to_string();
    let model = disturbed.path("model.onnx").display().to_string();
    let teacher = disturbed.path("teacher.toml").display().to_string();
    disturbed.ok(&["init", "--workspace", &second]);
    disturbed.ok(&[
        "teachers",
        "add",
        "tiny",
        "--workspace",
        &second,
        "--model",
        &model,
        "--config",
        &teacher,
    ]);
    let mut again = args.clone();
    again.extend(["--workspace", &second]);
    disturbed.ok(&again);
    let again = crate::support::files(&disturbed.path("w2/labels"));
    assert_eq!(differing(&disturbed_labels, &again), Vec::<String>::new());
}

#[test]
fn what_a_run_that_was_killed_right_after_a_commit_left_is_removed() {
    let place = Place::with_teacher();
    fill(&place, 0, 4);
    place.label(&[]);
    let labels = place.labels();
    // object_store writes a local object under this name, links it to its own, and then removes it.
    let object = place.path("w/labels/dataset=d/teacher=tiny@1/shard-000000.parquet");
    let staged = object.with_file_name("shard-000000.parquet#1");
    std::fs::hard_link(&object, staged).unwrap();
    assert_ne!(place.labels(), labels);
    place.label(&[]);
    assert_eq!(place.labels(), labels);
}

#[test]
fn two_processes_on_one_workspace_do_not_harm_each_other() {
    let place = Place::with_teacher();
    fill(&place, 0, 400);
    let config = place.path("p.toml");
    std::fs::write(&config, "[manifest]\nshard_images = 25\n").unwrap();
    let (images, config) = (place.images(), config.display().to_string());
    let args = [&label_args(&images)[..], &["--config", &config]].concat();
    let mut children: Vec<_> = (0..2)
        .map(|_| {
            place
                .command(&args)
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(place.number("SELECT count(*) FROM labels"), 400);
    assert_eq!(place.number("SELECT count(DISTINCT key) FROM labels"), 400);
    assert!(
        place.labels().keys().all(|name| !name.contains('#')),
        "a staging file was left"
    );
}

#[test]
fn a_grown_bucket_gets_a_generation_with_what_is_new_changed_or_gone() {
    let place = Place::with_teacher();
    fill(&place, 0, 20);
    place.put(
        "x.tar",
        &tar(&[
            ("a.jpg", &jpeg(colour(0).0, 1)),
            ("b.jpg", &jpeg(colour(1).0, 2)),
        ]),
    );
    place.label(&[]);
    let first = place.labels();

    fill(&place, 20, 25);
    place.put("3/photo-00003.jpg", &jpeg([20, 20, 200], 99));
    std::fs::remove_file(place.path("images/4/photo-00004.jpg")).unwrap();
    place.put(
        "x.tar",
        &tar(&[
            ("b.jpg", &jpeg(colour(2).0, 3)),
            ("c.jpg", &jpeg(colour(0).0, 4)),
        ]),
    );
    let summary = place.label(&[]);
    assert_eq!(summary["images"], 5 + 1 + 2);
    for (name, bytes) in &first {
        assert_eq!(
            place.labels().get(name),
            Some(bytes),
            "{name} was rewritten"
        );
    }
    assert_eq!(
        place.number("SELECT count(*) FROM manifest"),
        20 + 5 - 1 + 2
    );
    assert_eq!(place.number("SELECT count(*) FROM labels"), 26);
    assert_eq!(place.number("SELECT count(DISTINCT key) FROM labels"), 26);
    assert_eq!(
        place.number("SELECT count(*) FROM labels WHERE key LIKE '%00004%' OR key LIKE '%#a.jpg'"),
        0
    );
    let changed =
        place.sql("SELECT label FROM labels WHERE key LIKE '%00003%' OR key LIKE '%#b.jpg'");
    assert!(
        changed.iter().all(|row| row["label"] == "blue"),
        "{changed:?}"
    );
    let shards =
        place.sql("SELECT DISTINCT generation, shard FROM manifest_history WHERE status <> 'gone'");
    let numbers: std::collections::BTreeSet<_> =
        shards.iter().map(|r| r["shard"].as_i64()).collect();
    assert_eq!(numbers.len(), shards.len(), "a shard number came again");

    let summary = place.label(&[]);
    assert_eq!(summary["images"], 0);
}

#[test]
fn rejects_alone_are_retried_and_each_label_stays_exactly_once() {
    let place = Place::with_teacher();
    fill(&place, 0, 10);
    place.put("1/photo-00001.jpg", b"damaged");
    place.put("2/photo-00002.jpg", b"damaged as well");
    place.label(&[]);
    assert_eq!(place.number("SELECT count(*) FROM rejects"), 2);
    // A mended file is another state of its image, which the next listing finds: labelled now, it would have two labels.
    let path = place.path("images/1/photo-00001.jpg");
    std::fs::write(&path, jpeg(colour(1).0, 1)).unwrap();
    let retried = place.label(&["--retry-rejects"]);
    assert_eq!(
        (&retried["images"], &retried["labelled"]),
        (&2.into(), &0.into())
    );
    let reasons = place.sql("SELECT reason FROM rejects ORDER BY key");
    assert_eq!(reasons[0]["reason"], "changed");
    let again = place.label(&[]);
    assert_eq!(
        (&again["images"], &again["labelled"]),
        (&1.into(), &1.into())
    );
    let again = place.label(&["--retry-rejects"]);
    assert_eq!(
        (&again["images"], &again["labelled"]),
        (&1.into(), &0.into())
    );
    assert!(
        place
            .labels()
            .keys()
            .any(|name| name.ends_with("shard-000000.retry-001.parquet"))
    );
    assert_eq!(place.number("SELECT count(*) FROM rejects"), 1);
    assert_eq!(place.number("SELECT count(*) FROM labels"), 9);
    // Nor has any image two labels for whoever reads the files as they are.
    let counted = crate::support::python(
        "import sys, pyarrow.dataset as ds, pyarrow.compute as pc\n\
         t = ds.dataset(sys.argv[1], format='parquet', exclude_invalid_files=True).to_table(columns=['key', 'reason'])\n\
         t = t.filter(pc.is_null(t['reason']))\n\
         print(t.num_rows, len(set(t['key'].to_pylist())))",
        &[&place
            .path("w/labels/dataset=d/teacher=tiny@1")
            .display()
            .to_string()],
    );
    assert_eq!(counted.trim(), "9 9");
}

#[test]
fn any_kind_of_input_and_output_gives_the_same_labels_at_any_batch_size() {
    let kinds = [
        Model::default(),
        Model {
            input: 10,
            ..Model::default()
        },
        Model {
            input: 2,
            ..Model::default()
        },
        Model {
            nhwc: true,
            ..Model::default()
        },
        Model {
            batch: Some(3),
            ..Model::default()
        },
        Model {
            probabilities: true,
            nhwc: true,
            batch: Some(1),
            ..Model::default()
        },
    ];
    let place = Place::with_teacher();
    fill(&place, 0, 11);
    place.label(&["--encoding", "float32"]);
    let images = place.images();
    let expected = place.sql("SELECT key, class, probs FROM labels ORDER BY key");
    for (i, kind) in kinds.iter().enumerate() {
        for batch in ["1", "4", "11"] {
            let name = format!("kind-{i}-{batch}");
            place.add_teacher(&name, kind);
            place.ok(&[
                "label",
                "--dataset",
                "d",
                "--source",
                &images,
                "--teacher",
                &name,
                "--batch",
                batch,
                "--encoding",
                "float32",
            ]);
            let query = format!(
                "SELECT key, class, probs FROM labels WHERE teacher = '{name}@1' ORDER BY key"
            );
            for (row, expected) in place.sql(&query).iter().zip(&expected) {
                assert_eq!(
                    (&row["key"], &row["class"]),
                    (&expected["key"], &expected["class"]),
                    "{name}"
                );
                let apart = |i: usize| {
                    row["probs"][i].as_f64().unwrap() - expected["probs"][i].as_f64().unwrap()
                };
                assert!(
                    (0..4).all(|i| apart(i).abs() < 1e-3),
                    "{name}: {row} {expected}"
                );
            }
        }
    }
}

#[test]
fn top_k_labels_keep_the_highest_and_the_rest() {
    let place = Place::with_teacher();
    fill(&place, 0, 5);
    let config = place.path("p.toml");
    std::fs::write(&config, "[label]\nencoding = \"topk\"\ntop_k = 2\n").unwrap();
    place.label(&["--config", &config.display().to_string()]);
    for row in place.sql("SELECT class, confidence, topk, rest FROM labels") {
        let topk = row["topk"].as_array().unwrap();
        assert_eq!(topk.len(), 2);
        assert_eq!(topk[0]["class"], row["class"]);
        let sum = topk.iter().map(|e| e["p"].as_f64().unwrap()).sum::<f64>();
        assert!((sum + row["rest"].as_f64().unwrap() - 1.0).abs() < 1e-4);
    }
}

#[test]
fn labels_of_other_settings_are_never_mixed() {
    let place = Place::with_teacher();
    fill(&place, 0, 3);
    place.label(&[]);
    let images = place.images();
    let (code, text) =
        place.fails(&[&label_args(&images)[..], &["--encoding", "float32"]].concat());
    assert_eq!(code, 2);
    assert!(
        text.contains("encoding") && text.contains("float16"),
        "{text}"
    );
}

#[test]
fn ctrl_c_finishes_the_shards_under_way_and_a_second_run_the_others() {
    let place = Place::with_slow_teacher(256);
    fill(&place, 0, 600);
    let config = place.path("p.toml");
    std::fs::write(&config, "[manifest]\nshard_images = 12\n").unwrap();
    let (images, config) = (place.images(), config.display().to_string());
    let args = [&label_args(&images)[..], &["--config", &config]].concat();
    let mut child = place
        .command(&args)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| place.shards() >= 3);
    interrupt(&child);
    let status = patiently(child.id(), || child.wait()).unwrap();
    assert_eq!(status.code(), Some(130));
    let shards = place.shards();
    assert!((3..50).contains(&shards), "{shards} shards");
    assert!(place.labels().keys().all(|name| !name.contains('#')));
    place.ok(&args);
    assert_eq!(place.number("SELECT count(*) FROM labels"), 600);
}

impl Place {
    /// How many shards are labelled.
    fn shards(&self) -> usize {
        let names = std::fs::read_dir(self.path("w/labels/dataset=d/teacher=tiny@1"));
        let names = names.into_iter().flatten();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("shard-") && name.ends_with(".parquet"))
            .count()
    }
}

#[test]
fn a_model_whose_output_is_not_finite_is_refused_or_rejects_its_images() {
    let place = Place::with_teacher();
    let (onnx, toml) = (place.path("broken.onnx"), place.path("broken.toml"));
    let model = Model {
        broken: true,
        ..Model::default()
    };
    std::fs::write(&onnx, model.bytes()).unwrap();
    std::fs::write(&toml, model.teacher_toml()).unwrap();
    let (code, text) = place.fails(&[
        "teachers",
        "add",
        "broken",
        "--model",
        &onnx.display().to_string(),
        "--config",
        &toml.display().to_string(),
    ]);
    assert_eq!(code, 6);
    assert!(text.contains("not finite"), "{text}");
}

#[test]
fn a_formats_pixels_reach_the_model_whatever_the_format() {
    let place = Place::with_teacher();
    let pixels = image::RgbImage::from_pixel(20, 20, image::Rgb([10, 220, 10]));
    for (name, format) in [
        ("a.png", ImageFormat::Png),
        ("b.webp", ImageFormat::WebP),
        ("c.gif", ImageFormat::Gif),
        ("d.bmp", ImageFormat::Bmp),
        ("e.tiff", ImageFormat::Tiff),
        ("f.jpg", ImageFormat::Jpeg),
    ] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::DynamicImage::ImageRgb8(pixels.clone())
            .write_to(&mut bytes, format)
            .unwrap();
        place.put(name, bytes.get_ref());
    }
    place.label(&[]);
    assert_eq!(
        place.number("SELECT count(*) FROM labels WHERE label = 'green'"),
        6
    );
}

#[test]
fn names_links_and_pipes_that_are_hard_to_read_are_reported_and_harm_nothing_else() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::with_teacher();
    let good = jpeg(colour(0).0, 1);
    for name in [
        "a b.jpg",
        "100%.jpg",
        "c#1",
        "_9dKx3",
        "UPPER.JPG",
        "ünïcode.jpg",
    ] {
        place.put(name, &good);
    }
    for bytes in [&b"bad\xff.jpg"[..], b"bad\xfe.jpg"] {
        let name = std::ffi::OsStr::from_bytes(bytes);
        std::fs::write(place.path("images").join(name), &good).unwrap();
    }
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, place.path("images").join(name)).unwrap();
    };
    link("nowhere.jpg", "dangling.jpg");
    link(".", "loop");
    link("/dev/zero", "endless.jpg");
    std::process::Command::new("mkfifo")
        .arg(place.path("images/pipe.jpg"))
        .status()
        .unwrap();
    let summary = place.label(&[]);
    assert_eq!(summary["labelled"], 6);
    let rejects: Vec<String> = place
        .sql(
            "SELECT regexp_replace(key, '.*images/', '') AS name, reason FROM rejects ORDER BY key",
        )
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row["name"].as_str().unwrap(),
                row["reason"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        rejects,
        [
            "bad\\xFE.jpg unreadable-name",
            "bad\\xFF.jpg unreadable-name",
            "dangling.jpg unreadable-path",
            "loop unreadable-path",
        ]
    );
}

#[test]
fn images_of_a_folder_that_cannot_be_read_are_not_gone() {
    let place = Place::with_teacher();
    for (name, n) in [
        ("a/1.jpg", 0),
        ("b/2.jpg", 1),
        ("b/3.jpg", 2),
        ("b-c/4.jpg", 3),
    ] {
        place.put(name, &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    let (folder, aside) = (place.path("images/b"), place.path("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    // What a mount that broke off looks like, to root as well.
    std::os::unix::fs::symlink("b", &folder).unwrap();
    std::fs::remove_file(place.path("images/b-c/4.jpg")).unwrap();
    place.label(&[]);
    let keys = "SELECT regexp_replace(key, '.*images/', '') AS name FROM labels ORDER BY key";
    let names = |rows: Vec<serde_json::Value>| -> Vec<String> {
        let name = |row: serde_json::Value| row["name"].as_str().unwrap().to_owned();
        rows.into_iter().map(name).collect()
    };
    assert_eq!(names(place.sql(keys)), ["a/1.jpg", "b/2.jpg", "b/3.jpg"]);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let summary = place.label(&[]);
    assert_eq!(summary["labelled"], 0, "{summary}");
    assert_eq!(place.number("SELECT count(*) FROM rejects"), 0);
}

#[test]
fn a_folder_that_is_suddenly_empty_is_an_error_and_not_the_end_of_all_images() {
    let place = Place::with_teacher();
    fill(&place, 0, 5);
    place.label(&[]);
    std::fs::rename(place.path("images"), place.path("unmounted")).unwrap();
    std::fs::create_dir(place.path("images")).unwrap();
    let (code, text) = place.fails(&["label", "--dataset", "d", "--teacher", "tiny"]);
    assert_eq!(code, 3);
    assert!(text.contains("has no images"), "{text}");
    assert_eq!(place.number("SELECT count(*) FROM labels"), 5);
}

#[test]
fn links_in_a_tar_are_rejects_that_say_what_to_do() {
    let place = Place::with_teacher();
    let red = jpeg(colour(0).0, 1);
    let mut bytes = tar(&[
        ("./a.jpg", &red),
        ("./b.jpg", &[]),
        ("./c.jpg", &[]),
        ("./d", &[]),
    ]);
    // Hard link, symbolic link, folder, and their checksums.
    for (name, kind) in [("./b.jpg", b'1'), ("./c.jpg", b'2'), ("./d", b'5')] {
        let at = bytes
            .windows(name.len())
            .position(|w| w == name.as_bytes())
            .unwrap();
        let header = &mut bytes[at..at + 512];
        header[156] = kind;
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    place.put("x.tar", &bytes);
    let summary = place.label(&[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&1.into(), &2.into())
    );
    for row in place.sql("SELECT reason, detail FROM rejects") {
        assert_eq!(row["reason"], "unsupported-member");
        assert!(
            row["detail"]
                .as_str()
                .unwrap()
                .contains("--hard-dereference"),
            "{row}"
        );
    }
}

#[test]
fn another_teacher_labels_each_image_as_it_is_now_and_no_other() {
    let place = Place::with_teacher();
    place.add_swapped("other");
    let fill = |round: u32| {
        for n in 0..6 {
            // The first two never change.
            let salt = if n < 2 { 0 } else { round };
            place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, 10 * salt + n));
        }
        place.ok(&["manifest", "--dataset", "d", "--source", &place.images()]);
    };
    (0..3).for_each(fill);
    std::fs::remove_file(place.path("images/5.jpg")).unwrap();
    let label = |teacher: &str| -> serde_json::Value {
        let args = ["label", "--dataset", "d", "--teacher", teacher, "--json"];
        serde_json::from_str(&place.ok(&args)).unwrap()
    };
    let summary = label("tiny");
    assert_eq!(
        (&summary["images"], &summary["labelled"]),
        (&5.into(), &5.into())
    );
    assert_eq!(label("tiny")["images"], 0);
    // What a selection has taken of it is left out as well.
    let labels = |teacher: &str| -> i64 {
        let query = format!("SELECT count(*) FROM labels WHERE teacher = '{teacher}@1'");
        place.number(&query)
    };
    place.ok(&[
        "select",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
        "--name",
        "s",
        "--threshold",
        "0.1",
        "--per-class",
        "1",
    ]);
    let chosen = place.number("SELECT count(*) FROM selections");
    place.ok(&[
        "label",
        "--dataset",
        "d",
        "--teacher",
        "other",
        "--selection",
        "s",
    ]);
    assert_eq!(labels("other"), chosen);
    assert_eq!(label("other")["images"], 5 - chosen);
    assert_eq!((labels("tiny"), labels("other")), (5, 5));
    // Any engine sees each label once.
    let rows = python(
        "import sys, duckdb; print(duckdb.sql(f\"select count(*), count(distinct key) from read_parquet('{sys.argv[1]}') where reason is null\").fetchall())",
        &[&place
            .path("w/labels/dataset=d/teacher=other@1/*.parquet")
            .display()
            .to_string()],
    );
    assert_eq!(rows.trim(), "[(5, 5)]");
    // And nothing is stale, though whole shards have no label.
    place.ok(&["promote", "other@1"]);
    let planned = place.ok(&["relabel", "--dataset", "d", "--dry-run", "--json"]);
    let planned: serde_json::Value = serde_json::from_str(&planned).unwrap();
    let stale = &planned["datasets"][0]["stale"];
    assert_eq!(
        (&stale["images"], &stale["shards"]),
        (&0.into(), &0.into()),
        "{planned}"
    );
}

#[test]
fn a_tar_that_is_replaced_gives_no_label_to_the_wrong_member() {
    let place = Place::with_teacher();
    let (red, green) = (jpeg(colour(0).0, 1), jpeg(colour(1).0, 1));
    let bad = vec![b'x'; red.len()];
    place.put("x.tar", &tar(&[("a.jpg", &red), ("b.jpg", &bad)]));
    place.label(&[]);
    assert_eq!(place.number("SELECT count(*) FROM rejects"), 1);
    // The same members in another order and of the same size: the old offsets point at other images now.
    place.put("x.tar", &tar(&[("b.jpg", &red), ("a.jpg", &green)]));
    place.label(&["--retry-rejects"]);
    let rejects = place.sql("SELECT reason FROM rejects");
    assert_eq!(rejects[0]["reason"], "changed", "{rejects:?}");
    place.label(&[]);
    let labels = place.sql("SELECT label FROM labels ORDER BY key");
    assert_eq!(
        (&labels[0]["label"], &labels[1]["label"]),
        (&"green".into(), &"red".into())
    );
}

#[test]
fn joined_and_cut_tars_lose_no_image_silently() {
    let place = Place::with_teacher();
    let photo = |n: u32| jpeg(colour(n).0, n);
    let (one, two) = (tar(&[("a.jpg", &photo(0))]), tar(&[("b.jpg", &photo(1))]));
    place.put("joined.tar", &[one.clone(), two].concat());
    place.put("unmarked.tar", &one[..one.len() - 1024]);
    let sibling = tar(&[("c.jpg", &photo(2)), ("c.json", &[b' '; 2000])]);
    place.put("cut-in-sibling.tar", &sibling[..sibling.len() - 1024 - 600]);
    place.put("no-images.tar", &tar(&[("d.json", b"{}")]));
    place.label(&[]);
    assert_eq!(place.number("SELECT count(*) FROM labels"), 4);
    let rejects: Vec<String> = place
        .sql(
            "SELECT regexp_replace(key, '.*images/', '') AS name, reason FROM rejects ORDER BY key",
        )
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row["name"].as_str().unwrap(),
                row["reason"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        rejects,
        [
            "cut-in-sibling.tar truncated-tar",
            "no-images.tar no-images",
            "unmarked.tar truncated-tar",
        ]
    );
}

#[test]
fn sparse_members_of_a_tar_do_not_hide_what_comes_after_them() {
    let place = Place::with_teacher();
    let folder = place.path("packed");
    std::fs::create_dir(&folder).unwrap();
    let photo = jpeg(colour(0).0, 0);
    for name in ["a.jpg", "z.jpg"] {
        std::fs::write(folder.join(name), &photo).unwrap();
    }
    // More holes than a header has room for.
    for name in ["m.npy", "n.jpg"] {
        let file = std::fs::File::create(folder.join(name)).unwrap();
        for piece in 0..12 {
            file.write_all_at(&[7; 4096], piece << 20).unwrap();
        }
    }
    for format in ["gnu", "posix"] {
        let packed = std::process::Command::new("tar")
            .args(["--sparse", "--format", format, "-C"])
            .arg(&folder)
            .arg("-cf")
            .arg(place.path(&format!("images/{format}.tar")))
            .args(["a.jpg", "m.npy", "n.jpg", "z.jpg"])
            .status();
        assert!(packed.unwrap().success());
    }
    let summary = place.label(&[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&4.into(), &2.into())
    );
    for row in place.sql("SELECT key, reason, detail FROM rejects") {
        assert!(
            row["key"].as_str().unwrap().ends_with(".tar#n.jpg"),
            "{row}"
        );
        assert_eq!(row["reason"], "unsupported-member");
        assert!(row["detail"].as_str().unwrap().contains("sparse"), "{row}");
    }
}

#[test]
fn a_parquet_file_is_read_by_page_whatever_its_row_groups_and_indexes() {
    let photos: Vec<Vec<u8>> = (0..300).map(|n| jpeg(colour(n).0, n)).collect();
    let folder = Place::with_teacher();
    let python_photos = folder.path("photos");
    std::fs::create_dir(&python_photos).unwrap();
    for (n, photo) in photos.iter().enumerate() {
        std::fs::write(python_photos.join(format!("{n:03}.jpg")), photo).unwrap();
    }
    crate::support::python(
        r#"
import sys, pathlib, pyarrow as pa, pyarrow.parquet as pq
photos = [p.read_bytes() for p in sorted(pathlib.Path(sys.argv[1]).iterdir())]
out = sys.argv[2] + "/"
names = pa.array([str(i) for i in range(len(photos))])
plain = pa.table({"n": names, "image": pa.array(photos, pa.binary())})
small = dict(data_page_size=20000, write_batch_size=8)
pq.write_table(plain, out + "one-group.parquet", use_dictionary=False, **small)
pq.write_table(plain, out + "one-group-index.parquet", use_dictionary=False, write_page_index=True, **small)
pq.write_table(plain, out + "dictionary.parquet", dictionary_pagesize_limit=20000, **small)
pq.write_table(plain, out + "small-groups.parquet", row_group_size=37)
pq.write_table(plain, out + "v2.parquet", data_page_version="2.0", compression="zstd", use_dictionary=False, **small)
large = pa.table({"image": pa.array(photos, pa.large_binary())})
pq.write_table(large, out + "large.parquet", compression=None)
hugging = pa.table({"image": pa.array([{"bytes": b, "path": "p"} for b in photos], pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "label": pa.array([0] * len(photos))})
pq.write_table(hugging, out + "hugging.parquet", row_group_size=100, **small)
"#,
        &[&python_photos.display().to_string(), &folder.images()],
    );
    let summary = folder.label(&[]);
    assert_eq!(
        (&summary["labelled"], &summary["rejected"]),
        (&2100.into(), &0.into())
    );
    let hashes: Vec<String> = photos.iter().map(|p| sha256(p)).collect();
    for row in folder.sql("SELECT key, label, encode(sha256, 'hex') AS sha256 FROM labels") {
        let key = row["key"].as_str().unwrap();
        let n: u32 = key.rsplit_once('#').unwrap().1.parse().unwrap();
        assert_eq!(row["label"], colour(n).1, "{key}");
        assert_eq!(row["sha256"], hashes[n as usize].as_str(), "{key}");
    }
}

#[test]
fn pages_of_a_parquet_file_that_are_larger_than_a_group_come_out_whole() {
    // As pandas and pyarrow write a thousand photos: in one page, which is looked at every thousand values.
    let place = Place::with_teacher();
    let photos = place.path("photos");
    std::fs::create_dir(&photos).unwrap();
    let mut hashes = Vec::new();
    for n in 0..1200 {
        let mut photo = jpeg(colour(n).0, n);
        // What comes behind an image's end is no part of it.
        let mut noise = n;
        photo.resize_with(30_000, || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        });
        hashes.push(sha256(&photo));
        std::fs::write(photos.join(format!("{n:04}.jpg")), photo).unwrap();
    }
    crate::support::python(
        r#"
import sys, pathlib, pyarrow as pa, pyarrow.parquet as pq
photos = [p.read_bytes() for p in sorted(pathlib.Path(sys.argv[1]).iterdir())]
pq.write_table(pa.table({"image": pa.array(photos, pa.binary())}), sys.argv[2] + "/photos.parquet")
"#,
        &[&photos.display().to_string(), &place.images()],
    );
    let file = place.path("images/photos.parquet");
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size > 30_000_000, "{size}");
    let summary = place.label(&[]);
    assert_eq!(summary["labelled"], 1200);
    for row in place.sql("SELECT key, label, encode(sha256, 'hex') AS sha256 FROM labels") {
        let key = row["key"].as_str().unwrap();
        let n: usize = key.rsplit_once('#').unwrap().1.parse().unwrap();
        assert_eq!(row["label"], colour(n as u32).1, "{key}");
        assert_eq!(row["sha256"], hashes[n].as_str(), "{key}");
    }
}

#[test]
fn a_dataset_keeps_how_it_was_read_and_cut() {
    let place = Place::with_teacher();
    fill(&place, 0, 3);
    place.label(&[]);
    let config = place.path("p.toml");
    for (text, section) in [
        ("[manifest]\nshard_images = 2\n", "[manifest]"),
        ("[source]\nextensions = [\"dat\"]\n", "[source]"),
    ] {
        std::fs::write(&config, text).unwrap();
        let config = config.display().to_string();
        let (code, text) = place.fails(&[
            "label",
            "--dataset",
            "d",
            "--teacher",
            "tiny",
            "--config",
            &config,
        ]);
        assert_eq!(code, 2);
        assert!(text.contains(section), "{text}");
    }
}

#[test]
fn nothing_is_remembered_of_a_run_that_could_not_begin() {
    let place = Place::with_teacher();
    fill(&place, 0, 2);
    let images = place.images();
    let label = label_args(&images);
    let output = place
        .command(&[&label[..], &["--encoding", "topk"]].concat())
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let (code, _) =
        place.fails(&[&label[..], &["--encoding", "topk", "--device", "cuda"]].concat());
    assert_eq!(code, 5);
    assert!(!place.path("w/labels").exists() && !place.path("w/datasets").exists());
    place.label(&["--encoding", "float32"]);
}

#[test]
fn members_of_a_tar_have_each_a_key_of_their_own_whatever_their_names() {
    let place = Place::with_teacher();
    let [red, green, blue] = [0, 1, 2].map(|n| jpeg(colour(n).0, n));
    // A folder of which a size is told that nothing follows.
    let mut folder = tar(&[("d", &[])]);
    folder.truncate(512);
    folder[156] = b'5';
    folder[124..136].copy_from_slice(b"00000010000\0");
    folder[148..156].copy_from_slice(b"        ");
    let sum: u32 = folder.iter().map(|b| u32::from(*b)).sum();
    folder[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let members = tar(&[("a.jpg", &red), ("a.jpg", &green), ("a.jpg#2", &blue)]);
    place.put("x.tar", &[folder, members].concat());
    let summary = place.label(&[]);
    let counts = (&summary["labelled"], &summary["rejected"]);
    assert_eq!(counts, (&2.into(), &1.into()));
    let rows = place.sql(
        "SELECT key, label FROM labels UNION ALL SELECT key, reason FROM rejects ORDER BY key",
    );
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["key"].as_str().unwrap().rsplit_once("tar#").unwrap().1,
                row["label"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("a.jpg", "red"),
            ("a.jpg#2", "duplicate-member"),
            ("a.jpg#2#2", "blue")
        ]
    );
    // What the listing found wrong stays so: there is nothing to do again.
    let again = place.label(&["--retry-rejects"]);
    assert_eq!(again["images"], 0);
    assert!(place.labels().keys().all(|name| !name.contains("retry")));
}

#[test]
fn a_source_whose_files_hold_no_row_is_told_to_have_no_images() {
    let place = Place::with_teacher();
    place.put("empty.parquet", &parquet_with_images(&[]));
    let (code, text) = place.fails(&label_args(&place.images()));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("has no images"), "{text}");
}

#[test]
fn a_relabelling_lets_through_the_images_that_the_labels_before_it_did() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    // 50.4 megapixels, where 50 are the most that are let through unless more are asked for.
    let mut large = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(7200, 7000)
        .write_to(&mut large, ImageFormat::Png)
        .unwrap();
    place.put("large.png", large.get_ref());
    let first = place.label(&[]);
    assert_eq!(
        (&first["labelled"], &first["rejected"]),
        (&1.into(), &1.into())
    );
    let config = place.path("p.toml");
    std::fs::write(&config, "[decode]\nmax_pixels = 60_000_000\n").unwrap();
    let config = config.display().to_string();
    let again = place.label(&["--retry-rejects", "--config", &config]);
    assert_eq!(again["labelled"], 1);
    place.add_swapped("other");
    place.ok(&["promote", "other"]);
    place.ok(&["relabel", "--dataset", "d"]);
    let labels = "SELECT count(*) FROM labels WHERE teacher = 'other@1'";
    assert_eq!(place.number(labels), 2);
}
