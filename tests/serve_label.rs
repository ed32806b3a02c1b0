//! `POST /v1/label`: the numbers of `understudy label`, images that are none, full queues, and teachers that change meanwhile.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Answer, Server};
use crate::support::onnx::Model;
use crate::support::{Place, colour, jpeg, png, tar};

/// What labels of an image in other batches may differ by, as the README says.
const TOLERANCE: f64 = 0.001;

fn server(place: &Place, config: &str) -> Server {
    let path = place.path("serve.toml").display().to_string();
    std::fs::write(&path, config).unwrap();
    Server::start(place, &["--config", &path])
}

/// Images of all kinds by name, two of which are none.
fn images() -> BTreeMap<String, Vec<u8>> {
    let mut images = BTreeMap::new();
    for n in 0..9 {
        images.insert(format!("{n}.jpg"), jpeg(colour(n).0, n));
    }
    images.insert("p.png".into(), png(colour(1).0, 77));
    images.insert("empty.jpg".into(), Vec::new());
    let whole = jpeg(colour(0).0, 5);
    images.insert("half.jpg".into(), whole[..whole.len() / 2].to_vec());
    images
}

fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} of {value}"))
}

#[test]
fn images_of_requests_get_the_labels_and_the_reasons_of_the_label_run() {
    let place = Place::with_teacher();
    let images = images();
    for (name, bytes) in &images {
        place.put(name, bytes);
    }
    place.label(&["--encoding", "float32"]);
    place.ok(&["promote", "tiny"]);
    let server = Server::start(&place, &["--teacher", "current"]);
    server.ready();
    let labels = place.sql(
        "SELECT regexp_replace(key, '.*/', '') AS name, class, label, confidence, second_class, second_label, margin, entropy, width, height,
                encode(sha256, 'hex') AS sha256, lpad(to_hex(phash), 16, '0') AS phash, soft_label(probs, 3, teacher) AS top FROM labels",
    );
    let rejects = place.sql(
        "SELECT regexp_replace(key, '.*/', '') AS name, stage, reason, detail, encode(sha256, 'hex') AS sha256 FROM rejects",
    );
    assert_eq!((labels.len(), rejects.len()), (10, 2));
    // One by one, and all in a tar.
    let members: Vec<(&str, &[u8])> = images
        .iter()
        .map(|(n, b)| (n.as_str(), b.as_slice()))
        .collect();
    let all = server
        .label("/v1/label?top=3", "application/x-tar", &tar(&members))
        .ok();
    assert_eq!(all["teacher"], "tiny@1");
    let all = all["images"].as_array().unwrap();
    assert_eq!(all.len(), images.len());
    let mut both = Vec::new();
    for ((name, bytes), in_tar) in images.iter().zip(all) {
        let path = format!("/v1/label?top=3&key={name}");
        let alone = server.label(&path, "application/octet-stream", bytes).ok();
        both.push((name, alone["images"][0].clone()));
        both.push((name, in_tar.clone()));
    }
    for (name, image) in both {
        assert_eq!(image["key"], *name);
        if let Some(reject) = rejects.iter().find(|r| r["name"] == *name) {
            for key in ["stage", "reason", "detail", "sha256"] {
                assert_eq!(image[key], reject[key], "{name}");
            }
            assert!(image.get("class").is_none());
            continue;
        }
        let label = labels.iter().find(|l| l["name"] == *name).unwrap();
        for key in [
            "class",
            "label",
            "second_class",
            "second_label",
            "width",
            "height",
            "sha256",
            "phash",
        ] {
            assert_eq!(image[key], label[key], "{key} of {name}");
        }
        for key in ["confidence", "margin"] {
            assert!(
                (number(&image, key) - number(label, key)).abs() <= TOLERANCE,
                "{name}"
            );
        }
        assert!(
            (number(&image, "entropy") - number(label, "entropy")).abs() <= 0.01,
            "{name}"
        );
        let (top, tops) = (
            image["top"].as_array().unwrap(),
            label["top"].as_array().unwrap(),
        );
        assert_eq!(top.len(), 3);
        for (a, b) in top.iter().zip(tops) {
            assert_eq!(
                (&a["class"], &a["label"]),
                (&b["class"], &b["label"]),
                "{name}"
            );
            assert!(
                (number(a, "p") - number(b, "p")).abs() <= TOLERANCE,
                "{name}"
            );
        }
    }
}

