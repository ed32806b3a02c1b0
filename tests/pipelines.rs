//! Pipelines as a user runs them: every stage of a small one end to end, killed and gone on with, and what is wrong with a file told.

use serde_json::Value;

use crate::student::turn;
use crate::support::{Place, colour, differing, files, interrupt, jpeg, wait_until};

const STUDENT: &str =
    "student = { architecture = \"small\", input = [3, 16, 16], classes = 4, width = 0.25 }";
const STAGES: [&str; 14] = [
    "teacher/student",
    "teacher/train",
    "teacher/evaluate",
    "round-1/student",
    "round-1/label",
    "round-1/select",
    "round-1/train",
    "round-1/control",
    "round-1/evaluate",
    "round-2/student",
    "round-2/label",
    "round-2/select",
    "round-2/train",
    "round-2/evaluate",
];

/// Images of four colours to learn from, others that are held out, and 30 without labels; no teacher.
pub(crate) fn place() -> Place {
    let place = Place::new();
    place.ok(&["init"]);
    for n in 0..32 {
        let (rgb, name) = match n % 4 {
            3 => ([40, 40, 40], "dark"),
            n => colour(n),
        };
        if n < 30 {
            place.put(&format!("{n}.jpg"), &jpeg(rgb, n + 200));
        }
        for (folder, seed) in [("labelled", n), ("held-out", n + 100)] {
            let path = place.path(&format!("{folder}/{name}/{n}.jpg"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, jpeg(rgb, seed)).unwrap();
        }
    }
    place
}

/// A pipeline of two rounds, the first with a control, in which a text is replaced by another.
fn pipeline(place: &Place, replace: (&str, &str)) -> String {
    let path = |name: &str| place.path(name).display().to_string();
    let train = "batch = 6\ncheckpoint_steps = 8\nema = 0.9\nlearning_rate = { peak = 0.02, warmup_epochs = 0.5 }";
    let text = format!(
        "[run]\nname = \"p\"\ndataset = \"d\"\nsource = \"{}\"\n\
         [data]\nurl = \"{}\"\n[held_out]\nurl = \"{}\"\n\
         [teacher]\n{STUDENT}\n[teacher.train]\nsteps = 40\n{train}\n\
         [[round]]\ncontrol = true\n{STUDENT}\nselect = {{ threshold = 0.0, per_class = 12 }}\nnoise_file = \"noise.toml\"\n\
         [round.train]\nratio = 2\nsteps = 32\n{train}\n\
         [[round]]\n{STUDENT}\nselect = {{ threshold = 0.0, per_class = 12 }}\n[round.train]\nratio = 1.5\nepochs = 4\n{train}\n\
         [round.noise]\ndropout = 0.2\n",
        path("images"),
        path("labelled"),
        path("held-out")
    );
    let changed = text.replacen(replace.0, replace.1, 1);
    assert!(replace.0.is_empty() || changed != text, "{replace:?}");
    let noise =
        "dropout = 0.2\nstochastic_depth = 0.2\nstandard = { flip = true, translate = 0.125 }\n";
    std::fs::write(place.path("noise.toml"), noise).unwrap();
    std::fs::write(place.path("p.toml"), changed).unwrap();
    path("p.toml")
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The stages of an outcome, and which of them were done now.
pub(crate) fn done(outcome: &Value) -> (Vec<&str>, Vec<bool>) {
    let stages = outcome["stages"].as_array().unwrap();
    stages
        .iter()
        .map(|s| (s["stage"].as_str().unwrap(), s["now"].as_bool().unwrap()))
        .unzip()
}

#[test]
fn a_pipeline_runs_round_after_round_and_does_nothing_twice() {
    let _turn = turn();
    let place = place();
    let file = pipeline(&place, ("", ""));
    let run = |more: &[&str]| {
        let args = [&["run", &file, "--threads", "1", "--json"], more].concat();
        json(&place.ok(&args))
    };

    // Nothing is written by a dry run, and what is known beforehand is told.
    let before = files(&place.path("w"));
    let planned = run(&["--dry-run"]);
    let names: Vec<&str> = (planned.as_array().unwrap().iter())
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    assert_eq!(names, STAGES);
    assert_eq!(planned[5]["amount"]["rows"], 48);
    let amount = &planned[6]["amount"];
    assert_eq!(
        (&amount["steps"], &amount["step_images"]),
        (&32.into(), &vec![6, 12].into())
    );
    assert_eq!(
        planned[7]["amount"]["step_images"],
        Value::from(vec![18, 0])
    );
    assert_eq!(files(&place.path("w")), before);

    // A stage cannot begin before those that it needs.
    let (code, text) = place.fails(&["run", &file, "--from", "round-1/label"]);
    assert!(
        code == 3 && text.contains("`round-1/label` cannot begin: `teacher/student` is not done"),
        "{code} {text}"
    );
    assert_eq!(files(&place.path("w")), before);

    // One round, then the other.
    let first = run(&["--round", "1"]);
    assert_eq!(done(&first), (STAGES[..9].to_vec(), vec![true; 9]));
    let planned = run(&["--dry-run"]);
    assert_eq!(planned[6]["made"]["teacher"], "p-r1@1");
    assert_eq!(planned[10]["amount"]["images"], 30);
    assert!(planned[9]["made"].is_null());
    let both = run(&["--from", "round-2"]);
    let (stages, now) = done(&both);
    assert_eq!(stages, STAGES);
    assert!(now[..9].iter().all(|now| !now) && now[9..].iter().all(|now| *now));

    let models = both["models"].as_array().unwrap();
    let told: Vec<(&str, &str)> = models
        .iter()
        .map(|m| (m["model"].as_str().unwrap(), m["role"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("p-teacher@1", "teacher"),
            ("p-r1-control@1", "control"),
            ("p-r1@1", "student"),
            ("p-r2@1", "student")
        ]
    );
    // Each against the right one, with the figures that `evaluate` has.
    let (student, second) = (&models[2], &models[3]);
    assert_eq!(student["against_teacher"]["a"], "p-teacher@1");
    assert_eq!(student["against_control"]["a"], "p-r1-control@1");
    assert_eq!(second["against_teacher"]["a"], "p-r1@1");
    assert!(second["against_control"].is_null());
    let held_out = place.path("held-out").display().to_string();
    let evaluated =
        json(&place.ok(&["evaluate", "--json", "--model", "p-r1", "--data", &held_out]));
    assert_eq!(evaluated["models"][0]["top1"], student["top1"]);
    assert!(
        student["top1"]["share"].as_f64().unwrap() > 0.4,
        "{student}"
    );

    is_controlled(&place);

    // Again: nothing is done, and the same is told.
    let before = files(&place.path("w"));
    let again = run(&[]);
    assert_eq!(done(&again), (STAGES.to_vec(), vec![false; 14]));
    assert_eq!(again["models"], both["models"]);
    let table = place.ok(&["run", &file]);
    assert!(
        table.contains("round-2/train") && table.contains("student of round 2"),
        "{table}"
    );
    assert_eq!(
        differing(&before, &files(&place.path("w"))),
        Vec::<String>::new()
    );

    // The file says something else than what was made: which, and nothing is made anew.
    let other = pipeline(&place, ("ratio = 2\n", "ratio = 3\n"));
    let (code, text) = place.fails(&["run", &other]);
    assert!(
        code == 2 && text.contains("`rows` is [6,18], it was [6,12]"),
        "{code} {text}"
    );
}

/// The control has the student's network, noise, steps and images a step, and labelled ones alone.
fn is_controlled(place: &Place) {
    let trainings = place.sql(
        "SELECT training, student, steps, selection FROM trainings WHERE training LIKE 'p-r1%' ORDER BY training",
    );
    for training in &trainings {
        assert_eq!(
            (&training["student"], &training["steps"]),
            (&"p-r1".into(), &32.into())
        );
    }
    assert_eq!(trainings.len(), 2);
    let record = |name: &str| {
        let path = place.path(&format!("w/trainings/{name}/training.json"));
        json(&std::fs::read_to_string(path).unwrap())
    };
    let (student, control) = (record("p-r1"), record("p-r1-control"));
    assert_eq!(student["noise"], control["noise"]);
    assert_eq!(student["noise"]["dropout"], 0.2);
    assert_eq!(
        (&student["rows"], &control["rows"]),
        (&vec![6, 12].into(), &vec![18, 0].into())
    );
    assert_eq!(student["pseudo"]["selection"], "p-r1");
    assert!(control["pseudo"].is_null());
}

#[test]
fn a_run_that_was_killed_while_it_trains_ends_with_the_same_teachers() {
    let _turn = turn();
    let place = place();
    let file = pipeline(&place, ("", ""));
    // Many more than are done by the time that the first checkpoint is seen.
    let text = std::fs::read_to_string(&file).unwrap();
    let longer = text.replace("\nsteps = 40\n", "\nsteps = 250\n");
    let longer = longer.replace("\nsteps = 32\n", "\nsteps = 250\n");
    assert_eq!(longer.matches("steps = 250").count(), 2);
    std::fs::write(&file, longer).unwrap();
    let (whole, parts) = (place.path("w"), place.path("parts"));
    let at = parts.display().to_string();
    place.ok(&["init", "--workspace", &at]);
    let run = ["run", &file, "--threads", "1", "--round", "1"];
    place.ok(&run);

    let killed = [&run[..], &["--workspace", &at]].concat();
    for training in ["p-teacher", "p-r1"] {
        let mut child = place.command(&killed).spawn().unwrap();
        let checkpoints = parts.join(format!("trainings/{training}/checkpoints"));
        wait_until(|| {
            let names = std::fs::read_dir(&checkpoints).into_iter().flatten();
            names
                .map(Result::unwrap)
                .any(|e| e.path().extension().is_some_and(|e| e == "json"))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            !parts
                .join(format!("trainings/{training}/done.json"))
                .exists()
        );
    }
    let ended = json(&place.ok(&[&killed[..], &["--json"]].concat()));
    let (stages, now) = done(&ended);
    let train = stages.iter().position(|s| *s == "round-1/train").unwrap();
    assert!(now[..train].iter().all(|now| !now) && now[train..].iter().all(|now| *now));
    let teachers = |workspace: &std::path::Path| files(&workspace.join("teachers"));
    assert!(teachers(&whole).contains_key("p-r1-control/1/model.onnx"));
    assert_eq!(
        differing(&teachers(&whole), &teachers(&parts)),
        Vec::<String>::new()
    );
}

#[test]
fn ctrl_c_that_the_run_alone_hears_stops_its_training() {
    let _turn = turn();
    let place = place();
    let file = pipeline(&place, ("", ""));
    let endless = "teacher.train.steps=1000000";
    let mut child = place
        .command(&["run", &file, "--threads", "1", "--set", endless])
        .spawn()
        .unwrap();
    let training = place.path("w/trainings/p-teacher");
    let commits = || {
        let names = std::fs::read_dir(training.join("checkpoints"));
        names.into_iter().flatten().count()
    };
    wait_until(|| commits() > 0);
    interrupt(&child);
    let mut ended = None;
    wait_until(|| {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(130));
    // The child has ended before its parent: nobody trains on.
    let left = commits();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(commits(), left);
    assert!(!training.join("done.json").exists());
}

/// The pipeline with a teacher that is there, `tiny`, in the place of one that is trained.
fn with_named_teacher(place: &Place) -> String {
    place.add_teacher("tiny", &crate::support::onnx::Model::default());
    let teacher = format!("[teacher]\n{STUDENT}\n[teacher.train]\nsteps = 40");
    let file = pipeline(place, ("", ""));
    let text = std::fs::read_to_string(&file).unwrap();
    let end = text.find("[[round]]").unwrap();
    let begin = text.find(&teacher).unwrap();
    let text = format!(
        "{}[teacher]\nname = \"tiny\"\n{}",
        &text[..begin],
        &text[end..]
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// The pipeline with a filter that is there, `tiny`.
fn with_named_filter(place: &Place) -> String {
    place.add_teacher("tiny", &crate::support::onnx::Model::default());
    let file = pipeline(place, ("", ""));
    let select = "select = { threshold = 0.0, per_class = 12 }\n";
    let text = std::fs::read_to_string(&file).unwrap().replace(select, "");
    let filter = format!("[filter]\nname = \"tiny\"\n{select}[teacher]\n");
    std::fs::write(&file, text.replacen("[teacher]\n", &filter, 1)).unwrap();
    file
}

#[test]
fn a_control_numbers_its_classes_as_the_student_beside_it() {
    let _turn = turn();
    for file_in in [with_named_teacher, with_named_filter] {
        let place = place();
        let file = file_in(&place);
        let run = json(&place.ok(&["run", &file, "--round", "1", "--json"]));
        assert!(done(&run).0.contains(&"round-1/evaluate"), "{run}");
        // By its folders the data would number them alphabetically.
        for training in ["p-r1", "p-r1-control"] {
            let at = place.path(&format!("w/trainings/{training}/training.json"));
            let record = json(&std::fs::read_to_string(at).unwrap());
            assert_eq!(
                record["classes"],
                serde_json::json!(["red", "green", "blue", "dark"])
            );
        }
    }
}

#[test]
fn a_named_teacher_is_pinned_to_the_version_that_the_first_run_met() {
    let place = place();
    let file = with_named_teacher(&place);
    let run = || json(&place.ok(&["run", &file, "--round", "0", "--json"]));
    let first = run();
    assert_eq!(
        done(&first),
        (vec!["teacher/choose", "teacher/evaluate"], vec![true; 2])
    );
    assert_eq!(first["models"][0]["model"], "tiny@1");
    // Another version is another teacher, but not of this run.
    let other = crate::support::onnx::Model {
        side: 16,
        ..crate::support::onnx::Model::default()
    };
    place.add_teacher("tiny", &other);
    assert_eq!(place.sql("SELECT * FROM teachers").len(), 2);
    let second = run();
    assert_eq!(done(&second).1, [false; 2]);
    assert_eq!(second["models"], first["models"]);
}

#[test]
fn what_is_wrong_with_a_pipeline_is_told_before_anything_is_done() {
    let place = place();
    let before = files(&place.path("w"));
    for (replace, words) in [
        (
            ("control = true", "contrl = true"),
            "did you mean `control`?",
        ),
        (
            ("name = \"p\"", "name = \"p\"\nrounds = 2"),
            "unknown field `rounds`",
        ),
        (("name = \"p\"", "name = \"p/q\""), "`p/q`"),
        (("steps = 40", "steps = 0"), "teacher: `train.steps` is 0"),
        (
            ("epochs = 4", "epochs = 4\nselection = \"x\""),
            "round-2: `train.selection` is `x`",
        ),
        (
            ("per_class = 12", "per_class = 0"),
            "round-1: `select.per_class` is 0",
        ),
        (
            (
                "classes = 4, width = 0.25 }\nselect",
                "classes = 5, width = 0.25 }\nselect",
            ),
            "round-1: `student.classes` is 5",
        ),
        (("noise.toml", "none.toml"), "none.toml"),
        (
            ("[teacher]\n", "[teacher]\nname = \"tiny\"\n"),
            "there is something to train as well",
        ),
        (
            ("[held_out]\nurl", "[held_out]\nlabel_column"),
            "`held_out.url` is missing",
        ),
        (
            ("[run]", "[select]\nseed = 1\n[run]"),
            "unknown field `select`",
        ),
    ] {
        let file = pipeline(&place, replace);
        for command in ["validate", "run"] {
            let (code, text) = place.fails(&[command, &file]);
            assert!(
                code == 2 && text.contains(words),
                "{replace:?}: {code} {text}"
            );
        }
    }
    let file = pipeline(&place, ("", ""));
    assert!(
        place
            .ok(&["validate", &file])
            .contains("a valid pipeline file")
    );
    for (more, words) in [
        (["--from", "round-1/trian"], "did you mean `round-1/train`?"),
        (["--round", "3"], "the pipeline has no round 3"),
        (["--set", "round.3.control=true"], "`3` is none of 1 to 2"),
        (["--set", "round.1.contrl=true"], "did you mean `control`?"),
        (["--set", "data.url"], "write KEY=VALUE"),
        (
            ["--set", "round.*.train.ema=1.0"],
            "round-1: `train.ema` is 1",
        ),
    ] {
        let (code, text) = place.fails(&[&["run", &file][..], &more].concat());
        assert!(code == 2 && text.contains(words), "{more:?}: {code} {text}");
    }
    assert_eq!(files(&place.path("w")), before);
}

#[test]
fn the_pipelines_of_the_repository_have_the_rounds_that_they_promise() {
    let place = place();
    let plan = |file: &str| {
        let file = format!("{}/pipelines/{file}", env!("CARGO_MANIFEST_DIR"));
        json(&place.ok(&["run", &file, "--dry-run", "--json"]))
    };
    let amounts = |plan: &Value, stage: &str, key: &str| -> Vec<Value> {
        let stages = plan.as_array().unwrap().iter();
        let stages = stages.filter(|s| s["stage"].as_str().unwrap().ends_with(stage));
        stages.map(|s| s["amount"][key].clone()).collect()
    };
    // The paper's: 2,048 labelled images a step, and 14, 14 and 28 times as many; the filter and the first teacher learn labelled ones alone.
    let imagenet = plan("imagenet.toml");
    let steps = amounts(&imagenet, "/train", "step_images");
    let expected = [0, 0, 14, 14, 28].map(|ratio| Value::from(vec![2048, 2048 * ratio]));
    assert_eq!(steps, expected);
    assert_eq!(
        amounts(&imagenet, "/select", "rows"),
        vec![Value::from(130_000_000); 4]
    );
    assert_eq!(amounts(&imagenet, "/finetune", "epochs"), [1.5; 3]);
    let millions = |stage: &str| -> Vec<u64> {
        let parameters = amounts(&imagenet, stage, "parameters");
        let millions = parameters.iter().map(|n| n.as_u64().unwrap() / 1_000_000);
        millions.collect()
    };
    assert_eq!(millions("/student"), [5, 66, 480, 480, 480]);
    assert_eq!(millions("/finetune-student"), [480; 3]);

    let fashion = plan("fashion-mnist.toml");
    let parameters = amounts(&fashion, "/student", "parameters");
    // A larger student, and then one as large.
    assert!(parameters[0].as_u64() < parameters[1].as_u64());
    assert!(
        parameters
            .windows(2)
            .all(|p| p[0].as_u64() <= p[1].as_u64())
    );
    assert_eq!(amounts(&fashion, "/control", "steps"), [5500]);
    assert_eq!(amounts(&fashion, "round-1/train", "steps"), [5500]);
}
