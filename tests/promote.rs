//! Promotions of real teachers, judged on real images: the gate, races, rollbacks, and the teacher `current`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use crate::support::onnx::{Model, linear};
use crate::support::{CLASSES, Place, colour, differing, fashion, files, jpeg, patiently};

/// A linear classifier that is blind for the channels that are not among `sees`: it calls what it does not see dark.
pub(crate) fn teacher(place: &Place, name: &str, sees: &[usize]) {
    let mut weights = [0.0_f32; 3 * 64 * 4];
    for channel in sees {
        for pixel in 0..64 {
            weights[(channel * 64 + pixel) * 4 + channel] = 0.02 / 64.0;
        }
    }
    let onnx = linear(8, &weights, &[0.0, 0.0, 0.0, 1.0]);
    add(place, name, &(onnx, Model::default().teacher_toml()));
}

fn add(place: &Place, name: &str, model: &(Vec<u8>, String)) {
    let model = fashion::model(place, &format!("{name}-files"), model);
    let config = model.replace("model.onnx", "teacher.toml");
    let args = ["teachers", "add", name, "--model", &model];
    place.ok(&[&args[..], &["--config", &config]].concat());
}

/// A gate on 30 images, ten of each of three classes; `limits` are lines of its `[gate]`.
fn gate(place: &Place, limits: &str) -> String {
    for n in 0..30 {
        let (rgb, class) = colour(n);
        assert!(CLASSES.contains(&class));
        let folder = place.path("held-out").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{n}.jpg")), jpeg(rgb, n)).unwrap();
    }
    let path = place.path("gate.toml");
    let data = place.path("held-out").display().to_string();
    let text = format!("[data]\nurl = \"{data}\"\n\n[gate]\n{limits}\n");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A gate on Fashion-MNIST's 10,000 held-out images, which take a while.
fn long_gate(place: &Place) -> String {
    let path = place.path("gate.toml");
    let data = fashion::file("t10k-images-idx3-ubyte.gz");
    std::fs::write(&path, format!("[data]\nurl = \"{data}\"\n[gate]\n")).unwrap();
    path.display().to_string()
}

/// A workspace with a teacher that is blind for blue, and one that sees everything.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["init"]);
    teacher(&place, "blind", &[0, 1]);
    teacher(&place, "seeing", &[0, 1, 2]);
    place
}

fn promotions(place: &Place) -> PathBuf {
    place.path("w/promotions")
}