#[test]
fn what_is_no_image_and_no_tar_is_told_and_harms_nobody_else() {
    let place = Place::with_teacher();
    let server = Server::start(&place, &[]);
    let image = jpeg(colour(0).0, 0);
    let (detail, hint) = server.label("/v1/label", "image/jpeg", &image).problem(404);
    assert!(detail.contains("no teacher is promoted yet"), "{detail}");
    assert!(hint.contains("understudy promote"), "{hint}");
    let named = "/v1/label?teacher=tiny@1";
    let one = |bytes: &[u8]| server.label(named, "image/jpeg", bytes).ok()["images"][0].clone();
    assert_eq!(one(&image)["label"], "red");
    for (bytes, reason) in [
        (&b""[..], "empty"),
        (b"hello", "not-an-image"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "unsupported-format",
        ),
        (&image[..image.len() / 2], "truncated"),
    ] {
        let rejected = one(bytes);
        assert_eq!(
            (&rejected["stage"], &rejected["reason"]),
            (&json!("decode"), &json!(reason))
        );
    }
    server.label(named, "text/plain", &image).problem(415);
    server.send("POST", named, &[], &image).problem(415);
    server.label(named, "application/x-tar", b"").problem(400);
    server
        .label(named, "application/x-tar", &[7; 2000])
        .problem(400);
    let whole = tar(&[("a.jpg", &image)]);
    let (detail, _) = server
        .label(named, "application/x-tar", &whole[..700])
        .problem(400);
    assert!(detail.contains("ends within `a.jpg`"), "{detail}");
    let members: Vec<(&str, &[u8])> = vec![("a", b"x"); 65];
    let (detail, _) = server
        .label(named, "application/x-tar", &tar(&members))
        .problem(413);
    assert!(detail.contains("more than 64 images"), "{detail}");
    server
        .label("/v1/label?teacher=tiny@9", "image/jpeg", &image)
        .problem(404);
    server
        .label("/v1/label?teacher=tiny@1&top=0", "image/jpeg", &image)
        .problem(400);
    server
        .label("/v1/label?teachr=tiny@1", "image/jpeg", &image)
        .problem(400);
}

#[test]
fn the_limits_of_decoding_are_those_of_the_server() {
    let place = Place::with_teacher();
    place.ok(&["promote", "tiny"]);
    let server = server(&place, "[decode]\nmax_pixels = 1000\n");
    let answer = server
        .label("/v1/label", "image/jpeg", &jpeg(colour(0).0, 0))
        .ok();
    assert_eq!(answer["images"][0]["reason"], "too-many-pixels");
}

/// A model whose one image takes a noticeable time.
fn slow() -> Model {
    Model {
        side: 2048,
        ..Model::default()
    }
}

