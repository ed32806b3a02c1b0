//! Trainings as a user runs them: real artifacts, real images, the real training library, killed and stopped at any moment.

use std::collections::BTreeMap;
use std::time::Duration;

use understudy::student::config::StudentConfig;
use understudy::student::export::weights;
use understudy::student::graph::{Form, Role};

use crate::student::turn;
use crate::support::onnx::Model;
use crate::support::{CLASSES, Place, colour, differing, files, interrupt, jpeg, wait_until};

/// What is trained, and how; `more` goes into `[train]`.
pub(crate) fn pipeline(place: &Place, more: &str) -> String {
    let held_out = place.path("held-out").display().to_string();
    let labelled = place.path("labelled").display().to_string();
    let text = format!(
        "[student]\narchitecture = \"small\"\ninput = [3, 16, 16]\nclasses = 4\nwidth = 0.25\n\
         [data]\nurl = \"{labelled}\"\n\
         [noise]\ndropout = 0.2\nstochastic_depth = 0.2\nstandard = {{ flip = true, translate = 0.125 }}\n\
         [train]\nbatch = 6\nsteps = 40\ncheckpoint_steps = 8\nema = 0.9\n\
         learning_rate = {{ peak = 0.02, warmup_epochs = 0.5 }}\n\
         held_out = {{ url = \"{held_out}\" }}\n{more}\n"
    );
    let path = place.path("train.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Steps so small that they change no weight.
const STANDSTILL: [(&str, &str); 2] = [("peak = 0.02", "peak = 1e-30"), ("ema = 0.9", "ema = 0.0")];

/// Changes what is written in a file.
fn changed(file: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(file).unwrap();
    for (what, with) in changes {
        assert!(text.contains(what), "{what}");
        text = text.replace(what, with);
    }
    std::fs::write(file, text).unwrap();
    file.to_owned()
}

fn put(place: &Place, path: &str, bytes: &[u8]) {
    let path = place.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Images to learn from and others to be held out, in folders by their colour; a student; dataset `d` of unlabelled ones, labelled by `tiny`.
pub(crate) fn place() -> Place {
    let place = Place::with_teacher();
    for n in 0..30 {
        let (rgb, name) = colour(n);
        place.put(&format!("{n}.jpg"), &jpeg(rgb, n + 200));
        let (rgb, name) = if n % 5 == 4 {
            ([40, 40, 40], "dark")
        } else {
            (rgb, name)
        };
        put(&place, &format!("labelled/{name}/{n}.jpg"), &jpeg(rgb, n));
        let other = jpeg(rgb, n + 100);
        put(&place, &format!("held-out/{name}/{n}.jpg"), &other);
    }
    put(&place, "labelled/red/broken.jpg", b"\xff\xd8\xffno more");
    let config = pipeline(&place, "");
    place.ok(&["student", "init", "s", "--skip-trial", "--config", &config]);
    place
}

pub(crate) fn train_args<'a>(name: &'a str, config: &'a str) -> [&'a str; 8] {
    [
        "train",
        name,
        "--student",
        "s",
        "--config",
        config,
        "--threads",
        "1",
    ]
}

/// What a training leaves behind, its checkpoints included: the same for the same settings, however it got there.
fn left(place: &Place, name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(&place.path(&format!("w/trainings/{name}")));
    for (path, bytes) in files(&place.path(&format!("w/teachers/{name}"))) {
        all.insert(format!("teacher/{path}"), bytes);
    }
    all
}

/// What the student has learnt in a training, bit by bit: its weights and biases, without the statistics of its images.
fn learnt(place: &Place, training: &str) -> Vec<u32> {
    let config = StudentConfig {
        input: Some([3, 16, 16]),
        width: 0.25,
        ..StudentConfig::new("small".parse().unwrap(), CLASSES.len())
    };
    let graph = config.graph(Form::Inference);
    let parameters = graph.parameters.iter();
    let parameters = parameters.filter(|p| p.role == Role::Trainable);
    let model = place.path(&format!("w/teachers/{training}/1/model.onnx"));
    let model = std::fs::read(model).unwrap().into();
    let values = weights(model, parameters.map(|p| (&*p.name, &*p.dims))).unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_training_becomes_a_teacher_that_is_what_the_metrics_say() {
    let _turn = turn();
    let place = place();
    let config = pipeline(&place, "");
    let done = place.ok(&[&train_args("t", &config)[..], &["--json"]].concat());
    let done: serde_json::Value = serde_json::from_str(&done).unwrap();
    assert_eq!(
        (&done["teacher"], &done["steps"]),
        (&"t@1".into(), &40.into())
    );
    let shares = done["time"].as_object().unwrap().values();
    let shares: Vec<f64> = shares.map(|share| share.as_f64().unwrap()).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{done}");
    assert!(shares.iter().all(|share| *share > 0.0), "{done}");
    let run = &place.sql("SELECT images, bottleneck FROM runs WHERE kind = 'train'")[0];
    assert_eq!(run["images"], 240);
    assert!(!run["bottleneck"].is_null(), "{run}");
    // 40 steps of 6 are nearly 8 epochs of 31 files, one of which is no image.
    assert!(
        (7..=8).contains(&done["left_out"].as_u64().unwrap()),
        "{done}"
    );

    // What labels with it gets the same answer: preprocessing and averaged weights are those of the training.
    let held_out = place.path("held-out").display().to_string();
    let evaluated = place.ok(&["evaluate", "--json", "--model", "t", "--data", &held_out]);
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
    let top1 = evaluated["models"][0]["top1"]["share"].as_f64().unwrap();
    let said = done["held_out_top1"].as_f64().unwrap();
    assert!((top1 - said).abs() < 1e-6 && said > 0.5, "{top1} {said}");

    let rows = place.sql("SELECT * FROM training_metrics WHERE training = 't' ORDER BY step");
    assert_eq!(rows.len(), 40);
    let number = |row: usize, key: &str| rows[row][key].as_f64();
    assert!(number(39, "loss") < number(0, "loss"));
    assert!(number(39, "held_out_top1").unwrap() > 0.5);
    assert_eq!(
        (number(38, "held_out_top1"), number(0, "pseudo_loss")),
        (None, None)
    );
    let trained = &place.sql("SELECT * FROM trainings")[0];
    assert_eq!(
        (&trained["teacher"], &trained["labelled_images"]),
        (&"t@1".into(), &31.into())
    );

    // Again: nothing is done. With other settings: which.
    let before = left(&place, "t");
    place.ok(&train_args("t", &config));
    assert!(before == left(&place, "t"));
    let other = pipeline(&place, "label_smoothing = 0.2");
    let (code, text) = place.fails(&train_args("t", &other));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("`train.label_smoothing` is 0.2"), "{text}");
}

#[test]
fn killed_and_stopped_at_any_moment_it_ends_with_the_same_weights() {
    let _turn = turn();
    let place = place();
    let config = pipeline(&place, "pass = 4");
    place.ok(&train_args("whole", &config));
    let whole = left(&place, "whole");

    // Killed soon after each checkpoint that appears, at other moments each time; stopped once.
    let folder = place.path("w/trainings/parts/checkpoints");
    let commits = || {
        let names = std::fs::read_dir(&folder).into_iter().flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.strip_suffix(".json").is_some()).max()
    };
    for (round, pause) in [3, 40, 15].into_iter().enumerate() {
        let before = commits();
        let mut child = place
            .command(&train_args("parts", &config))
            .spawn()
            .unwrap();
        // Or it has come to its end meanwhile.
        wait_until(|| commits() > before || child.try_wait().unwrap().is_some());
        std::thread::sleep(Duration::from_millis(pause));
        if round == 1 {
            interrupt(&child);
        } else {
            child.kill().unwrap();
        }
        child.wait().unwrap();
    }
    place.ok(&train_args("parts", &config));
    let parts = left(&place, "parts");
    // Their names are in the records, and in nothing else.
    let without_names = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        let texts = [
            "training.json",
            "done.json",
            "teacher/1/teacher.toml",
            "teacher/1/teacher.json",
        ];
        files
            .iter()
            .filter(|(name, _)| !texts.contains(&name.as_str()))
            // Ctrl-C may have left a checkpoint between; the newest is the end's.
            .filter(|(name, _)| !name.starts_with("checkpoints/") || name.contains("00000040"))
            .map(|(name, bytes)| (name.clone(), bytes.clone()))
            .collect()
    };
    let (whole, parts) = (without_names(&whole), without_names(&parts));
    assert!(
        whole.contains_key("teacher/1/model.onnx")
            && whole.contains_key("metrics-00000008.parquet")
    );
    assert_eq!(differing(&whole, &parts), Vec::<String>::new());

    // A damaged file whose commit is removed, as the error says, is made anew.
    let damaged = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let damaged = damaged.filter(|path| path.extension().is_some_and(|e| e == "state"));
    let damaged = damaged.max().unwrap();
    std::fs::write(&damaged, b"half").unwrap();
    std::fs::remove_file(place.path("w/trainings/parts/done.json")).unwrap();
    let (_, text) = place.fails(&train_args("parts", &config));
    assert!(text.contains("remove that checkpoint's .json"), "{text}");
    std::fs::remove_file(folder.join("00000040.json")).unwrap();
    place.ok(&train_args("parts", &config));
    let again = without_names(&left(&place, "parts"));
    assert_eq!(differing(&parts, &again), Vec::<String>::new());
}