fn record(place: &Place, number: u32) -> Value {
    let path = promotions(place).join(format!("{number:06}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn current(place: &Place) -> String {
    place.ok(&["teachers", "current"]).trim().to_owned()
}

#[test]
fn the_gate_refuses_a_worse_teacher_and_lets_a_better_one_pass() {
    let place = place();
    let gate = gate(&place, "");
    place.ok(&["promote", "seeing", "--note", "the first"]);
    let before = files(&place.path("w"));
    let output = place.run(&["promote", "blind", "--gate", &gate]);
    let (said, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(10), "{error}");
    assert!(said.contains("the gate refuses"), "{said}");
    assert!(
        error.contains("the gate refuses `blind@1`: top-1 loses 33.33 points")
            && error.contains("`blue` falls by 100.00 points"),
        "{error}"
    );
    assert_eq!(differing(&before, &files(&place.path("w"))), [""; 0]);
    assert_eq!(current(&place), "seeing@1");
    // The other way round, in a workspace where the blind one is current.
    let other = self::place();
    other.ok(&["promote", "blind"]);
    let said = other.ok(&["promote", "seeing@1", "--gate", &gate, "--note", "sees"]);
    assert!(said.contains("the gate passes"), "{said}");
    assert_eq!(current(&other), "seeing@1");
    let promoted = record(&other, 2);
    let verdict = &promoted["gate"];
    assert_eq!(promoted["previous"], "blind@1");
    assert_eq!(promoted["forced"], false);
    assert_eq!(promoted["note"], "sees");
    assert_eq!(verdict["passed"], true);
    assert_eq!(
        verdict["comparison"]["pairs"],
        json!({"both_right": 20, "only_a": 0, "only_b": 10, "both_wrong": 0})
    );
    // The exact binomial test: 2 / 2¹⁰.
    let p = verdict["comparison"]["p_value"].as_f64().unwrap();
    assert!((p - 2.0 / 1024.0).abs() < 1e-12, "{p}");
    // A limit that this gain does not reach.
    let strict = self::gate(&place, "max_p = 0.001");
    let third = self::place();
    third.ok(&["promote", "blind"]);
    let (code, text) = third.fails(&["promote", "seeing", "--gate", &strict]);
    assert_eq!(code, 10);
    assert!(
        text.contains("refuses `seeing@1`: p is 0.0020, a gain with at most 0.001"),
        "{text}"
    );
}

#[test]
fn a_dry_run_writes_nothing_and_says_the_same_each_time() {
    let place = place();
    let gate = gate(&place, "min_top1 = 90.0");
    let before = files(&place.path("w"));
    // Nobody is current: the least top-1 alone is checked, and that is said.
    let args = ["promote", "seeing", "--gate", &gate, "--dry-run"];
    let said = place.ok(&args);
    assert_eq!(
        said.matches("not checked: no teacher is current").count(),
        4
    );
    assert!(said.contains("top-1 is 100.00 %"), "{said}");
    assert_eq!(place.ok(&args), said);
    let refused = place.run(&["promote", "blind", "--gate", &gate, "--dry-run", "--json"]);
    assert_eq!(refused.status.code(), Some(10));
    let refused: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(differing(&before, &files(&place.path("w"))), [""; 0]);
    // The same with somebody current; verdicts do not depend on time.
    place.ok(&["promote", "blind"]);
    let before = files(&place.path("w"));
    let verdict = || {
        let output = place.ok(&[&args[..], &["--json"]].concat());
        let promoted: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(promoted["outcome"], "would-be-promoted");
        promoted["promotion"]["gate"].clone()
    };
    assert_eq!(verdict(), verdict());
    assert_eq!(differing(&before, &files(&place.path("w"))), [""; 0]);
    // What is committed says what the dry run said.
    let expected = verdict();
    place.ok(&["promote", "seeing", "--gate", &gate]);
    assert_eq!(record(&place, 2)["gate"], expected);
}

#[test]
fn a_forced_promotion_says_so_and_one_that_passed_does_not() {
    let place = place();
    let gate = gate(&place, "");
    place.ok(&["promote", "seeing", "--gate", &gate, "--force"]);
    place.ok(&["promote", "blind", "--gate", &gate, "--force"]);
    assert_eq!(record(&place, 1)["forced"], false);
    let forced = record(&place, 2);
    assert_eq!(forced["forced"], true);
    assert_eq!(forced["gate"]["passed"], false);
    assert!(
        place
            .ok(&["teachers", "history"])
            .contains("refused, forced")
    );
    let rows = place.sql(
        "SELECT number, kind, teacher, previous, current, passed, forced, round(gain, 2) AS gain, class_fall FROM promotions ORDER BY number",
    );
    let expected = [
        json!({"number": 1, "kind": "promotion", "teacher": "seeing@1", "previous": null, "current": false, "passed": true, "forced": false, "gain": null, "class_fall": null}),
        json!({"number": 2, "kind": "promotion", "teacher": "blind@1", "previous": "seeing@1", "current": true, "passed": false, "forced": true, "gain": -33.33, "class_fall": 100.0}),
    ];
    assert_eq!(rows, expected);
    // The files say what is documented of them.
    let documented: Value =
        serde_json::from_str(include_str!("../schemas/promotion.json")).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for key in keys(&forced) {
        let found = &documented["keys"][&key];
        assert!(!found.is_null(), "`{key}` is not documented");
    }
    for key in keys(&forced["gate"]) {
        let found = &documented["keys"]["gate"][&key];
        assert!(found.is_string(), "`gate.{key}` is not documented");
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// What a process says first.
fn first_line(child: &Child, stderr: &mut impl BufRead) -> String {
    patiently(child.id(), || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        line
    })
}

/// How it ends, and what it says until then.
fn end(child: &mut Child, stderr: &mut impl BufRead) -> (ExitStatus, String) {
    patiently(child.id(), || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        (child.wait().unwrap(), text)
    })
}

#[test]
fn of_two_promotions_at_the_same_time_one_wins_and_the_other_is_told() {
    let place = Place::new();
    place.ok(&["init"]);
    let names = [("one", 2_000), ("other", 60_000)].map(|(name, images)| {
        add(&place, name, &fashion::centroids(images, 0.05));
        name
    });
    let gate = long_gate(&place);
    // Each has read who is current, and has 10,000 images to go, before either goes on.
    let started = names.map(|name| {
        let mut command = place.command(&["promote", name, "--gate", &gate]);
        let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let text = first_line(&child, &mut stderr);
        signal(&child, "-STOP");
        (name, child, stderr, text)
    });
    started
        .iter()
        .for_each(|(_, child, ..)| signal(child, "-CONT"));
    let ended = started.map(|(name, mut child, mut stderr, begun)| {
        let (status, text) = end(&mut child, &mut stderr);
        (name, status, begun + &text)
    });
    let (won, lost): (Vec<_>, Vec<_>) = ended.iter().partition(|(_, ended, _)| ended.success());
    let [(winner, ..)] = won[..] else {
        panic!("{} won", won.len());
    };
    let [(loser, ended, text)] = lost[..] else {
        panic!("{} lost", lost.len());
    };
    assert_eq!(ended.code(), Some(10), "{text}");
    let said = format!("`{loser}@1` is not promoted: `{winner}@1` was, at ");
    assert!(text.contains(&said), "{text}");
    assert_eq!(files(&promotions(&place)).len(), 1);
    assert_eq!(current(&place), format!("{winner}@1"));
}

#[test]
fn a_promotion_whose_evaluation_is_overtaken_does_not_count() {
    let place = Place::new();
    place.ok(&["init"]);
    for (name, images) in [("first", 200), ("slow", 60_000), ("fast", 2_000)] {
        add(&place, name, &fashion::centroids(images, 0.05));
    }
    place.ok(&["promote", "first"]);
    let gate = long_gate(&place);
    let mut child = place
        .command(&["promote", "slow", "--gate", &gate])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // It has read who is current, and has 20,000 images to go.
    first_line(&child, &mut stderr);
    signal(&child, "-STOP");
    place.ok(&["promote", "fast"]);
    signal(&child, "-CONT");
    let (status, text) = end(&mut child, &mut stderr);
    assert_eq!(status.code(), Some(10), "{text}");
    assert!(
        text.contains("`slow@1` is not promoted: `fast@1` was"),
        "{text}"
    );
    assert_eq!(current(&place), "fast@1");
    assert_eq!(files(&promotions(&place)).len(), 2);
}

#[test]
fn a_rollback_is_a_promotion_of_the_former_teacher() {
    let place = place();
    teacher(&place, "third", &[1, 2]);
    let back = |args: &[&str]| place.ok(&[&["teachers", "rollback"], args].concat());
    for name in ["seeing", "blind", "third"] {
        place.ok(&["promote", name]);
    }
    back(&["--note", "third is worse"]);
    assert_eq!(current(&place), "blind@1");
    let rolled = record(&place, 4);
    for (key, value) in [
        ("kind", json!("rollback")),
        ("previous", json!("third@1")),
        ("to", json!(2)),
        ("note", json!("third is worse")),
    ] {
        assert_eq!(rolled[key], value);
    }
    back(&[]);
    assert_eq!(current(&place), "seeing@1");
    let (code, text) = place.fails(&["teachers", "rollback"]);
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("no teacher was current before `seeing@1`"),
        "{text}"
    );
    // By number, by way of a rollback's as well; to what is current already nothing is written.
    back(&["--to", "3"]);
    assert_eq!(current(&place), "third@1");
    back(&["--to", "4"]);
    assert_eq!(
        (current(&place), record(&place, 7)["to"].clone()),
        ("blind@1".into(), json!(2))
    );
    back(&["--to", "2"]);
    assert_eq!(files(&promotions(&place)).len(), 7);
    let (code, text) = place.fails(&["teachers", "rollback", "--to", "9"]);
    assert_eq!((code, text.contains("there is no promotion 9")), (3, true));
    let history: Value =
        serde_json::from_str(&place.ok(&["teachers", "history", "--json"])).unwrap();
    let teachers: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["teacher"])
        .collect();
    assert_eq!(
        teachers,
        [
            "seeing@1", "blind@1", "third@1", "blind@1", "seeing@1", "third@1", "blind@1"
        ]
    );
    let rows = place.sql("SELECT teacher, rolled_back_to FROM promotions WHERE current");
    assert_eq!(rows, [json!({"teacher": "blind@1", "rolled_back_to": 2})]);
}

