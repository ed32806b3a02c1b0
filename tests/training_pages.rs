//! What is said of trainings afterwards: lineages, pages, and what their files hold, of real trainings.

use serde_json::{Map, Value, json};

use crate::report::{number, parsed, table};
use crate::student::turn;
use crate::support::{Place, python};
use crate::train::{pipeline, place, train_args};

/// `first` is trained on the selection `chosen` of tiny's labels beside labelled images; it labels the dataset, and `second`, which begins with its
/// weights, is trained on the selection `better` of these labels alone.
fn two_generations() -> Place {
    let place = place();
    place.label(&[]);
    let select = |name: &str, teacher: &str| {
        let how = ["--threshold", "0.2", "--per-class", "12"];
        let what = ["--dataset", "d", "--teacher", teacher, "--name", name];
        place.ok(&[&["select"][..], &what, &how].concat());
    };
    select("chosen", "tiny");
    let config = pipeline(&place, "ratio = 2.5\nselection = \"chosen\"");
    place.ok(&train_args("first", &config));
    place.ok(&["label", "--dataset", "d", "--teacher", "first"]);
    select("better", "first");
    let text = std::fs::read_to_string(pipeline(
        &place,
        "selection = \"better\"\nbegin_from = \"first\"",
    ));
    let text = text.unwrap();
    let (data, noise) = (text.find("[data]").unwrap(), text.find("[noise]").unwrap());
    let alone = place.path("alone.toml").display().to_string();
    std::fs::write(&alone, format!("{}{}", &text[..data], &text[noise..])).unwrap();
    place.ok(&train_args("second", &alone));
    place
}

/// Makes the page of a training.
fn page(place: &Place, training: &str) -> Value {
    let out = place.path("training.html");
    place.ok(&[
        "report",
        "--training",
        training,
        "--out",
        &out.display().to_string(),
    ]);
    let page = parsed(&out);
    assert_eq!(page["unbalanced"], json!([]), "tags do not match");
    for link in page["links"].as_array().unwrap() {
        let link = link.as_str().unwrap();
        assert!(link.starts_with("data:") || link.starts_with('#'), "{link}");
    }
    let policy = page["policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; img-src data:; style-src"));
    assert!(!policy.contains("script-src") && page["tags"]["script"].is_null());
    assert_eq!(page["events"], json!([]));
    page
}

