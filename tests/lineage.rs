//! Lineages of a real workspace: what each commit records, joined.

use serde_json::{Value, json};

use crate::support::onnx::Model;
use crate::support::{Place, colour, jpeg};

/// Six images labelled by `tiny` and `other`, one that is none, and a selection `s` of tiny's labels.
fn place() -> Place {
    let place = Place::with_teacher();
    place.add_teacher(
        "other",
        &Model {
            side: 4,
            ..Model::default()
        },
    );
    for n in 0..6 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.put("bad.jpg", b"bad");
    place.label(&[]);
    place.ok(&["label", "--dataset", "d", "--teacher", "other"]);
    place.ok(&["promote", "other"]);
    place.ok(&["promote", "tiny"]);
    let select = [
        "select",
        "--name",
        "s",
        "--dataset",
        "d",
        "--teacher",
        "current",
    ];
    place.ok(&[&select[..], &["--per-class", "2", "--threshold", "0.2"]].concat());
    place
}

fn lineage(place: &Place, name: &str) -> Value {
    serde_json::from_str(&place.ok(&["lineage", name, "--json"])).unwrap()
}

#[test]
fn a_key_leads_to_its_listing_its_labels_and_its_selections_and_these_to_their_teachers() {
    let place = place();
    // A later generation: the image changes, and its labels are made again.
    let key = place.sql("SELECT key FROM manifest WHERE key LIKE '%/0.jpg'")[0]["key"].clone();
    let key = key.as_str().unwrap();
    place.put("0.jpg", &jpeg(colour(1).0, 77));
    place.ok(&["label", "--dataset", "d", "--teacher", "tiny"]);
    let of = lineage(&place, key);
    assert_eq!(of["of"], "key");
    let listed: Vec<_> = of["listed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| {
            (
                l["dataset"].clone(),
                l["generation"].clone(),
                l["status"].clone(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            (json!("d"), json!(1), json!("new")),
            (json!("d"), json!(2), json!("changed"))
        ]
    );
    // Other has labelled the former image alone, which is not there any more.
    let labels = of["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 1, "{labels:?}");
    assert_eq!(
        (&labels[0]["teacher"], &labels[0]["label"]),
        (&json!("tiny@1"), &json!("green"))
    );
    assert_eq!(of["selections"][0]["selection"], "s");
    // A reject is told with its reason.
    let bad = place.sql("SELECT key FROM manifest WHERE key LIKE '%/bad.jpg'")[0]["key"].clone();
    let table = place.ok(&["lineage", bad.as_str().unwrap()]);
    assert!(
        table.contains("d by other@1: not-an-image (decode)"),
        "{table}"
    );
    let selection = lineage(&place, "s");
    assert_eq!(selection["of"], "selection");
    assert_eq!(selection["dataset"]["name"], "d");
    assert_eq!(selection["generation"]["generation"], 1);
    assert_eq!(selection["teachers"][0]["name"], "tiny");
    assert_eq!(selection["config"]["per_class"], 2);
    assert_eq!(selection["totals"]["labels"], 6);
    let table = place.ok(&["lineage", "s"]);
    assert!(
        table.contains("labels by       tiny@1") && table.contains("per_class = 2"),
        "{table}"
    );
    let teacher = lineage(&place, "current");
    assert_eq!(teacher["of"], "teacher");
    assert_eq!(teacher["teacher"]["name"], "tiny");
    assert_eq!(
        (&teacher["current"], &teacher["promotions"]),
        (&json!(true), &json!([2]))
    );
    assert_eq!(teacher["selections"], json!(["s"]));
    assert_eq!(
        teacher["labels"],
        json!([{"dataset": "d", "teacher": "tiny@1", "objects": 2}])
    );
    let other = lineage(&place, "other@1");
    assert_eq!(
        (&other["current"], &other["selections"]),
        (&json!(false), &json!([]))
    );
    assert!(
        place
            .ok(&["lineage", "tiny"])
            .contains("promotions    2; it is current")
    );
}

#[test]
fn what_is_not_there_or_is_two_things_is_told() {
    let place = place();
    let select = [
        "select",
        "--name",
        "tiny",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
    ];
    place.ok(&select);
    for (args, code, said) in [
        (
            &["lineage", "nothing"][..],
            3,
            "no teacher, selection or key `nothing`",
        ),
        (
            &["lineage", "file:///it's/none.jpg"],
            3,
            "no teacher, selection or key",
        ),
        (&["lineage", "tiny@9"], 3, "it has the versions tiny@1"),
        (&["lineage", "tiny"], 2, "--as teacher or --as selection"),
        (
            &["lineage", "other", "--as", "selection"],
            3,
            "no selection `other`",
        ),
    ] {
        let (found, text) = place.fails(args);
        assert_eq!(found, code, "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
    let meant = |what: &str| place.ok(&["lineage", "tiny", "--as", what]);
    assert!(
        meant("teacher").starts_with("teacher ") && meant("selection").starts_with("selection ")
    );
}
