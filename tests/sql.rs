//! `understudy sql`: what queries may do, what they read, and what there is, with the real executable.

use crate::support::labels::labelled;
use crate::support::{Place, colour, differing, files, jpeg};

/// The text of a plan, with the figures of its run.
fn analyzed(place: &Place, query: &str) -> String {
    place.ok(&["sql", &format!("EXPLAIN ANALYZE {query}")])
}

/// Of `metric=12 total → 3 matched` the two numbers.
fn pruned(plan: &str, metric: &str) -> (usize, usize) {
    let (_, figures) = plan.split_once(&format!("{metric}=")).unwrap();
    let mut numbers = figures
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty());
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

#[test]
fn a_filter_on_dataset_and_teacher_leaves_all_other_files_alone() {
    let place = labelled();
    for table in [
        "labels",
        "rejects",
        "class_bins",
        "class_distribution",
        "confidence_histogram",
        "class_confidence_histogram",
        "reject_reasons",
    ] {
        let plan = analyzed(
            &place,
            &format!("SELECT * FROM {table} WHERE teacher = 'tiny@1' AND dataset = 'photos'"),
        );
        assert!(
            plan.contains("dataset=photos/teacher=tiny@1/shard-000000.parquet"),
            "{plan}"
        );
        for other in ["teacher=other@1", "dataset=wide", "dataset=test"] {
            assert!(!plan.contains(other), "{table} reads {other}: {plan}");
        }
    }
    let all = analyzed(&place, "SELECT * FROM labels");
    assert!(
        all.contains("teacher=other@1") && all.contains("dataset=wide"),
        "{all}"
    );
}

#[test]
fn row_groups_are_left_out_by_the_confidences_that_their_statistics_promise() {
    let place = labelled();
    // Shards 0 and 1 go up to 0.95 and to 1, the retries to nothing and to 0.5.
    for (confidence, read) in [(0.97, 1), (0.9, 2), (0.4, 3)] {
        let plan = analyzed(
            &place,
            &format!(
                "SELECT key FROM labels WHERE teacher = 'tiny@1' AND dataset = 'photos' AND confidence > {confidence}"
            ),
        );
        let (all, matched) = pruned(&plan, "row_groups_pruned_statistics");
        assert_eq!(
            (all, matched),
            (4, read),
            "confidence > {confidence}: {plan}"
        );
        assert!(plan.contains("pruning_predicate="), "{plan}");
    }
    let plan = analyzed(&place, "SELECT key FROM rejects WHERE dataset = 'photos'");
    let (_, matched) = pruned(&plan, "row_groups_pruned_statistics");
    assert!(
        matched < 4,
        "the retry that found a label alone has no reject: {plan}"
    );
}

#[test]
fn pruning_holds_where_images_have_changed() {
    let place = Place::with_teacher();
    for n in 0..4 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.put("0.jpg", &jpeg(colour(1).0, 9));
    place.label(&[]);
    place.add_teacher(
        "other",
        &crate::support::onnx::Model {
            probabilities: true,
            ..Default::default()
        },
    );
    place.ok(&["label", "--dataset", "d", "--teacher", "other"]);
    let query = "SELECT key FROM labels WHERE teacher = 'tiny@1' AND confidence > 1.5";
    let plan = analyzed(&place, query);
    assert!(
        plan.contains("RightAnti") && !plan.contains("other@1"),
        "{plan}"
    );
    let scan = plan.lines().find(|l| l.contains("teacher=tiny@1")).unwrap();
    assert_eq!(
        pruned(scan, "row_groups_pruned_statistics"),
        (2, 0),
        "{plan}"
    );
}

