//! The stages that not every pipeline has: a filter, second phases, a noised teacher, a warm start; models that are evaluated once; the tables of the records.

use std::path::Path;

use serde_json::Value;

use crate::pipelines::{done, json, place};
use crate::student::turn;
use crate::support::{Place, files};

/// A filter that is trained; a round with a phase at a larger resolution; one that begins with its teacher's weights, learns the labels of the noised teacher alone,
/// and then the labelled images.
fn pipeline(place: &Place) -> String {
    let path = |name: &str| place.path(name).display().to_string();
    let student = |seed: u32| {
        format!(
            "student = {{ architecture = \"small\", input = [3, 16, 16], classes = 4, width = 0.25, seed = {seed} }}"
        )
    };
    let train = "batch = 6\nema = 0.9\nlearning_rate = { peak = 0.02, warmup_epochs = 0.5 }";
    let text = format!(
        "[run]\nname = \"p\"\ndataset = \"d\"\nsource = \"{}\"\n[data]\nurl = \"{}\"\n[held_out]\nurl = \"{}\"\n\
         [filter]\n{}\nselect = {{ threshold = 0.0, per_class = 4, balance = \"none\" }}\n[filter.train]\nsteps = 30\n{train}\n\
         [teacher]\n{}\n[teacher.train]\nsteps = 30\n{train}\n\
         [[round]]\n{}\n[round.train]\nsteps = 4\n{train}\n\
         [round.finetune]\ninput = [3, 24, 24]\nfrozen_blocks = 2\n[round.finetune.train]\nsteps = 3\n{train}\n\
         [[round]]\nwarm_start = true\njoint = false\nteacher_noise_file = \"aug.toml\"\n{}\n[round.train]\nsteps = 4\n{train}\n\
         [round.finetune]\nnoise_file = \"aug.toml\"\n[round.finetune.train]\nsteps = 3\n{train}\n",
        path("images"),
        path("labelled"),
        path("held-out"),
        student(1),
        student(2),
        student(3),
        student(4),
    );
    std::fs::write(
        place.path("aug.toml"),
        "[standard]\nflip = true\ntranslate = 0.25\n",
    )
    .unwrap();
    std::fs::write(place.path("none.toml"), "dropout = 0.2\n").unwrap();
    std::fs::write(place.path("p.toml"), text).unwrap();
    path("p.toml")
}

/// A JSON file of the workspace.
fn read(place: &Place, at: &str) -> Value {
    json(&std::fs::read_to_string(place.path(&format!("w/{at}"))).unwrap())
}

