//! Labelling a selection's images alone with another teacher: exactly these, each once, whatever was labelled before or is later.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::support::{
    Place, colour, differing, files, jpeg, label_args, parquet_with_images, python, tar,
};

/// Photos of every kind of source: loose, in two tars, in a Parquet file; `n` each.
fn fill(place: &Place, n: u32) {
    let photos: Vec<Vec<u8>> = (0..4 * n).map(|i| jpeg(colour(i).0, i)).collect();
    for (i, photo) in photos[..n as usize].iter().enumerate() {
        place.put(&format!("{}/{i:04}.jpg", i % 3), photo);
    }
    for (t, photos) in photos[n as usize..3 * n as usize]
        .chunks(n as usize)
        .enumerate()
    {
        let names: Vec<String> = (0..photos.len()).map(|i| format!("{i:04}.jpg")).collect();
        let members: Vec<(&str, &[u8])> = names
            .iter()
            .map(String::as_str)
            .zip(photos.iter().map(Vec::as_slice))
            .collect();
        place.put(&format!("{t}.tar"), &tar(&members));
    }
    let rows: Vec<Option<&[u8]>> = photos[3 * n as usize..]
        .iter()
        .map(|p| Some(p.as_slice()))
        .collect();
    place.put("photos.parquet", &parquet_with_images(&rows));
}

/// A place with the teacher `tiny`, and a bigger one, `big`, for which red is blue.
fn with_two_teachers() -> Place {
    let place = Place::with_teacher();
    place.add_swapped("big");
    place
}

impl Place {
    fn cut(&self, shard_images: u32) -> String {
        let path = self.path("p.toml");
        std::fs::write(
            &path,
            format!("[manifest]\nshard_images = {shard_images}\n"),
        )
        .unwrap();
        path.display().to_string()
    }

