//! `understudy student …` as a user types it: the real Python tool and the real training library, in the executable's process.

use understudy::student::config::StudentConfig;

use crate::student::turn;
use crate::support::{Place, cache, files};

/// `student init NAME`, small and quick.
fn init_args<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "student",
        "init",
        name,
        "--architecture",
        "small",
        "--input",
        "1x28x28",
    ];
    args.extend(["--classes", "10", "--width", "0.25"]);
    args.extend(more);
    args
}

#[test]
fn a_student_is_made_once_listed_and_shown() {
    let _turn = turn();
    let place = Place::new();
    place.ok(&["init"]);
    assert_eq!(place.ok(&["student", "list"]), "");
    let made = place.ok(&init_args("first", &["--seed", "7", "--json"]));
    let record: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(record["config"]["architecture"], "small");
    assert_eq!(record["input"], serde_json::json!([1, 28, 28]));
    assert_eq!(
        (&record["features"], &record["depth"]),
        (&16.into(), &6.into())
    );
    let line = "first: small, 1x28x28, 10 classes, 0.01M parameters";
    assert_eq!(place.ok(&["student", "list"]), format!("{line}\n"));
    let shown = place.ok(&["student", "show", "first"]);
    assert!(
        shown.starts_with(&format!("# {line}\narchitecture = \"small\"\n")),
        "{shown}"
    );
    let config: StudentConfig = toml::from_str(&shown).unwrap();
    assert_eq!(config.seed, 7);

    let files = files(&place.path("w/students"));
    assert_eq!(files.len(), 5, "{:?}", files.keys());
    for (key, file) in record["files"].as_object().unwrap() {
        let name = file["name"].as_str().unwrap();
        let bytes = &files[&format!("first/{name}")];
        assert_eq!(file["bytes"], bytes.len(), "{key}");
    }
    assert_eq!(files["first/student.json"], made.as_bytes());

    // Again: nothing happens. Without its commit it does not exist, and what lies about is in nobody's way.
    assert_eq!(
        place.ok(&init_args("first", &["--seed", "7", "--json"])),
        made
    );
    std::fs::remove_file(place.path("w/students/first/student.json")).unwrap();
    assert_eq!(place.ok(&["student", "list"]), "");
    place.ok(&init_args("first", &["--seed", "8"]));
    let listed = place.ok(&["student", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["config"]["seed"], 8);

    let (code, text) = place.fails(&init_args("first", &["--seed", "9"]));
    assert_eq!(code, 2);
    assert!(
        text.contains("it has `seed = 8`, `seed = 9` was asked for"),
        "{text}"
    );
    let (_, text) = place.fails(&[
        "student",
        "init",
        "first",
        "--architecture",
        "small",
        "--input",
        "1x28x28",
        "--classes",
        "10",
        "--seed",
        "8",
    ]);
    assert!(
        text.contains("it has `width = 0.25`, the default was asked for"),
        "{text}"
    );
}

#[test]
fn a_student_of_a_pipeline_file_is_what_the_file_says() {
    let _turn = turn();
    let place = Place::new();
    place.ok(&["init"]);
    let file = place.path("p.toml");
    let text = "[student]\narchitecture = \"small\"\nclasses = 10\nwidth = 0.25\n\
                optimizer = { kind = \"adamw\", weight_decay = 0.05 }\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    place.ok(&["validate", &file]);
    // Without the trial the training library is not needed.
    let nowhere = ["--skip-trial", "--onnxruntime-training", "/nowhere/lib.so"];
    place.ok(&[
        &["student", "init", "s", "--config", &file, "--classes", "4"],
        &nowhere[..],
    ]
    .concat());
    let shown = place.ok(&["student", "show", "s"]);
    assert!(
        shown.contains("classes = 4") && shown.contains("weight_decay = 0.05"),
        "{shown}"
    );
    std::fs::write(&file, text.replace("0.25", "99.0")).unwrap();
    let (code, text) = place.fails(&["validate", &file]);
    assert_eq!(code, 2);
    assert!(text.contains("`student.width` is 99"), "{text}");
}

#[test]
fn what_a_student_lacks_is_named_with_what_to_do() {
    let _turn = turn();
    let place = Place::new();
    place.ok(&["init"]);
    let fails = |args: &[&str], expected: i32, parts: &[&str]| {
        let (code, text) = place.fails(args);
        assert_eq!(code, expected, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    };
    let named = |architecture| {
        [
            "student",
            "init",
            "s",
            "--architecture",
            architecture,
            "--classes",
            "10",
        ]
    };
    fails(
        &named("efficientnet-b8"),
        2,
        &["there is no architecture `efficientnet-b8`; did you mean `efficientnet-b"],
    );
    fails(&named("vgg"), 2, &["there are efficientnet-b0, ", "small"]);
    fails(
        &[&named("small")[..], &["--input", "28x28"]].concat(),
        2,
        &["write channels, height and width"],
    );
    fails(
        &init_args("s", &["--frozen-blocks", "8"]),
        2,
        &["small has 6 blocks: freeze at most 7"],
    );
    fails(
        &init_args("a/b", &[]),
        2,
        &["`a/b` cannot be the name of a student"],
    );
    fails(
        &["student", "init", "s", "--classes", "4"],
        2,
        &["--architecture"],
    );
    fails(
        &["student", "show", "s"],
        3,
        &[
            "the workspace has no student `s`",
            "hint: make one with `understudy student init",
        ],
    );
    fails(
        &init_args("s", &["--python", "/nowhere/python"]),
        5,
        &["cannot run `/nowhere/python`", "make setup", "--python"],
    );
    let wrong = cache().join("venv-test/bin/python").display().to_string();
    fails(
        &init_args("s", &["--python", &wrong]),
        5,
        &[
            "cannot make training artifacts",
            "hint: make it with `make setup`",
        ],
    );
    let library = "/nowhere/libonnxruntime_training.so";
    fails(
        &init_args("s", &["--onnxruntime-training", library]),
        5,
        &[
            "cannot load the training build of ONNX Runtime",
            library,
            "training-runtime",
        ],
    );
    let inference = place.ok(&["doctor", "--json", "--device", "cpu"]);
    let inference: serde_json::Value = serde_json::from_str(&inference).unwrap();
    let found = inference[1]["found"].as_str().unwrap();
    let library = found.split('`').nth(1).unwrap();
    fails(
        &init_args("s", &["--onnxruntime-training", library]),
        5,
        &["cannot train with", library, "training-runtime"],
    );
    assert_eq!(place.ok(&["student", "list"]), "");
    assert!(!place.path("w/students").exists(), "nothing was written");
}

#[test]
fn doctor_says_what_trains_students() {
    let place = Place::new();
    let doctor = |name: &str, value: &str| {
        let mut command = place.command(&["doctor", "--device", "cpu"]);
        let output = command
            .env_remove("UNDERSTUDY_WORKSPACE")
            .env(name, value)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, text) = doctor("UNRELATED", "");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("onnxruntime-training/1.19.2/libonnxruntime_training.so`, ORT Build Info"),
        "{text}"
    );
    assert!(
        text.contains("venv-student/bin/python`, Python 3.1"),
        "{text}"
    );
    let (code, text) = doctor("ORT_TRAINING_DYLIB_PATH", "/nowhere/lib.so");
    assert_eq!(code, Some(7), "{text}");
    assert!(
        text.contains("PROBLEM  training") && text.contains("/nowhere/lib.so"),
        "{text}"
    );
    let (code, text) = doctor("UNDERSTUDY_PYTHON", "/nowhere/python");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("note     student init") && text.contains("python3 tools/setup.py student"),
        "{text}"
    );
}
