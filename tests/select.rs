//! Selections: equal to what real DuckDB chooses, the same whatever the files and threads, and explained.

use std::collections::BTreeMap;

use clap::Parser as _;
use understudy::cli::{Cli, Command};
use understudy::run::select_job;
use understudy::store::StorageOptions;
use understudy::workspace::Workspace;

use crate::support::{Place, colour, differing, files, jpeg, python};

/// Labels of another system, with ties, rows at exactly 0.3f32, nulls, NaN, one-row classes; cut into `n` files. Gives the folder.
fn foreign(place: &Place, name: &str, n: u32) -> String {
    let folder = place.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    python(
        r#"
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
out, files = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(7)
n = 20000
classes = np.minimum(rng.zipf(1.4, n), 60).astype(np.int32) * 3 - 5
conf = rng.random(n).astype(np.float32)
conf[::3] = np.round(conf[::3] * 20) / 20           # many ties
conf[::50] = np.float32(0.3)
conf[7::501] = np.nan
classes[11] = 9999                                   # a class of one row
conf[11] = 0.9
classes[12:15], conf[12:15] = 8888, 0.1              # a class without candidates
mask = np.zeros(n, bool); mask[5::401] = True
keys = np.array([f"s3://bucket/{i * 7919 % 100003:06}.jpg" for i in range(n)])
order = rng.permutation(n)
for f in range(files):
    part = np.sort(order[f::files]) if files > 1 else np.arange(n)
    t = pa.table({"key": keys[part], "class": classes[part], "confidence": pa.array(conf[part].astype(np.float64), mask=mask[part])})
    pq.write_table(t, f"{out}/part-{f:02}.parquet", row_group_size=1500)
"#,
        &[&folder.display().to_string(), &n.to_string()],
    );
    folder.display().to_string()
}

fn select(place: &Place, name: &str, labels: &str, more: &[&str]) -> serde_json::Value {
    let mut args = vec!["select", "--name", name, "--labels", labels, "--json"];
    args.extend(more);
    serde_json::from_str(&place.ok(&args)).unwrap()
}

/// What DuckDB says of a selection: the rows it chooses itself less those of the selection and the other way round, and the figures of the copies.
fn compared_with_duckdb(place: &Place, name: &str, labels: &str, k: u64) -> String {
    python(
        r#"
import sys, duckdb
labels, selection, k = sys.argv[1], sys.argv[2], int(sys.argv[3])
duckdb.sql(f"""create table ours as select key, class, confidence, copies, "rank" from read_parquet('{selection}/part-*.parquet')""")
duckdb.sql(f"""create table theirs as
with c as (select key, class, confidence::float as confidence from read_parquet('{labels}/*.parquet')
           where confidence is not null and not isnan(confidence) and confidence::float > 0.3::float),
     r as (select *, row_number() over (partition by class order by confidence desc, key) as n, rank() over (partition by class order by confidence desc) as "rank" from c)
select key, class, confidence, "rank" from r where n <= {k}""")
q = lambda s: duckdb.sql(s).fetchall()[0][0]
print(q("select count(*) from ours"), q("select count(*) from theirs"),
      q('select count(*) from (select key, class, confidence, "rank" from ours except select * from theirs)'),
      q('select count(*) from (select * from theirs except select key, class, confidence, "rank" from ours)'),
      q(f"select count(*) from (select class, sum(copies) s, count(*) n, min(copies) a, max(copies) b from ours group by class) where s <> {k} or a <> {k} // n or b > {k} // n + 1"))
"#,
        &[
            labels,
            &place
                .path("w/selections")
                .join(name)
                .display()
                .to_string(),
            &k.to_string(),
        ],
    )
    .trim()
    .to_owned()
}

fn prepared() -> Place {
    let place = Place::new();
    place.ok(&["init"]);
    place
}