/// When each file of predictions was written, by the model's name.
fn predictions(place: &Place) -> Vec<(String, std::time::SystemTime)> {
    let folder = std::fs::read_dir(place.path("w/pipelines/p/predictions")).unwrap();
    let mut all: Vec<_> = folder
        .map(Result::unwrap)
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            let (model, _) = name.rsplit_once('-').unwrap();
            (
                model.to_owned(),
                file.metadata().unwrap().modified().unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_filter_a_larger_resolution_a_noised_teacher_and_a_warm_start_are_stages_of_one_run() {
    let _turn = turn();
    let place = place();
    let file = pipeline(&place);
    let run = |more: &[&str]| {
        let args = [&["run", &file, "--threads", "1", "--json"], more].concat();
        json(&place.ok(&args))
    };
    run(&["--round", "0"]);
    let of_teacher = predictions(&place);
    let first = run(&["--round", "1"]);
    let stages = [
        "filter/student",
        "filter/train",
        "filter/label",
        "filter/select",
        "teacher/student",
        "teacher/train",
        "teacher/evaluate",
        "round-1/student",
        "round-1/label",
        "round-1/select",
        "round-1/train",
        "round-1/finetune-student",
        "round-1/finetune",
        "round-1/evaluate",
    ];
    let now = (0..stages.len()).map(|n| n >= 7).collect();
    assert_eq!(done(&first), (stages.to_vec(), now));
    let planned = run(&["--dry-run"]);
    let chosen = read(&place, "selections/p-filter/selection.json")["totals"]["rows"].clone();
    let label = planned
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["stage"] == "round-2/label");
    assert_eq!(label.unwrap()["amount"]["images"], chosen);

    // What is evaluated is not evaluated again, and what got lost is.
    let before = predictions(&place);
    let names: Vec<&str> = before.iter().map(|(model, _)| model.as_str()).collect();
    assert_eq!(names, ["p-r1-finetuned@1", "p-r1@1", "p-teacher@1"]);
    assert_eq!(before[2..], of_teacher);
    let lost = files(&place.path("w/pipelines/p/predictions"));
    let lost = lost
        .keys()
        .find(|name| name.starts_with("p-r1-finetuned@1"))
        .unwrap();
    std::fs::remove_file(place.path(&format!("w/pipelines/p/predictions/{lost}"))).unwrap();
    let both = run(&[]);
    let after = predictions(&place);
    assert_eq!(after.len(), 5);
    assert!(
        before[1..].iter().all(|one| after.contains(one)),
        "{before:?} {after:?}"
    );
    assert!(!after.contains(&before[0]));

    is_what_the_file_says(&place, &chosen);
    let models = both["models"].as_array().unwrap();
    let told: Vec<(&str, &str)> = models
        .iter()
        .map(|m| (m["model"].as_str().unwrap(), m["role"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("p-teacher@1", "teacher"),
            ("p-r1@1", "first phase"),
            ("p-r1-finetuned@1", "student"),
            ("p-r2@1", "first phase"),
            ("p-r2-finetuned@1", "student"),
        ]
    );
    assert_eq!(models[4]["against_teacher"]["a"], "p-r1-finetuned@1");
    assert_eq!(models[4]["against_first_phase"]["a"], "p-r2@1");
    // Comparisons from predictions are those that `evaluate` makes of the two models.
    let held_out = place.path("held-out").display().to_string();
    let evaluated = json(&place.ok(&[
        "evaluate",
        "--json",
        "--model",
        "p-r1-finetuned",
        "--against",
        "p-r2-finetuned",
        "--data",
        &held_out,
    ]));
    assert_eq!(models[4]["against_teacher"], evaluated["comparison"]);

    are_tables(&place, models);
    let again = run(&[]);
    assert!(done(&again).1.iter().all(|now| !now));
    assert_eq!(again["models"], both["models"]);
    let table = place.ok(&["run", &file]);
    assert!(
        table.contains("against its first phase") && table.contains("first phase of round 2"),
        "{table}"
    );
}

/// Who labelled what, and what was trained on what.
fn is_what_the_file_says(place: &Place, chosen: &Value) {
    let labelled = place
        .sql("SELECT teacher, count(*) AS images FROM labels GROUP BY teacher ORDER BY teacher");
    let labelled: Vec<(&Value, &Value)> = labelled
        .iter()
        .map(|r| (&r["teacher"], &r["images"]))
        .collect();
    assert!(chosen.as_u64() < Some(30), "{chosen}");
    assert_eq!(
        labelled,
        [
            (&"p-filter@1".into(), &30.into()),
            (&"p-r1-finetuned@1+aug".into(), chosen),
            (&"p-teacher@1".into(), chosen),
        ]
    );
    for (selection, teacher) in [("p-r1", "p-teacher@1"), ("p-r2", "p-r1-finetuned@1+aug")] {
        let made = read(place, &format!("selections/{selection}/selection.json"));
        assert_eq!(made["input"]["filter_teacher"], "p-filter@1");
        assert_eq!(
            (&made["input"]["teacher"], &made["totals"]["rows"]),
            (&teacher.into(), chosen)
        );
        assert_eq!(made["config"]["targets"], "soft");
    }
    let training = |name: &str| read(place, &format!("trainings/{name}/training.json"));
    for (name, begins_from, rows) in [
        ("p-r1", Value::Null, [6, 6]),
        ("p-r1-finetuned", "p-r1@1".into(), [6, 0]),
        ("p-r2", "p-r1-finetuned@1".into(), [0, 6]),
        ("p-r2-finetuned", "p-r2@1".into(), [6, 0]),
    ] {
        let training = training(name);
        assert_eq!(training["begins_from"], begins_from, "{name}");
        assert_eq!(training["rows"], Value::from(rows.to_vec()), "{name}");
        assert_eq!(training["pseudo"].is_null(), rows[1] == 0, "{name}");
    }
    assert!(training("p-r1-finetuned")["noise"]["standard"].is_null());
    assert_eq!(
        training("p-r2-finetuned")["noise"]["standard"]["flip"],
        true
    );
    // The second phase sees larger images, and changes fewer of the weights.
    let teacher = place.path("w/teachers/p-r1-finetuned/1/teacher.toml");
    let teacher: toml::Table = toml::from_str(&std::fs::read_to_string(teacher).unwrap()).unwrap();
    let size = teacher["input"]["size"].as_array().unwrap();
    assert!(
        size.iter().all(|side| side.as_integer() == Some(24)),
        "{teacher}"
    );
    let students = json(&place.ok(&["student", "list", "--json"]));
    let student = students
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["name"] == "p-r1-finetuned");
    assert_eq!(student.unwrap()["config"]["frozen_blocks"], 2);
}

/// The tables say what the records and the outcome say, and the schema names every key of a record.
fn are_tables(place: &Place, models: &[Value]) {
    let kinds = &json(include_str!("../schemas/pipeline.json"))["STAGE-HASH.json"]["kinds"];
    let mut records = 0;
    for (name, bytes) in files(&place.path("w/pipelines/p")) {
        if Path::new(&name)
            .extension()
            .is_some_and(|kind| kind == "json")
        {
            let record = json(&String::from_utf8(bytes).unwrap());
            let documented = kinds[record["kind"].as_str().unwrap()].as_object().unwrap();
            let keys = |object: &serde_json::Map<String, Value>| -> Vec<String> {
                let mut keys: Vec<String> = object.keys().cloned().collect();
                keys.sort();
                keys
            };
            assert_eq!(
                keys(record.as_object().unwrap()),
                keys(documented),
                "{name}"
            );
            records += 1;
        }
    }
    assert_eq!(
        place.number("SELECT count(*) FROM pipeline_stages WHERE pipeline = 'p'"),
        records
    );
    let rows = place.sql(
        "SELECT stage, round, teacher, steps FROM pipeline_stages WHERE kind = 'training' ORDER BY round, stage DESC",
    );
    let told: Vec<String> = rows.iter().map(Value::to_string).collect();
    assert!(
        told[0].contains("\"round-1/train\"")
            && told[0].contains("\"round\":1")
            && told[0].contains("\"steps\":4"),
        "{told:?}"
    );
    let rows = place.sql(
        "SELECT compared_with, top1, gain, p_value FROM pipeline_models WHERE model = 'p-r2-finetuned@1' ORDER BY compared_with",
    );
    assert_eq!(rows.len(), 2);
    for (row, against) in rows.iter().zip(["against_teacher", "against_first_phase"]) {
        let of = &models[4];
        assert_eq!(row["compared_with"], of[against]["a"]);
        assert_eq!(row["top1"], of["top1"]["share"]);
        assert_eq!(
            (&row["gain"], &row["p_value"]),
            (&of[against]["difference"], &of[against]["p_value"])
        );
    }
}

#[test]
fn what_these_stages_cannot_do_is_told_before_anything_is_done() {
    let place = place();
    let file = pipeline(&place);
    let before = files(&place.path("w"));
    for (settings, words) in [
        (
            &["round.1.select.threshold=0.5"][..],
            "round-1: `select` is there, and so is a filter",
        ),
        (
            &["teacher.select.threshold=0.5"],
            "teacher: `select` is there",
        ),
        (
            &["filter.name=tiny"],
            "filter: `name` is `tiny`, and there is something to train as well",
        ),
        (
            &["filter.student.classes=5"],
            "teacher: `student.classes` is 4",
        ),
        (
            &["round.2.control=true"],
            "round-2: `control` is true in a round that is not joint",
        ),
        (
            &["round.1.student.width=0.5"],
            "round-2: `warm_start` is true, and the teacher is another network: small",
        ),
        (
            &["round.2.train.begin_from=x"],
            "round-2: `warm_start` is true, and `train.begin_from` is there as well",
        ),
        (
            &["round.1.finetune.train.begin_from=x"],
            "round-1: `finetune.train.begin_from` is there",
        ),
        (
            &["round.1.finetune.frozen_blocks=8"],
            "round-1: `student.frozen_blocks` is 8",
        ),
        (
            &["round.1.finetune.train.steps=0"],
            "round-1: `train.steps` is 0",
        ),
        (
            &["round.2.teacher_noise_file=none.toml"],
            "round-2: `teacher_noise_file` is `",
        ),
        (
            &["round.2.finetune.noise.dropout=0.1"],
            "round-2: `noise_file` is `aug.toml`, and `noise` is there as well",
        ),
        (
            &["round.1.finetun.frozen_blocks=8"],
            "did you mean `finetune`?",
        ),
    ] {
        let mut args = vec!["run", file.as_str()];
        settings.iter().for_each(|s| args.extend(["--set", s]));
        let (code, text) = place.fails(&args);
        assert!(
            code == 2 && text.contains(words),
            "{settings:?}: {code} {text}"
        );
    }
    let held_out = "filter.select.exclude=[\"nope\"]";
    let (code, text) = place.fails(&["run", &file, "--set", held_out]);
    assert!(
        code == 3
            && text.contains("no dataset `nope`")
            && text.contains("understudy label --dataset"),
        "{code} {text}"
    );
    assert_eq!(files(&place.path("w")), before);
}
