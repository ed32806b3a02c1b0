//! Every pipeline file of the repository, found in its folder: planned as it stands, and run end to end on 64 images with a real ONNX Runtime and the real training
//! library. Networks are small ones there, and trainings two steps long; which stages there are, and what goes from one to the next, is the file's own.

use std::path::PathBuf;

use serde_json::Value as Json;
use toml::{Table, Value};
use understudy::pipeline::Pipeline;

use crate::student::turn;
use crate::support::{Place, colour, jpeg, onnx};

/// Files of the folder that are none for `run`.
const OTHERS: [&str; 3] = ["defaults.toml", "gate.toml", "serve.toml"];
/// Trains what the others name; so it runs first.
const SUPERVISED: &str = "supervised.toml";

struct File {
    name: String,
    path: String,
    table: Table,
}

/// The pipeline files, that of the first teachers before all others.
fn pipelines() -> Vec<File> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().extension().is_none_or(|kind| kind != "toml") {
            continue;
        }
        let table: Table = toml::from_str(&std::fs::read_to_string(entry.path()).unwrap()).unwrap();
        let other = OTHERS.contains(&name.as_str());
        assert_ne!(Pipeline::is_meant(&table), other, "{name}");
        if !other {
            let path = entry.path().display().to_string();
            files.push(File { name, path, table });
        }
    }
    files.sort_by_key(|file| (file.name != SUPERVISED, file.name.clone()));
    assert_eq!(files[0].name, SUPERVISED);
    files
}

/// Four classes of images to learn from and others that are held out, and 64 without labels.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["init"]);
    for n in 0..64 {
        let (rgb, name) = match n % 4 {
            3 => ([40, 40, 40], "dark"),
            n => colour(n),
        };
        place.put(&format!("{n}.jpg"), &jpeg(rgb, n + 200));
        for (folder, seed, count) in [("labelled", n, 64), ("held-out", n + 100, 16)] {
            if n < count {
                let path = place.path(&format!("{folder}/{name}/{n}.jpg"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, jpeg(rgb, seed)).unwrap();
            }
        }
    }
    place
}