#[test]
fn a_selection_is_learned_from_beside_labelled_images_or_alone() {
    let _turn = turn();
    let place = place();
    place.label(&[]);
    let select = [
        "select",
        "--dataset",
        "d",
        "--teacher",
        "tiny",
        "--threshold",
        "0.2",
    ];
    place.ok(&[&select[..], &["--per-class", "12", "--name", "chosen"]].concat());
    let config = pipeline(
        &place,
        "ratio = 2.5\nloss = \"sum\"\nselection = \"chosen\"",
    );
    place.ok(&train_args("both", &config));
    let rows = place.sql("SELECT * FROM training_metrics WHERE training = 'both' ORDER BY step");
    let sum = |row: &serde_json::Value| {
        row["labelled_loss"].as_f64().unwrap() + row["pseudo_loss"].as_f64().unwrap()
    };
    for row in &rows {
        // The sum of the two means, as the library computed it and as the logits say.
        assert!(
            (row["loss"].as_f64().unwrap() - sum(row)).abs() < 1e-3,
            "{row}"
        );
    }
    let trained = &place.sql("SELECT * FROM trainings WHERE training = 'both'")[0];
    assert_eq!(
        (&trained["selection"], &trained["pseudo_rows"]),
        (&"chosen".into(), &36.into())
    );

    // The same images with hard labels: the first step sees the same network, and another loss of these images alone.
    let hard = ["--per-class", "12", "--name", "hard", "--targets", "hard"];
    place.ok(&[&select[..], &hard].concat());
    let once = ["--selection", "hard", "--steps", "1"];
    place.ok(&[&train_args("once", &config)[..], &once].concat());
    let first = &place.sql("SELECT * FROM training_metrics WHERE training = 'once'")[0];
    let of = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap();
    let apart = |key| (of(first, key) - of(&rows[0], key)).abs();
    assert!(apart("labelled_loss") < 1e-6, "{first} {}", rows[0]);
    assert!(apart("pseudo_loss") > 1e-3, "{first} {}", rows[0]);

    // Alone, from the weights that the other one ended with: a step so small that it changes none leaves them as they were.
    let text = std::fs::read_to_string(&config).unwrap();
    let start = text.find("[data]").unwrap();
    let end = text.find("[noise]").unwrap();
    let alone = format!("{}{}", &text[..start], &text[end..]);
    let path = place.path("alone.toml").display().to_string();
    std::fs::write(&path, alone).unwrap();
    let path = changed(&path, &STANDSTILL);
    let path = changed(&path, &[("[train]", "[train]\nbegin_from = \"both\"")]);
    place.ok(&[&train_args("alone", &path)[..], &["--steps", "1"]].concat());
    assert_eq!(learnt(&place, "alone"), learnt(&place, "both"));
    assert_ne!(learnt(&place, "once"), learnt(&place, "both"));
    let first = &place.sql("SELECT * FROM training_metrics WHERE training = 'alone'")[0];
    assert!(
        first["labelled_loss"].is_null() && first["pseudo_loss"].is_number(),
        "{first}"
    );
    let trained = &place.sql("SELECT * FROM trainings WHERE training = 'alone'")[0];
    assert_eq!(trained["begins_from"], "both@1");

    // A run that was killed goes on, though one of the images is gone and a later listing has seen it.
    let gone = place.sql("SELECT key FROM selections WHERE selection = 'chosen' ORDER BY key");
    let gone = gone[0]["key"]
        .as_str()
        .unwrap()
        .trim_start_matches("file://");
    std::fs::remove_file(gone).unwrap();
    place.ok(&["manifest", "--dataset", "d"]);
    std::fs::remove_file(place.path("w/trainings/both/done.json")).unwrap();
    place.ok(&train_args("both", &config));
    place.ok(&train_args("later", &config));
    let record = |name: &str| {
        let file = place.path(&format!("w/trainings/{name}/training.json"));
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let pseudo = &record["pseudo"];
        ["generation", "images", "missing"].map(|of| pseudo[of].as_u64().unwrap())
    };
    let [generation, images, missing] = record("both");
    assert_eq!(record("later"), [generation + 1, images - 1, missing + 1]);
}