#[test]
fn current_is_the_promoted_teacher_wherever_a_teacher_is_named() {
    let place = place();
    for n in 0..6 {
        place.put(&format!("{n}.jpg"), &jpeg(colour(n).0, n));
    }
    let images = place.images();
    let label = [
        "label",
        "--dataset",
        "d",
        "--source",
        &images,
        "--teacher",
        "current",
    ];
    let select = [
        "select",
        "--name",
        "s",
        "--dataset",
        "d",
        "--teacher",
        "current",
    ];
    let held_out = gate(&place, "").replace("gate.toml", "held-out");
    let evaluate = ["evaluate", "--model", "current", "--data", &held_out];
    let before = files(&place.path("w"));
    for args in [
        &label[..],
        &select,
        &evaluate,
        &["teachers", "show", "current"],
    ] {
        let (code, text) = place.fails(args);
        assert_eq!(code, 3, "{text}");
        assert!(
            text.contains("no teacher is promoted yet") && text.contains("understudy promote NAME"),
            "{text}"
        );
    }
    assert_eq!(differing(&before, &files(&place.path("w"))), [""; 0]);
    place.ok(&["promote", "seeing"]);
    place.ok(&label);
    place.ok(&select);
    assert!(place.ok(&evaluate).contains("seeing@1"));
    place.ok(&["promote", "blind"]);
    place.ok(&label);
    let rows =
        place.sql("SELECT teacher, count(*) AS n FROM labels GROUP BY teacher ORDER BY teacher");
    assert_eq!(
        rows,
        [
            json!({"teacher": "blind@1", "n": 6}),
            json!({"teacher": "seeing@1", "n": 6})
        ]
    );
    let rows = place.sql("SELECT teacher FROM runs WHERE kind = 'select'");
    assert_eq!(rows, [json!({"teacher": "seeing@1"})]);
}