/// What makes a file's trainings short and its networks small, whatever sections it has.
fn smaller(path: &str, table: &Table, settings: &mut Vec<String>) {
    let mut set = |key: &str, value: &str| {
        if table.contains_key(key) {
            settings.push(format!("{path}{key}={value}"));
        }
    };
    set("classes", "4");
    set("threshold", "0.0");
    set("per_class", "12");
    set("interval", "[0.0, 1.0]");
    set("per_interval", "40");
    set("batch", "8");
    set("steps", "2");
    set("epochs", "0.25");
    if table.contains_key("architecture") {
        for (key, value) in [
            ("architecture", "small"),
            ("width", "0.25"),
            ("input", "[3, 16, 16]"),
        ] {
            settings.push(format!("{path}{key}={value}"));
        }
    }
    for (key, value) in table {
        let below = format!("{path}{key}.");
        match value {
            Value::Table(table) => smaller(&below, table, settings),
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    if let Value::Table(table) = item {
                        smaller(&format!("{below}{}.", n + 1), table, settings);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The settings of a file that runs on the images of a place, with teachers that the first file made.
fn settings(place: &Place, file: &File) -> Vec<String> {
    let path = |name: &str| place.path(name).display().to_string();
    let mut settings = vec![
        format!("run.source={}", path("images")),
        format!("data.url={}", path("labelled")),
        format!("held_out.url={}", path("held-out")),
    ];
    // Sections of labelled data may have more keys, which are about other images than these.
    for part in ["data", "held_out"] {
        for (key, value) in [("classes", "[]"), ("per_class", "16")] {
            if file.table[part].get(key).is_some() {
                settings.push(format!("{part}.{key}={value}"));
            }
        }
    }
    for part in ["source", "data", "held_out"] {
        let split = file.table.get(part).and_then(|part| part.get("split"));
        settings.extend(split.map(|_| format!("{part}.split.part=0..1/1")));
    }
    let parts = ["filter", "teacher", "round"].into_iter();
    let of_trainings: Table = parts
        .filter_map(|part| Some((part.to_owned(), file.table.get(part)?.clone())))
        .collect();
    smaller("", &of_trainings, &mut settings);
    // The phase at a larger resolution, of a network with six blocks.
    for (n, round) in rounds(&file.table).iter().enumerate() {
        let second = round.get("finetune");
        for (key, value) in [("input", "[3, 24, 24]"), ("frozen_blocks", "4")] {
            if second.is_some_and(|second| second.get(key).is_some()) {
                settings.push(format!("round.{}.finetune.{key}={value}", n + 1));
            }
        }
    }
    for (part, name) in [("filter", "b0-teacher"), ("teacher", "other-teacher")] {
        if file
            .table
            .get(part)
            .is_some_and(|part| part.get("name").is_some())
        {
            settings.push(format!("{part}.name={name}"));
        }
    }
    settings
}

fn rounds(table: &Table) -> Vec<Value> {
    let rounds = table.get("round").and_then(Value::as_array);
    rounds.cloned().unwrap_or_default()
}

fn run(place: &Place, file: &File, settings: &[String], more: &[&str]) -> Json {
    let mut args = vec!["run", &file.path, "--threads", "1", "--json"];
    settings.iter().for_each(|s| args.extend(["--set", s]));
    args.extend(more);
    serde_json::from_str(&place.ok(&args)).unwrap()
}

#[test]
fn every_pipeline_file_is_planned_as_it_stands() {
    let place = Place::new();
    place.ok(&["init"]);
    for file in pipelines() {
        place.ok(&["validate", &file.path]);
        let planned = run(&place, &file, &[], &["--dry-run"]);
        let stages: Vec<&str> = (planned.as_array().unwrap().iter())
            .map(|stage| stage["stage"].as_str().unwrap())
            .collect();
        let rounds = rounds(&file.table).len();
        let last = match rounds {
            0 => "teacher/evaluate".to_owned(),
            n => format!("round-{n}/evaluate"),
        };
        assert_eq!(stages.last(), Some(&last.as_str()), "{}", file.name);
        for stage in planned.as_array().unwrap() {
            if stage["stage"].as_str().unwrap().ends_with("/train") {
                let rows = stage["amount"]["step_images"].as_array().unwrap();
                assert!(
                    rows.iter().any(|n| n.as_u64() > Some(0)),
                    "{}: {stage}",
                    file.name
                );
            }
        }
        // What a user reads first: where the experiment is from, and what is different here.
        let text = std::fs::read_to_string(&file.path).unwrap();
        let comment: String = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        assert!(
            file.name.starts_with("fashion-mnist") || comment.contains("differs from the paper"),
            "{}",
            file.name
        );
        let readme = include_str!("../pipelines/README.md");
        assert!(
            readme.contains(&format!("`{}`", file.name)),
            "{}",
            file.name
        );
    }
}

#[test]
fn the_documented_sections_are_a_valid_file() {
    let place = Place::new();
    let readme = include_str!("../pipelines/README.md");
    let blocks: Vec<&str> = (readme.split("```toml\n").skip(1))
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let first = blocks
        .iter()
        .position(|block| block.contains("[run]"))
        .unwrap();
    // The second has more keys for what the first shows: its round stands in that one's place.
    let (head, _) = blocks[first].split_once("[[round]]").unwrap();
    std::fs::create_dir(place.path("noise")).unwrap();
    let noise = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/noise/svhn.toml");
    std::fs::copy(noise, place.path("noise/svhn.toml")).unwrap();
    for text in [
        blocks[first].to_owned(),
        format!("{head}{}", blocks[first + 1]),
    ] {
        std::fs::write(place.path("p.toml"), text).unwrap();
        let file = place.path("p.toml").display().to_string();
        assert!(
            place
                .ok(&["validate", &file])
                .contains("a valid pipeline file")
        );
    }
}

#[test]
fn every_pipeline_file_runs_end_to_end() {
    let _turn = turn();
    let place = place();
    // The held-out images as a dataset of their own, as the files tell that it has to be there.
    place.add_teacher("tiny", &onnx::Model::default());
    let held_out = place.path("held-out").display().to_string();
    let label = [
        "label",
        "--dataset",
        "imagenet-val",
        "--source",
        &held_out,
        "--teacher",
        "tiny",
    ];
    place.ok(&label);
    for file in pipelines() {
        let settings = settings(&place, &file);
        let outcome = run(&place, &file, &settings, &[]);
        if file.name == SUPERVISED {
            let other = [
                &settings[..],
                &["run.name=other".into(), "teacher.student.seed=1".into()],
            ];
            run(&place, &file, &other.concat(), &[]);
        }
        let name = file.table["run"]["name"].as_str().unwrap();
        let stages = outcome["stages"].as_array().unwrap();
        assert!(
            stages.iter().all(|stage| stage["now"] == true),
            "{name}: {outcome}"
        );
        let query = format!("SELECT stage FROM pipeline_stages WHERE pipeline = '{name}'");
        assert_eq!(place.sql(&query).len(), stages.len(), "{name}");
        // The teacher and each round's student were judged on all held-out images.
        let models = outcome["models"].as_array().unwrap();
        let last = |role: &str| models.iter().filter(|m| m["role"] == role).count();
        assert_eq!(
            (last("teacher"), last("student")),
            (1, rounds(&file.table).len()),
            "{name}"
        );
        assert!(
            models.iter().all(|m| m["top1"]["of"] == 16),
            "{name}: {outcome}"
        );
    }
    for row in place.sql("SELECT stage, kind, rows FROM pipeline_stages WHERE kind = 'selection'") {
        assert!(row["rows"].as_i64().unwrap() > 0, "{row}");
    }
}