#[test]
fn a_full_queue_answers_at_once_and_images_of_many_requests_share_batches() {
    let place = Place::new();
    place.ok(&["init"]);
    place.add_teacher("slow", &slow());
    let server = server(
        &place,
        "[label]\nteacher = \"slow\"\nqueue = 4\nworkers = 1\nbatch = 2\nwait_ms = 5.0\n",
    );
    server.ready();
    let image = jpeg(colour(2).0, 1);
    server.label("/v1/label", "image/jpeg", &image).ok();
    // It sleeps while they are sent: when it wakes up, all of them are there at once, however slow the machine is.
    server.signal("-STOP");
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40)
            .map(|_| {
                let head = server.head("POST", "/v1/label");
                let length = image.len();
                let head = format!(
                    "{head}Content-Type: image/jpeg\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let mut stream = server.connect();
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(&image).unwrap();
                scope.spawn(|| {
                    let answer = Answer::read(stream).unwrap();
                    if answer.status == 200 {
                        assert_eq!(answer.json()["images"][0]["label"], "blue");
                    } else {
                        let (detail, _) = answer.problem(429);
                        assert_eq!(detail, "as many images wait as may");
                        assert_eq!(answer.headers["retry-after"], "1");
                    }
                    answer.status
                })
            })
            .collect();
        server.signal("-CONT");
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let done = answers.iter().filter(|status| **status == 200).count();
    // The queue at least. Two batches that were handed on are in flight as well, and the one that is being made up; what is done meanwhile makes room for a few.
    assert!((4..=20).contains(&done), "{done} of 40");
    assert_eq!(
        server.metric("understudy_label_refused_requests_total"),
        40 - done as u64
    );
    let (batches, images) = (
        server.metric("understudy_label_batch_images_count"),
        server.metric("understudy_label_batch_images_sum"),
    );
    assert_eq!(images, done as u64 + 1);
    assert!(batches < images, "{batches} batches of {images} images");
    assert_eq!(server.metric("understudy_label_waiting_images"), 0);
    server.label("/v1/label", "image/jpeg", &image).ok();
}

#[test]
fn a_promoted_teacher_labels_within_seconds_and_no_request_is_dropped() {
    let place = Place::with_teacher();
    place.add_teacher(
        "tiny",
        &Model {
            probabilities: true,
            ..Model::default()
        },
    );
    place.ok(&["promote", "tiny@1"]);
    let server = Server::start(&place, &[]);
    let image = jpeg(colour(1).0, 3);
    let by = || server.label("/v1/label", "image/jpeg", &image).ok()["teacher"].clone();
    assert_eq!(by(), "tiny@1");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (started, mut asked) = (Instant::now(), 0);
            while !over.load(Ordering::Relaxed) && started.elapsed() < Duration::from_mins(2) {
                let answer = server.label("/v1/label", "image/jpeg", &image).ok();
                assert_eq!(answer["images"][0]["label"], "green");
                asked += 1;
            }
            asked
        });
        // By the command line, which knows nothing of the server.
        place.ok(&["promote", "tiny@2"]);
        let started = Instant::now();
        let noticed = loop {
            let noticed = by() == "tiny@2";
            if noticed || started.elapsed() > Duration::from_mins(1) {
                break noticed;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        over.store(true, Ordering::Relaxed);
        assert!(asking.join().unwrap() > 0);
        assert!(noticed, "it is not noticed within a minute");
    });
    // Others are to be had by name, each from memory where it is there.
    let named = |teacher: &str| {
        server
            .label(
                &format!("/v1/label?teacher={teacher}"),
                "image/jpeg",
                &image,
            )
            .ok()["teacher"]
            .clone()
    };
    assert_eq!(named("tiny@1"), "tiny@1");
    assert_eq!(named("tiny"), "tiny@2");
    assert_eq!(named("current"), "tiny@2");
}

#[test]
fn a_server_is_ready_when_the_teacher_is_loaded_that_was_asked_for() {
    let place = Place::with_teacher();
    // Nobody is promoted: the server runs, and says what it lacks.
    let asked = place.run(&["serve", "--listen", "127.0.0.1:0", "--teacher", "current"]);
    assert_eq!(asked.status.code(), Some(3));
    let server = Server::start(&place, &[]);
    server.get("/readyz").ok();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--teacher", "tiny"]);
    command.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    command
        .env("UNDERSTUDY_CACHE", place.dir.path())
        .env("HOME", place.dir.path());
    let broken = Server::of(&place, command);
    crate::support::wait_until(|| broken.log().contains("cannot be loaded"));
    let (detail, _) = broken.get("/readyz").problem(503);
    assert!(detail.contains("cannot load ONNX Runtime"), "{detail}");
    broken.label("/v1/label", "image/jpeg", b"x").problem(503);
    broken.get("/healthz").ok();
}