#[test]
fn wrong_promotions_are_named() {
    let place = place();
    let good = gate(&place, "");
    let before = files(&place.path("w"));
    let file = |name: &str, text: &str| {
        let path = place.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let no_data = file("no-data.toml", "[gate]\nmin_gain = 1.0\n");
    let no_gate = file("no-gate.toml", "[data]\nurl = \"x\"\n");
    let nowhere = file(
        "nowhere.toml",
        "[gate]\n[data]\nurl = \"/no/such/folder\"\n",
    );
    let (model, config) = (
        place.path("seeing-files/model.onnx").display().to_string(),
        place
            .path("seeing-files/teacher.toml")
            .display()
            .to_string(),
    );
    for (args, code, said) in [
        (&["promote", "seing"][..], 3, "did you mean `seeing`?"),
        (&["promote", "seeing@4"], 3, "it has the versions seeing@1"),
        (&["promote", "current"], 3, "no teacher is promoted yet"),
        (&["promote", "current@1"], 2, "`current` stands for"),
        (
            &["promote", "seeing", "--gate", &no_data],
            2,
            "`[data]` is missing",
        ),
        (
            &["promote", "seeing", "--gate", &no_gate],
            2,
            "`[gate]` is missing",
        ),
        (
            &["promote", "seeing", "--gate", &nowhere],
            3,
            "/no/such/folder",
        ),
        (&["promote", "seeing", "--force"], 2, "--gate"),
        (&["teachers", "current"], 3, "no teacher is promoted yet"),
        (&["teachers", "rollback"], 3, "no teacher is promoted yet"),
        (&["teachers", "diff", "seeing", "blind@2"], 3, "blind@1"),
        (&["validate", &no_data], 2, "`[data]` is missing"),
        (
            &[
                "teachers", "add", "current", "--model", &model, "--config", &config,
            ],
            2,
            "`current` cannot be a teacher's name",
        ),
    ] {
        let (found, text) = place.fails(args);
        assert_eq!(found, code, "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
    assert_eq!(differing(&before, &files(&place.path("w"))), [""; 0]);
    assert!(place.ok(&["validate", &good]).contains("a valid gate file"));
    // What is current already is not promoted again.
    place.ok(&["promote", "seeing"]);
    place.ok(&["promote", "seeing"]);
    assert_eq!(files(&promotions(&place)).len(), 1);
}

#[test]
fn two_teachers_are_told_apart_key_by_key() {
    let place = place();
    let toml = Model::default().teacher_toml();
    let toml = toml
        .replace("\"green\"", "\"leaf\"")
        .replace("kind = \"logits\"", "kind = \"probabilities\"");
    let model = Model {
        probabilities: true,
        ..Model::default()
    };
    add(&place, "seeing", &(model.bytes(), toml));
    let diff = |a: &str, b: &str| -> Value {
        serde_json::from_str(&place.ok(&["teachers", "diff", a, b, "--json"])).unwrap()
    };
    let differences = diff("seeing@1", "seeing@2");
    let keys: Vec<_> = differences
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["key"].as_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "model_bytes",
            "model_sha256",
            "toml.classes.names[1]",
            "toml.output.kind"
        ]
    );
    assert_eq!(
        differences[2],
        json!({"key": "toml.classes.names[1]", "a": "green", "b": "leaf"})
    );
    let table = place.ok(&["teachers", "diff", "seeing@1", "seeing"]);
    assert!(
        table.contains("seeing@2") && table.contains("probabilities"),
        "{table}"
    );
    assert_eq!(diff("seeing@1", "seeing@1"), json!([]));
    // Teachers of other classes cannot be compared by a gate.
    place.ok(&["promote", "seeing@1"]);
    let gate = gate(&place, "");
    let (code, text) = place.fails(&["promote", "seeing@2", "--gate", &gate, "--force"]);
    assert_eq!(code, 9, "{text}");
    assert!(text.contains("class 1 is `green` and `leaf`"), "{text}");
}