#[test]
fn nothing_is_written_and_nothing_outside_of_the_workspace_is_read() {
    let place = labelled();
    let outside = place.path("outside.parquet");
    let one = place.path("w/labels/dataset=wide/teacher=tiny@1/shard-000000.parquet");
    std::fs::copy(&one, &outside).unwrap();
    let (outside, one) = (outside.display(), one.display());
    let new = place.path("new").display().to_string();
    let before = files(place.dir.path());
    for query in [
        "DROP VIEW labels".into(),
        "DROP TABLE runs".into(),
        "CREATE TABLE x AS SELECT 1".into(),
        "CREATE VIEW x AS SELECT 1".into(),
        "CREATE OR REPLACE VIEW labels AS SELECT 1".into(),
        "CREATE SCHEMA x".into(),
        "CREATE DATABASE x".into(),
        "CREATE FUNCTION f() RETURNS INT RETURN 1".into(),
        "SELECT 1 INTO x".into(),
        format!("COPY (SELECT 1) TO '{new}.csv'"),
        format!("COPY labels TO '{new}/' STORED AS PARQUET"),
        format!("EXPLAIN ANALYZE COPY labels TO '{new}.parquet' STORED AS PARQUET"),
        format!("EXPLAIN ANALYZE VERBOSE COPY (SELECT 1) TO '{new}.json' STORED AS JSON"),
        "INSERT INTO labels SELECT * FROM labels".into(),
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs".into(),
        "INSERT INTO teachers VALUES ('x', 'x', 1, 1, 1, 'x', 'x')".into(),
        "UPDATE teachers SET name = 'x'".into(),
        "DELETE FROM teachers".into(),
        "TRUNCATE TABLE teachers".into(),
        "SET datafusion.execution.batch_size = 1".into(),
        "SET datafusion.catalog.location = '/'".into(),
        "RESET datafusion.execution.batch_size".into(),
        "PREPARE p AS SELECT 1".into(),
        "BEGIN".into(),
        format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{outside}'"),
        format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{one}'"),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".into(),
        format!("SELECT * FROM '{outside}'"),
        format!("SELECT * FROM '{one}'"),
        format!("SELECT * FROM \"{outside}\""),
        format!("SELECT * FROM \"file://{outside}\""),
        "SELECT * FROM 'https://example.com/x.parquet'".into(),
        format!("SELECT * FROM read_parquet('{outside}')"),
        "SELECT * FROM read_csv('/etc/passwd')".into(),
        "SELECT read_file('/etc/passwd')".into(),
        "SELECT * FROM labels; DROP VIEW labels".into(),
        "SELECT * FROM no_such_table".into(),
    ] {
        let (code, text) = place.fails(&["sql", &query]);
        assert_eq!(code, 2, "{query}: {text}");
        assert!(text.contains("hint:"), "{query}: {text}");
    }
    let after = files(place.dir.path());
    assert_eq!(differing(&before, &after), Vec::<String>::new());
}

#[test]
fn the_documented_tables_are_those_that_there_are_whatever_the_workspace_has() {
    let documented: serde_json::Value =
        serde_json::from_str(include_str!("../schemas/catalog.json")).unwrap();
    let mut expected = Vec::new();
    for table in documented["tables"].as_array().unwrap() {
        for column in table["columns"].as_array().unwrap() {
            let of = |key| column[key].as_str().unwrap();
            expected.push(format!(
                "{} {} {}",
                table["name"].as_str().unwrap(),
                of("name"),
                of("type")
            ));
        }
    }
    expected.sort();
    let empty = Place::new();
    empty.ok(&["init"]);
    let full = labelled();
    let select = [
        "select",
        "--name",
        "s",
        "--dataset",
        "photos",
        "--teacher",
        "tiny",
    ];
    full.ok(&[&select[..], &["--exclude", "test"]].concat());
    for place in [empty, full] {
        let query = "SELECT table_name || ' ' || column_name || ' ' || data_type AS c FROM information_schema.columns WHERE table_schema = 'public'";
        let mut found: Vec<_> = place
            .sql(query)
            .iter()
            .map(|row| row["c"].as_str().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, expected);
        let read = place.sql("SELECT * FROM runs");
        assert!(read.len() <= 1);
    }
    let help = Place::new().ok(&["sql", "--help"]);
    assert!(
        help.contains("confidence_histogram") && help.contains("churn('A@1', 'B@1')"),
        "{help}"
    );
}