#[test]
fn the_exact_selection_is_duckdbs_for_any_k() {
    let place = prepared();
    let labels = foreign(&place, "labels", 4);
    for k in [1, 2, 7, 100, 3000, 50_000] {
        let name = format!("k{k}");
        let glob = format!("{labels}/*.parquet");
        let json = select(&place, &name, &glob, &["--per-class", &k.to_string()]);
        let compared = compared_with_duckdb(&place, &name, &labels, k);
        let rows = json["totals"]["rows"].as_u64().unwrap();
        assert_eq!(compared, format!("{rows} {rows} 0 0 0"), "K = {k}");
        let left_out: u64 = json["left_out"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum();
        assert_eq!(rows + left_out, 20_000, "{json}");
        // 50 rows without a confidence and 40 with NaN; one is both.
        assert_eq!(json["left_out"]["invalid"], 89, "{}", json["left_out"]);
    }
}

#[test]
fn the_rows_are_the_same_for_any_files_and_the_bytes_for_any_threads() {
    let place = prepared();
    let rows = |name: &str| -> BTreeMap<String, String> {
        let folder = place.path("w/selections").join(name);
        let glob = format!("{}/part-*.parquet", folder.display());
        let csv = python(
            r#"
import sys, duckdb
for r in duckdb.sql(f"select * from read_parquet('{sys.argv[1]}') order by key").fetchall(): print(*r)
"#,
            &[&glob],
        );
        csv.lines()
            .map(|l| l.split_once(' ').unwrap())
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    };
    let flags = ["--per-class", "300", "--seed", "5"];
    let mut seen = Vec::new();
    for n in [1, 3, 13] {
        let labels = foreign(&place, &format!("labels-{n}"), n);
        let name = format!("files-{n}");
        select(&place, &name, &format!("{labels}/*.parquet"), &flags);
        seen.push(rows(&name));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let labels = format!("{}/*.parquet", place.path("labels-13").display());
    // Part by part they are in the order of the labels.
    let parts = place.path("w/selections/files-13/part-*.parquet");
    let in_order = python(
        r#"
import glob, sys, pyarrow.parquet as pq
chosen, all = ([k for f in sorted(glob.glob(g)) for k in pq.read_table(f, columns=["key"])["key"].to_pylist()] for g in sys.argv[1:])
print(len(chosen) > 1000 and chosen == list(filter(set(chosen).__contains__, all)))
"#,
        &[&parts.display().to_string(), &labels],
    );
    assert_eq!(in_order, "True\n");
    let parts = |threads: &str, workspace: &str, more: &[&str]| {
        let at = place.path(workspace).display().to_string();
        place.ok(&["init", "--workspace", &at]);
        let mut args = vec![
            "select",
            "--name",
            "x",
            "--labels",
            &labels,
            "--workspace",
            &at,
        ];
        args.extend(flags);
        args.extend(more);
        let output = place
            .command(&args)
            .env("TOKIO_WORKER_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success());
        files(&place.path(workspace).join("selections"))
    };
    let one = parts("1", "w1", &[]);
    assert_eq!(
        differing(&one, &parts("4", "w4", &[])),
        Vec::<String>::new()
    );
    let repeated = parts("1", "m1", &["--materialize"]);
    assert_eq!(
        differing(&repeated, &parts("4", "m4", &["--materialize"])),
        Vec::<String>::new()
    );
    assert_ne!(repeated, one);
    let other = select(
        &place,
        "other-seed",
        &labels,
        &["--per-class", "300", "--seed", "6"],
    );
    assert_eq!(other["totals"]["copies"].as_u64(), Some(300 * 61));
    assert_ne!(rows("other-seed"), seen[0], "the seed changed nothing");
}

#[test]
fn a_second_selection_of_the_name_is_a_no_op_or_a_clear_error() {
    let place = prepared();
    let labels = format!("{}/*.parquet", foreign(&place, "labels", 2));
    select(&place, "s", &labels, &["--per-class", "50"]);
    let before = files(&place.path("w/selections"));
    select(&place, "s", &labels, &["--per-class", "50"]);
    assert_eq!(
        differing(&before, &files(&place.path("w/selections"))),
        Vec::<String>::new()
    );
    let (code, text) = place.fails(&["select", "--name", "s", "--labels", &labels]);
    assert_eq!(code, 2);
    assert!(
        text.contains("another configuration: per_class was 50"),
        "{text}"
    );
    foreign(&place, "labels", 3);
    let (code, text) = place.fails(&[
        "select",
        "--name",
        "s",
        "--labels",
        &labels,
        "--per-class",
        "50",
    ]);
    assert_eq!(code, 2);
    assert!(text.contains("new ones"), "{text}");
    assert_eq!(
        differing(&before, &files(&place.path("w/selections"))),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_selection_leaves_out_is_one_of_its_inputs() {
    let place = Place::with_teacher();
    let label = |dataset: &str, folder: &str| {
        let images = place.path(folder).display().to_string();
        let args = ["label", "--dataset", dataset, "--source", &images];
        place.ok(&[&args[..], &["--teacher", "tiny"]].concat())
    };
    let photo = |n: u32| jpeg(colour(n).0, n);
    std::fs::create_dir(place.path("held-out")).unwrap();
    for n in 0..12 {
        place.put(&format!("{n:02}.jpg"), &photo(n));
    }
    std::fs::write(place.path("held-out/0.jpg"), photo(0)).unwrap();
    label("d", "images");
    label("val", "held-out");
    let rules = [
        "--threshold",
        "0.1",
        "--exclude",
        "val",
        "--max-distance",
        "0",
    ];
    let again = |name: &str, rules: &[&str]| {
        let args = [
            "select",
            "--dataset",
            "d",
            "--teacher",
            "tiny",
            "--name",
            name,
        ];
        place.fails(&[&args[..], rules].concat())
    };
    place.select_of_d("s", &rules);
    place.select_of_d("s", &rules);
    // An image turns out to be one of the held-out ones.
    std::fs::write(place.path("held-out/1.jpg"), photo(1)).unwrap();
    label("val", "held-out");
    let (code, text) = again("s", &rules);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("held-out images: there are new ones"),
        "{text}"
    );
    // And one is gone.
    place.select_of_d("t", &["--threshold", "0.1"]);
    std::fs::remove_file(place.path("images/05.jpg")).unwrap();
    label("d", "images");
    let (code, text) = again("t", &["--threshold", "0.1"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("images changed or went"), "{text}");
}

/// The labels of a selection are those that were there when it began: rows that come between its passes would be chosen by what the passes before never saw.
#[test]
fn labels_that_come_between_two_passes_are_not_seen() {
    let place = Place::with_teacher();
    for n in 0..6 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = place.path("w").display().to_string();
    let of = ["--dataset", "d", "--teacher", "tiny"];
    let rules = ["--threshold", "0.1", "--keep-duplicates"];
    let line = ["understudy", "select", "--workspace", &url, "--name", "s"];
    let cli = Cli::parse_from([&line[..], &of, &rules].concat());
    let Command::Select(args) = cli.command else {
        panic!("not a selection");
    };
    let job = select_job(&args).unwrap();
    runtime.block_on(async {
        let workspace = Workspace::open(&url, &StorageOptions::default()).await;
        let workspace = workspace.unwrap();
        let passed = job.prepare(&workspace).await.unwrap();
        let rows = async || {
            let selected = passed.query("selected.sql").await.unwrap();
            selected.count().await.unwrap() as i64
        };
        let before = rows().await;
        assert_eq!(before, place.number("SELECT count(*) FROM labels"));
        place.put("late.jpg", &jpeg(colour(0).0, 0));
        place.label(&[]);
        // For a second a listing would count in any case.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(rows().await, before);
        let labels = place.number("SELECT count(*) FROM labels");
        assert_eq!(labels, before + 1);
    });
}

#[test]
fn fractions_intervals_balance_and_the_histogram_do_what_they_say() {
    let place = prepared();
    let labels = format!("{}/*.parquet", foreign(&place, "labels", 2));
    let whole = select(
        &place,
        "whole",
        &labels,
        &["--per-class", "400", "--balance", "none"],
    );
    assert_eq!(whole["totals"]["rows"], whole["totals"]["copies"]);
    let sixteenth = select(
        &place,
        "f",
        &labels,
        &["--per-class", "400", "--fraction", "1/16"],
    );
    for class in sixteenth["classes"].as_array().unwrap() {
        let n = class["available"].as_u64().unwrap().min(400) as f64;
        let kept = ((n / 16.0).round() as u64).max(u64::from(n > 0.0));
        assert_eq!(
            (class["kept"].as_u64(), class["copies"].as_u64()),
            (Some(kept), Some(25))
        );
    }
    let interval = select(
        &place,
        "i",
        &labels,
        &["--interval", "0.3:0.4", "--per-interval", "100"],
    );
    assert_eq!(
        (&interval["totals"]["rows"], &interval["totals"]["copies"]),
        (&100.into(), &100.into())
    );
    let last = select(
        &place,
        "j",
        &labels,
        &["--interval", "0.9:1", "--per-interval", "100000"],
    );
    assert_eq!(last["totals"]["rows"], last["totals"]["candidates"]);
    let bins = select(
        &place,
        "h",
        &labels,
        &["--per-class", "400", "--method", "histogram"],
    );
    // What is drawn by chance has no cut-off but its lowest row, and a class of which nothing was drawn has none.
    for (name, json) in [("h", &bins), ("i", &interval)] {
        let query = format!(
            "SELECT class, min(confidence) AS lowest FROM selections WHERE selection = '{name}' GROUP BY class ORDER BY class"
        );
        let lowest = place.sql(&query);
        let kept = |class: &&serde_json::Value| class["kept"] != 0;
        let classes = json["classes"].as_array().unwrap();
        assert_eq!(classes.iter().filter(kept).count(), lowest.len());
        for (class, row) in classes.iter().filter(kept).zip(&lowest) {
            assert_eq!(
                (&class["class"], class["cut_off"].as_f64()),
                (&row["class"], row["lowest"].as_f64()),
                "{name}"
            );
        }
        let without = classes.iter().filter(|class| !kept(class));
        assert!(without.clone().all(|class| class.get("cut_off").is_none()));
        assert_eq!(name == "i", without.count() > 0);
    }
    let exact = whole["classes"].as_array().unwrap().iter();
    for (bins, exact) in bins["classes"].as_array().unwrap().iter().zip(exact) {
        assert_eq!(bins["available"], exact["available"]);
        let (kept, copies) = (
            bins["kept"].as_f64().unwrap(),
            bins["copies"].as_f64().unwrap(),
        );
        // About K, not exactly.
        assert!((copies - 400.0).abs() < 100.0, "{bins}");
        assert!(kept <= bins["available"].as_f64().unwrap());
    }
}

#[test]
fn every_row_that_is_left_out_is_listed_with_its_reason() {
    let place = prepared();
    let labels = format!("{}/*.parquet", foreign(&place, "labels", 2));
    let json = select(&place, "s", &labels, &["--per-class", "50", "--explain"]);
    let glob = place.path("w/selections/s/left_out-*.parquet");
    let listed = python(
        r#"
import sys, duckdb
print(duckdb.sql(f"select reason, count(*) n from read_parquet('{sys.argv[1]}') group by 1 order by 1").fetchall())
"#,
        &[&glob.display().to_string()],
    );
    let counted: Vec<String> = json["left_out"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(reason, n)| format!("('{reason}', {n})"))
        .collect();
    let mut counted = counted;
    counted.sort();
    assert_eq!(listed.trim(), format!("[{}]", counted.join(", ")));
}

#[test]
fn labels_of_a_dataset_keep_their_soft_labels_and_lose_duplicates_and_leaks() {
    let place = Place::with_teacher();
    for n in 0..30 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    // Two more of the same bytes, and one that is held out.
    place.put("00-again.jpg", &jpeg(colour(0).0, 0));
    place.put("00-once-more.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
    let held_out = place.path("held-out");
    std::fs::create_dir(&held_out).unwrap();
    std::fs::write(held_out.join("a.jpg"), jpeg(colour(1).0, 1)).unwrap();
    std::fs::write(held_out.join("broken.jpg"), b"").unwrap();
    place.ok(&[
        "label",
        "--dataset",
        "test",
        "--source",
        &held_out.display().to_string(),
        "--teacher",
        "tiny",
    ]);
    let json: serde_json::Value = serde_json::from_str(&place.select_of_d(
        "s",
        &[
            "--exclude",
            "test",
            "--max-distance",
            "0",
            "--threshold",
            "0.2",
            "--per-class",
            "20",
            "--json",
        ],
    ))
    .unwrap();
    assert_eq!(json["left_out"]["duplicate"], 2, "{json}");
    assert!(json["left_out"]["leaked"].as_u64().unwrap() >= 1, "{json}");
    assert_eq!(json["leakage"]["held_out"], 2);
    let glob = place.path("w/selections/s/part-*.parquet");
    let labels = place.path("w/labels/dataset=d/teacher=tiny@1/*.parquet");
    let out = python(
        r#"
import sys, duckdb
q = f"""select count(*), min(len(s.probs)), bool_and(s.probs = l.probs), bool_and(s.class = l.class)
from read_parquet('{sys.argv[1]}') s join read_parquet('{sys.argv[2]}', hive_partitioning=false) l using (key)"""
print(*duckdb.sql(q).fetchall()[0])
"#,
        &[&glob.display().to_string(), &labels.display().to_string()],
    );
    assert_eq!(
        out.trim(),
        format!("{} 4 True True", json["totals"]["rows"])
    );
    assert_eq!(json["empty_classes"], serde_json::json!(["dark"]));
}

#[test]
fn wrong_selections_are_named() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
    let images = place.images();
    for (args, code, text) in [
        (
            vec!["--dataset", "d", "--teacher", "tinny"],
            3,
            "did you mean `tiny`",
        ),
        (
            vec!["--dataset", "e", "--teacher", "tiny"],
            3,
            "there are no labels",
        ),
        (
            vec!["--dataset", "d", "--teacher", "tiny", "--threshold", "1.5"],
            2,
            "`select.threshold` is 1.5",
        ),
        (
            vec!["--dataset", "d", "--teacher", "tiny", "--exclude", "tset"],
            3,
            "no dataset `tset`",
        ),
        (
            vec!["--dataset", "d", "--teacher", "tiny", "--threshold", "0.99"],
            3,
            "no label is left of 1: 1 threshold",
        ),
        (
            vec!["--dataset", "d", "--teacher", "tiny", "--queries", &images],
            2,
            "candidates.sql",
        ),
        (
            vec!["--labels", "/nowhere/*.parquet"],
            3,
            "there are no labels in `/nowhere",
        ),
        (vec!["--dataset", "d"], 2, "--teacher"),
        (
            vec!["--labels", "/nowhere/*.parquet", "--teacher", "tiny"],
            2,
            "cannot be used with",
        ),
        (
            vec!["--labels", "/nowhere/*.parquet", "--filter-teacher", "tiny"],
            2,
            "cannot be used with",
        ),
        (
            vec!["--dataset", "d", "--teacher", "tiny", "--fraction", "2"],
            2,
            "`select.fraction` is 2",
        ),
        (
            vec![
                "--dataset",
                "d",
                "--teacher",
                "tiny",
                "--interval",
                "0.2:0.4",
                "--per-interval",
                "0",
            ],
            2,
            "`select.per_interval` is 0",
        ),
    ] {
        let mut all = vec!["select", "--name", "s"];
        all.extend(args);
        let (found, said) = place.fails(&all);
        assert_eq!(found, code, "{said}");
        assert!(said.contains(text), "{said}");
    }
    let interval = ["--interval", "0.2:0.4", "--per-interval", "5"];
    for ranked in [
        ["--threshold", "0.9"],
        ["--per-class", "7"],
        ["--balance", "none"],
    ] {
        let of = [
            "select",
            "--name",
            "s",
            "--dataset",
            "d",
            "--teacher",
            "tiny",
        ];
        let (code, said) = place.fails(&[&of[..], &interval, &ranked].concat());
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains("cannot be used with") && said.contains(ranked[0]),
            "{said}"
        );
    }
    assert!(!place.path("w/selections").exists());
}

#[test]
fn selections_leaks_and_churn_are_sql() {
    let place = Place::with_teacher();
    for n in 0..12 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    assert_eq!(place.number("SELECT count(*) FROM selections"), 0);
    place.select_of_d("s", &["--threshold", "0.2", "--per-class", "3"]);
    assert_eq!(
        place.number("SELECT count(*) FROM selections WHERE selection = 's'"),
        9
    );
    let classes =
        place.sql("SELECT label, available, kept, copies FROM selection_classes ORDER BY class");
    assert_eq!(classes[0]["label"], "red");
    assert_eq!(
        (&classes[0]["available"], &classes[0]["kept"]),
        (&4.into(), &3.into())
    );
    let row = &place.sql(
        "SELECT soft_label(probs, 2) AS top, class, round(entropy(probs) - entropy, 3) AS apart FROM labels LIMIT 1",
    )[0];
    assert_eq!(row["top"].as_array().unwrap().len(), 2);
    assert_eq!(row["top"][0]["class"], row["class"]);
    assert!(row["apart"].as_f64().unwrap().abs() < 0.01);
    place.add_swapped("bgr");
    place.ok(&["label", "--dataset", "d", "--teacher", "bgr"]);
    let churn: Vec<String> = place
        .sql("SELECT \"from\", \"to\", images FROM churn('tiny@1', 'bgr@1') ORDER BY \"from\"")
        .iter()
        .map(|r| {
            format!(
                "{} {} {}",
                r["from"].as_str().unwrap(),
                r["to"].as_str().unwrap(),
                r["images"]
            )
        })
        .collect();
    assert_eq!(churn, ["blue red 4", "green green 4", "red blue 4"]);
}

#[test]
fn one_teacher_may_filter_and_another_label() {
    let place = Place::with_teacher();
    for n in 0..12 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    place.add_teacher(
        "other",
        &crate::support::onnx::Model {
            probabilities: true,
            ..Default::default()
        },
    );
    // The other teacher has not seen two of the images.
    place.ok(&["label", "--dataset", "d", "--teacher", "other"]);
    for n in 12..14 {
        place.put(&format!("{n:02}.jpg"), &jpeg(colour(n).0, n));
    }
    place.label(&[]);
    let json: serde_json::Value = serde_json::from_str(&place.ok(&[
        "select",
        "--name",
        "s",
        "--dataset",
        "d",
        "--teacher",
        "other",
        "--filter-teacher",
        "tiny",
        "--threshold",
        "0.2",
        "--per-class",
        "10",
        "--json",
    ]))
    .unwrap();
    assert_eq!(json["totals"]["rows"], 12, "{json}");
    assert_eq!(json["unlabelled"]["keys"], 2);
    let example = json["unlabelled"]["examples"][0].as_str().unwrap();
    assert!(example.ends_with("12.jpg"), "{example}");

    // Where the other teacher has labelled none of them as they are now, there is nothing to choose.
    place.add_teacher("late", &crate::support::onnx::Model::default());
    let one = place.path("one");
    std::fs::create_dir(&one).unwrap();
    std::fs::write(one.join("a.jpg"), jpeg(colour(0).0, 0)).unwrap();
    let label = |teacher: &str| {
        let source = one.display().to_string();
        let of = ["--dataset", "one", "--source", &source];
        place.ok(&[&["label", "--teacher", teacher][..], &of].concat());
    };
    label("late");
    std::fs::write(one.join("a.jpg"), jpeg(colour(1).0, 1)).unwrap();
    label("tiny");
    let select = ["select", "--name", "none", "--dataset", "one"];
    let teachers = ["--teacher", "late", "--filter-teacher", "tiny"];
    let of = [&select[..], &teachers, &["--threshold", "0.2"]].concat();
    let (code, text) = place.fails(&of);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("1 without a soft label"), "{text}");
    assert!(!place.path("w/selections/none/selection.json").exists());

    // Classes of one teacher and soft labels of another would not fit together where they number classes differently.
    let names = r#"["red", "green", "blue", "dark"]"#;
    place.add_changed("renamed", names, r#"["red", "blue", "green", "dark"]"#);
    place.ok(&["label", "--dataset", "d", "--teacher", "renamed"]);
    let select = [
        "select",
        "--name",
        "t",
        "--dataset",
        "d",
        "--teacher",
        "renamed",
    ];
    let (code, text) = place.fails(&[&select[..], &["--filter-teacher", "tiny"]].concat());
    assert_eq!(code, 9, "{text}");
    assert!(text.contains("class 1 is `green` and `blue`"), "{text}");
}

#[test]
fn the_documented_schema_of_a_selection_is_the_one_written() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.put("the-same.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
    place.select_of_d("s", &["--threshold", "0.2", "--explain"]);
    place.select_of_d(
        "m",
        &["--threshold", "0.2", "--materialize", "--per-class", "3"],
    );
    let of = |name: &str, file: &str| {
        let file = place.path("w/selections").join(name).join(file);
        std::fs::read(file).unwrap()
    };
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&of(name, "selection.json")).unwrap()
    };
    let first = |name: &str| json(name)["parts"][0]["file"].as_str().unwrap().to_owned();
    let written = |name: &str, file: &str| -> Vec<(String, String)> {
        let part = of(name, file);
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
            bytes::Bytes::from(part),
        )
        .unwrap();
        let fields = reader.schema().fields().iter();
        let typed = fields.map(|f| (f.name().clone(), f.data_type().to_string()));
        typed
            .map(|(name, of)| (name, of.replace("Utf8View", "Utf8")))
            .collect()
    };
    let text = include_str!("../schemas/selection.json");
    let documented: serde_json::Value = serde_json::from_str(text).unwrap();
    let columns = |of: &str| -> Vec<(String, String)> {
        let columns = documented[of].as_array().unwrap().iter();
        let text = |c: &serde_json::Value, of: &str| c[of].as_str().unwrap().to_owned();
        columns
            .map(|c| (text(c, "name"), text(c, "type")))
            .collect()
    };
    let part = first("s");
    assert_eq!(written("s", &part), columns("columns"));
    let left_out = part.replacen("part", "left_out", 1);
    assert_eq!(written("s", &left_out), columns("left_out_columns"));
    let materialized = [columns("columns"), columns("materialized_columns")].concat();
    assert_eq!(written("m", &first("m")), materialized);
    for key in json("s").as_object().unwrap().keys() {
        let documented = &documented["keys"][key];
        assert!(documented.is_string(), "`{key}` is not documented");
    }
}

#[test]
fn duplicates_of_foreign_labels_are_found_whatever_the_binary_type() {
    let place = prepared();
    for (kind, sha) in [
        ("binary", "pa.binary()"),
        ("large", "pa.large_binary()"),
        ("fixed", "pa.binary(32)"),
    ] {
        let folder = place.path(kind);
        std::fs::create_dir(&folder).unwrap();
        python(
            r#"
import sys, hashlib, pyarrow as pa, pyarrow.parquet as pq
n = 500
shas = [hashlib.sha256(str(i if i % 10 else 0).encode()).digest() for i in range(n)]
t = pa.table({"key": [f"{i:04}" for i in range(n)], "class": [i % 3 for i in range(n)], "confidence": pa.array([0.5] * n, pa.float32()), "sha256": pa.array(shas, eval(sys.argv[2]))})
pq.write_table(t, sys.argv[1] + "/labels.parquet")
"#,
            &[&folder.display().to_string(), sha],
        );
        let labels = folder.join("labels.parquet").display().to_string();
        let json = select(&place, kind, &labels, &["--per-class", "1000"]);
        assert_eq!(json["left_out"]["duplicate"], 49, "{kind}: {json}");
        let kept = select(
            &place,
            &format!("{kind}-kept"),
            &labels,
            &["--keep-duplicates"],
        );
        assert_eq!(kept["totals"]["rows"], 500);
    }
}

#[test]
fn plans_show_each_query_with_its_functions_and_write_nothing() {
    let place = prepared();
    let labels = format!("{}/*.parquet", foreign(&place, "labels", 2));
    let before = files(&place.path("w"));
    let select = ["select", "--name", "s", "--labels", &labels, "--plans"];
    let plans = place.ok(&select);
    for (file, function) in [
        ("candidates.sql", "first_reason("),
        ("tally.sql", "first_reason("),
        ("order.sql", "is_within_reach("),
        ("selected.sql", "is_chosen("),
    ] {
        let (_, plan) = plans.split_once(&format!("-- {file}\n")).unwrap();
        let plan = plan.split("\n-- ").next().unwrap();
        assert!(
            plan.contains("physical_plan") && plan.contains(function),
            "{file}: {plan}"
        );
    }
    assert!(
        !plans.contains("left_out.sql") && !plans.contains("fingerprints.sql"),
        "{plans}"
    );
    assert_eq!(
        differing(&before, &files(&place.path("w"))),
        Vec::<String>::new()
    );
}