fn record(place: &Place, path: &str) -> Map<String, Value> {
    let path = place.path(&format!("w/trainings/{path}"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rewrite(place: &Place, path: &str, change: impl Fn(&mut Map<String, Value>)) {
    let mut file = record(place, path);
    change(&mut file);
    let path = place.path(&format!("w/trainings/{path}"));
    std::fs::write(path, serde_json::to_vec(&file).unwrap()).unwrap();
}

/// Takes away what makes a training one that has ended, and its metrics from this step on.
fn unfinish(place: &Place, training: &str, from: u64) {
    let folder = place.path(&format!("w/trainings/{training}"));
    std::fs::remove_file(folder.join("done.json")).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let first = name.strip_prefix("metrics-");
        if first.is_some_and(|n| n[..8].parse::<u64>().unwrap() >= from) {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_trained_teacher_leads_through_its_trainings_back_to_the_first_one() {
    let _turn = turn();
    let place = two_generations();
    let lineage = |name: &str| -> Value {
        serde_json::from_str(&place.ok(&["lineage", name, "--json"])).unwrap()
    };
    let second = lineage("second");
    let ancestry = second["ancestry"].as_array().unwrap();
    let teachers: Vec<_> = ancestry.iter().map(|t| &t["teacher"]).collect();
    // First is the parent twice over, and comes once.
    assert_eq!(teachers, ["second@1", "first@1", "tiny@1"]);
    let (own, before) = (&ancestry[0], &ancestry[1]);
    assert_eq!(
        own["training"],
        Value::Object(record(&place, "second/training.json"))
    );
    assert_eq!(
        own["done"],
        Value::Object(record(&place, "second/done.json"))
    );
    assert_eq!(own["training"]["begins_from"], "first@1");
    assert_eq!(own["training"]["labelled"], Value::Null);
    assert_eq!(own["selection"]["input"]["teacher"], "first@1");
    assert_eq!(before["selection"]["id"], "chosen");
    let input = &before["selection"]["input"];
    assert_eq!(
        (&input["dataset"], &input["generation"], &input["teacher"]),
        (&json!("d"), &json!(1), &json!("tiny@1"))
    );
    assert_eq!(before["training"]["labelled"]["images"], 31);
    assert_eq!(
        (&ancestry[2]["training"], &ancestry[2]["done"]),
        (&Value::Null, &Value::Null)
    );
    // And forwards.
    assert_eq!(lineage("tiny")["trainings"], json!(["first"]));
    assert_eq!(lineage("first")["trainings"], json!(["second"]));
    assert_eq!(lineage("better")["trainings"], json!(["second"]));

    let table = place.ok(&["lineage", "first"]);
    let fingerprint = record(&place, "first/training.json")["labelled"]["fingerprint"].clone();
    for said in [
        "first, 40 steps of 6 labelled and 15 pseudo-labelled images, by understudy",
        &format!("31 images, fingerprint {}", fingerprint.as_str().unwrap()),
        "dataset d, generation 1, labels by tiny@1",
        "ema = 0.9",
        "stochastic_depth = 0.2",
        "tiny@1, trained elsewhere: it came as an ONNX file",
    ] {
        assert!(table.contains(said), "{said}: {table}");
    }
    // A later version that came as a file is another teacher.
    let file = |name: &str| place.path(name).display().to_string();
    place.ok(&[
        "teachers",
        "add",
        "first",
        "--model",
        &file("w/teachers/tiny/1/model.onnx"),
        "--config",
        &file("w/teachers/tiny/1/teacher.toml"),
    ]);
    assert_eq!(lineage("first@2")["ancestry"][0]["training"], Value::Null);
    assert_eq!(lineage("first@1")["ancestry"][0]["teacher"], "first@1");
    // A selection that is gone breaks nothing off but what only it knew.
    std::fs::remove_dir_all(place.path("w/selections/chosen")).unwrap();
    let second = lineage("second");
    assert_eq!(second["ancestry"].as_array().unwrap().len(), 2);
    assert_eq!(second["ancestry"][1]["selection"], Value::Null);
}

#[test]
fn a_trainings_page_says_what_sql_says_of_it() {
    let _turn = turn();
    let place = two_generations();
    let shown = page(&place, "first");
    let tile = |page: &Value, name: &str| page["tiles"][name].as_str().unwrap().to_owned();
    assert_eq!(tile(&shown, "steps"), "40");
    assert_eq!(number(&tile(&shown, "images seen")), 40 * 21);
    let done = record(&place, "first/done.json");
    let per_cent = |part: &Value| format!("{:.1}\u{a0}%", part.as_f64().unwrap() * 100.0);
    assert_eq!(
        tile(&shown, "held-out top-1"),
        per_cent(&done["held_out_top1"])
    );
    assert_eq!(
        tile(&shown, "left out"),
        done["left_out"].as_u64().unwrap().to_string()
    );
    // 40 steps are 40 stretches: the table has each step as it was.
    let rows = place.sql("SELECT * FROM training_metrics WHERE training = 'first' ORDER BY step");
    let cells = table(&shown, "Steps");
    assert_eq!(cells.len(), 40);
    for (row, cells) in rows.iter().zip(&cells) {
        let close = |cell: &str, key: &str| {
            let (found, said) = (cell.parse::<f64>().unwrap(), row[key].as_f64().unwrap());
            assert!(
                (found - said).abs() <= said.abs() * 1e-3 + 1e-6,
                "{row} {cells:?}"
            );
        };
        assert_eq!(cells[0], format!("step {}", row["step"]));
        close(cells[1], "learning_rate");
        close(cells[2], "loss");
        close(cells[3], "labelled_loss");
        assert_eq!(cells[4], per_cent(&row["labelled_top1"]));
        close(cells[5], "pseudo_loss");
        assert_eq!(cells[6], per_cent(&row["pseudo_top1"]));
        match row.get("held_out_loss").filter(|v| !v.is_null()) {
            Some(_) => close(cells[7], "held_out_loss"),
            None => assert_eq!(cells[7], "–"),
        }
    }
    let text = shown["text"].as_str().unwrap();
    for said in [
        "It became teacher first@1",
        "31 labelled images and 30 images of selection chosen",
        "tiny@1, trained elsewhere",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    // Without labelled images nothing is said of them.
    let alone = page(&place, "second");
    assert_eq!(table(&alone, "Steps")[0].len(), 7);
    assert!(!alone["text"].as_str().unwrap().contains("Labelled top-1"));

    // The same bytes, whatever the number of threads.
    let make = |threads: &str| {
        let mut command = place.command(&["report", "--training", "first", "--out", "-"]);
        let output = command.env("TOKIO_WORKER_THREADS", threads).output();
        output.unwrap().stdout
    };
    let once = make("1");
    assert!(once.starts_with(b"<!DOCTYPE html>") && once == make("4"));

    // Names of strangers stay text.
    let evil = "</code><script>alert(1)</script><img src=x onerror=alert(1)>\u{202E}";
    rewrite(&place, "second/training.json", |file| {
        file["noise"]["description"] = evil.into();
        file["student"] = evil.into();
        file["train"]["held_out"]["url"] = evil.into();
    });
    let shown = page(&place, "second");
    assert!(shown["text"].as_str().unwrap().contains("<script>alert(1)"));
}

#[test]
fn a_training_that_has_not_ended_and_a_long_one_have_a_page() {
    let _turn = turn();
    let place = place();
    let config = pipeline(&place, "");
    place.ok(&train_args("first", &config));
    let tile = |page: &Value, name: &str| page["tiles"][name].as_str().unwrap().to_owned();
    unfinish(&place, "first", 16);
    let shown = page(&place, "first");
    assert_eq!(tile(&shown, "steps"), "16");
    let text = shown["text"].as_str().unwrap();
    assert!(
        text.contains("It has not ended: 16 of 40 steps are recorded")
            && text.contains("no teacher yet, student s"),
        "{text}"
    );

    // A long one: as many points as any other.
    let metrics = place.path("w/trainings/first/metrics-00000000.parquet");
    python(
        r#"
import sys, duckdb
path = sys.argv[1]
duckdb.sql(f"""COPY (SELECT s.step::UBIGINT AS step, s.step / 10.0 AS epoch, m.learning_rate, (200 - s.step % 2)::FLOAT AS loss, m.labelled_loss,
m.labelled_top1, m.pseudo_loss, m.pseudo_top1, m.held_out_loss, m.held_out_top1
FROM range(0, 100000) s(step), (SELECT * FROM '{path}' LIMIT 1) m ORDER BY 1) TO '{path}.new' (FORMAT parquet)""")
"#,
        &[&metrics.display().to_string()],
    );
    std::fs::rename(metrics.with_extension("parquet.new"), &metrics).unwrap();
    std::fs::remove_file(place.path("w/trainings/first/metrics-00000008.parquet")).unwrap();
    rewrite(&place, "first/training.json", |file| {
        file["steps"] = 200_000.into();
    });
    let shown = page(&place, "first");
    assert_eq!(tile(&shown, "steps"), "100,000");
    // Half of 40 stretches of 5,000 steps, whose mean is between the two values.
    let cells = table(&shown, "Steps");
    assert_eq!(cells.len(), 20);
    assert_eq!(cells[19][0], "steps 95,000 to 99,999");
    assert!(cells.iter().all(|row| row[2] == "199.5"), "{cells:?}");
    let bytes = std::fs::metadata(place.path("training.html"))
        .unwrap()
        .len();
    assert!(bytes < 120_000, "{bytes}");

    // And one that has only begun.
    std::fs::remove_file(&metrics).unwrap();
    let text = page(&place, "first")["text"].clone();
    assert!(
        text.as_str()
            .unwrap()
            .contains("No step is recorded yet: there is a file after each 8 steps"),
        "{text}"
    );
}

#[test]
fn a_report_is_of_one_thing_that_is_there() {
    let _turn = turn();
    let place = place();
    let config = pipeline(&place, "");
    place.ok(&[&train_args("fashion", &config)[..], &["--steps", "2"]].concat());
    let fails = |args: &[&str], code: i32, said: &str| {
        let (found, text) = place.fails(&[&["report", "--out", "-"], args].concat());
        assert_eq!(found, code, "{text}");
        assert!(text.contains(said), "{text}");
    };
    fails(&["--training", "fasion"], 3, "did you mean `fashion`?");
    fails(&["--training", "x"], 3, "it has fashion");
    fails(
        &["--training", "../w"],
        2,
        "cannot be the name of a training",
    );
    fails(&[], 2, "<--selection <ID>|--training <NAME>>");
    let both = ["--training", "fashion", "--selection", "s"];
    fails(&both, 2, "cannot be used with");
    let class = ["--training", "fashion", "--class", "red"];
    fails(&class, 2, "cannot be used with");
}

#[test]
fn the_files_of_a_training_are_what_is_documented_of_them() {
    let _turn = turn();
    let place = place();
    place.label(&[]);
    let select = ["select", "--dataset", "d", "--teacher", "tiny"];
    let how = ["--threshold", "0.2", "--name", "chosen"];
    place.ok(&[&select[..], &how].concat());
    let config = pipeline(&place, "selection = \"chosen\"");
    place.ok(&[&train_args("t", &config)[..], &["--steps", "2"]].concat());
    let documented: Value = serde_json::from_str(include_str!("../schemas/training.json")).unwrap();
    for (file, path) in [
        ("training.json", "t/training.json"),
        ("done.json", "t/done.json"),
        ("checkpoints/STEP.json", "t/checkpoints/00000002.json"),
    ] {
        let found = Value::Object(record(&place, path));
        same_keys(file, &documented[file]["keys"], &found);
    }
    let columns = documented["metrics-STEP.parquet"]["columns"].as_array();
    let said = columns.unwrap().iter();
    let said: Vec<_> = said
        .map(|c| json!([c["name"], c["type"], c["nullable"]]))
        .collect();
    let schema = understudy::train::metrics_schema();
    let code: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| json!([f.name(), f.data_type().to_string(), f.is_nullable()]))
        .collect();
    assert_eq!(said, code);
    // And so are the files themselves.
    let file = place.path("w/trainings/t/metrics-00000000.parquet");
    let names = python(
        "import sys, duckdb\nprint([c[0] for c in duckdb.sql(f\"SELECT * FROM '{sys.argv[1]}'\").description])",
        &[&file.display().to_string()],
    );
    for name in said {
        assert!(names.contains(&format!("'{}'", name[0].as_str().unwrap())));
    }
}

/// Every key of a file is documented, and every documented one is there, in objects that are documented key by key as well.
fn same_keys(at: &str, documented: &Value, found: &Value) {
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(documented), keys(found), "{at}");
    for (key, inside) in documented.as_object().unwrap() {
        if inside.is_object() {
            same_keys(&format!("{at}: {key}"), inside, &found[key]);
        }
    }
}