#[test]
fn a_training_that_diverges_says_so_and_leaves_a_record_and_no_teacher() {
    let _turn = turn();
    let place = place();
    let config = changed(&pipeline(&place, ""), &[("peak = 0.02", "peak = 1e30")]);
    let (code, text) = place.fails(&train_args("t", &config));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the training diverged: at step"), "{text}");
    assert!(text.contains("a lower learning rate"), "{text}");
    assert!(!place.path("w/teachers/t").exists());
    let runs = place.sql("SELECT kind, outcome, teacher, error FROM runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(
        (&runs[0]["kind"], &runs[0]["outcome"], &runs[0]["teacher"]),
        (&"train".into(), &"failed".into(), &serde_json::Value::Null)
    );
    let error = runs[0]["error"].as_str().unwrap();
    assert!(text.contains(error), "{text} {error}");
}

#[test]
fn a_second_phase_has_the_classes_of_the_weights_that_it_begins_with() {
    let _turn = turn();
    let place = place();
    let config = pipeline(&place, "");
    let order = "[data]\nclasses = [\"red\", \"dark\", \"green\", \"blue\"]";
    place.ok(&train_args(
        "first",
        &changed(&config, &[("[data]", order)]),
    ));
    // Folders alone would be in the order of their names.
    let config = pipeline(&place, "begin_from = \"first\"");
    let config = changed(&config, &STANDSTILL);
    place.ok(&[&train_args("second", &config)[..], &["--steps", "1"]].concat());
    let names = |teacher: &str| {
        let file = place.path(&format!("w/teachers/{teacher}/1/teacher.toml"));
        let table: toml::Table = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        table["classes"]["names"].to_string()
    };
    assert_eq!(names("second"), names("first"));
    assert!(
        names("first").starts_with("[\"red\", \"dark\""),
        "{}",
        names("first")
    );
    // The same weights, which a step so small does not change, find the same classes in the same images.
    assert_eq!(learnt(&place, "second"), learnt(&place, "first"));
    let [first, second] = ["first", "second"].map(|training| {
        let query = format!("SELECT held_out_loss FROM training_metrics WHERE training = '{training}' AND held_out_loss IS NOT NULL ORDER BY step DESC");
        place.sql(&query)[0]["held_out_loss"].as_f64().unwrap()
    });
    assert!((first - second).abs() < 0.2, "{first} {second}");
}