    fn select(&self, id: &str, more: &[&str]) -> Value {
        let mut args = vec!["select", "--name", id, "--threshold", "0.2", "--json"];
        args.extend(more);
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    fn select_of_tiny(&self, id: &str, per_class: &str) -> Value {
        let args = ["--dataset", "d", "--teacher", "tiny", "--keep-duplicates"];
        self.select(id, &[&args[..], &["--per-class", per_class]].concat())
    }

    /// A selection of what `tiny` is sure of, with the soft labels of `big`.
    fn select_of_both(&self, id: &str, more: &[&str]) -> Value {
        let args = [
            "--dataset",
            "d",
            "--filter-teacher",
            "tiny@1",
            "--teacher",
            "big@1",
        ];
        let k = ["--per-class", "15", "--keep-duplicates"];
        self.select(id, &[&args[..], &k, more].concat())
    }

    /// Of a selection's rows: class, the most probable class of the soft label, and how many.
    fn classes(&self, id: &str) -> String {
        let parts = self.path(&format!("w/selections/{id}/part-*.parquet"));
        let out = python(
            r#"
import sys, duckdb
q = f"select class, list_position(probs::float[], list_max(probs::float[])) - 1 as best, count(*) n from read_parquet('{sys.argv[1]}') group by all order by 1"
print(duckdb.sql(q).fetchall())
"#,
            &[&parts.display().to_string()],
        );
        out.trim().to_owned()
    }

    /// A selection of these keys, which another system has chosen.
    fn select_foreign(&self, id: &str, keys: &[String]) {
        let file = self.path(&format!("{id}.parquet")).display().to_string();
        python(
            r#"
import sys, pyarrow as pa, pyarrow.parquet as pq
keys = sys.argv[2:]
pq.write_table(pa.table({"key": keys, "class": [0] * len(keys), "confidence": pa.array([0.9] * len(keys), pa.float32())}), sys.argv[1])
"#,
            &[
                &[file.as_str()],
                &keys.iter().map(String::as_str).collect::<Vec<_>>()[..],
            ]
            .concat(),
        );
        self.select(id, &["--labels", &file]);
    }

    /// Labels with `big`.
    fn label_big(&self, more: &[&str]) -> Value {
        let mut args = big().to_vec();
        args.extend(more);
        args.push("--json");
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    fn key(&self, name: &str) -> String {
        format!("file://{}/{name}", self.images())
    }

    /// Rows of `big`, labels, and keys with a label, as another engine sees them in the files.
    fn files_of_big(&self) -> (i64, i64, i64) {
        let out = python(
            r#"
import sys, duckdb
q = f"from read_parquet('{sys.argv[1]}/**/*.parquet', hive_partitioning = true) where teacher = 'big@1'"
print(*duckdb.sql(f"select count(*), count(*) filter (reason is null), count(distinct key) filter (reason is null) {q}").fetchall()[0])
"#,
            &[&self.path("w/labels").display().to_string()],
        );
        let numbers: Vec<i64> = out.split_whitespace().map(|n| n.parse().unwrap()).collect();
        (numbers[0], numbers[1], numbers[2])
    }

    fn keys(&self, query: &str) -> Vec<String> {
        let rows = self.sql(&format!("SELECT key FROM ({query}) ORDER BY key"));
        rows.iter()
            .map(|r| r["key"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn big() -> [&'static str; 5] {
    ["label", "--dataset", "d", "--teacher", "big"]
}

const OF_BIG: &str = "SELECT key FROM labels WHERE teacher = 'big@1'";

#[test]
fn a_selections_images_alone_are_labelled_and_their_probabilities_joined() {
    let place = with_two_teachers();
    fill(&place, 30);
    place.label(&["--config", &place.cut(16)]);
    let first = place.select_of_tiny("first", "15");
    let summary = place.label_big(&["--selection", "first"]);
    let rows = &first["totals"]["rows"];
    assert_eq!(*rows, 45);
    for figure in ["images", "labelled"] {
        assert_eq!(&summary[figure], rows, "{summary}");
    }
    assert_eq!(&summary["selection"]["images"], rows);
    assert_eq!(
        place.keys(OF_BIG),
        place.keys("SELECT key FROM selections WHERE selection = 'first'")
    );
    assert_eq!(place.files_of_big(), (45, 45, 45));
    // Every label stands beside the key of its image: what is red is blue for `big`.
    let moved = place.sql(
        "SELECT t.label AS was, b.label AS is, count(*) AS n, min(CASE WHEN t.sha256 = b.sha256 THEN 1 ELSE 0 END) AS same FROM labels t JOIN labels b
         ON t.key = b.key AND t.teacher = 'tiny@1' AND b.teacher = 'big@1' GROUP BY 1, 2 ORDER BY 1",
    );
    let moved: Vec<String> = moved.iter().map(Value::to_string).collect();
    assert_eq!(
        moved,
        [
            r#"{"is":"red","n":15,"same":1,"was":"blue"}"#,
            r#"{"is":"green","n":15,"same":1,"was":"green"}"#,
            r#"{"is":"blue","n":15,"same":1,"was":"red"}"#
        ]
    );
    let second = place.select_of_both("second", &[]);
    assert_eq!(
        (&second["totals"]["rows"], &second["unlabelled"]["keys"]),
        (rows, &0.into())
    );
    assert_eq!(
        place.classes("second"),
        "[(0, 2, 15), (1, 1, 15), (2, 0, 15)]"
    );
    // How many rows this method keeps is not known before: they are joined by sorting, as where there are too many to be held.
    let sampled = place.select_of_both("sampled", &["--method", "histogram"]);
    let number = |value: &Value| value.as_u64().unwrap();
    let chosen = number(&sampled["totals"]["rows"]) + number(&sampled["unlabelled"]["keys"]);
    assert!((20..=60).contains(&chosen), "{sampled}");
    // What `big` has not labelled is counted as that alone.
    let left_out = sampled["left_out"].as_object().unwrap();
    assert!(!left_out.contains_key("sampled-out"), "{sampled}");
    let labels: u64 = left_out.values().map(number).sum::<u64>() + chosen;
    assert_eq!(labels, number(&sampled["totals"]["labels"]), "{sampled}");
    let classes = place.classes("sampled");
    assert!(
        ["[(0, 2, ", "(1, 1, ", "(2, 0, "]
            .iter()
            .all(|c| classes.contains(c))
            && classes.matches('(').count() == 3,
        "{classes}"
    );
    // What `big` labels is in the selections that it and `tiny` made: there is nothing to do.
    let before = files(&place.path("w/labels"));
    for (id, of) in [("first", false), ("second", true)] {
        let again = place.label_big(&["--selection", id]);
        assert_eq!(
            (&again["images"], &again["selection"]["made_of"]),
            (&0.into(), &of.into()),
            "{again}"
        );
    }
    assert_eq!(differing(&before, &place.labels()), Vec::<String>::new());
}

#[test]
fn labelling_everything_later_leaves_each_label_once_and_finishes_what_was_begun() {
    let place = with_two_teachers();
    fill(&place, 30);
    place.label(&["--config", &place.cut(16)]);
    place.select_of_tiny("first", "15");
    place.label_big(&["--selection", "first"]);
    // As if that run had been killed before its second part was committed, and nobody had gone on with it.
    let folder = place.path("w/labels/dataset=d/teacher=big@1");
    let part = folder.join("plan-000001.part-000001.parquet");
    let lost = std::fs::read(&part).unwrap();
    std::fs::remove_file(&part).unwrap();
    let (_, done, _) = place.files_of_big();
    let summary = place.label_big(&[]);
    assert_eq!(summary["images"].as_i64(), Some(120 - done));
    assert_eq!(std::fs::read(&part).unwrap(), lost, "the part is another");
    assert_eq!(place.files_of_big(), (120, 120, 120));
    assert_eq!(place.keys(OF_BIG), place.keys("SELECT key FROM manifest"));
    // A shard's object has its shard's rows that the selection had left, in order.
    let rows = place.sql(
        "SELECT m.key, m.shard FROM manifest m LEFT ANTI JOIN selections s ON m.key = s.key ORDER BY shard, \"row\"",
    );
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let name = format!("shard-{:06}.parquet", row["shard"].as_i64().unwrap());
        let key = row["key"].as_str().unwrap().to_owned();
        expected.entry(name).or_default().push(key);
    }
    for (name, keys) in &expected {
        assert_eq!(keys_in(&folder.join(name)), *keys, "{name}");
    }
    for flags in [&["--selection", "first"][..], &[]] {
        assert_eq!(place.label_big(flags)["images"], 0);
    }
    // Another selection has nothing to do either.
    place.select_of_tiny("second", "25");
    let summary = place.label_big(&["--selection", "second"]);
    assert_eq!(
        (&summary["images"], &summary["selection"]["images"]),
        (&0.into(), &75.into())
    );
}

fn keys_in(file: &Path) -> Vec<String> {
    let bytes = bytes::Bytes::from(std::fs::read(file).unwrap());
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
    let mut keys = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let column = arrow::array::AsArray::as_string::<i32>(batch.column(0)).clone();
        keys.extend(column.iter().map(|k| k.unwrap().to_owned()));
    }
    keys
}

#[test]
fn images_that_other_labels_have_begun_are_left_to_them_and_named() {
    let place = with_two_teachers();
    fill(&place, 30);
    place.label(&["--config", &place.cut(16)]);
    place.label_big(&[]);
    // As if the labelling of everything had been killed before its last shards.
    let folder = place.path("w/labels/dataset=d/teacher=big@1");
    for shard in ["shard-000002.parquet", "shard-000005.parquet"] {
        std::fs::remove_file(folder.join(shard)).unwrap();
    }
    place.select_of_tiny("first", "40");
    let before = place.labels();
    let (code, text) = place.fails(&[&big()[..], &["--selection", "first"]].concat());
    insta::assert_snapshot!(format!("exit code {code}\n{text}"));
    assert_eq!(differing(&before, &place.labels()), Vec::<String>::new());
    place.label_big(&[]);
    place.label_big(&["--selection", "first"]);
    assert_eq!(place.files_of_big(), (120, 120, 120));
    // Labels of which nobody wrote a plan are taken for labels of everything.
    std::fs::remove_dir_all(place.path("w/manifests/dataset=d/teacher=big@1")).unwrap();
    for flags in [&["--selection", "first"][..], &[]] {
        assert_eq!(place.label_big(flags)["images"], 0);
    }
    assert_eq!(place.files_of_big(), (120, 120, 120));

    // The same of two selections that share images: the second labels its own before it says so.
    let place = with_two_teachers();
    fill(&place, 30);
    place.label(&["--config", &place.cut(16)]);
    place.select_of_tiny("first", "15");
    place.select_of_tiny("second", "20");
    place.label_big(&["--selection", "first"]);
    let folder = place.path("w/labels/dataset=d/teacher=big@1");
    let part = folder.join("plan-000001.part-000000.parquet");
    let left = keys_in(&part).len();
    std::fs::remove_file(&part).unwrap();
    let (code, text) = place.fails(&[&big()[..], &["--selection", "second"]].concat());
    assert_eq!(code, 2);
    assert!(
        text.contains(&format!("{left} images of selection `second`"))
            && text.contains("label --dataset d --teacher big@1 --selection first`"),
        "{text}"
    );
    assert_eq!(place.keys(OF_BIG).len(), 60 - left);
    place.label_big(&["--selection", "first"]);
    let summary = place.label_big(&["--selection", "second"]);
    assert_eq!(
        (&summary["images"], place.files_of_big()),
        (&0.into(), (60, 60, 60))
    );
}

#[test]
fn a_killed_run_over_a_selection_resumes_to_the_bytes_of_an_undisturbed_one() {
    let place = with_two_teachers();
    fill(&place, 150);
    place.label(&["--config", &place.cut(12)]);
    place.select_of_tiny("first", "150");
    let copy = place.path("undisturbed").display().to_string();
    let copied = std::process::Command::new("cp")
        .args(["-r", &place.path("w").display().to_string(), &copy])
        .status()
        .unwrap();
    assert!(copied.success());
    let args = [&big()[..], &["--selection", "first"]].concat();
    let started = std::time::Instant::now();
    place.ok(&[&args[..], &["--workspace", &copy]].concat());
    let whole = started.elapsed();
    let mut kills = 0;
    for n in 0_u32..10 {
        let mut child = place
            .command(&args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(f64::from((n * 7) % 10 + 1) / 11.0));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "no run was killed before its end");
    place.ok(&args);
    let undisturbed = files(&Path::new(&copy).join("labels"));
    assert_eq!(
        differing(&undisturbed, &place.labels()),
        Vec::<String>::new()
    );
    let plans = |root: &Path| files(&root.join("manifests"));
    let (one, two) = (plans(&place.path("w")), plans(Path::new(&copy)));
    assert_eq!(differing(&one, &two), Vec::<String>::new());
    assert!(undisturbed.len() > 30);
}

#[test]
fn two_processes_over_one_selection_and_one_over_everything_do_not_harm_each_other() {
    let place = with_two_teachers();
    fill(&place, 60);
    place.label(&["--config", &place.cut(12)]);
    place.select_of_tiny("first", "40");
    let of_first = [&big()[..], &["--selection", "first"]].concat();
    let mut children: Vec<_> = [&of_first[..], &of_first, &big()]
        .into_iter()
        .map(|args| {
            place
                .command(args)
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    // Everything may have been planned first: the others then leave their images to it, and say so.
    let everything = children.pop().unwrap().wait_with_output().unwrap();
    assert!(everything.status.success(), "{everything:?}");
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() || text.contains("which are not finished"),
            "{text}"
        );
    }
    assert_eq!(place.files_of_big(), (240, 240, 240));
    assert_eq!(place.keys(OF_BIG), place.keys("SELECT key FROM manifest"));
}

#[test]
fn keys_that_have_changed_are_gone_or_were_never_there_are_counted_and_named() {
    let place = with_two_teachers();
    fill(&place, 12);
    place.label(&[]);
    place.select_of_tiny("first", "16");
    assert_eq!(place.number("SELECT count(*) FROM selections"), 48);
    place.put("0/0003.jpg", &jpeg([20, 20, 200], 99));
    std::fs::remove_file(place.path("images/1/0004.jpg")).unwrap();
    place.put("0/new.jpg", &jpeg(colour(0).0, 500));
    let summary = place.label_big(&["--selection", "first"]);
    let of = &summary["selection"];
    assert_eq!(
        (&summary["images"], &summary["labelled"]),
        (&46.into(), &46.into())
    );
    assert_eq!(
        of["changed"],
        serde_json::json!({"keys": 1, "examples": [place.key("0/0003.jpg")]})
    );
    assert_eq!(
        of["gone"],
        serde_json::json!({"keys": 1, "examples": [place.key("1/0004.jpg")]})
    );
    // A later generation is looked at, and takes nothing of an older selection.
    place.put("0/newer.jpg", &jpeg(colour(1).0, 501));
    std::fs::remove_file(place.path("images/1/0001.jpg")).unwrap();
    let output = place.run(&[&big()[..], &["--selection", "first"]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("all 45 images"),
        "{text}"
    );
    assert!(
        text.contains("1 keys of selection first have changed since")
            && text.contains("2 keys of selection first are gone; such as"),
        "{text}"
    );
    // Of another system's selection the keys that the dataset has.
    let keys = [
        "0/new.jpg",
        "0/0003.jpg",
        "1/0004.jpg",
        "nowhere/a.jpg",
        "0.tar#0002.jpg",
    ];
    place.select_foreign("foreign", &keys.map(|k| place.key(k)));
    let summary = place.label_big(&["--selection", "foreign"]);
    let of = &summary["selection"];
    assert_eq!(
        (&of["images"], &of["gone"]["keys"], &of["changed"]["keys"]),
        (&3.into(), &1.into(), &0.into())
    );
    assert_eq!(
        of["unknown"],
        serde_json::json!({"keys": 1, "examples": [place.key("nowhere/a.jpg")]})
    );
    assert_eq!(summary["images"], 2, "{summary}");
    place.label(&[]);
    place.label_big(&[]);
    let labels = place.keys(OF_BIG);
    assert_eq!(labels, place.keys("SELECT key FROM manifest"));
    assert_eq!(
        labels,
        place.keys("SELECT key FROM labels WHERE teacher = 'tiny@1'")
    );
}

#[test]
fn rejects_of_a_selection_are_retried_and_each_label_stays_exactly_once() {
    let place = with_two_teachers();
    fill(&place, 8);
    let photo = jpeg(colour(1).0, 77);
    for name in ["1/bad.jpg", "2/bad.jpg"] {
        place.put(name, &vec![b'x'; photo.len()]);
    }
    place.label(&[]);
    let keys: Vec<String> = ["0/0000.jpg", "1/bad.jpg", "2/bad.jpg"]
        .map(|k| place.key(k))
        .to_vec();
    place.select_foreign("one", &keys[..2]);
    place.select_foreign("two", &keys[2..]);
    for (id, labelled) in [("one", 1), ("two", 0)] {
        let summary = place.label_big(&["--selection", id]);
        assert_eq!(
            (&summary["labelled"], &summary["rejected"]),
            (&labelled.into(), &1.into())
        );
    }
    // Mended in place; the retry of one selection leaves the other's reject alone.
    for name in ["1/bad.jpg", "2/bad.jpg"] {
        place.mend(name, &photo);
    }
    let retried = place.label_big(&["--selection", "one", "--retry-rejects"]);
    assert_eq!(
        (&retried["images"], &retried["labelled"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        place.number("SELECT count(*) FROM rejects WHERE teacher = 'big@1'"),
        1
    );
    let retried = place.label_big(&["--retry-rejects"]);
    assert_eq!(
        (&retried["images"], &retried["labelled"]),
        (&1.into(), &1.into())
    );
    let names: Vec<String> = files(&place.path("w/labels/dataset=d/teacher=big@1"))
        .into_keys()
        .collect();
    assert_eq!(
        names,
        [
            "_labels.json",
            "plan-000001.part-000000.parquet",
            "plan-000002.part-000000.parquet",
            "shard-000003.retry-001.parquet",
            "shard-000003.retry-002.parquet",
        ]
    );
    assert_eq!(place.label_big(&["--retry-rejects"])["images"], 0);
    // A retry of a shard does not stand for the shard.
    place.label_big(&[]);
    assert_eq!(place.keys(OF_BIG), place.keys("SELECT key FROM manifest"));
    let (_, labels, keys) = place.files_of_big();
    assert_eq!((labels, keys), (34, 34));
}

#[test]
fn a_selection_over_several_generations_and_later_ones_keep_each_label_once() {
    let place = with_two_teachers();
    fill(&place, 20);
    place.label(&["--config", &place.cut(9)]);
    for n in 0..12 {
        place.put(&format!("later/{n:02}.jpg"), &jpeg(colour(n).0, 700 + n));
    }
    place.put("0/0003.jpg", &jpeg([20, 20, 200], 99));
    place.label(&[]);
    place.select_of_tiny("first", "28");
    let summary = place.label_big(&["--selection", "first"]);
    assert_eq!(summary["images"], 28 * 3, "{summary}");
    assert_eq!(
        place.keys(OF_BIG),
        place.keys("SELECT key FROM selections WHERE selection = 'first'")
    );
    // Everything up to here, then a generation that a second selection takes a share of, then everything again.
    place.label_big(&[]);
    for n in 0..9 {
        place.put(&format!("latest/{n:02}.jpg"), &jpeg(colour(n).0, 800 + n));
    }
    place.label(&[]);
    let keys: Vec<String> = (0..4)
        .map(|n| place.key(&format!("latest/{n:02}.jpg")))
        .collect();
    place.select_foreign("second", &[&keys[..], &[place.key("0/0000.jpg")]].concat());
    let summary = place.label_big(&["--selection", "second"]);
    assert_eq!(
        (&summary["images"], &summary["selection"]["images"]),
        (&4.into(), &5.into())
    );
    assert_eq!(place.label_big(&[])["images"], 5);
    let newest = place.keys("SELECT key FROM manifest");
    assert_eq!((place.keys(OF_BIG), newest.len()), (newest, 80 + 12 + 9));
    // The first state of the image that changed counts no more: nobody labels it.
    assert_eq!(place.files_of_big(), (101, 101, 101));
}

#[test]
fn a_batch_of_large_members_does_not_wait_for_itself() {
    let place = Place::with_teacher();
    // 30 members of 5 MB are more than may be in flight; none is an image, so that nothing is decoded.
    let large = vec![b'x'; 5 << 20];
    let names: Vec<String> = (0..30).map(|n| format!("{n:02}.jpg")).collect();
    let members: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &large[..])).collect();
    place.put("x.tar", &tar(&members));
    let images = place.images();
    let mut child = place
        .command(&[&label_args(&images)[..], &["--batch", "64"]].concat())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the batch waits for memory that it holds itself");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(place.number("SELECT count(*) FROM rejects"), 30);
}

#[test]
fn wrong_selections_to_label_are_named() {
    let place = with_two_teachers();
    fill(&place, 3);
    let of = |id: &'static str, more: &[&'static str]| {
        let (code, text) = place.fails(&[&big()[..], &["--selection", id], more].concat());
        let folder = place.dir.path().display().to_string();
        format!("exit code {code}\n{}", text.replace(&folder, "DIR"))
    };
    insta::assert_snapshot!(of("first", &[]));
    place.label(&[]);
    place.select_of_tiny("first", "2");
    insta::assert_snapshot!(of("frist", &[]));
    insta::assert_snapshot!(of("../first", &[]));
    let args = [
        "label",
        "--dataset",
        "e",
        "--teacher",
        "big",
        "--selection",
        "first",
    ];
    let (code, text) = place.fails(&args);
    insta::assert_snapshot!(format!("exit code {code}\n{text}"));
    let (code, text) = place.fails(&["label", "--dataset", "d", "--selection", "first"]);
    assert!(code == 2 && text.contains("--teacher"), "{text}");
    // The dataset's teacher itself: nothing is listed, loaded or planned.
    let output = place.run(&[
        "label",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
        "--selection",
        "first",
    ]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(
        text,
        "selection first was made of labels by tiny@1: its 6 images have them\n"
    );
    // Labels of other settings are not mixed with a selection's either.
    place.label_big(&["--selection", "first"]);
    insta::assert_snapshot!(of("first", &["--encoding", "topk"]));
    assert!(!place.path("w/datasets/e").exists());
}
