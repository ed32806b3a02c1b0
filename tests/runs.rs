//! What runs leave behind of themselves, with the real executable.

use std::process::Stdio;

use crate::support::{Place, colour, files, interrupt, jpeg, label_args, patiently, wait_until};

#[test]
fn a_run_leaves_a_record_of_what_it_did_and_none_where_there_was_nothing_to_do() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.put("b.jpg", b"");
    let summary = place.label(&[]);
    place.label(&[]);
    let runs = place.sql("SELECT * FROM runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    let run = &runs[0];
    for (column, value) in [
        ("kind", "label"),
        ("outcome", "done"),
        ("dataset", "d"),
        ("teacher", "tiny@1"),
        ("device", "cpu"),
    ] {
        assert_eq!(run[column], value);
    }
    for column in [
        "images",
        "labelled",
        "rejected",
        "seconds",
        "images_per_second",
        "bottleneck",
    ] {
        assert_eq!(run[column], summary[column], "{column}");
    }
    let settings: serde_json::Value =
        serde_json::from_str(run["settings"].as_str().unwrap()).unwrap();
    assert_eq!(settings["label"]["encoding"], "float16");
    assert_eq!(settings["retry_rejects"], false);
    // The rejects again: this is work, and a run.
    place.label(&["--retry-rejects"]);
    let runs =
        place.sql("SELECT images, rejected, started < finished AS later FROM runs ORDER BY run");
    assert_eq!(
        runs[1],
        serde_json::json!({"images": 1, "rejected": 1, "later": true})
    );
    // The files say what is documented of them.
    let documented: serde_json::Value =
        serde_json::from_str(include_str!("../schemas/run.json")).unwrap();
    for (name, bytes) in files(&place.path("w/runs")) {
        let file: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap();
        assert_eq!(name, format!("{}.json", file["run"].as_str().unwrap()));
        for key in file.keys() {
            assert!(
                documented["keys"][key].is_string(),
                "`{key}` is not documented"
            );
        }
    }
}

#[test]
fn an_interrupted_run_leaves_a_record_as_well() {
    let place = Place::with_slow_teacher(1024);
    for n in 0..500 {
        place.put(&format!("{n:04}.jpg"), &jpeg(colour(n).0, n));
    }
    let config = place.path("p.toml");
    std::fs::write(&config, "[manifest]\nshard_images = 8\n").unwrap();
    let images = place.images();
    let config = config.display().to_string();
    let args = [
        &label_args(&images)[..],
        &["--config", &config, "--workers", "1"],
    ]
    .concat();
    let mut child = place.command(&args).stderr(Stdio::null()).spawn().unwrap();
    let begun = || {
        place
            .path("w/labels/dataset=d/teacher=tiny@1/shard-000000.parquet")
            .exists()
    };
    wait_until(begun);
    interrupt(&child);
    let ended = patiently(child.id(), || child.wait()).unwrap();
    assert_eq!(ended.code(), Some(130));
    let runs = place.sql("SELECT outcome, images, labelled FROM runs");
    assert_eq!(
        (runs.len(), &runs[0]["outcome"]),
        (1, &"interrupted".into()),
        "{runs:?}"
    );
    let labelled = place.number("SELECT count(*) FROM labels");
    assert_eq!(runs[0]["labelled"], labelled);
    assert!(labelled < 500 && runs[0]["images"] == 500, "{runs:?}");
}