#[test]
fn a_training_goes_on_from_the_weights_that_a_name_meant_when_it_began() {
    let _turn = turn();
    let place = place();
    let plain = pipeline(&place, "");
    place.ok(&[&train_args("t", &plain)[..], &["--steps", "1"]].concat());
    let config = pipeline(&place, "begin_from = \"t\"");
    place.ok(&[&train_args("second", &config)[..], &["--steps", "1"]].concat());
    // The same name means another version now.
    let [onnx, toml] = place.write_model(&Model::default());
    place.ok(&["teachers", "add", "t", "--model", &onnx, "--config", &toml]);
    let again = [
        &train_args("second", &config)[..],
        &["--steps", "1", "--json"],
    ]
    .concat();
    let done: serde_json::Value = serde_json::from_str(&place.ok(&again)).unwrap();
    assert_eq!(done["teacher"], "second@1");
    let spelled = pipeline(&place, "begin_from = \"t@1\"");
    place.ok(&[&train_args("second", &spelled)[..], &["--steps", "1"]].concat());
    let other = pipeline(&place, "begin_from = \"t@2\"");
    let (code, text) =
        place.fails(&[&train_args("second", &other)[..], &["--steps", "1"]].concat());
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("`begins_from` is \"t@2\", it was \"t@1\""),
        "{text}"
    );
}

#[test]
fn what_cannot_be_trained_is_told_with_what_to_do() {
    let _turn = turn();
    let place = place();
    let config = pipeline(&place, "");
    let told = |args: &[&str]| {
        let (code, text) = place.fails(args);
        format!("{code}: {text}")
    };
    let missing = told(&["train", "t", "--student", "z", "--config", &config]);
    assert!(
        missing.starts_with("3: ") && missing.contains('z'),
        "{missing}"
    );
    for (more, code, words) in [
        ("selection = \"none\"", "3: ", "`none`"),
        ("ema = 1.0", "2: ", "`train.ema` is 1"),
        (
            "epochs = 1.0",
            "2: ",
            "say how long to train with one of the two",
        ),
        ("begin_from = \"nobody\"", "3: ", "`nobody`"),
        (
            "begin_from = \"tiny\"",
            "6: ",
            "cannot take weights from the model",
        ),
    ] {
        let text = pipeline(&place, "");
        let new = std::fs::read_to_string(&text).unwrap();
        let key = more.split(' ').next().unwrap();
        let kept: Vec<&str> = new
            .lines()
            .filter(|l| !l.starts_with(&format!("{key} =")))
            .collect();
        std::fs::write(&text, format!("{}\n{more}\n", kept.join("\n"))).unwrap();
        let said = told(&train_args("t", &text));
        assert!(
            said.starts_with(code) && said.contains(words),
            "{more}: {said}"
        );
    }
    // Three classes where the student has four.
    std::fs::remove_dir_all(place.path(&format!("labelled/{}", CLASSES[2]))).unwrap();
    let said = told(&train_args("t", &pipeline(&place, "")));
    assert!(
        said.starts_with("9: ") && said.contains("has 4 classes"),
        "{said}"
    );
}
