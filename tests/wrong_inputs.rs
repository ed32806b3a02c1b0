//! Wrong inputs: each error names the thing, says what to do, and has its exit code. The whole texts are kept as snapshots.

use crate::support::onnx::Model;
use crate::support::{Place, colour, jpeg, label_args};

/// The exit code and message, without this test's temporary folder.
fn error(place: &Place, args: &[&str]) -> String {
    let (code, text) = place.fails(args);
    let folder = place.dir.path().display().to_string();
    format!("exit code {code}\n{}", text.replace(&folder, "DIR"))
}

#[test]
fn a_workspace_that_is_none_is_named() {
    let place = Place::new();
    insta::assert_snapshot!(error(&place, &["sql", "SELECT 1"]));
}

#[test]
fn an_unwritable_workspace_is_named() {
    let place = Place::new();
    std::fs::write(place.path("w"), "a file, no folder").unwrap();
    let (code, text) = place.fails(&["init"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot write") && text.contains("/w/"),
        "{text}"
    );
    // Where root may not write either.
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
    std::fs::create_dir(place.path("w/selections")).unwrap();
    std::os::unix::fs::symlink("/sys", place.path("w/selections/s")).unwrap();
    let (code, text) = place.fails(&[
        "select",
        "--name",
        "s",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
    ]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot write the selection")
            && text.contains("hint: check that the folder can be made and written"),
        "{text}"
    );
}

#[test]
fn a_misspelt_teacher_is_told_the_nearest_one() {
    let place = Place::with_teacher();
    let images = place.images();
    let args = |teacher| {
        [
            "label",
            "--dataset",
            "d",
            "--source",
            &images,
            "--teacher",
            teacher,
        ]
    };
    insta::assert_snapshot!(error(&place, &args("tinny")));
    insta::assert_snapshot!(error(&place, &args("tiny@7")));
}

#[test]
fn a_dataset_without_a_source_or_with_another_one_is_named() {
    let place = Place::with_teacher();
    insta::assert_snapshot!(error(
        &place,
        &["label", "--dataset", "d", "--teacher", "tiny"]
    ));
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
    let other = place.path("other").display().to_string();
    std::fs::create_dir(&other).unwrap();
    std::fs::write(format!("{other}/a.jpg"), jpeg(colour(0).0, 0)).unwrap();
    insta::assert_snapshot!(error(
        &place,
        &[
            "label",
            "--dataset",
            "d",
            "--source",
            &other,
            "--teacher",
            "tiny"
        ]
    ));
}

#[test]
fn a_source_that_is_missing_or_empty_is_named_and_not_remembered() {
    let place = Place::with_teacher();
    let images = place.images();
    let missing = place.path("nowhere").display().to_string();
    insta::assert_snapshot!(error(
        &place,
        &[
            "label",
            "--dataset",
            "d",
            "--source",
            &missing,
            "--teacher",
            "tiny"
        ]
    ));
    insta::assert_snapshot!(error(&place, &label_args(&images)));
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    place.label(&[]);
}

#[test]
fn a_model_of_another_shape_is_told_what_was_expected() {
    let place = Place::new();
    place.ok(&["init"]);
    let (onnx, toml) = (place.path("m.onnx"), place.path("t.toml"));
    let add = |model: &Model, config: &str| {
        std::fs::write(&onnx, model.bytes()).unwrap();
        std::fs::write(&toml, config).unwrap();
        let (onnx, toml) = (onnx.display().to_string(), toml.display().to_string());
        error(
            &place,
            &["teachers", "add", "x", "--model", &onnx, "--config", &toml],
        )
    };
    let model = Model::default();
    let good = model.teacher_toml();
    insta::assert_snapshot!(add(&model, &good.replace("[8, 8]", "[16, 16]")));
    insta::assert_snapshot!(add(
        &model,
        &good.replace("\"dark\"]", "\"dark\", \"more\"]")
    ));
    insta::assert_snapshot!(add(&model, &good.replace("logits", "probabilities")));
    insta::assert_snapshot!(add(&model, &good.replace("range", "rnage")));
    insta::assert_snapshot!(add(
        &model,
        &good.replace("std = [1.0, 1.0, 1.0]", "std = [0.0, 1.0, 1.0]")
    ));
    assert!(
        place.ok(&["teachers", "list"]).is_empty(),
        "a refused teacher was added"
    );
    std::fs::write(&onnx, "no model").unwrap();
    std::fs::write(&toml, &good).unwrap();
    let text = error(
        &place,
        &[
            "teachers",
            "add",
            "x",
            "--model",
            &onnx.display().to_string(),
            "--config",
            &toml.display().to_string(),
        ],
    );
    assert!(
        text.starts_with("exit code 5\nerror: ONNX Runtime cannot load the model"),
        "{text}"
    );
}

#[test]
fn a_typing_error_in_a_flag_a_key_or_an_option_is_told_the_nearest_one() {
    let place = Place::with_teacher();
    let (code, text) = place.fails(&["label", "--datset", "d", "--teacher", "tiny"]);
    assert_eq!(code, 2);
    assert!(text.contains("--dataset"), "{text}");
    let config = place.path("p.toml");
    std::fs::write(&config, "[label]\nbacth = 4\n").unwrap();
    insta::assert_snapshot!(error(&place, &["validate", &config.display().to_string()]));
    insta::assert_snapshot!(error(
        &place,
        &[
            "label",
            "--dataset",
            "d",
            "--source",
            "s3://b/x",
            "--teacher",
            "tiny",
            "--storage-option",
            "regoin=x",
        ]
    ));
}

#[test]
fn cuda_where_there_is_none_fails_with_the_reason() {
    let place = Place::with_teacher();
    place.put("a.jpg", &jpeg(colour(0).0, 0));
    let images = place.images();
    let base = label_args(&images);
    let (code, text) = place.fails(&[&base[..], &["--device", "cuda:1"]].concat());
    assert_eq!(code, 5);
    assert!(
        text.contains("cannot use device `cuda:1`") && text.contains("hint:"),
        "{text}"
    );
}

#[test]
fn a_missing_runtime_is_told_where_it_was_looked_for() {
    let place = Place::new();
    let output = place
        .command(&["doctor"])
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .env_remove("UNDERSTUDY_WORKSPACE")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7));
    assert!(
        text.contains("/nowhere/libonnxruntime.so") && text.contains("make setup"),
        "{text}"
    );
}

#[test]
fn every_file_of_pipelines_is_valid() {
    let place = Place::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines");
    let mut files = 0;
    for entry in walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
    {
        if entry.path().extension().is_some_and(|e| e == "toml") {
            place.ok(&["validate", &entry.path().display().to_string()]);
            files += 1;
        }
    }
    assert!(files >= 2);
}
