//! `understudy gc` on a workspace with former teachers, a pinned one, selections and leftovers: a dry run names exactly what goes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::jobs::{show, submit};
use crate::support::onnx::Model;
use crate::support::{Place, colour, files, jpeg};

/// Dataset `d` labelled by a, b, c, e and the promoted `now`; a, b and c are of no use any more, and `used` has a selection of its labels.
fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..12 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    let images = place.images();
    let label = |teacher: &str, more: &[&str]| {
        place.add_teacher(teacher, &Model::default());
        let args = [
            "label",
            "--dataset",
            "d",
            "--source",
            &images,
            "--teacher",
            teacher,
        ];
        place.ok(&[&args[..], more].concat());
    };
    for teacher in ["a", "b", "used", "c"] {
        label(teacher, &[]);
        place.ok(&["promote", teacher]);
    }
    label("pinned", &["--pin"]);
    place.ok(&["promote", "pinned"]);
    // Never promoted, and nothing took its labels' place.
    label("fresh", &[]);
    place.add_teacher("now", &Model::default());
    place.ok(&["promote", "now"]);
    let select = [
        "select",
        "--dataset",
        "d",
        "--teacher",
        "used",
        "--name",
        "s",
    ];
    place.ok(&[&select[..], &["--threshold", "0.1", "--per-class", "2"]].concat());
    place
}

fn gc(place: &Place, more: &[&str]) -> Value {
    let args = ["gc", "--keep-promotions", "1", "--json"];
    serde_json::from_str(&place.ok(&[&args[..], more].concat())).unwrap()
}

fn labelled_by(place: &Place) -> Vec<String> {
    let rows = place.sql("SELECT DISTINCT teacher FROM labels ORDER BY teacher");
    rows.iter()
        .map(|row| row["teacher"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_dry_run_names_exactly_what_goes_and_what_is_needed_stays() {
    let place = place();
    // A selection that was never committed, and a job's journal.
    std::fs::create_dir_all(place.path("w/selections/killed")).unwrap();
    std::fs::write(place.path("w/selections/killed/part-00000.parquet"), b"x").unwrap();
    // What was half written then, which no listing of the store shows.
    std::fs::write(
        place.path("w/selections/s/part-00000-0.parquet#12"),
        b"half",
    )
    .unwrap();
    let id = submit(&place, "kind = \"relabel\"\n", &[]);
    place.ok(&["jobs", "cancel", &id]);
    std::fs::write(place.path(&format!("w/jobs/{id}/000000.json")), b"{}").unwrap();

    // What is young may be under way.
    assert_eq!(gc(&place, &[])["objects"], 0);
    // The current teacher has labelled nothing yet: no labels go.
    let place_of = |item: &Value| item["place"].as_str().unwrap().to_owned();
    let early = gc(&place, &["--older-than", "0s", "--dry-run"]);
    let early: Vec<String> = early["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(place_of)
        .collect();
    let leftovers = [
        "selections/killed/part-00000.parquet".to_owned(),
        format!("jobs/{id}/000000.json"),
        "selections/s/part-00000-0.parquet#12".to_owned(),
    ];
    assert_eq!(early, leftovers);

    place.ok(&["relabel"]);
    let before = files(&place.path("w"));
    let dry = gc(&place, &["--older-than", "0s", "--dry-run"]);
    assert_eq!(files(&place.path("w")), before);
    let items = dry["items"].as_array().unwrap();
    let order: Vec<String> = items.iter().map(place_of).collect();
    let named = BTreeSet::from_iter(order.clone());
    // `pinned` was current before `now`, and would be kept for that alone; `c` was before it.
    for (teacher, goes) in [
        ("a@1", true),
        ("b@1", true),
        ("c@1", true),
        ("used@1", false),
        ("pinned@1", false),
        ("fresh@1", false),
        ("now@1", false),
    ] {
        let shard = format!("labels/dataset=d/teacher={teacher}/shard-000000.parquet");
        assert!(before.contains_key(&shard), "{shard}");
        assert_eq!(named.contains(&shard), goes, "{shard}");
    }
    assert!(leftovers.iter().all(|left| named.contains(left)));
    // What a command that is repeated may make its own goes first, and of labels what makes them visible.
    assert_eq!(order[0], leftovers[0]);
    for teacher in ["a@1", "b@1", "c@1"] {
        let folder = format!("labels/dataset=d/teacher={teacher}/");
        let first = order.iter().find(|place| place.starts_with(&folder));
        assert_eq!(first, Some(&format!("{folder}_labels.json")));
    }

    let done = gc(&place, &["--older-than", "0s"]);
    assert_eq!(
        (&done["items"], &done["bytes"]),
        (&dry["items"], &dry["bytes"])
    );
    let after = files(&place.path("w"));
    let gone: BTreeSet<String> = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .cloned()
        .collect();
    assert_eq!(gone, named);
    assert!(after.iter().all(|(name, bytes)| before[name] == *bytes));
    let bytes: usize = gone.iter().map(|name| before[name].len()).sum();
    assert_eq!(done["bytes"], bytes);
    assert_eq!(
        labelled_by(&place),
        ["fresh@1", "now@1", "pinned@1", "used@1"]
    );
    assert_eq!(show(&place, &id)["state"], "cancelled");
    assert_eq!(gc(&place, &["--older-than", "0s"])["objects"], 0);
    // What was removed is made again where it is wanted.
    place.ok(&["label", "--dataset", "d", "--teacher", "a"]);
    assert!(labelled_by(&place).contains(&"a@1".to_owned()));
}

#[test]
fn more_promotions_keep_more_labels() {
    let place = place();
    place.ok(&["relabel"]);
    let args = ["gc", "--older-than", "0s", "--dry-run"];
    let kept = place.ok(&[&args[..], &["--keep-promotions", "5"]].concat());
    assert_eq!(kept.trim(), "nothing to remove");
    let one = place.ok(&[&args[..], &["--keep-promotions", "3"]].concat());
    assert!(
        one.contains("teacher=a@1/_labels.json  (labels of a former teacher)"),
        "{one}"
    );
    assert!(
        one.contains("teacher=b@1/") && !one.contains("teacher=c@1/"),
        "{one}"
    );
    let (code, text) = place.fails(&["gc", "--older-than", "soon"]);
    assert_eq!(code, 2);
    assert!(text.contains("write a number and s, m, h or d"), "{text}");
}
